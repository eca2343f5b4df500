"""One client's connection: its subscriptions, their readiness, its publishes, and what is recorded of each."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gevent
import msgspec
from gevent.event import Event

from loadgen.measure.clock import now_ns
from loadgen.measure.failures import HARNESS
from loadgen.measure.rows import ConnectionRow, SubscriptionRow
from loadgen.measure.stamp import Stamp, decode_event
from loadgen.protocol.base import PING, UNACKNOWLEDGED, PublishAnswer
from loadgen.protocol.refusals import Refusal
from loadgen.protocol.unreadable import FRAME_UNREADABLE
from loadgen.resolve import ClientPlan, SubscriptionPlan
from loadgen.transport import isolation
from loadgen.transport.connection import connection as connection_to
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError
from loadgen.transport.isolation import OurFailureError
from loadgen.transport.resolving import DialingError
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.stream import SocketStream
from loadgen.users.reconnect import HARNESS_FAILURE, UNSUBSCRIBE, Returning
from loadgen.users.worker import WorkerRun

_NOT_OURS = (msgspec.MsgspecError, UnicodeError, struct.error, OverflowError, RecursionError)

#: A deviation of any protocol.
DELIVERY_UNASKED = "an event came for a subscription that nobody asked for"

OnAnswer = Callable[[PublishAnswer | None, int], None]
OnDelivery = Callable[[str, str], None]
OnEvent = Callable[[str, str, int, int], None]


@dataclass(slots=True)
class _Subscription:
    """A subscription of this life of the connection."""

    plan: SubscriptionPlan
    #: How often it was given up and made anew in this life.
    turn: int
    requested_ns: int
    acknowledged_ns: int | None = None
    ready_ns: int | None = None
    error: str | None = None
    refusal: Refusal | None = None
    #: Whether its readiness is waited for, or was.
    awaited: bool = False
    #: Whether it is among `Progress.acknowledged`.
    counted: bool = False


class ClientConnection:
    """Implements `SessionHandler` for one client; `open` may be called again after a loss and begins a new life.

    ``on_delivery`` is called with (channel pattern, event text) after a delivery was recorded, if given.

    A service may say anything at any time: an answer to a request that was never made or was given up, a message of a
    subscription that is gone, or one before the login or after the end. None of these changes anything but counts.
    """

    __slots__ = (
        "_answers",
        "_client",
        "_closing",
        "_connected_ns",
        "_error",
        "_established",
        "_heard_ns",
        "_keepalive",
        "_login",
        "_numbers",
        "_on_delivery",
        "_opened_ns",
        "_refusal",
        "_refused",
        "_run",
        "_session",
        "_slow",
        "_socket",
        "_started_ns",
        "_subscriptions",
        "_throttled",
        "_turns",
        "_unready",
        "_watching",
        "ended",
        "intent",
        "life",
        "on_ended",
        "on_event",
    )

    on_event: OnEvent
    """Records a delivery: see `SessionHandler`."""

    def __init__(self, run: WorkerRun, client: ClientPlan, on_delivery: OnDelivery | None = None) -> None:
        self._run = run
        self._client = client
        self._on_delivery = on_delivery
        #: Number of the latest life, from 0.
        self.life = -1
        #: Why the client has ended this life itself (see `reconnect`); None: it has not.
        self.intent: str | None = None
        self._socket: SocketStream | None = None
        self._keepalive: Any = None
        self._numbers: dict[str, int] = {}
        self._subscriptions: dict[str, _Subscription] = {}
        self._turns: dict[int, int] = {}
        self._unready: set[str] = set()
        self._slow: SlowReading | None = None
        #: Whether deliveries are looked at beyond being recorded: until all is ready, or for a user's own method.
        self._watching = True
        self._answers: dict[str, OnAnswer] = {}
        self.on_event = self._make_on_event()
        self._started_ns = 0
        self._opened_ns: int | None = None
        self._connected_ns: int | None = None
        self._error: str | None = None
        #: When the service was last heard, of a connection that has fallen silent.
        self._heard_ns: int | None = None
        self._refused = False
        #: What a refusal means, where the service or its answer says it.
        self._refusal: Refusal | None = None
        #: Waits of subscriptions that the service has refused for now, by number.
        self._throttled: dict[int, Returning] = {}
        self._closing = False
        self._established = False
        #: Called from the hub when a life has ended that :meth:`open` had begun and nobody has asked to close.
        self.on_ended: Callable[[], None] | None = None
        #: Set while there is no connection; cleared by :meth:`open`.
        self.ended = Event()
        self.ended.set()

    # What the user does.

    def open(self, timeout_s: float) -> None:
        """Connect, log in and ask for every subscription; returns when the service has accepted the connection.

        Raises:
            TransportError: it could not be reached, or did not answer in time.
            HandshakeRefusedError: it answered no; trying again cannot help.
            NotNowError: it answered no; trying again later may help.
            OurFailureError: the harness failed, which is on record.
        """
        try:
            self._open(timeout_s)
        except Exception as error:
            ours = not isinstance(error, TransportError)
            if ours:
                self.failed(error)
            # Nothing of this life may be told to the next.
            if self._socket is not None:
                self._socket.abort()
            self.ended.set()
            if ours:
                raise OurFailureError(error) from error
            raise

    def _open(self, timeout_s: float) -> None:
        self.life += 1
        self.intent = None
        self._numbers.clear()
        self._subscriptions.clear()
        self._turns.clear()
        self._unready.clear()
        self._error = self._heard_ns = self._refusal = None
        self._throttled.clear()
        self._refused = self._established = False
        self._opened_ns = self._connected_ns = None
        self._started_ns = now_ns()
        service = self._run.service
        self._session = service.session(self, f"{self._client.number}-{self.life}")
        self._login = Event()
        self.ended.clear()
        handshake = service.handshake([plan.channel for plan in self._client.subscriptions])
        socket = connection_to(
            self._run.address, handshake, self._session.receive, self._on_closed, self.failed
        )
        self._socket = socket
        try:
            socket.open(timeout_s)
        except TransportError as error:
            self._socket = None
            self._error = str(error)
            if isinstance(error, DialingError):
                # A resolver that fails here, say: told by the dialer, and no error of the service.
                self.intent = HARNESS_FAILURE
            self._refuse(error.refusal)
            self._record_unopened(socket)
            raise
        self._opened_ns = now_ns()
        if (bytes_per_s := self._client.behaviour.read_bytes_per_s) is not None:
            self._slow = SlowReading(socket, bytes_per_s)
            self._run.recorder.slow.update(plan.number for plan in self._client.subscriptions)
        self._run.progress.opened += 1
        for message in self._session.opening():
            socket.send(message)
        if not service.answers_opening:
            self.on_connected(self._opened_ns)
        if not self._login.wait(timeout_s):
            awaited = self._session.awaits()
            self._error = f"no answer to the login within {timeout_s:g} s" + (
                f"; {awaited}" if awaited else ""
            )
            socket.abort()
        if self._connected_ns is None or self._socket is None:
            refusal = self._refusal
            kind: type[TransportError] = HandshakeRefusedError if self._refused else TransportError
            if refusal is not None and refusal.again:
                kind = NotNowError
            reason = self._error or "the connection was closed at once"
            if not self.ended.is_set():
                socket.abort()
            raise kind(reason, refusal)
        if (every_ns := self._session.keepalive_ns) is not None:
            self._keepalive = gevent.get_hub().loop.timer(every_ns / 1e9, every_ns / 1e9)
            self._keepalive.start(isolation.run, socket, self._keep_alive)
        for plan in self._client.subscriptions:
            if self._socket is None:
                raise TransportError(self._error or "the connection was lost while subscribing")
            self._subscribe(plan, 0)
        self._established = True

    @property
    def has_socket(self) -> bool:
        """Whether there is a connection that can be written to, or one that is being opened."""
        return self._socket is not None

    @property
    def remote_address(self) -> str | None:
        """The IP address and port of this life; None: there is no connection."""
        return None if self._socket is None else self._socket.remote_address

    @property
    def most_unanswered(self) -> int:
        """How many events the service lets us have unanswered at once; 0: any number."""
        return self._session.most_unanswered

    def publish(self, publish_id: str, channel: str, events: Sequence[str], on_answer: OnAnswer) -> None:
        """Publish over this connection; ``on_answer`` gets the answer and its arrival, or None if it was lost.

        Raises:
            TransportError: the connection is not open.
        """
        if self._socket is None:
            raise TransportError("the connection is closed")
        self._answers[publish_id] = on_answer
        try:
            self._socket.send(self._session.publish(publish_id, channel, events))
        except TransportError:
            del self._answers[publish_id]
            raise
        if not self._run.service.answers_publishes:
            self.on_published(publish_id, UNACKNOWLEDGED, now_ns())

    def unsubscribe(self, plan: SubscriptionPlan) -> Callable[[], None] | None:
        """Give up a subscription; returns what makes it anew if the connection still lives then.

        None: it is not ready, or there is no connection, and nothing was done.
        """
        turn = self._turns.get(plan.number, 0)
        subscription_id = _id_of(plan, turn)
        subscription = self._subscriptions.get(subscription_id)
        if subscription is None or subscription.ready_ns is None or self.intent is not None:
            return None
        if self._socket is None or not self._socket.is_open:
            return None
        ended_ns = now_ns()
        self._socket.send(self._session.unsubscribe(subscription_id))
        del self._subscriptions[subscription_id]
        # What is still under way comes under this id; what came under the one before has come long ago.
        self._numbers.pop(_id_of(plan, turn - 1), None)
        self._watch()
        if subscription.counted:
            self._run.progress.acknowledged -= 1
        self._run.progress.ready -= 1
        self._record_subscription(subscription, ended_ns, UNSUBSCRIBE)
        life = self.life

        def again() -> None:
            socket = self._socket
            if self.life == life and socket is not None and socket.is_open and not self._closing:
                self._turns[plan.number] = turn + 1
                self._subscribe(plan, turn + 1)

        return again

    def cut(self, intent: str, with_close_frame: bool) -> bool:
        """End this life as the client's own doing; ``intent`` goes on record. False: there is none to end."""
        if self._socket is None or self._connected_ns is None or self._closing:
            return False
        self.intent = intent
        if with_close_frame:
            self._read_on()
            self._say_goodbye(self._socket)
        else:
            self._socket.abort()
        return True

    def close(self) -> None:
        """Begin to close; :attr:`ended` is set when the other side has agreed."""
        self._closing = True
        self._read_on()
        if self._socket is not None:
            self._say_goodbye(self._socket)

    def abort(self) -> None:
        """End at once."""
        self._closing = True
        if self._socket is not None:
            self._socket.abort()

    def _make_on_event(self) -> OnEvent:
        # The hot path: a closure finds what it needs in fewer steps than a method.
        numbers, deliver, decode, recorder = (
            self._numbers,
            self._run.recorder.deliver,
            decode_event,
            self._run.recorder,
        )

        def on_event(subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
            try:
                stamp = decode(event).stamp
                deliver(numbers[subscription_id], arrival_ns, read_ns, stamp)
            except KeyError:
                recorder.unknown_subscription += 1
                self.on_deviation(DELIVERY_UNASKED)
                return
            except _NOT_OURS:
                # Somebody else's event, or one that is no JSON at all: the channel is not ours alone.
                recorder.foreign += 1
                self._on_foreign_event(subscription_id)
                return
            if self._watching:
                self._on_watched_event(subscription_id, event, arrival_ns, stamp)

        return on_event

    # What the session tells (from the hub).

    def _on_watched_event(self, subscription_id: str, event: str, arrival_ns: int, stamp: Stamp) -> None:
        if subscription_id in self._unready:
            self._note_early(subscription_id)
            if stamp[0] == self._run.recorder.token:
                self._ready(subscription_id, arrival_ns)
        if self._on_delivery is not None and stamp[1] >= 0:
            self._on_delivery(self._channel_of(subscription_id), event)

    def _on_foreign_event(self, subscription_id: str) -> None:
        if subscription_id not in self._numbers:
            self.on_deviation(DELIVERY_UNASKED)
        elif subscription_id in self._unready:
            self._note_early(subscription_id)

    def _note_early(self, subscription_id: str) -> None:
        """Name an event that came before the service had answered its subscribe, where the protocol forbids that."""
        deviation = self._session.early_delivery
        if (
            deviation is not None
            and self._run.service.answers_subscribes
            and self._subscriptions[subscription_id].acknowledged_ns is None
        ):
            self.on_deviation(deviation)

    def _channel_of(self, subscription_id: str) -> str:
        """Return the pattern of a subscription of this life: what was given up may still have events under way."""
        subscription = self._subscriptions.get(subscription_id)
        if subscription is not None:
            return subscription.plan.channel
        number = self._numbers[subscription_id]
        return next(plan.channel for plan in self._client.subscriptions if plan.number == number)

    def on_connected(self, arrival_ns: int) -> None:
        """The service accepted the connection."""
        if self._connected_ns is not None or self._socket is None:
            return
        self._connected_ns = arrival_ns
        self._run.progress.connected += 1
        # On record from now on, should this process be killed: the row at the end takes this one's place.
        self._record_connection(self._socket, None, None)
        if (timeout_ns := self._session.timeout_ns) is not None:
            self._socket.watch_silence(timeout_ns, partial(self._on_silent, self._socket, timeout_ns))
        self._login.set()

    def on_refused(self, reason: str, refusal: Refusal | None = None) -> None:
        """The service refused the connection."""
        self._error = reason
        self._refused = True
        self._refuse(refusal)
        self._login.set()

    def on_subscribed(self, subscription_id: str, arrival_ns: int) -> None:
        """The service acknowledged a subscription."""
        subscription = self._subscriptions.get(subscription_id)
        if subscription is None or subscription.acknowledged_ns is not None or subscription.error is not None:
            return
        subscription.acknowledged_ns = arrival_ns
        self._count(subscription)
        self._await_readiness(subscription_id, subscription)

    def on_subscribe_failed(self, subscription_id: str, reason: str, refusal: Refusal | None = None) -> None:
        """The service refused a subscription."""
        subscription = self._subscriptions.get(subscription_id)
        if subscription is None or subscription.error is not None:
            return
        subscription.error, subscription.refusal = reason, refusal
        self._no_longer_unready(subscription_id)
        told = f"subscription to {subscription.plan.channel} refused: {reason}"
        if refusal is not None and refusal.again and subscription.acknowledged_ns is None:
            self._run.progress.throttled += 1
            self._run.complain(told, fatal=False)
            self._subscribe_later(subscription_id, subscription)
            return
        self._run.progress.failed += 1
        self._run.complain(told if refusal is None else f"{told}; {refusal.advice}", fatal=True)

    def _subscribe_later(self, subscription_id: str, subscription: _Subscription) -> None:
        """Ask again as the client's policy has it: this attempt is over, and the next one has an id of its own."""
        plan, life, turn = subscription.plan, self.life, subscription.turn + 1
        del self._subscriptions[subscription_id]
        self._numbers.pop(subscription_id, None)
        if subscription.counted:
            self._run.progress.acknowledged -= 1
        if subscription.awaited:
            self._run.readiness.withdraw(plan.channel)
        self._record_subscription(subscription, now_ns(), None)
        waits = self._throttled.setdefault(plan.number, Returning(self._client.behaviour))

        def again() -> None:
            socket = self._socket
            if self.life == life and socket is not None and socket.is_open and not self._closing:
                self._turns[plan.number] = turn
                isolation.run(socket, self._subscribe, plan, turn)

        gevent.spawn_later(waits.wait_s(None) or 0.0, again)

    def on_published(self, publish_id: str, answer: PublishAnswer, arrival_ns: int) -> None:
        """A publish over this connection was answered."""
        on_answer = self._answers.pop(publish_id, None)
        if on_answer is not None:
            on_answer(answer, arrival_ns)

    def on_undecodable(self, kind: str, example: Callable[[], str]) -> None:
        """A message cannot be read."""
        self._run.recorder.undecodable.add(kind, example)

    def on_deviation(self, what: str) -> None:
        """The service did something else than its protocol says."""
        self._run.recorder.deviations[what] += 1

    def on_service_error(self, reason: str) -> None:
        """The service reported an error that belongs to no request."""
        self._error = reason
        self._run.complain(f"the service reported: {reason}", fatal=False)

    def on_reply(self, message: bytes) -> None:
        """The protocol wants this sent in answer to what was received."""
        if self._socket is not None and self._socket.is_open:
            self._socket.send(message)

    def on_broken(self, reason: str) -> None:
        """Nothing that follows can be understood."""
        self.on_service_error(reason)
        if self._socket is not None:
            self._socket.abort()

    # What the connection tells.

    def failed(self, error: BaseException) -> None:
        """The harness has failed in what it does for this connection: what it does not observe now is nobody's loss."""
        if not isinstance(error, isolation.OF_THE_PROCESS):
            self._run.failures.add(HARNESS, "serving a connection", error)
        if self.intent is None and not self._closing:
            self.intent = HARNESS_FAILURE

    # Inside.

    def _refuse(self, refusal: Refusal | None) -> None:
        self._refusal = refusal
        if refusal is not None and refusal.again:
            self._run.progress.throttled += 1

    def _keep_alive(self) -> None:
        socket = self._socket
        if socket is None or not socket.is_open:
            return
        message = self._session.keepalive()
        if message is PING:
            socket.ping()
        else:
            socket.send(message)

    def _on_silent(self, socket: SocketStream, timeout_ns: int, heard_ns: int) -> None:
        """Nothing at all has come for as long as the service may be silent."""
        self._error, self._heard_ns = silent(timeout_ns), heard_ns
        socket.abort()

    def _say_goodbye(self, socket: SocketStream) -> None:
        goodbye = self._session.closing()
        if goodbye and socket.is_open:
            socket.send(goodbye)
        socket.close()

    def _read_on(self) -> None:
        """Read at full speed what a slow client has left: the answer to a close frame stands behind it."""
        slow, self._slow = self._slow, None
        if slow is not None:
            slow.stop()

    def _subscribe(self, plan: SubscriptionPlan, turn: int) -> None:
        assert self._socket is not None
        subscription_id = _id_of(plan, turn)
        self._numbers[subscription_id] = plan.number
        self._subscriptions[subscription_id] = subscription = _Subscription(plan, turn, now_ns())
        self._unready.add(subscription_id)
        self._watch()
        self._run.progress.requested += 1
        message = self._session.subscribe(subscription_id, plan.channel)
        if not message:
            # The connection's URL has asked, and the upgrade was the answer.
            assert self._opened_ns is not None
            subscription.requested_ns = self._started_ns
            self.on_subscribed(subscription_id, self._opened_ns)
            return
        self._socket.send(message)
        if not self._run.service.answers_subscribes:
            # To have asked is all that the ramp can wait for.
            self._count(subscription)
            self._await_readiness(subscription_id, subscription)

    def _count(self, subscription: _Subscription) -> None:
        subscription.counted = True
        self._run.progress.acknowledged += 1

    def _await_readiness(self, subscription_id: str, subscription: _Subscription) -> None:
        subscription.awaited = True
        life = self.life
        self._run.readiness.watch(
            subscription.plan.channel,
            lambda at_ns: self._settled(life, subscription_id, at_ns),
        )

    def _settled(self, life: int, subscription_id: str, at_ns: int) -> None:
        # In a later life the same id is another subscription.
        if self._socket is not None and self.life == life:
            isolation.run(self._socket, self._ready, subscription_id, at_ns)

    def _ready(self, subscription_id: str, at_ns: int) -> None:
        if subscription_id not in self._unready:
            return
        self._no_longer_unready(subscription_id)
        subscription = self._subscriptions[subscription_id]
        subscription.ready_ns = at_ns
        self._run.progress.ready += 1
        if subscription.acknowledged_ns is None and self._run.service.answers_subscribes:
            # Delivered before it was acknowledged.
            subscription.acknowledged_ns = at_ns
            self._count(subscription)
        if subscription.awaited:
            self._run.readiness.proven(subscription.plan.channel)
        # As with the connection: what is ready is on record before it ends.
        self._record_subscription(subscription, None, None)

    def _no_longer_unready(self, subscription_id: str) -> None:
        self._unready.discard(subscription_id)
        self._watch()

    def _watch(self) -> None:
        """Look at deliveries while one may make a subscription ready, or the user wants to; else just record them."""
        self._watching = bool(self._unready) or self._on_delivery is not None
        rows = self._run.recorder.native_rows
        if self._socket is not None and rows is not None:
            self._socket.express(None if self._watching else self._session.lane(rows, self._numbers))

    def _on_closed(self, code: int | None, reason: str) -> None:
        socket, self._socket = self._socket, None
        at_ns = now_ns()
        self._slow = None
        try:
            if self._keepalive is not None:
                self._keepalive.stop()
                self._keepalive.close()
                self._keepalive = None
            if socket is not None:
                self._record_end(socket, code, reason, at_ns)
        finally:
            self._subscriptions.clear()
            self._unready.clear()
            answers, self._answers = self._answers, {}
            for on_answer in answers.values():
                try:
                    on_answer(None, at_ns)
                except Exception as error:
                    self.failed(error)
            self._login.set()
            self.ended.set()
            if self.on_ended is not None and self._established and not self._closing:
                self.on_ended()

    def _record_end(self, socket: SocketStream, code: int | None, reason: str, at_ns: int) -> None:
        progress = self._run.progress
        if socket.violation is not None:
            self._run.recorder.undecodable.add(FRAME_UNREADABLE, lambda: str(socket.violation))
        if self.intent == HARNESS_FAILURE:
            self._error = reason
        elif not self._closing and self.intent is None:
            why = f"closed with code {code}" if code is not None else socket.abrupt
            said = f"{why}: {reason}" if reason else why
            self._error = self._error or (said if socket.violation is None else str(socket.violation))
            if self._connected_ns is not None:
                progress.lost_connections += 1
        if self._connected_ns is not None:
            progress.connected -= 1
        for subscription in self._subscriptions.values():
            if subscription.counted:
                progress.acknowledged -= 1
            if subscription.ready_ns is not None:
                progress.ready -= 1
            elif subscription.awaited:
                self._run.readiness.withdraw(subscription.plan.channel)
            self._record_subscription(subscription, at_ns, self.intent)
        if self.intent == HARNESS_FAILURE and not self._established:
            self._record_unasked(at_ns)
        self._record_connection(socket, code, at_ns)

    def _record_unopened(self, socket: SocketStream) -> None:
        """Record an attempt that came to nothing."""
        at_ns = now_ns()
        self._record_connection(socket, None, at_ns)
        if self.intent == HARNESS_FAILURE:
            self._record_unasked(at_ns)

    def _record_unasked(self, at_ns: int) -> None:
        """Record the subscriptions that were not even asked for since the harness failed before."""
        asked = {subscription.plan.number for subscription in self._subscriptions.values()}
        for plan in self._client.subscriptions:
            if plan.number not in asked:
                self._record_subscription(_Subscription(plan, 0, self._started_ns), at_ns, self.intent)

    def _record_subscription(
        self, subscription: _Subscription, ended_ns: int | None, intent: str | None
    ) -> None:
        self._run.recorder.subscription(
            SubscriptionRow(
                subscription=subscription.plan.number,
                connection=self._client.number,
                life=self.life,
                group=self._client.group,
                channel=subscription.plan.channel,
                requested_ns=subscription.requested_ns,
                acknowledged_ns=subscription.acknowledged_ns,
                probed_ns=self._probed_ns(subscription),
                ready_ns=subscription.ready_ns,
                ended_ns=ended_ns,
                error=subscription.error,
                turn=subscription.turn,
                intent=intent,
                refusal=subscription.refusal.kind.value if subscription.refusal is not None else None,
            )
        )

    def _probed_ns(self, subscription: _Subscription) -> int | None:
        """From when on a probe could have reached this life of the subscription."""
        since_ns = self._run.readiness.probed_since_ns(subscription.plan.channel)
        live_ns = subscription.acknowledged_ns
        if live_ns is None and not self._run.service.answers_subscribes:
            live_ns = subscription.requested_ns
        return None if since_ns is None or live_ns is None else max(since_ns, live_ns)

    def _record_connection(self, socket: SocketStream, code: int | None, closed_ns: int | None) -> None:
        self._run.recorder.connection(
            ConnectionRow(
                connection=self._client.number,
                life=self.life,
                group=self._client.group,
                started_ns=self._started_ns,
                opened_ns=self._opened_ns,
                acknowledged_ns=self._connected_ns,
                closed_ns=closed_ns,
                close_code=code,
                error=None if self._closing or self.intent is not None else self._error,
                kernel_timestamps=socket.kernel_timestamps,
                tls=socket.secure,
                intent=self.intent,
                slow=self._client.behaviour.read_bytes_per_s is not None,
                remote_address=socket.remote_address,
                silent_since_ns=self._heard_ns,
                refusal=self._refusal.kind.value if self._refusal is not None else None,
            )
        )


def silent(timeout_ns: int) -> str:
    """Return what is said of a connection that was closed since nothing came on it."""
    return f"silent for {timeout_ns / 1e9:g} s: nothing at all came, and the service must be heard within that time"


def _id_of(plan: SubscriptionPlan, turn: int) -> str:
    """Return the id of a subscription on its connection; each turn has its own, so that answers are not mixed up."""
    return f"s{plan.number}" if turn == 0 else f"s{plan.number}-{turn}"
