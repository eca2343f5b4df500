"""`self.client` of a journey: its actions on the service, recorded like those of every other client.

A feed is a subscription of the journey (`feeds`).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final, Literal

import gevent
from locust.exception import StopUser

from loadgen.measure.stamp import Stamp
from loadgen.resolve import ClientPlan
from loadgen.transport.errors import TransportError
from loadgen.users.journeys import calls
from loadgen.users.journeys.errors import NoAnswerError, RefusedError
from loadgen.users.journeys.feeds import Callback, Feed, Received
from loadgen.users.journeys.inbox import Inbox
from loadgen.users.journeys.link import CONNECT_S, Link
from loadgen.users.journeys.pacing import Moments
from loadgen.users.journeys.publishes import Answer, JourneyPublishes
from loadgen.users.journeys.senders import Senders
from loadgen.users.journeys.stamping import Event, unstamped
from loadgen.users.journeys.subscriptions import Feeds
from loadgen.users.open_requests import Cause
from loadgen.users.subscriptions import Subscription
from loadgen.users.worker import WorkerRun

_LOOK_S: Final = 1.0


class JourneyClient:
    """The connection, subscriptions and publishes of one journey.

    Times are in seconds. If the service refuses an action or does not answer it, the method raises a `JourneyError`.
    This error ends a task that does not catch it, and does not count as a failure of your code.
    """

    def __init__(self, run: WorkerRun, plan: ClientPlan) -> None:
        assert plan.journey is not None
        self._run, self._plan = run, plan
        self._moments = Moments(lambda: 0.0, None, Random(0), lambda _: None)
        #: Due times of publishes requested by callbacks: each is due at once. Publishes requested by tasks are due at
        #: the times of `_moments`.
        self._at_once = self._moments
        self._feeds = Feeds(run.rules, plan.journey)
        self._link = Link(run, plan, self._feeds, self)
        self._publishes = JourneyPublishes(run, plan)
        self._senders = Senders(run, plan, self._link)
        self._inbox = Inbox(self._call_back, self._link.check_over)

    # The user's code calls the following methods.

    @property
    def connected(self) -> bool:
        """True while the connection is open and accepted."""
        return self._link.up

    def connect(self, timeout: float = CONNECT_S) -> None:
        """Connect if not connected. Calling it is optional: every action that needs the connection connects first.

        Raises:
            RefusedError: the service refuses the connection for good.
            NoAnswerError: the service could not be reached within ``timeout``.
        """
        try:
            self._link.connect(time.monotonic() + timeout)
        finally:
            self._paced.waited()

    def subscribe(self, channel: str, callback: Callback | None = None, timeout: float = 30.0) -> Feed:
        """Subscribe and wait until it is proven that the subscription delivers; return the subscription.

        ``callback`` is called with each event, a dict, in a separate greenlet. The subscription lasts until it is
        unsubscribed; after a lost connection it is requested again.

        Raises:
            RefusedError: the service refuses the connection or the subscription.
            NoAnswerError: the subscription was not ready within ``timeout``; it is given up.
            ValueError: no client can subscribe to such a channel.
        """
        channel = self._run.rules.normalise(channel)
        self._run.rules.demand_subscribable(channel)
        self._feeds.demand_apart(channel)
        deadline_s = time.monotonic() + timeout
        try:
            self._link.connect(deadline_s)
            plan, again = self._feeds.plan_for(channel, self._link.connection.life)
            feed = Feed(self, plan, callback)
            if callback is not None:
                self._inbox.begin_calls()
            self._feeds.add(feed)
            try:
                if again is not None:
                    again()
                else:
                    self._link.connection.subscribe(plan)
            except TransportError:
                # The connection was lost just now. The link opens it again and requests all subscriptions, so raise
                # nothing.
                pass
            self._await(feed, deadline_s)
        finally:
            self._paced.waited()
        return feed

    def unsubscribe(self, feed: Feed) -> None:
        """Give up a subscription; does nothing if it was given up before."""
        if not self._feeds.remove(feed):
            return
        self._inbox.forget(feed)
        connection = self._link.connection
        again = connection.unsubscribe(feed.plan)
        self._feeds.spare(feed, connection.life, again)

    def publish(
        self,
        channel: str,
        events: Sequence[Mapping[str, Any] | str] | Mapping[str, Any] | str,
        via: Literal["http", "websocket"] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """Publish one event or a batch, and wait for the answer, which is truthy if all events were accepted.

        An event is a dict, or the text of a JSON object; it gets the stamp as its first member. By default, ``via`` is
        HTTP if the service accepts publishes over HTTP, else the connection. If the publish was refused or lost, the
        `Answer` says so, and nothing is raised.

        Raises:
            ValueError: an event cannot be published, or the channel cannot be published to.
            StopUser: the time for publishing is over.
        """
        return self._publish(channel, events, via, timeout, None)

    def reply(
        self,
        event: Event,
        channel: str,
        events: Sequence[Mapping[str, Any] | str] | Mapping[str, Any] | str,
        via: Literal["http", "websocket"] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """Publish as :meth:`publish` does, in reply to an event that was received.

        The record names the event as the cause, so that the report has the time from the request to the reply.

        Raises:
            ValueError: as :meth:`publish`, or this client did not receive the event.
        """
        if event.cause is None:
            raise ValueError("a reply needs the event that a callback or wait_for() was given")
        return self._publish(channel, events, via, timeout, event.cause)

    def _publish(
        self,
        channel: str,
        events: Sequence[Mapping[str, Any] | str] | Mapping[str, Any] | str,
        via: Literal["http", "websocket"] | None,
        timeout: float,
        cause: Cause | None,
    ) -> Answer:
        rules, run = self._run.rules, self._run
        batch = [events] if isinstance(events, Mapping | str) else list(events)
        members = [unstamped(event) for event in batch]
        if not members:
            raise ValueError("a publish needs at least one event")
        if len(members) > 1 and not rules.batches:
            raise ValueError("on this target each publish has one event")
        channel = run.publish_channel(channel)
        due_ns, slot_ns = self._paced.take()
        if run.publishing_over or run.stopping:
            raise StopUser
        try:
            sender = self._senders.choose(via, time.monotonic() + timeout)
            intended_ns = due_ns - (run.local_ns(due_ns) - due_ns)
            answer: Answer | None
            with gevent.Timeout(timeout, False):
                answer = self._publishes.publish(sender, channel, members, intended_ns, slot_ns, cause).get()
                return answer
            return Answer(f"no answer came within {timeout:g} s")
        finally:
            self._paced.waited()

    def wait_for(
        self,
        what: Feed | Callable[[Event], object] | None = None,
        timeout: float = 10.0,
        *,
        feed: Feed | None = None,
    ) -> Event | None:
        """Wait for an event of a feed, or for one that a function accepts; return None if none arrives in time.

        The event may have arrived before the call, unless an earlier call returned it or 100 others have arrived since.
        """
        if isinstance(what, Feed):
            feed, what = what, None
        try:
            return self._inbox.wait_for(what, feed, timeout)
        finally:
            self._paced.waited()

    def reconnect(self, timeout: float = CONNECT_S) -> None:
        """Close the connection, open it again, and subscribe again; return when all subscriptions are ready.

        Raises:
            RefusedError: the service refuses the connection or a subscription.
            NoAnswerError: the connection or a subscription was not ready within ``timeout``.
        """
        deadline_s = time.monotonic() + timeout
        try:
            self._link.reconnect(deadline_s)
            for feed in self._feeds:
                self._await(feed, deadline_s)
        finally:
            self._paced.waited()

    def close(self) -> None:
        """Close the connection and end all subscriptions; a later action connects again."""
        self._link.leave()
        for feed in self._feeds:
            self.unsubscribe(feed)

    # `playing.Journey` calls the following methods; the user's code must not.

    def log_in(self) -> None:
        """Get the client's own login, if it has one; call once, before anything else."""
        self._link.log_in()

    def paced_by(self, moments: Moments) -> None:
        """Use ``moments`` as the due times of publishes from now on."""
        self._moments = moments

    def hang_up(self) -> None:
        """Close the connection for good, and record the publishes without an answer."""
        self._senders.close()
        self._publishes.give_up()
        self._link.close()
        self._inbox.close()

    # The connection calls the following methods from the gevent hub; see `conversation.Listener`.

    def on_received(self, subscription: int, event: str, arrival_ns: int, stamp: Stamp) -> None:
        """Queue a delivery for `wait_for` and for the callback of its feed."""
        feed = self._feeds.get(subscription)
        if feed is None:
            return
        self._inbox.add(Received(feed, event, arrival_ns, stamp))

    def on_moved(self, subscription: Subscription) -> None:
        """Note that a subscription is ready, refused or ended."""
        feed = self._feeds.get(subscription.plan.number)
        if feed is not None:
            feed.moved(subscription)

    # The following methods are internal.

    @property
    def _paced(self) -> Moments:
        """The due times of this greenlet's publishes: by the journey's pacing in a task, at once in a callback."""
        return self._at_once if self._inbox.is_calling else self._moments

    def _await(self, feed: Feed, deadline_s: float) -> None:
        """Wait until a feed is ready; if it is refused or not ready by the deadline, drop it and raise JourneyError."""
        while not feed.settled.is_set():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                self.unsubscribe(feed)
                raise NoAnswerError(f"the subscription to {feed.channel} was not ready in time")
            self._link.check_over()
            feed.settled.wait(min(left_s, _LOOK_S))
        if feed.error is not None:
            self._feeds.remove(feed)
            raise RefusedError(f"subscription to {feed.channel} refused: {feed.error}")

    def _call_back(self, received: Received) -> None:
        feed = received.feed
        if feed.callback is None or self._feeds.get(feed.plan.number) is None:
            return
        name = f"{getattr(feed.callback, '__name__', 'a callback')}()"
        try:
            calls.called(self._run, name, lambda: feed.callback(received.event))  # type: ignore[misc]
        except StopUser:
            # Only the tasks of a journey can end it, so StopUser has no effect in a callback.
            return
