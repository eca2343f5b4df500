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
    """Yield a new cgroup of a v1 controller (below ``parent``); skip the test if none can be made."""
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
        # Wait until no process is listed, as only an empty cgroup can be removed: threads may take a moment to end.
        deadline_s = time.monotonic() + 10
        while (place / "cgroup.procs").read_text().strip() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        place.rmdir()


@contextmanager
def quota(cores: float, parent: Path | None = None, period_us: int = PERIOD_US) -> Iterator[Path]:
    """Yield a CPU cgroup whose quota is ``cores``."""
    with group("cpu", parent) as place:
        # Weigh this cgroup far above others, so that only the quota limits its CPU time even on a busy machine.
        (place / "cpu.shares").write_text("200000")
        (place / "cpu.cfs_period_us").write_text(str(period_us))
        (place / "cpu.cfs_quota_us").write_text(str(int(cores * period_us)))
        yield place


def within(*places: Path) -> list[str]:
    """Return the start of a command line that puts its process into cgroups and then executes the command."""
    into = "; ".join(f"echo $$ > {place}/cgroup.procs" for place in places)
    return ["sh", "-c", f'{into}; exec "$@"', "sh"]


def python(code: str, *places: Path, arguments: Sequence[str] = (), timeout_s: float = 60) -> str:
    """Run Python code in a process in these cgroups; return its output."""
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
