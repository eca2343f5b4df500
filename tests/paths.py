"""Paths that tests use."""

from pathlib import Path

#: The root folder of the repository.
REPO = Path(__file__).parents[1]
