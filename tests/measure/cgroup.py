"""Real cgroups for tests: run a child process under a quota, a cpuset or a memory limit."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 100_000


@contextmanager
def group(controller: str, parent: Path | None = None) -> Iterator[Path]:
    """A new cgroup of a v1 controller (below ``parent``); skips the test where none can be made."""
    place = (parent or ROOT / controller) / f"loadgen-test-{uuid.uuid4().hex[:8]}"
    if not (ROOT / controller / "cgroup.procs").exists():
        pytest.skip(f"no cgroup v1 hierarchy of {controller} here")
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        yield place
    finally:
        # Threads of processes that have ended may be there for a moment.
        deadline_s = time.monotonic() + 10
        while (place / "cgroup.procs").read_text().strip() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        place.rmdir()


@contextmanager
def quota(cores: float, parent: Path | None = None, period_us: int = PERIOD_US) -> Iterator[Path]:
    """A CPU cgroup that allows so many cores."""
    with group("cpu", parent) as place:
        # The quota is to be the limit, not what others leave of a busy machine.
        (place / "cpu.shares").write_text("200000")
        (place / "cpu.cfs_period_us").write_text(str(period_us))
        (place / "cpu.cfs_quota_us").write_text(str(int(cores * period_us)))
        yield place


def within(*places: Path) -> list[str]:
    """Return the beginning of a command line that puts a process into cgroups before it becomes the command."""
    into = "; ".join(f"echo $$ > {place}/cgroup.procs" for place in places)
    return ["sh", "-c", f'{into}; exec "$@"', "sh"]


def python(code: str, *places: Path, arguments: Sequence[str] = (), timeout_s: float = 60) -> str:
    """Run code in a process in these cgroups; return what it prints."""
    done = subprocess.run(
        [*within(*places), sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ},
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
