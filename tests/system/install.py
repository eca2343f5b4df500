"""Install packages for tests once, even if several test processes need them at the same time."""

import fcntl
import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.paths import REPO
from tests.programs import require

INSTALL_TIMEOUT_S: Final = 300


@contextmanager
def once(name: str) -> Iterator[None]:
    """Hold the lock of this name: the first process installs, the others wait for it and then find the result."""
    folder = REPO / ".cache"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def npm_ci(folder: Path, lock: str) -> None:
    """Install the npm packages of a folder's package-lock.json, if they are not installed yet.

    ``lock`` is a name for :func:`once`.
    """
    stamp = folder / "node_modules" / ".installed"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    with once(lock):
        if stamp.exists() and stamp.read_text() == wanted:
            return
        done = subprocess.run(
            [require("npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        stamp.write_text(wanted)
