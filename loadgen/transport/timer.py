"""Waking a greenlet at a wall-clock time to within tens of microseconds.

libev's epoll backend rounds a timer up to the next millisecond, which an open-loop schedule would add to every
headline latency. A Linux timerfd is an ordinary readable descriptor with nanosecond resolution, so the hub wakes
exactly then. Elsewhere `gevent.sleep` does the waiting, and its lateness is recorded like any other.
"""

import ctypes
import heapq
import itertools
import os
import struct
import sys
import time

import gevent
from gevent.hub import Waiter

from loadgen.measure.clock import now_ns

_TFD_NONBLOCK = 0o4000
_TFD_CLOEXEC = 0o2000000
_TFD_TIMER_ABSTIME = 1
_ITIMERSPEC = struct.Struct("=qqqq")
_READ = 1
_SECOND_NS = 1_000_000_000


class PreciseTimer:
    """One timerfd and a heap of waiting greenlets; one of these serves a whole process."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, Waiter]] = []
        self._tie = itertools.count()
        self._armed_ns = 0
        self._descriptor = -1
        if sys.platform.startswith("linux"):
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor = self._libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._descriptor >= 0:
            self._watcher = gevent.get_hub().loop.io(self._descriptor, _READ)
            self._watcher.start(self._on_readable)

    @property
    def precise(self) -> bool:
        """Whether the kernel's timer is used; false: `gevent.sleep` is."""
        return self._descriptor >= 0

    def wait_until(self, due_ns: int) -> None:
        """Block the calling greenlet until the wall clock shows ``due_ns``; return at once where that is past."""
        wait_ns = due_ns - now_ns()
        if wait_ns <= 0:
            return
        if self._descriptor < 0:
            gevent.sleep(wait_ns / 1e9)
            return
        waiter = Waiter()
        entry = (time.monotonic_ns() + wait_ns, next(self._tie), waiter)
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
        if self._descriptor >= 0:
            self._watcher.stop()
            self._watcher.close()
            os.close(self._descriptor)
            self._descriptor = -1

    def _arm(self) -> None:
        earliest_ns = self._due[0][0]
        if self._armed_ns and self._armed_ns <= earliest_ns:
            return
        self._armed_ns = earliest_ns
        setting = _ITIMERSPEC.pack(0, 0, earliest_ns // _SECOND_NS, earliest_ns % _SECOND_NS)
        if self._libc.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, setting, None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _on_readable(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return
        self._armed_ns = 0
        while self._due and self._due[0][0] <= time.monotonic_ns():
            _, _, waiter = heapq.heappop(self._due)
            waiter.switch(None)
        if self._due and not self._armed_ns:
            self._arm()
