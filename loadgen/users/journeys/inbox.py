"""The deliveries of a journey: keep them until its code waits for them, and call the callbacks of its subscriptions."""

import time
from collections.abc import Callable
from typing import Final

import gevent
from gevent import Greenlet

from loadgen.users.journeys.feeds import Backlog, Feed, Mailbox, Received
from loadgen.users.journeys.stamping import Event

#: The longest time (s) between two calls of ``check``.
_LOOK_S: Final = 1.0


class Inbox:
    """The deliveries of all feeds (subscriptions) of one journey.

    ``call`` is called with each delivery of a feed that has a callback, in a separate greenlet. ``check`` is called
    about once a second while the journey waits, and ends the wait by raising an error.
    """

    def __init__(self, call: Callable[[Received], object], check: Callable[[], None]) -> None:
        self._check = check
        self._backlog = Backlog()
        self._mailbox = Mailbox(call)
        self._caller: Greenlet | None = None

    @property
    def is_calling(self) -> bool:
        """True in the greenlet that calls the callbacks."""
        return self._caller is not None and gevent.getcurrent() is self._caller

    def begin_calls(self) -> None:
        """Call callbacks from now on; does nothing if that was begun before."""
        if self._caller is None:
            self._caller = gevent.spawn(self._mailbox.run)

    def add(self, received: Received) -> None:
        """Keep a delivery for :meth:`wait_for`, and queue it for the callback of its feed; called from the hub."""
        self._backlog.add(received)
        if received.feed.callback is not None:
            self._mailbox.add(received)

    def wait_for(
        self, wanted: Callable[[Event], object] | None, feed: Feed | None, timeout_s: float
    ) -> Event | None:
        """Return the first event of ``feed`` that ``wanted`` accepts, or None if none arrives in time.

        With None for ``feed``, events of all feeds are taken; with None for ``wanted``, any event. An event is returned
        once.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            found = self._backlog.take(wanted, feed)
            if found is not None:
                return found
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            self._check()
            self._backlog.changed.wait(min(left_s, _LOOK_S))

    def forget(self, feed: Feed) -> None:
        """Drop the waiting events of a subscription (``feed``) that the journey has given up."""
        self._backlog.forget(feed)

    def close(self) -> None:
        """Call no further callback."""
        if self._caller is not None:
            self._caller.kill(block=False)
