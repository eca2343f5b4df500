"""Let a greenlet wait for a signal from the hub, at a fraction of the cost of gevent's events.

gevent's `Event` and `AsyncResult` serve any number of greenlets, and each wait with a timeout makes a `Timeout` too. A
connect waits three times, and each time only one greenlet waits.
"""

from collections.abc import Callable
from typing import Any

import gevent
from gevent.hub import Waiter


def after(seconds: float, call: Callable[..., object], *arguments: Any, again_s: float = 0.0) -> Any:
    """Start a gevent timer that calls ``call`` after some seconds, and then every ``again_s`` if that is not zero.

    Return the timer, which the caller stops and closes. The timer counts from the current time. gevent would count from
    the event loop's cached time, which stands still while Python is busy, so that the timer could end too early.
    """
    timer = gevent.get_hub().loop.timer(seconds, again_s)
    timer.start(call, *arguments, update=True)
    return timer


class Signal:
    """A flag for which one greenlet can wait."""

    __slots__ = ("_error", "_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._error: BaseException | None = None
        self._waiter: Any = None

    def is_set(self) -> bool:
        """Return True if the signal is set."""
        return self._set

    def set(self) -> None:
        """Set the signal: a waiting greenlet wakes in the event loop's next turn, and later waits return at once."""
        if not self._set:
            self._set = True
            if self._waiter is not None:
                gevent.get_hub().loop.run_callback(self._wake, self._waiter)

    def set_now(self) -> None:
        """Set the signal and wake a waiting greenlet within this call; this must be a hub callback's last action."""
        self._set = True
        if self._waiter is not None:
            self._wake(self._waiter)

    def set_exception(self, error: BaseException) -> None:
        """Make `wait` raise an error."""
        self._error = error
        self.set()

    def clear(self) -> None:
        """Make the next `wait` block again."""
        self._set = False

    def wait(self, timeout_s: float) -> bool:
        """Block until the signal is set, and return True; return False after ``timeout_s``.

        Raises:
            the error that `set_exception` was given.
        """
        if not self._set:
            waiter = self._waiter = Waiter(gevent.get_hub())
            timer = after(timeout_s, self._wake, waiter)
            try:
                waiter.get()
            finally:
                self._waiter = None
                timer.stop()
                timer.close()
        if self._error is not None:
            raise self._error
        return self._set

    def _wake(self, waiter: Any) -> None:
        # Do nothing if the wait has ended already, for example because the greenlet was killed.
        if waiter is self._waiter:
            self._waiter = None
            waiter.switch(None)
