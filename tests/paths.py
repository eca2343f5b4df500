"""Paths that tests use."""

from pathlib import Path

#: The folder of the project.
REPO = Path(__file__).parents[1]
