"""Starting our own modules as child processes."""

import os
import subprocess
import sys
from pathlib import Path

import loadgen

_PACKAGE_PARENT = str(Path(loadgen.__file__).resolve().parent.parent)


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line of a module; `-P` keeps what lies in the working directory from shadowing it."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Return the environment in which the module is found even where the project is not installed."""
    paths = [_PACKAGE_PARENT, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def analyse(folder: Path, *, report: bool = True) -> int:
    """Compute a run's figures in a process whose memory goes with it; return its exit code.

    Without ``report`` no page is drawn, which is most of the work. Under gevent the wait is cooperative: Locust has
    patched `subprocess`.
    """
    options = [] if report else ["--no-report"]
    finished = subprocess.run(  # noqa: S603
        command("analysis", "finish", str(folder), *options), env=environment(), check=False
    )
    return finished.returncode
