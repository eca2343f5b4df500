"""Test files that import Locust, which patches the process that does so (sockets, threads, ssl).

Each is run in a process of its own, by test_patched.py of its layer.
"""

import subprocess
import sys

from tests.paths import REPO

PATCHED = (
    "live/test_entry.py",
    "run/test_passing.py",
    "run/test_runners.py",
    "run/test_search_path.py",
    "run/test_wire.py",
    "run/test_worker_messages.py",
    "run/test_worker_permissions.py",
)


def demand_passed(file: str) -> None:
    """Run a file of the list and demand that its tests pass, and that it has some."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        f"tests/{file}",
    ]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=590, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    # None is left out without a word.
    assert " passed" in done.stdout, done.stdout
