"""Test that the real clock of a worker waits at least as long as asked."""

import gevent
from gevent.event import Event

from loadgen.run.worker.clock import Clock


def test_it_waits_by_the_clock_that_it_tells() -> None:
    clock = Clock()
    try:
        begun_ns = clock.steady_ns()
        clock.sleep(0.01)
        slept_ns = clock.steady_ns()
        assert slept_ns - begun_ns >= 9_000_000
        due_ns = clock.now_ns() + 10_000_000
        clock.wait_until(due_ns)
        assert clock.now_ns() >= due_ns
        clock.wait_until(due_ns)
        event = Event()
        clock.after(0.01, event.set)
        clock.wait(event, 60)
        assert event.is_set()
        before_s = clock.steady_s()
        clock.wait(Event(), 0.01)
        assert clock.steady_s() - before_s >= 0.009
        assert abs(clock.read().real_ns - clock.now_ns()) < 60_000_000_000
    finally:
        clock.close()
    gevent.sleep(0)
