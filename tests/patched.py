"""The test files that import Locust, which patches sockets, threads and ssl of its process.

test_patched.py runs them in a separate process.
"""

import subprocess
import sys
from collections.abc import Sequence

from tests.paths import REPO

PATCHED = (
    "live/test_entry.py",
    "live/test_web.py",
    "run/locust/test_locustfile_run.py",
    "run/locust/test_master_side.py",
    "run/locust/test_processes.py",
    "run/locust/test_shape.py",
    "run/locust/test_worker_side.py",
    "run/test_busy_note.py",
    "run/test_options.py",
    "run/test_runners.py",
    "run/test_search_path.py",
    "run/test_wire.py",
    "run/test_worker_messages.py",
    "run/test_worker_permissions.py",
    "users/journeys/test_pacing.py",
)


def demand_passed(files: Sequence[str]) -> None:
    """Run the given test files in one process, and assert that each has tests and that all pass."""
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += [f"tests/{file}" for file in files]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=590, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    # Every file must have a test that passed, so that none is skipped unnoticed.
    passed = {line.partition("::")[0] for line in done.stdout.splitlines() if " PASSED" in line}
    assert passed == {f"tests/{file}" for file in files}, done.stdout
