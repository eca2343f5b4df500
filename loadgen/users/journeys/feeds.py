"""A journey's subscriptions (feeds), and the queue of their events for the journey's code."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
from gevent.event import Event as Flag

from loadgen.measure.stamp import Stamp
from loadgen.resolve import SubscriptionPlan
from loadgen.users.journeys.stamping import Event
from loadgen.users.open_requests import Cause
from loadgen.users.subscriptions import State, Subscription

#: User code that is called with each event of a feed.
Callback = Callable[[Event], object]
#: Events that a journey keeps until its code waits for one; if more arrive, the oldest is dropped.
KEPT: Final = 100


class Owner(Protocol):
    """The client that has subscribed."""

    def wait_for(
        self, what: "Feed | Callable[[Event], object] | None", timeout: float, *, feed: "Feed | None"
    ) -> Event | None:
        """Wait for an event; see `JourneyClient.wait_for`."""

    def unsubscribe(self, feed: "Feed") -> None:
        """Give up a subscription."""


class Feed:
    """A subscription of a journey; it lasts until it is unsubscribed, over all reconnects."""

    def __init__(self, client: Owner, plan: SubscriptionPlan, callback: Callback | None) -> None:
        self._client = client
        self.plan = plan
        self.callback = callback
        #: Set while the subscription is ready or refused, so that nothing needs to wait for the service's answer.
        self.settled = Flag()
        self.error: str | None = None

    @property
    def channel(self) -> str:
        """The channel or pattern."""
        return self.plan.channel

    @property
    def ready(self) -> bool:
        """True while it is proven that the subscription delivers."""
        return bool(self.settled.is_set()) and self.error is None

    def wait(self, timeout: float = 10.0, where: Callable[[Event], object] | None = None) -> Event | None:
        """Wait for the next event of this feed that ``where`` accepts; return None if none arrives in ``timeout`` s."""
        return self._client.wait_for(self if where is None else where, timeout, feed=self)

    def unsubscribe(self) -> None:
        """Give up the subscription; its callback is not called any more."""
        self._client.unsubscribe(self)

    def moved(self, subscription: Subscription) -> None:
        """Note the subscription's new state; called from the gevent hub."""
        if subscription.state is State.REFUSED:
            self.error = subscription.error or "the service refused it"
            self.settled.set()
        elif subscription.state is State.READY:
            self.error = None
            self.settled.set()
        else:
            self.settled.clear()


class Received:
    """A delivery on its way to the user's code."""

    __slots__ = ("_event", "arrival_ns", "feed", "stamp", "text")

    def __init__(self, feed: Feed, text: str, arrival_ns: int, stamp: Stamp) -> None:
        self.feed, self.text, self.arrival_ns, self.stamp = feed, text, arrival_ns, stamp
        self._event: Event | None = None

    @property
    def event(self) -> Event:
        """The decoded event, the same object at each call; raises msgspec.MsgspecError if it is no JSON object."""
        if self._event is None:
            publisher, sequence = self.stamp[1], self.stamp[2]
            cause = Cause(publisher, sequence, self.feed.plan.number)
            self._event = Event(self.feed.channel, self.text, cause)
        return self._event


class Backlog:
    """The latest events of all feeds of a journey, without those that a wait of the journey's code has returned."""

    def __init__(self) -> None:
        self._kept: deque[Received] = deque(maxlen=KEPT)
        #: Set when an event has arrived.
        self.changed = Flag()

    def add(self, received: Received) -> None:
        """Keep an event; called from the gevent hub."""
        self._kept.append(received)
        self.changed.set()

    def take(self, wanted: Callable[[Any], object] | None, feed: Feed | None) -> Event | None:
        """Remove and return the first event of ``feed`` for which ``wanted`` is true, or None.

        With None for ``feed``, events of all feeds are taken; with None for ``wanted``, any event. Exceptions of
        ``wanted`` are propagated.
        """
        self.changed.clear()
        for received in list(self._kept):
            if feed is not None and received.feed is not feed:
                continue
            try:
                event = received.event
            except msgspec.MsgspecError:
                continue
            if wanted is None or wanted(event):
                # While `wanted` ran, another greenlet may have taken the event, or newer events may have displaced it.
                if received in self._kept:
                    self._kept.remove(received)
                return event
        return None

    def forget(self, feed: Feed) -> None:
        """Drop the events of a feed that was given up."""
        for received in [each for each in self._kept if each.feed is feed]:
            self._kept.remove(received)


class Mailbox:
    """Runs a journey's callbacks one after the other in a separate greenlet, so that a callback may block."""

    def __init__(self, call: Callable[[Received], object]) -> None:
        self._call = call
        self._waiting: deque[Received] = deque()
        self._filled = Flag()

    def add(self, received: Received) -> None:
        """Queue an event for the callback of its feed, which `run` calls; may be called from the gevent hub."""
        self._waiting.append(received)
        self._filled.set()

    def run(self) -> None:
        """Call callbacks until the greenlet is killed."""
        while True:
            self._filled.wait()
            while self._waiting:
                self._call(self._waiting.popleft())
            self._filled.clear()
