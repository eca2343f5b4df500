"""Test that pauses are distinguished from work, from starvation and from blocking calls."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.health import HealthSampler
from loadgen.measure.pauses import LEAST_NS, TICK_S, Pauses, PauseWatch

MS = 1_000_000
TICK_NS = int(TICK_S * 1e9)


class Machine:
    """A simulated process; each tick gives its elapsed time, CPU time, and time spent waiting for a CPU."""

    def __init__(self, ticks: list[tuple[int, int, int]], *, tells_waiting: bool = True) -> None:
        self._ticks = ticks
        self.now_ns, self.used_ns, self.waited_ns, self.suspended_ns = 10**9, 0, 0, 5
        self._tells = tells_waiting
        self.watch = PauseWatch(
            self._sleep,
            lambda: self.now_ns,
            lambda: self.used_ns,
            lambda: self.waited_ns if self._tells else None,
            lambda: self.suspended_ns,
        )

    def _sleep(self, _: float) -> None:
        if not self._ticks:
            self.watch.running = False
            self.now_ns += TICK_NS
            return
        passed, used, waited = self._ticks.pop(0)
        self.now_ns += passed
        self.used_ns += used
        self.waited_ns += waited

    def run(self) -> Pauses:
        self.watch.watch()
        return self.watch.take()


QUIET = (TICK_NS, MS, 0)


@pytest.mark.parametrize(
    ("tick", "paused_ns"),
    [
        ((1500 * MS + TICK_NS, 2 * MS, MS), 1497 * MS),  # stopped
        ((1500 * MS + TICK_NS, 1499 * MS, MS), 0),  # busy
        ((1500 * MS + TICK_NS, 20 * MS, 1470 * MS), 0),  # starved
        ((900 * MS + TICK_NS, 300 * MS, 300 * MS), 300 * MS),  # stopped, busy, starved: 300 ms each
        ((LEAST_NS + TICK_NS - 1, 0, 0), 0),
        ((LEAST_NS + TICK_NS, 0, 0), LEAST_NS),
    ],
)
def test_only_what_neither_work_nor_waiting_explains_is_a_pause(
    tick: tuple[int, int, int], paused_ns: int
) -> None:
    found = Machine([QUIET] * 20 + [tick] + [QUIET] * 20).run()
    assert found.paused_ns == paused_ns
    assert (found.until_ns is not None) == (paused_ns > 0)


def test_where_the_system_does_not_tell_who_waits_every_gap_without_work_is_a_pause() -> None:
    found = Machine([QUIET, (500 * MS, 0, 490 * MS), QUIET], tells_waiting=False).run()
    assert found.paused_ns == 500 * MS - TICK_NS


@given(st.lists(st.tuples(st.integers(TICK_NS, 2000 * MS), st.floats(0, 1), st.floats(0, 1)), max_size=30))
def test_no_process_that_always_runs_or_waits_is_ever_paused(ticks: list[tuple[int, float, float]]) -> None:
    shared = [(passed, round(passed * part), passed - round(passed * part)) for passed, part, _ in ticks]
    assert Machine(shared).run().paused_ns == 0


def test_the_longest_pause_is_kept_until_it_is_taken() -> None:
    machine = Machine([(400 * MS, 0, 0), (700 * MS, 0, 0), (300 * MS, 0, 0)])
    assert machine.run().paused_ns == 700 * MS - TICK_NS
    machine.suspended_ns += 9
    assert machine.watch.take() == Pauses(0, None, 9)


def started(watch: PauseWatch) -> threading.Thread:
    thread = threading.Thread(target=watch.watch, daemon=True)
    thread.start()
    return thread


def test_a_call_that_blocks_the_loop_is_no_pause() -> None:
    watch = PauseWatch()
    started(watch)
    time.sleep(0.5)
    watch.running = False
    assert watch.take().paused_ns == 0


def test_without_a_watch_a_health_row_does_not_claim_that_there_was_no_pause() -> None:
    sample = HealthSampler(time.sleep).sample(0, None)
    assert (sample.paused_ns, sample.paused_until_ns, sample.suspended_ns) == (None, None, None)
    watched = HealthSampler(time.sleep, PauseWatch()).sample(0, None)
    assert watched.paused_ns == 0


CHILD = """
import threading, time
from loadgen.measure.pauses import PauseWatch
watch = PauseWatch()
threading.Thread(target=watch.watch, daemon=True).start()
print("ready", flush=True)
{}
time.sleep(0.2)
print(watch.take().paused_ns, flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs SIGSTOP and /proc")
@pytest.mark.parametrize(
    "doing", ["input()", "while not __import__('select').select([0], [], [], 0)[0]: pass"]
)
def test_a_process_that_is_stopped_notices_it_whether_it_waits_or_works(doing: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(doing)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    say: Callable[[str], object] = child.stdin.write
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(0.6)
    os.kill(child.pid, signal.SIGCONT)
    time.sleep(0.1)
    say("\n")
    child.stdin.flush()
    shown = int(child.stdout.readline())
    child.communicate()
    # The time for which the process then waited for a CPU, long on a busy machine, is not part of the pause.
    assert 0.3e9 < shown < 1.5e9
