"""Waking a greenlet at a wall-clock time to within tens of microseconds.

libev's epoll backend rounds a timer up to the next millisecond, which an open-loop schedule would add to every
headline latency. A Linux timerfd is an ordinary readable descriptor with nanosecond resolution, so the hub wakes
exactly then. Elsewhere `gevent.sleep` does the waiting, and its lateness is recorded like any other.
"""

import heapq
import itertools
import time

import gevent
from gevent.hub import Waiter

from loadgen.measure.clock import now_ns
from loadgen.transport.timerfd import TimerFd

_READ = 1
#: Between two readings of a clock; more means that the process was put aside meanwhile.
_AT_ONCE_NS = 20_000
_READINGS = 5
#: Stands for a time that no waiting greenlet is earlier than.
_FIRING = 1


class PreciseTimer:
    """One timerfd and a heap of waiting greenlets; one of these serves a whole process."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, Waiter]] = []
        self._tie = itertools.count()
        self._armed_ns = 0
        self._timer: TimerFd | None
        try:
            self._timer = TimerFd()
        except OSError:
            self._timer = None
        else:
            self._watcher = gevent.get_hub().loop.io(self._timer.descriptor, _READ)
            self._watcher.start(self._on_readable)

    @property
    def precise(self) -> bool:
        """Whether the kernel's timer is used; false: `gevent.sleep` is."""
        return self._timer is not None

    def wait_until(self, due_ns: int) -> None:
        """Block the calling greenlet until the wall clock shows ``due_ns``; return at once where that is past."""
        wait_ns = due_ns - now_ns()
        if wait_ns <= 0:
            return
        if self._timer is None:
            gevent.sleep(wait_ns / 1e9)
            return
        waiter = Waiter()
        entry = (_steady_ns(due_ns), next(self._tie), waiter)
        heapq.heappush(self._due, entry)
        self._arm()
        try:
            waiter.get()
        except BaseException:
            # Killed while waiting: nobody must be switched to later.
            if entry in self._due:
                self._due.remove(entry)
                heapq.heapify(self._due)
            raise

    def close(self) -> None:
        """Give the descriptor back."""
        if self._timer is not None:
            self._watcher.stop()
            self._watcher.close()
            self._timer.close()
            self._timer = None

    def _arm(self) -> None:
        earliest_ns = self._due[0][0]
        if self._armed_ns and self._armed_ns <= earliest_ns:
            return
        self._armed_ns = earliest_ns
        assert self._timer is not None
        self._timer.arm(earliest_ns)

    def _on_readable(self) -> None:
        if self._timer is None or not self._timer.acknowledge():
            return
        # Greenlets that wait again leave the timer alone: it is set once, for the earliest of all.
        self._armed_ns = _FIRING
        while self._due and self._due[0][0] <= time.monotonic_ns():
            _, _, waiter = heapq.heappop(self._due)
            waiter.switch(None)
        self._armed_ns = 0
        if self._due and self._timer is not None:
            self._arm()


def _steady_ns(due_ns: int) -> int:
    """Return what the steady clock shows when the wall clock shows ``due_ns``; never too early.

    Had the process been put aside between reading the one and the other, it would be woken as much too late.
    """
    for _ in range(_READINGS):
        before_ns = time.monotonic_ns()
        wall_ns = now_ns()
        after_ns = time.monotonic_ns()
        if after_ns - before_ns < _AT_ONCE_NS:
            break
    return after_ns + due_ns - wall_ns
