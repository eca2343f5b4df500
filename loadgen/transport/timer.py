"""Wake a greenlet at a wall-clock time to within tens of microseconds.

libev's epoll backend rounds a timer up to the next millisecond. In an open-loop schedule latency counts from the time
at which an event is due, so that delay would be part of every latency. A Linux timerfd is an ordinary readable
descriptor with nanosecond resolution, so it wakes the hub on time. On other systems `gevent.sleep` is used; the delay
that it causes is recorded as lateness, like any other delay.
"""

import heapq
import itertools
import time

import gevent
from gevent.hub import Waiter

from loadgen.measure.clock import now_ns
from loadgen.transport.timerfd import TimerFd

_READ = 1
#: Longest time (ns) between two successive readings of the clocks. If more time passes, the process was descheduled in
#: between.
_AT_ONCE_NS = 20_000
_READINGS = 5
#: Value of `_armed_ns` while greenlets are woken. It is earlier than any due time, so `_arm` does not set the timer.
_FIRING = 1


class PreciseTimer:
    """One timerfd and a heap of waiting greenlets; one instance serves a whole process."""

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
        """True if the kernel's timer is used, false if `gevent.sleep` is."""
        return self._timer is not None

    def wait_until(self, due_ns: int) -> None:
        """Block the calling greenlet until the wall clock shows ``due_ns``; return at once if that is past."""
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
            # This greenlet was killed while it waited: the gevent hub must not switch to it later.
            if entry in self._due:
                self._due.remove(entry)
                heapq.heapify(self._due)
            raise

    def close(self) -> None:
        """Close the descriptor."""
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
        # A greenlet that is woken here may wait again. `_FIRING` keeps it from arming the timer, which is armed only
        # once, below, for the greenlet that is due next.
        self._armed_ns = _FIRING
        while self._due and self._due[0][0] <= time.monotonic_ns():
            _, _, waiter = heapq.heappop(self._due)
            waiter.switch(None)
        self._armed_ns = 0
        if self._due and self._timer is not None:
            self._arm()


def _steady_ns(due_ns: int) -> int:
    """Convert a wall-clock time to CLOCK_MONOTONIC; the result is never too early.

    The result is late by the time that passes between the readings of the two clocks, so the clocks are read again if
    that time was long.
    """
    for _ in range(_READINGS):
        before_ns = time.monotonic_ns()
        wall_ns = now_ns()
        after_ns = time.monotonic_ns()
        if after_ns - before_ns < _AT_ONCE_NS:
            break
    return after_ns + due_ns - wall_ns
