"""Detects pauses of the whole process or of its machine.

A busy event loop uses CPU time. A starved process waits in the kernel's run queue. A blocking call leaves the other
threads running. A stopped process (SIGSTOP, a frozen container, a virtual machine held back) does none of these. The
thread of :meth:`PauseWatch.watch` then finds a gap between two ticks which neither the process's CPU time nor its
threads' waiting time for a CPU explains. A suspended machine shows in CLOCK_BOOTTIME, which continues to count during
suspension.
"""

import os
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from loadgen.measure.clock import now_ns

#: Time between two ticks; far below the shortest pause to detect.
TICK_S: Final = 0.05
#: The shortest pause to detect.
LEAST_NS: Final = 100_000_000
#: Interval at which the time that threads have waited for a CPU is read. So the last reading before a pause is at most
#: about this old.
_WAITED_EVERY_NS: Final = 200_000_000
_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


class Pauses(NamedTuple):
    """The longest pause and the machine's suspension since the last :meth:`PauseWatch.take`."""

    #: Length of the longest pause, or 0 if there was none.
    paused_ns: int = 0
    #: Wall-clock time at which the longest pause ended, or None if there was none.
    until_ns: int | None = None
    #: Time for which the machine was suspended (ns), or None if the system does not say.
    suspended_ns: int | None = None


class PauseWatch:
    """Finds pauses by ticking in a thread that the caller starts, and keeps the longest pause until :meth:`take`.

    ``sleep`` must block only this thread: under gevent, pass the original `time.sleep`. The other parameters are for
    tests. ``waited_ns`` returns how long the threads of this process have waited for a CPU, or None if the system does
    not say.
    """

    def __init__(
        self,
        sleep: Callable[[float], Any] = time.sleep,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        used_ns: Callable[[], int] = time.process_time_ns,
        waited_ns: "Callable[[], int | None] | None" = None,
        suspended_ns: Callable[[], int | None] | None = None,
    ) -> None:
        self._sleep, self._monotonic_ns, self._used_ns = sleep, monotonic_ns, used_ns
        self._waited_ns = _Waited().read if waited_ns is None else waited_ns
        self._suspended_ns = _suspended_ns if suspended_ns is None else suspended_ns
        self.running = True
        self._found = Pauses()
        self._suspended_before_ns = self._suspended_ns()

    def watch(self) -> None:
        """Tick until :attr:`running` is false."""
        tick_ns = int(TICK_S * 1e9)
        before_ns, used_ns = self._monotonic_ns(), self._used_ns()
        waited_ns, waited_at_ns = self._waited_ns(), before_ns
        while self.running:
            self._sleep(TICK_S)
            at_ns, used_now_ns = self._monotonic_ns(), self._used_ns()
            gap_ns = at_ns - before_ns - tick_ns
            if gap_ns >= LEAST_NS or at_ns - waited_at_ns >= _WAITED_EVERY_NS:
                waited_now_ns = self._waited_ns()
                explained_ns = used_now_ns - used_ns
                if waited_ns is not None and waited_now_ns is not None:
                    explained_ns += max(0, waited_now_ns - waited_ns)
                if gap_ns - explained_ns >= LEAST_NS:
                    self._paused(gap_ns - explained_ns)
                waited_ns, waited_at_ns = waited_now_ns, at_ns
            before_ns, used_ns = at_ns, used_now_ns

    def _paused(self, for_ns: int) -> None:
        if for_ns > self._found.paused_ns:
            self._found = Pauses(for_ns, now_ns())

    def take(self) -> Pauses:
        """Return the longest pause and the total time suspended since the last call, and reset both."""
        found, self._found = self._found, Pauses()
        before_ns, after_ns = self._suspended_before_ns, self._suspended_ns()
        self._suspended_before_ns = after_ns
        if before_ns is None or after_ns is None:
            return found
        return found._replace(suspended_ns=after_ns - before_ns)


def _suspended_ns() -> int | None:
    """Return how long (ns) the machine was suspended since it booted, or None if the system cannot say.

    Three readings are taken, and the fastest one is used as the most exact.
    """
    if _BOOTTIME is None:
        return None
    best_width = found = -1
    for _ in range(3):
        before = time.monotonic_ns()
        boot = time.clock_gettime_ns(_BOOTTIME)
        after = time.monotonic_ns()
        if best_width < 0 or after - before < best_width:
            best_width, found = after - before, boot - (before + after) // 2
    return found


class _Waited:
    """Reads how long the threads of this process have waited for a CPU (Linux, Documentation/scheduler/sched-stats)."""

    def __init__(self) -> None:
        #: Waiting time of each thread. The entry of a thread that has ended is kept, so that the sum never falls.
        self._of: dict[str, int] = {}

    def read(self) -> int | None:
        """Return the sum over all threads in ns, or None if the system does not say."""
        try:
            threads = os.listdir("/proc/self/task")  # noqa: PTH208  Path.iterdir is slower
        except OSError:
            return None
        for thread in threads:
            try:
                file = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    self._of[thread] = int(os.read(file, 100).split()[1])
                finally:
                    os.close(file)
            except (OSError, ValueError, IndexError):
                continue
        return sum(self._of.values()) if self._of else None
