"""Test that each command of the Makefile runs all of its lines."""

import re

from tests.paths import REPO


def test_no_recipe_ignores_its_failure() -> None:
    """With .ONESHELL a `-` before any line ends the whole recipe at that line's failure, and make reports success."""
    text = (REPO / "Makefile").read_text(encoding="utf-8")
    assert ".ONESHELL:" in text
    assert re.findall(r"^\t[@+]*-.*$", text, re.MULTILINE) == []
