"""Build wheels from a copy of the repository's files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.paths import REPO
from tests.system.harness import STUCK_S

_PARTS = ("loadgen", "analysis", "scenarios")
_FILES = (".gitignore", "LICENSE", "README.md", "hatch_build.py", "locustfile.py", "pyproject.toml")


def copy(folder: Path) -> Path:
    """Copy the files that a build needs to ``folder``. Parallel builds in one folder would disturb each other."""
    for name in _PARTS:
        shutil.copytree(
            REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.new")
        )
    for name in _FILES:
        shutil.copy(REPO / name, folder)
    return folder


def build(tree: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[Path]]:
    """Build with the build back end itself; pip would first make an environment and fetch the back end."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"],
        cwd=tree,
        env={**os.environ, "LOADGEN_NATIVE": "", **environment},
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )
    return done, list((tree / "out").glob("*.whl"))
