"""The clock of a worker process, and waits that use it."""

import time
from collections.abc import Callable

import gevent
from gevent.event import Event

from loadgen.measure.clock import Reading, now_ns, read_both
from loadgen.transport.timer import PreciseTimer


class Clock:
    """A worker's clock, and waits that use it; tests replace it."""

    def __init__(self) -> None:
        self._timer = PreciseTimer()

    def now_ns(self) -> int:
        """Return the wall-clock time in ns."""
        return now_ns()

    def steady_ns(self) -> int:
        """Return a time in ns that no adjustment of the wall clock changes."""
        return time.monotonic_ns()

    def steady_s(self) -> float:
        """Return the same time as `steady_ns`, in seconds."""
        return self.steady_ns() / 1e9

    def read(self) -> Reading:
        """Read the wall clock and the raw clock at the same moment."""
        return read_both()

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds``; other greenlets run meanwhile."""
        gevent.sleep(seconds)

    def wait(self, event: Event, timeout_s: float) -> None:
        """Wait until an event is set, at most ``timeout_s`` seconds."""
        event.wait(timeout_s)

    def wait_until(self, due_ns: int) -> None:
        """Wait until the wall clock shows ``due_ns``, to within tens of microseconds."""
        self._timer.wait_until(due_ns)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call ``action`` after ``seconds``, in a new greenlet."""
        gevent.spawn_later(seconds, action)

    def close(self) -> None:
        """Close the timer; do not call :meth:`wait_until` afterwards."""
        self._timer.close()
