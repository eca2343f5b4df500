"""Test the timer with a fake clock and kernel, and with the real timerfd."""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen.measure.clock import now_ns
from loadgen.transport import timer as timer_module
from loadgen.transport.timer import PreciseTimer
from loadgen.transport.timerfd import TimerFd

#: Difference between the wall clock and the steady clock, in ns.
BETWEEN_NS = 1_790_000_000_000_000_000


class Kernel:
    """A stand-in for `TimerFd` and for both clocks, on which time passes only in `fire`."""

    def __init__(self) -> None:
        self.steady_ns = 1_000_000
        self.armed_ns = 0
        self.arms: list[int] = []
        self.readable = False
        # A descriptor for the hub's watcher, which never becomes readable.
        self.descriptor, self._other = os.pipe()

    def now_ns(self) -> int:
        return self.steady_ns + BETWEEN_NS

    def arm(self, at_ns: int) -> None:
        self.armed_ns = at_ns
        self.arms.append(at_ns)

    def acknowledge(self) -> bool:
        was, self.readable = self.readable, False
        return was

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._other)

    def fire(self, timer: PreciseTimer, late_ns: int = 0) -> None:
        """Let the kernel's timer expire at its time, and the hub notice it ``late_ns`` later."""
        self.steady_ns = max(self.steady_ns, self.armed_ns) + late_ns
        self.armed_ns, self.readable = 0, True
        gevent.get_hub().loop.run_callback(timer._on_readable)
        gevent.sleep(0)
        # Let the greenlets that were woken run until they wait again.
        gevent.sleep(0)


@pytest.fixture
def kernel() -> Iterator[Callable[[], tuple[Kernel, PreciseTimer]]]:
    timers: list[PreciseTimer] = []
    with pytest.MonkeyPatch.context() as patch:

        def make() -> tuple[Kernel, PreciseTimer]:
            kernel = Kernel()
            patch.setattr(timer_module, "TimerFd", lambda: kernel)
            patch.setattr(timer_module, "now_ns", kernel.now_ns)
            patch.setattr(timer_module, "time", SimpleNamespace(monotonic_ns=lambda: kernel.steady_ns))
            timers.append(PreciseTimer())
            return kernel, timers[-1]

        yield make
        for timer in timers:
            timer.close()


WAITS_NS = st.lists(st.integers(1, 50) | st.integers(1, 10_000_000), min_size=1, max_size=4)


@given(
    sleepers=st.lists(WAITS_NS, min_size=1, max_size=8),
    late_ns=st.lists(st.integers(0, 40) | st.integers(0, 20_000_000), max_size=40),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_wakes_at_the_first_firing_that_is_not_before_its_time(
    kernel: Callable[[], tuple[Kernel, PreciseTimer]], sleepers: list[list[int]], late_ns: list[int]
) -> None:
    """Greenlets wake in the order of their due times; of equal ones, first those that began to wait first."""
    world, timer = kernel()
    waiting: dict[int, tuple[int, int]] = {}
    woken: list[int] = []
    begun = 0

    def sleeper(number: int, waits_ns: list[int]) -> None:
        nonlocal begun
        for wait_ns in waits_ns:
            due_ns = world.now_ns() + wait_ns
            waiting[number] = (due_ns, begun)
            begun += 1
            timer.wait_until(due_ns)
            assert world.now_ns() >= due_ns
            del waiting[number]
            woken.append(number)

    greenlets = [gevent.spawn(sleeper, number, waits_ns) for number, waits_ns in enumerate(sleepers)]
    gevent.sleep(0)
    lateness = iter(late_ns)
    for _ in range(sum(map(len, sleepers))):
        if not waiting:
            break
        # The kernel's timer is set to exactly the earliest time.
        assert world.armed_ns + BETWEEN_NS == min(waiting.values())[0]
        woken.clear()
        before = dict(waiting)
        world.fire(timer, next(lateness, 0))
        due = sorted((entry, number) for number, entry in before.items() if entry[0] <= world.now_ns())
        assert woken == [number for _, number in due]
        assert woken
    assert not waiting
    for greenlet in greenlets:
        greenlet.get(block=False)
    # If no greenlet waits, no timer is set.
    assert not world.armed_ns


def test_an_earlier_time_sets_the_kernel_anew_and_a_later_one_does_not(
    kernel: Callable[[], tuple[Kernel, PreciseTimer]],
) -> None:
    world, timer = kernel()
    start_ns = world.now_ns()
    greenlets = []
    for wait_ns in (500, 700, 300, 400, 500):
        greenlets.append(gevent.spawn(timer.wait_until, start_ns + wait_ns))
        gevent.sleep(0)
    assert [at_ns + BETWEEN_NS - start_ns for at_ns in world.arms] == [500, 300]
    for _ in range(4):
        world.fire(timer)
    assert [at_ns + BETWEEN_NS - start_ns for at_ns in world.arms] == [500, 300, 400, 500, 700]
    assert all(greenlet.successful() for greenlet in greenlets)


def test_a_firing_without_cause_wakes_nobody(kernel: Callable[[], tuple[Kernel, PreciseTimer]]) -> None:
    world, timer = kernel()
    greenlet = gevent.spawn(timer.wait_until, world.now_ns() + 1000)
    gevent.sleep(0)
    gevent.get_hub().loop.run_callback(timer._on_readable)
    gevent.sleep(0)
    gevent.sleep(0)
    assert not greenlet.dead
    world.fire(timer)
    assert greenlet.successful()


def test_a_greenlet_killed_while_it_waits_disturbs_nobody(
    kernel: Callable[[], tuple[Kernel, PreciseTimer]],
) -> None:
    world, timer = kernel()
    due_ns = world.now_ns() + 50_000_000
    killed, other = gevent.spawn(timer.wait_until, due_ns), gevent.spawn(timer.wait_until, due_ns + 1)
    gevent.sleep(0)
    killed.kill()
    assert killed.dead
    assert len(timer._due) == 1
    # The timer is still set for the killed greenlet. When it fires, it wakes no greenlet and is set for the other one.
    world.fire(timer)
    assert not other.dead
    assert world.now_ns() == due_ns
    world.fire(timer)
    assert other.successful()
    assert world.now_ns() == due_ns + 1


@pytest.mark.parametrize("before_ns", [0, 1, 10**12])
def test_a_time_that_is_past_does_not_wait(
    kernel: Callable[[], tuple[Kernel, PreciseTimer]], before_ns: int
) -> None:
    world, timer = kernel()
    # This is the main greenlet: if it had waited, nothing would have fired the timer.
    timer.wait_until(world.now_ns() - before_ns)
    assert world.arms == []


@pytest.mark.parametrize("wait_ns", [999_999_999, 1_000_000_001, 3_600 * 10**9 + 7])
def test_the_kernel_is_set_to_the_nanosecond(wait_ns: int) -> None:
    """The kernel itself says how much time is left until the timer fires, so the test need not measure the wait."""
    timer = TimerFd()
    at_ns = time.monotonic_ns() + wait_ns
    timer.arm(at_ns)
    before_ns = time.monotonic_ns()
    told = Path(f"/proc/self/fdinfo/{timer.descriptor}").read_text()
    after_ns = time.monotonic_ns()
    found = re.search(r"it_value: \((\d+), (\d+)\)", told)
    assert found is not None
    left_ns = int(found[1]) * 10**9 + int(found[2])
    assert before_ns <= at_ns - left_ns <= after_ns
    assert re.search(r"clockid: 1\b", told)
    assert not timer.acknowledge()
    timer.close()


def test_by_the_real_kernel_greenlets_wake_in_order_and_never_early() -> None:
    timer = PreciseTimer()
    start_ns = now_ns() + 20_000_000
    woken: list[int] = []
    early: list[int] = []

    def sleeper(number: int) -> None:
        due_ns = start_ns + number * 1_000_000
        timer.wait_until(due_ns)
        early.append(min(0, now_ns() - due_ns))
        woken.append(number)

    numbers = [7, 3, 9, 1, 5, 0, 8, 2, 6, 4]
    gevent.joinall([gevent.spawn(sleeper, number) for number in numbers], timeout=60)
    assert woken == sorted(numbers)
    # The timer's clock and `now_ns` are not read at the same moment. So a wake-up that seems up to 50 µs early is
    # accepted.
    assert min(early) > -50_000
    timer.close()


def test_a_process_that_is_put_aside_between_two_clocks_is_not_woken_later_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall_ns, steady_ns = 1_000_000_000, 5_000
    pauses_ns = iter([0, 7_000_000, 0, 3_000_000, 0, 100, 100])

    def read_steady() -> int:
        nonlocal wall_ns, steady_ns
        pause_ns = next(pauses_ns)
        wall_ns, steady_ns = wall_ns + pause_ns, steady_ns + pause_ns
        return steady_ns

    monkeypatch.setattr(timer_module, "now_ns", lambda: wall_ns)
    monkeypatch.setattr("loadgen.transport.timer.time.monotonic_ns", read_steady)
    due_ns = wall_ns + 50_000_000
    found_ns = timer_module._steady_ns(due_ns)
    assert 0 <= found_ns - (steady_ns + due_ns - wall_ns) <= 20_000
