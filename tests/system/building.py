"""Build wheels from a copy of the files that belong in them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.paths import REPO

_PARTS = ("loadgen", "analysis", "scenarios")
_FILES = (".gitignore", "LICENSE", "README.md", "hatch_build.py", "locustfile.py", "pyproject.toml")


def copy(folder: Path) -> Path:
    """Copy what is built into a new folder: several builds at once would write to the same ones."""
    for name in _PARTS:
        shutil.copytree(
            REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.new")
        )
    for name in _FILES:
        shutil.copy(REPO / name, folder)
    return folder


def build(tree: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[Path]]:
    """Build by the back end itself: pip would make an environment and fetch the back end for it first."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"],
        cwd=tree,
        env={**os.environ, "LOADGEN_NATIVE": "", **environment},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    return done, list((tree / "out").glob("*.whl"))
