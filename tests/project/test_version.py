"""Test that the version is stated once, and that a release checks it."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import analysis
import loadgen
from analysis.record import revisions

REPO = Path(__file__).resolve().parents[2]


def project() -> dict[str, object]:
    content: dict[str, object] = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    return content


def test_pyproject_leaves_the_version_to_the_package() -> None:
    assert "version" not in project()
    assert project()["dynamic"] == ["version"]


def test_the_installed_metadata_and_records_say_the_version_of_the_package() -> None:
    assert importlib.metadata.version("fanout-loadgen") == loadgen.__version__
    assert revisions.made_by()["version"] == loadgen.__version__


@pytest.mark.parametrize(
    ("tag", "code"), [(f"v{loadgen.__version__}", 0), (loadgen.__version__, 1), ("v99.0.0", 1), ("v", 1)]
)
def test_a_release_wants_the_tag_of_the_version(tag: str, code: int) -> None:
    command = [sys.executable, "tools/release_version.py", tag]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert (f"tag v{loadgen.__version__}" in done.stderr) == bool(code)


def test_both_packages_are_typed() -> None:
    for package in (loadgen, analysis):
        assert Path(str(package.__file__)).with_name("py.typed").is_file()


def test_the_licence_is_named_and_there() -> None:
    assert project()["license"] == "MIT"
    assert (REPO / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
