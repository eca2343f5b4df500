"""Test the health samples of a worker."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from loadgen.measure import health
from loadgen.measure.health import HealthSampler


def sampler(*used_ns: int | None) -> HealthSampler:
    """Return a sampler; each reading of its receive thread's total CPU time gives the next of ``used_ns``."""
    readings: Iterator[int | None] = iter(used_ns)
    return HealthSampler(time.sleep, None, lambda: next(readings))


def test_the_receive_threads_cpu_time_is_that_since_the_last_sample() -> None:
    health = sampler(100, 250, 250, 900)
    assert [health.sample(0, None).receive_cpu_ns for _ in range(3)] == [150, 0, 650]


def test_without_a_receive_thread_its_cpu_time_is_unknown() -> None:
    assert HealthSampler(time.sleep).sample(0, None).receive_cpu_ns is None


def test_a_receive_thread_that_begins_later_counts_from_its_beginning() -> None:
    health = sampler(None, None, 40, 100, None)
    assert [health.sample(0, None).receive_cpu_ns for _ in range(4)] == [None, 40, 60, None]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("old", [False, True], ids=["Linux 6.2", "older"])
def test_open_files_are_counted(old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if old:
        silent = SimpleNamespace(stat=lambda path: SimpleNamespace(st_size=0), listdir=os.listdir)
        monkeypatch.setattr(health, "os", silent)
    its = HealthSampler(time.sleep)
    before = its.sample(0, None)
    with ExitStack() as opened:
        for _ in range(50):
            opened.enter_context(Path(os.devnull).open())
        among = its.sample(0, None)
    assert before.open_files > 0
    assert (among.open_files - before.open_files, among.ports - before.ports) == (50, 50)
