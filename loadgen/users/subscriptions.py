"""The subscriptions of one life of a client's connection: their states, counts and rows in the run's record.

A life lasts from a connect to the end of that connection; a reconnect begins the next one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

import gevent

from loadgen.measure.clock import Clock, now_ns
from loadgen.measure.rows import SubscriptionRow
from loadgen.measure.stamp import Stamp
from loadgen.protocol import shares
from loadgen.protocol.base import Session
from loadgen.protocol.refusals import Refusal
from loadgen.resolve import ClientPlan, SubscriptionPlan
from loadgen.transport import isolation
from loadgen.users.life import Life
from loadgen.users.reconnect import UNSUBSCRIBE, ReconnectPolicy
from loadgen.users.worker import WorkerRun


class State(Enum):
    """The state of a subscription; `_NEXT` has the allowed transitions."""

    REQUESTED = "asked for, and not answered yet"
    ASSUMED = "asked for, of a service that answers no subscribe"
    ACKNOWLEDGED = "the service has said yes"
    READY = "proven to deliver, or its settle time is over"
    REFUSED = "the service has said no"
    ENDED = "given up, or its connection has ended"

    # `Enum` hashes a member's name in Python, which takes ten times as long. Hashing the object is enough, since there
    # is one object for each member.
    __hash__ = object.__hash__


_NEXT: Final[Mapping[State, frozenset[State]]] = {
    State.REQUESTED: frozenset(State) - {State.REQUESTED},
    State.ASSUMED: frozenset({State.READY, State.REFUSED, State.ENDED}),
    State.ACKNOWLEDGED: frozenset({State.READY, State.REFUSED, State.ENDED}),
    State.READY: frozenset({State.REFUSED, State.ENDED}),
    State.REFUSED: frozenset({State.ENDED}),
    State.ENDED: frozenset(),
}
#: States in which the ramp no longer waits for a subscription.
_ACKNOWLEDGED: Final = frozenset({State.ASSUMED, State.ACKNOWLEDGED, State.READY})


@dataclass(slots=True)
class Subscription:
    """One subscription on one connection; ``turn`` counts how often it was requested again on this connection."""

    plan: SubscriptionPlan
    turn: int
    requested_ns: int
    state: State = State.REQUESTED
    acknowledged_ns: int | None = None
    ready_ns: int | None = None
    error: str | None = None
    refusal: Refusal | None = None
    #: True while waiting for a readiness probe, or for the settle time after the acknowledgement.
    awaited: bool = False

    def row(
        self, client: ClientPlan, life: Life, probed_ns: int | None, ended_ns: int | None, intent: str | None
    ) -> SubscriptionRow:
        """Return the subscription's row in the record; ``ended_ns`` is None for one that has just become ready."""
        return SubscriptionRow(
            subscription=self.plan.number,
            connection=client.number,
            life=life.number,
            group=client.group,
            channel=shares.pattern_of(self.plan.channel),
            requested_ns=self.requested_ns,
            acknowledged_ns=self.acknowledged_ns,
            probed_ns=probed_ns,
            ready_ns=self.ready_ns,
            ended_ns=ended_ns,
            error=self.error,
            turn=self.turn,
            intent=intent,
            refusal=self.refusal.kind.value if self.refusal is not None else None,
            replies=self.plan.replies,
            shared=shares.group_of(self.plan.channel),
        )


class Link(isolation.Contained, Protocol):
    """The part of a connection that subscriptions use."""

    @property
    def is_open(self) -> bool:
        """True while messages can be sent."""

    def send(self, message: bytes) -> None:
        """Send a message; raises TransportError if the connection is not open."""


class Subscriptions:
    """The subscriptions of a client over one connection, from the first request to the connection's end.

    A service may answer requests that were never made or were given up. So each request of each subscription has its
    own id, and an answer to an unknown id changes nothing.

    ``numbers`` is a dict that this class fills: it maps an id to the subscription number under which deliveries are
    recorded. ``on_watch`` is called whenever `unready` may have changed, since deliveries must be examined until all
    subscriptions are ready.
    """

    __slots__ = (
        "_by_id",
        "_client",
        "_clock",
        "_ended",
        "_latest",
        "_life",
        "_link",
        "_numbers",
        "_on_moved",
        "_on_sent",
        "_on_watch",
        "_run",
        "_session",
        "_stopped",
        "_throttled",
        "unready",
    )

    def __init__(
        self,
        run: WorkerRun,
        client: ClientPlan,
        life: Life,
        session: Session,
        link: Link,
        numbers: dict[str, int],
        on_watch: Callable[[], None],
        clock: Clock = now_ns,
        on_moved: Callable[[Subscription], None] | None = None,
        on_sent: Callable[[bytes, int, str], None] | None = None,
    ) -> None:
        """Start with no subscription requested.

        ``on_moved``, if given, is called from the gevent hub after each change of a subscription's state. ``on_sent``,
        if given, is called for each subscribe message with (message, time in ns, description without secrets).
        """
        self._run = run
        self._client = client
        self._life = life
        self._session = session
        self._link = link
        self._numbers = numbers
        self._on_watch = on_watch
        self._clock = clock
        self._on_moved = on_moved
        self._on_sent = on_sent
        self._by_id: dict[str, Subscription] = {}
        #: The latest request of each subscription, by number.
        self._latest: dict[int, Subscription] = {}
        #: Backoff of the subscriptions that the service refused temporarily, by subscription number.
        self._throttled: dict[int, ReconnectPolicy] = {}
        self._stopped = self._ended = False
        #: Ids of the subscriptions that are not ready yet.
        self.unready: set[str] = set()

    # The following methods are the client's actions: requesting and ending subscriptions.

    def ask(self, plan: SubscriptionPlan, turn: int = 0) -> None:
        """Request a subscription; raises TransportError if the connection is not open."""
        subscription_id = id_of(plan, turn)
        self._numbers[subscription_id] = plan.number
        subscription = Subscription(plan, turn, self._clock())
        self._by_id[subscription_id] = self._latest[plan.number] = subscription
        if self._client.behaviour.read_bytes_per_s is not None:
            self._run.recorder.slow.add(plan.number)
        self.unready.add(subscription_id)
        self._on_watch()
        self._run.progress.requested += 1
        message = self._session.subscribe(subscription_id, plan.channel)
        if not message:
            # The protocol has no subscribe message: the URL of the WebSocket handshake named the channel, so the
            # handshake's success is the acknowledgement.
            assert self._life.opened_ns is not None
            subscription.requested_ns = self._life.started_ns
            self.on_subscribed(subscription_id, self._life.opened_ns)
            return
        self._link.send(message)
        if self._on_sent is not None:
            self._on_sent(message, subscription.requested_ns, f"subscribe to {plan.channel}")
        if not self._run.service.answers_subscribes:
            # The service never answers subscribes, so the ramp waits only until the request is sent.
            self._move(subscription, State.ASSUMED)
            self._await_readiness(subscription_id, subscription)

    def give_up(self, plan: SubscriptionPlan, *, unready: bool = False) -> Callable[[], None] | None:
        """Unsubscribe and return a function that subscribes again, or None if the subscription is not ready.

        With ``unready`` a subscription that is not ready yet is given up too. The returned function does nothing if the
        connection has ended in the meantime.
        """
        subscription = self._latest.get(plan.number)
        if subscription is None or subscription.state in (State.REFUSED, State.ENDED):
            return None
        if subscription.state is not State.READY and not unready:
            return None
        turn = subscription.turn
        subscription_id = id_of(plan, turn)
        ended_ns = self._clock()
        self._link.send(self._session.unsubscribe(subscription_id))
        # Keep the current id: deliveries for it may still arrive. Drop the previous request's id: its deliveries
        # arrived long ago.
        self._numbers.pop(id_of(plan, turn - 1), None)
        self.unready.discard(subscription_id)
        self._end(subscription_id, subscription, ended_ns, UNSUBSCRIBE)
        self._on_watch()
        return lambda: self._ask_again(plan, turn + 1)

    def stop(self) -> None:
        """Request nothing more, since the client is closing its connection."""
        self._stopped = True

    def end(self, at_ns: int, intent: str | None) -> None:
        """End and record all subscriptions, because the connection has ended."""
        self._stopped = self._ended = True
        for subscription_id, subscription in list(self._by_id.items()):
            self._end(subscription_id, subscription, at_ns, intent)

    def record_unasked(self, at_ns: int, intent: str | None) -> None:
        """Record the subscriptions that were never requested because the harness failed first."""
        for plan in self._client.subscriptions:
            if plan.number not in self._latest:
                self._record(Subscription(plan, 0, self._life.started_ns), at_ns, intent)

    # The following methods handle messages of the service.

    def on_subscribed(self, subscription_id: str, arrival_ns: int) -> None:
        """Handle the service's acknowledgement of a subscription."""
        subscription = self._by_id.get(subscription_id)
        if subscription is None or subscription.state is not State.REQUESTED:
            return
        subscription.acknowledged_ns = arrival_ns
        self._move(subscription, State.ACKNOWLEDGED)
        self._await_readiness(subscription_id, subscription)

    def on_subscribe_failed(self, subscription_id: str, reason: str, refusal: Refusal | None) -> None:
        """Handle the service's refusal of a subscription.

        Request the subscription again after a temporary refusal, unless the service had acknowledged it before.
        """
        subscription = self._by_id.get(subscription_id)
        if subscription is None or subscription.state is State.REFUSED:
            return
        subscription.error, subscription.refusal = reason, refusal
        told = f"subscription to {subscription.plan.channel} refused: {reason}"
        if refusal is not None and refusal.again and subscription.acknowledged_ns is None:
            self._run.progress.throttled += 1
            self._run.report_error(told, fatal=False)
            self._ask_later(subscription_id, subscription)
            return
        self._withdraw(subscription)
        self._move(subscription, State.REFUSED)
        self.unready.discard(subscription_id)
        self._on_watch()
        self._run.progress.failed += 1
        if self._run.logins.own(self._client):
            self._run.logins.refused(self._client, told, subscription.plan.number)
            return
        self._run.report_error(told if refusal is None else f"{told}; {refusal.advice}", fatal=True)

    def on_delivery(self, subscription_id: str, arrival_ns: int, stamp: Stamp) -> None:
        """Handle a stamped event for a subscription that is not ready; an event of this run makes it ready."""
        self.note_early(subscription_id)
        if stamp[0] == self._run.recorder.token:
            self._ready(subscription_id, arrival_ns)

    def note_early(self, subscription_id: str) -> None:
        """Count a deviation if an event came before the subscription was acknowledged and the protocol forbids that."""
        deviation = self._session.early_delivery
        if (
            deviation is not None
            and self._run.service.answers_subscribes
            and self._by_id[subscription_id].acknowledged_ns is None
        ):
            self._run.recorder.deviations[deviation] += 1

    def number_of(self, subscription_id: str) -> int:
        """Return the number of a subscription, even of a given-up one that still receives events."""
        return self._numbers[subscription_id]

    def channel_of(self, subscription_id: str) -> str:
        """Return the channel pattern of a subscription, even a given-up one that still receives events."""
        return self._latest[self._numbers[subscription_id]].plan.channel

    # The following methods are internal.

    def _move(self, subscription: Subscription, state: State) -> None:
        """Change a subscription's state and update the gauges of `Progress`."""
        before = subscription.state
        assert state in _NEXT[before], (before, state)
        progress = self._run.progress
        progress.acknowledged += (state in _ACKNOWLEDGED) - (before in _ACKNOWLEDGED)
        progress.ready += (state is State.READY) - (before is State.READY)
        subscription.state = state
        if self._on_moved is not None:
            self._on_moved(subscription)

    def _ask_later(self, subscription_id: str, subscription: Subscription) -> None:
        """End this attempt and request the subscription again, with a new id, after the reconnect policy's wait."""
        plan, turn = subscription.plan, subscription.turn + 1
        self._numbers.pop(subscription_id, None)
        self._end(subscription_id, subscription, self._clock(), None)
        self._on_watch()
        waits = self._throttled.setdefault(plan.number, ReconnectPolicy(self._client.behaviour))
        gevent.spawn_later(waits.wait_s(None) or 0.0, isolation.run, self._link, self._ask_again, plan, turn)

    def _ask_again(self, plan: SubscriptionPlan, turn: int) -> None:
        if not self._stopped and self._link.is_open:
            self.ask(plan, turn)

    def _await_readiness(self, subscription_id: str, subscription: Subscription) -> None:
        subscription.awaited = True
        self._run.readiness.watch(
            subscription.plan.channel, lambda at_ns: self._settled(subscription_id, at_ns)
        )

    def _settled(self, subscription_id: str, at_ns: int) -> None:
        if not self._ended:
            isolation.run(self._link, self._ready, subscription_id, at_ns)

    def _ready(self, subscription_id: str, at_ns: int) -> None:
        if subscription_id not in self.unready:
            return
        subscription = self._by_id[subscription_id]
        if subscription.acknowledged_ns is None and self._run.service.answers_subscribes:
            # The event overtook the acknowledgement, and proves that the service has accepted the subscription.
            subscription.acknowledged_ns = at_ns
        subscription.ready_ns = at_ns
        self._move(subscription, State.READY)
        self.unready.discard(subscription_id)
        self._on_watch()
        if subscription.awaited:
            subscription.awaited = False
            self._run.readiness.proven(subscription.plan.channel)
        # Record a row now in case this process is killed; the row recorded at the subscription's end replaces
        # it.
        self._record(subscription, None, None)

    def _end(self, subscription_id: str, subscription: Subscription, at_ns: int, intent: str | None) -> None:
        del self._by_id[subscription_id]
        self.unready.discard(subscription_id)
        self._withdraw(subscription)
        self._move(subscription, State.ENDED)
        self._record(subscription, at_ns, intent)

    def _withdraw(self, subscription: Subscription) -> None:
        if subscription.awaited:
            subscription.awaited = False
            self._run.readiness.withdraw(subscription.plan.channel)

    def _record(self, subscription: Subscription, ended_ns: int | None, intent: str | None) -> None:
        self._run.recorder.subscription(
            subscription.row(self._client, self._life, self._probed_ns(subscription), ended_ns, intent)
        )

    def _probed_ns(self, subscription: Subscription) -> int | None:
        """Return the earliest time at which a readiness probe could have reached the subscription, or None if none."""
        since_ns = self._run.readiness.probed_since_ns(subscription.plan.channel)
        reachable_ns = subscription.acknowledged_ns
        if reachable_ns is None and not self._run.service.answers_subscribes:
            reachable_ns = subscription.requested_ns
        return None if since_ns is None or reachable_ns is None else max(since_ns, reachable_ns)


def id_of(plan: SubscriptionPlan, turn: int) -> str:
    """Return a subscription's id on its connection; each request (``turn``) has its own, to recognise late answers."""
    return f"s{plan.number}" if turn == 0 else f"s{plan.number}-{turn}"
