"""Wake an asyncio loop at a wall-clock time, more precisely than uvloop's timers, which count milliseconds."""

import asyncio
import time
from collections.abc import Callable

from loadgen.transport.timerfd import TimerFd


class WakeUp:
    """Calls back from an asyncio loop at a wall-clock time, within about ten microseconds if a timerfd is available."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None
        self._timer: TimerFd | None
        try:
            self._timer = TimerFd()
        except OSError:
            self._timer = None
        else:
            loop.add_reader(self._timer.descriptor, self._on_readable)

    def at(self, due_ns: int) -> None:
        """Call back when CLOCK_REALTIME reaches ``due_ns``, or at once if it is past; replaces any earlier time."""
        wait_ns = max(1, due_ns - time.time_ns())
        if self._timer is not None:
            self._timer.arm(time.monotonic_ns() + wait_ns)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(wait_ns / 1e9, self._callback)

    def close(self) -> None:
        """Cancel the callback and release the timer."""
        if self._timer is not None:
            self._loop.remove_reader(self._timer.descriptor)
            self._timer.close()
            self._timer = None
        if self._handle is not None:
            self._handle.cancel()

    def _on_readable(self) -> None:
        if self._timer is not None and self._timer.acknowledge():
            self._callback()
