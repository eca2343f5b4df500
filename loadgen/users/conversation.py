"""One life of a client's connection: the messages of client and service over one socket.

A life lasts from a connect to the end of that connection; a reconnect begins the next one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from loadgen.measure.clock import Clock
from loadgen.measure.stamp import Stamp
from loadgen.protocol.base import UNACKNOWLEDGED, Handshake, PublishAnswer, Session
from loadgen.protocol.refusals import Refusal
from loadgen.protocol.resuming import Resumable
from loadgen.resolve import ClientPlan, SubscriptionPlan
from loadgen.transport.address import Address
from loadgen.transport.errors import TransportError
from loadgen.transport.framing import OnText
from loadgen.transport.isolation import OnFailed
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.stream import OnClosed, SocketStream
from loadgen.users.deliveries import Deliveries, OnEvent, OnMarked
from loadgen.users.direct import DirectPublishes, direct_publishes
from loadgen.users.keepalive import KeepAlive
from loadgen.users.last_messages import LastMessages
from loadgen.users.life import Life
from loadgen.users.life_record import LifeRecord
from loadgen.users.login import Login
from loadgen.users.subscriptions import Subscription, Subscriptions
from loadgen.users.unanswered import OnAnswer, UnansweredPublishes
from loadgen.users.worker import WorkerRun

#: Makes a socket that is not open yet, for one connection of a client; see `transport.connection.connection`.
Connect = Callable[[Address, Handshake, OnText, OnClosed, OnFailed, SlowReading | None], SocketStream]
#: Takes (channel pattern, event text) of a delivery.
OnDelivery = Callable[[str, str], None]
#: Takes (subscription number, event text, arrival in ns, stamp) of a delivery of this run's own events.
OnRequest = Callable[[int, str, int, Stamp], None]


class Listener(Protocol):
    """Receives deliveries and changes of subscriptions, for a journey; its methods are called from the gevent hub."""

    def on_received(self, subscription: int, event: str, arrival_ns: int, stamp: Stamp) -> None:
        """Take a delivery that was recorded; ``subscription`` is its number."""

    def on_moved(self, subscription: Subscription) -> None:
        """Note that a subscription's state has changed."""


class Conversation:
    """One life of a client's connection, from a connect to that connection's end; implements `SessionHandler`.

    ``connect`` makes the socket. ``on_delivery`` and ``on_request``, if given, are called after the delivery of an
    event was recorded. ``on_over`` is called with the life when the connection has ended.

    A service may send any message at any time: an answer to a request that was never made or was given up, a message
    for a subscription that has ended, or a message before the login or after the end. Such messages change only counts.
    """

    __slots__ = (
        "_client",
        "_clock",
        "_deliveries",
        "_direct",
        "_keepalive",
        "_life",
        "_listener",
        "_login",
        "_on_delivery",
        "_on_over",
        "_on_request",
        "_publishes",
        "_record",
        "_run",
        "_service",
        "_session",
        "_socket",
        "_subscriptions",
        "on_event",
        "on_marked",
    )

    on_event: OnEvent
    """Record a delivery; see `SessionHandler`."""
    on_marked: OnMarked
    """Record a delivery whose stamp was not in its text, but in a property or header; see `SessionHandler`."""

    def __init__(
        self,
        run: WorkerRun,
        client: ClientPlan,
        life: Life,
        record: LifeRecord,
        on_delivery: OnDelivery | None,
        on_over: Callable[[Life], None],
        connect: Connect,
        clock: Clock,
        on_request: OnRequest | None = None,
        listener: Listener | None = None,
        earlier: Session | None = None,
    ) -> None:
        """Connect; ``earlier`` is the session of the client's previous connection, to be resumed, or None."""
        self._listener = listener
        self._run, self._client, self._life, self._record = run, client, life, record
        self._on_delivery, self._on_over, self._clock = on_delivery, on_over, clock
        self._on_request = on_request
        self._publishes = UnansweredPublishes()
        #: Publishes that native code sends. None until the property `direct` is read; False if the connection cannot
        #: publish in this way.
        self._direct: DirectPublishes | Literal[False] | None = None
        self._keepalive: KeepAlive | None = None
        self._deliveries = Deliveries(run.recorder, self._examine, self._on_foreign_event, run.stamping)
        self.on_event, self.on_marked = self._deliveries.on_event, self._deliveries.on_marked
        service = self._service = run.logins.service(client)
        session = self._session = service.session(self, f"{client.number}-{life.number}")
        handshake = service.handshake([plan.channel for plan in client.subscriptions])
        if isinstance(session, Resumable):
            if isinstance(earlier, Resumable):
                session.resume(earlier)
            handshake = session.continued(handshake)
        bytes_per_s = client.behaviour.read_bytes_per_s
        slow = None if bytes_per_s is None else SlowReading(bytes_per_s)
        messages = record.messages = LastMessages(service, session.receive)
        socket = connect(run.address, handshake, messages.received, self._on_closed, record.failed, slow)
        #: The socket. It becomes None at the end of the connection, like `_subscriptions`, to free memory before the
        #: client connects again.
        self._socket: SocketStream | None = socket
        self._subscriptions: Subscriptions | None = Subscriptions(
            *(run, client, life, session, socket, self._deliveries.numbers, self._watch, clock),
            None if listener is None else listener.on_moved,
            messages.sent,
        )
        self._login = Login(run, life, record, session, socket, clock)

    # The following methods are the client's actions, such as connecting, subscribing and publishing.

    def open(self, timeout_s: float) -> None:
        """Connect, log in, and request the client's subscriptions; see `ClientConnection.open`."""
        socket, subscriptions = self._socket, self._subscriptions
        assert socket is not None
        assert subscriptions is not None
        try:
            self._login.dial(timeout_s)
        except TransportError:
            # Record the end here: the transport calls `_on_closed` only for a connection that it has opened.
            self._socket = self._subscriptions = None
            self._record.never_opened(socket, subscriptions, self._clock())
            self._login.end()
            raise
        self._login.log_in(timeout_s)
        if (every_ns := self._session.keepalive_ns) is not None:
            self._keepalive = KeepAlive(self._session, socket, every_ns)
        for plan in self._client.subscriptions:
            self.subscribe(plan)
        self._life.established = True

    @property
    def session(self) -> Session:
        """The protocol's session; it is kept after the end of the connection, for the next one to resume."""
        return self._session

    @property
    def socket(self) -> SocketStream | None:
        """The socket while it is open or being opened, else None."""
        return self._socket

    @property
    def most_unanswered(self) -> int:
        """Maximum number of events that the service allows to be unanswered at once; 0 for no limit."""
        return self._session.most_unanswered

    def publish(self, publish_id: str, channel: str, events: Sequence[Any], on_answer: OnAnswer) -> None:
        """Publish over this connection; raises TransportError if it is not open."""
        if self._socket is None:
            raise TransportError("the connection is closed")
        self._publishes.add(publish_id, on_answer)
        try:
            self._socket.send(self._session.publish(publish_id, channel, events))
        except TransportError:
            self._publishes.withdraw(publish_id)
            raise
        if not self._service.answers_publishes:
            self.on_published(publish_id, UNACKNOWLEDGED, self._clock())

    @property
    def direct(self) -> DirectPublishes | None:
        """The direct publishes of this connection (see `users.direct`), or None if it cannot publish directly now."""
        if self._direct is None and self._socket is not None and self._socket.is_open:
            self._direct = (
                direct_publishes(self._run, self._client, self._session, self._socket)
                if self._service.answers_publishes
                else None
            ) or False
            self._watch()
        return self._direct or None

    def subscribe(self, plan: SubscriptionPlan) -> None:
        """Request a subscription; raises TransportError if the connection is not open."""
        if self._subscriptions is None:
            raise TransportError(self._life.error or "the connection was lost while subscribing")
        self._subscriptions.ask(plan)

    def unsubscribe(self, plan: SubscriptionPlan) -> Callable[[], None] | None:
        """Give up a subscription; see `ClientConnection.unsubscribe`."""
        if self._subscriptions is None or self._socket is None or not self._socket.is_open:
            return None
        if self._life.intent is not None:
            return None
        return self._subscriptions.give_up(plan, unready=self._listener is not None)

    def cut(self, intent: str, with_close_frame: bool) -> bool:
        """End the connection and record ``intent``, the reason; return False if the connection is not open."""
        if self._socket is None or self._life.connected_ns is None or self._life.closing:
            return False
        self._life.intent = intent
        if with_close_frame:
            self._say_goodbye(self._socket)
        else:
            self._socket.abort()
        return True

    def close(self) -> None:
        """Begin to close the connection for good; ``on_over`` is called when the service has closed it too."""
        self._begin_closing()
        if self._socket is not None:
            self._say_goodbye(self._socket)

    def abort(self) -> None:
        """Close the connection for good and at once, without a close frame."""
        self._begin_closing()
        self.drop()

    def drop(self) -> None:
        """Drop the connection at once, so that none of its messages can arrive after the client has reconnected."""
        if self._socket is not None:
            self._socket.abort()

    def _begin_closing(self) -> None:
        self._life.closing = True
        if self._subscriptions is not None:
            self._subscriptions.stop()

    def _say_goodbye(self, socket: SocketStream) -> None:
        # Read at full speed: the service's close frame arrives after all data that a slow client has not read yet.
        socket.read_at_full_speed()
        goodbye = self._session.closing()
        if goodbye and socket.is_open:
            socket.send(goodbye)
        socket.close()

    # The session calls the following methods from the gevent hub.

    def on_connected(self, arrival_ns: int) -> None:
        """Handle the service's acceptance of the connection."""
        self._login.on_connected(arrival_ns)

    def on_refused(self, reason: str, refusal: Refusal | None = None) -> None:
        """Handle the service's refusal of the connection."""
        self._login.on_refused(reason, refusal)

    def on_subscribed(self, subscription_id: str, arrival_ns: int) -> None:
        """Handle the service's acknowledgement of a subscription."""
        if self._subscriptions is not None:
            self._subscriptions.on_subscribed(subscription_id, arrival_ns)

    def on_subscribe_failed(self, subscription_id: str, reason: str, refusal: Refusal | None = None) -> None:
        """Handle the service's refusal of a subscription."""
        if self._subscriptions is not None:
            self._subscriptions.on_subscribe_failed(subscription_id, reason, refusal)

    def on_published(self, publish_id: str, answer: PublishAnswer, arrival_ns: int) -> None:
        """Handle the answer to a publish over this connection."""
        self._publishes.answered(publish_id, answer, arrival_ns)
        if self._direct:
            self._direct.answered(publish_id, answer, arrival_ns)

    def on_undecodable(self, kind: str, example: Callable[[], str]) -> None:
        """Count an unreadable message."""
        self._run.recorder.undecodable.add(kind, example)

    def on_deviation(self, what: str) -> None:
        """Count a deviation of the service from its protocol."""
        self._run.recorder.deviations[what] += 1

    def on_aside(self, what: str) -> None:
        """Count a message that is not measured, such as a retained message or a further copy of a delivery."""
        self._run.recorder.asides[what] += 1

    def on_session(self, state: str) -> None:
        """Note the state of the session that client and service keep over reconnects, such as `resumed` or `lost`."""
        self._life.session = state

    def on_service_error(self, reason: str) -> None:
        """Report an error message of the service that belongs to no request."""
        self._life.error = reason
        self._run.report_error(f"the service reported: {reason}", fatal=False)

    def on_reply(self, message: bytes) -> None:
        """Send a message that the protocol requires in reply to a received one."""
        if self._socket is not None and self._socket.is_open:
            self._socket.send(message)

    def on_broken(self, reason: str) -> None:
        """Report an error after which no further message can be understood, and close the connection."""
        self.on_service_error(reason)
        self.drop()

    def _examine(self, subscription_id: str, event: str, arrival_ns: int, stamp: Stamp) -> None:
        subscriptions = self._subscriptions
        if subscriptions is None:
            return
        if subscription_id in subscriptions.unready:
            subscriptions.on_delivery(subscription_id, arrival_ns, stamp)
        if self._on_delivery is not None and stamp[1] >= 0:
            self._on_delivery(subscriptions.channel_of(subscription_id), event)
        if self._on_request is not None and stamp[1] >= 0 and stamp[0] == self._run.recorder.token:
            self._on_request(self._deliveries.numbers[subscription_id], event, arrival_ns, stamp)
        if self._listener is not None and stamp[1] >= 0:
            self._listener.on_received(subscriptions.number_of(subscription_id), event, arrival_ns, stamp)

    def _on_foreign_event(self, subscription_id: str) -> None:
        if self._subscriptions is not None and subscription_id in self._subscriptions.unready:
            self._subscriptions.note_early(subscription_id)

    def _watch(self) -> None:
        """Determine whether Python code must see each delivery, and use the fast path (native code) if not.

        Python must see the deliveries while a subscription is not ready, and always if there is an ``on_delivery``, an
        ``on_request`` or a ``listener``.
        """
        subscriptions, socket, rows = self._subscriptions, self._socket, self._run.recorder.native_rows
        unready = subscriptions is not None and bool(subscriptions.unready)
        asked = self._on_delivery is not None or self._on_request is not None or self._listener is not None
        self._deliveries.examined = examined = unready or asked
        place = self._run.stamping.native_place
        if socket is not None and rows is not None:
            fast_path = (
                self._session.fast_path(rows, self._deliveries.numbers, place)
                if place is not None and not examined
                else None
            )
            socket.use_fast_path(self._direct.fast_path(rows, fast_path) if self._direct else fast_path)

    def _on_closed(self, code: int | None, reason: str) -> None:
        socket, self._socket = self._socket, None
        at_ns = self._clock()
        subscriptions, self._subscriptions = self._subscriptions, None
        keepalive, self._keepalive = self._keepalive, None
        try:
            if keepalive is not None:
                keepalive.stop()
            if socket is not None and subscriptions is not None:
                self._record.ended(socket, subscriptions, code, reason, at_ns)
        finally:
            self._publishes.lost(at_ns, self._record.failed)
            direct, self._direct = self._direct, False
            if direct:
                direct.lost(self._record.failed)
            self._login.end()
            self._on_over(self._life)
