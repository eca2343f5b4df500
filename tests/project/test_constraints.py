"""Test constraints.txt: a command makes it, it pins all dependencies, and it names no registry."""

import os
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).resolve().parents[2]
TEXT = (REPO / "constraints.txt").read_text(encoding="utf-8")
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
PYTHONS = [("3.11", "3.11.2"), ("3.12", "3.12.1"), ("3.13", "3.13.0"), ("3.14", "3.14.0")]


def _pins(version: str, full: str) -> dict[str, str]:
    """Return the name and version of each pin that applies to this Python version on Linux."""
    environment = {"python_version": version, "python_full_version": full, "sys_platform": "linux"}
    found: dict[str, str] = {}
    for line in LINES:
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate({**environment, "platform_machine": "x86_64"}):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} is pinned twice for Python {version}"
            found[name] = str(pin.specifier).removeprefix("==")
    return found


def test_every_requirement_has_one_pin_that_satisfies_it() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *(line for more in project["optional-dependencies"].values() for line in more),
    ]
    for version, full in PYTHONS:
        pins = _pins(version, full)
        for line in asked:
            wanted = Requirement(line)
            if wanted.marker is not None and not wanted.marker.evaluate({"python_version": version}):
                continue
            assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)], prereleases=True), line


def test_each_line_is_an_exact_pin() -> None:
    for line in LINES:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+( ; .+)?", line), line


def test_the_file_says_its_command_and_no_registry() -> None:
    assert "make constraints" in TEXT.splitlines()[1]
    assert "://" not in TEXT
    assert "index-url" not in TEXT
    assert os.access(REPO / "tools" / "constraints.sh", os.X_OK)
