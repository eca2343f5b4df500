"""One client's connection: its subscriptions and their readiness, its publishes, and the rows recorded for them."""

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gevent
import msgspec
from gevent.event import Event

from loadgen.measure.clock import now_ns
from loadgen.measure.failures import HARNESS
from loadgen.measure.rows import AlteredRow
from loadgen.measure.stamp import Stamp, decode_event
from loadgen.payloads.stamping import NOT_OURS, Marked, Reading
from loadgen.protocol.base import PING, UNACKNOWLEDGED, PublishAnswer
from loadgen.protocol.refusals import Refusal
from loadgen.protocol.unreadable import FRAME_UNREADABLE
from loadgen.resolve import ClientPlan, SubscriptionPlan
from loadgen.transport import isolation
from loadgen.transport.connection import connection as connection_to
from loadgen.transport.errors import TransportError
from loadgen.transport.isolation import OurFailureError
from loadgen.transport.resolving import DialingError
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.stream import SocketStream
from loadgen.users.life import Life
from loadgen.users.reconnect import HARNESS_FAILURE
from loadgen.users.subscriptions import Subscriptions
from loadgen.users.worker import WorkerRun

_NOT_OURS = (msgspec.MsgspecError, UnicodeError, struct.error, OverflowError, RecursionError)

#: A deviation that any protocol's service may show.
DELIVERY_UNASKED = "an event came for a subscription that nobody asked for"

OnAnswer = Callable[[PublishAnswer | None, int], None]
OnDelivery = Callable[[str, str], None]
OnEvent = Callable[[str, str, int, int], None]


class ClientConnection:
    """One client's connection, which implements `SessionHandler`.

    :meth:`open` begins a life of the connection and may be called again after that life has ended.

    ``on_delivery``, if given, is called with (channel pattern, event text) after a delivery was recorded. ``on_ended``,
    if given, is called from the hub with this connection when a life that :meth:`open` had established ends without
    :meth:`close` or :meth:`abort`.

    A service may send anything at any time: an answer to a request that was never made or was given up, a message for a
    subscription that has ended, a message before the login or after the end. These change nothing but counts.
    """

    __slots__ = (
        "_answers",
        "_client",
        "_closing",
        "_keepalive",
        "_life",
        "_login",
        "_numbers",
        "_on_delivery",
        "_on_ended",
        "_run",
        "_session",
        "_slow",
        "_socket",
        "_subscriptions",
        "_watching",
        "ended",
        "on_event",
    )

    on_event: OnEvent
    """Record a delivery; see `SessionHandler`."""

    def __init__(
        self,
        run: WorkerRun,
        client: ClientPlan,
        on_delivery: OnDelivery | None = None,
        on_ended: Callable[["ClientConnection"], None] | None = None,
    ) -> None:
        self._run = run
        self._client = client
        self._on_delivery = on_delivery
        #: The current life, or the last one.
        self._life = Life()
        self._socket: SocketStream | None = None
        self._keepalive: Any = None
        self._numbers: dict[str, int] = {}
        #: Subscriptions of the latest life.
        self._subscriptions: Subscriptions | None = None
        self._slow: SlowReading | None = None
        #: True while deliveries must be examined after recording: until all subscriptions are ready, or for the user's
        #: on_delivery().
        self._watching = True
        self._answers: dict[str, OnAnswer] = {}
        self.on_event = self._make_on_event()
        self._closing = False
        self._on_ended = on_ended
        #: Set while there is no connection; :meth:`open` clears it.
        self.ended = Event()
        self.ended.set()

    # Actions of the client.

    def open(self, timeout_s: float) -> None:
        """Connect, wait until the service accepts the connection, and request every subscription.

        Return without waiting for the answers to the subscriptions.

        Raises:
            TransportError: the service could not be reached, or did not answer in time.
            HandshakeRefusedError: the service refused the connection; trying again cannot help.
            NotNowError: the service refused the connection for now; trying again later may help.
            OurFailureError: the harness failed; the failure is already recorded.
        """
        try:
            self._open(timeout_s)
        except Exception as error:
            ours = not isinstance(error, TransportError)
            if ours:
                self.failed(error)
            # No event of this life may reach the next one.
            if self._socket is not None:
                self._socket.abort()
            self.ended.set()
            if ours:
                raise OurFailureError(error) from error
            raise

    def _open(self, timeout_s: float) -> None:
        life = self._life = self._life.next()
        self._numbers.clear()
        service = self._run.service
        self._session = service.session(self, f"{self._client.number}-{life.number}")
        self._login = Event()
        self.ended.clear()
        handshake = service.handshake([plan.channel for plan in self._client.subscriptions])
        socket = self._socket = connection_to(
            self._run.address, handshake, self._session.receive, self._on_closed, self.failed
        )
        subscriptions = self._subscriptions = Subscriptions(
            self._run, self._client, life, self._session, socket, self._numbers, self._watch
        )
        self._dial(socket, timeout_s)
        self._log_in(socket, timeout_s)
        if (every_ns := self._session.keepalive_ns) is not None:
            self._keepalive = gevent.get_hub().loop.timer(every_ns / 1e9, every_ns / 1e9)
            self._keepalive.start(isolation.run, socket, self._keep_alive)
        for plan in self._client.subscriptions:
            if self._socket is None:
                raise TransportError(life.error or "the connection was lost while subscribing")
            subscriptions.ask(plan)
        life.established = True

    def _dial(self, socket: SocketStream, timeout_s: float) -> None:
        """Connect and complete the transport's handshakes."""
        life = self._life
        try:
            socket.open(timeout_s)
        except TransportError as error:
            self._socket = None
            life.error = str(error)
            if isinstance(error, DialingError):
                # A failure on our side, such as of the resolver. The dialer reports it; the service is not to blame.
                life.intent = HARNESS_FAILURE
            self._refuse(error.refusal)
            at_ns = now_ns()
            self._record_connection(socket, None, at_ns)
            self._record_unasked(at_ns)
            raise
        life.opened_ns = now_ns()
        self._run.progress.opened += 1
        if (bytes_per_s := self._client.behaviour.read_bytes_per_s) is not None:
            self._slow = SlowReading(socket, bytes_per_s)
            self._run.recorder.slow.update(plan.number for plan in self._client.subscriptions)

    def _log_in(self, socket: SocketStream, timeout_s: float) -> None:
        """Send the protocol's opening messages and wait for the service to accept the connection."""
        life = self._life
        assert life.opened_ns is not None
        for message in self._session.opening():
            socket.send(message)
        if not self._run.service.answers_opening:
            self.on_connected(life.opened_ns)
        if not self._login.wait(timeout_s):
            awaited = self._session.awaits()
            life.error = f"no answer to the login within {timeout_s:g} s" + (
                f"; {awaited}" if awaited else ""
            )
            socket.abort()
        if life.connected_ns is None or self._socket is None:
            if not self.ended.is_set():
                socket.abort()
            raise life.failure()

    @property
    def life(self) -> int:
        """Number of the latest life, from 0; -1 before the first."""
        return self._life.number

    @property
    def intent(self) -> str | None:
        """Why the client itself ended the latest life (see `reconnect`), or None if it did not."""
        return self._life.intent

    @property
    def has_socket(self) -> bool:
        """True while the connection is open or being opened."""
        return self._socket is not None

    @property
    def remote_address(self) -> str | None:
        """IP address and port of the service, or None if there is no connection."""
        return None if self._socket is None else self._socket.remote_address

    @property
    def most_unanswered(self) -> int:
        """Most events that the service allows to be unanswered at once; 0 for no limit."""
        return self._session.most_unanswered

    def publish(self, publish_id: str, channel: str, events: Sequence[Any], on_answer: OnAnswer) -> None:
        """Publish over this connection; the events are those that `WorkerRun.stamping` makes.

        ``on_answer`` gets the answer and its arrival (ns), or None and the current time if the connection was lost.

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
        """Give up a subscription and return a function that subscribes again.

        The returned function does nothing if the connection has ended by then. If the subscription is not ready or
        there is no connection, do nothing and return None.
        """
        subscriptions = self._subscriptions
        if subscriptions is None or self._socket is None or not self._socket.is_open:
            return None
        return None if self._life.intent is not None else subscriptions.give_up(plan)

    def cut(self, intent: str, with_close_frame: bool) -> bool:
        """End this life as an action of the client and record ``intent``; return False if there is no life to end."""
        if self._socket is None or self._life.connected_ns is None or self._closing:
            return False
        self._life.intent = intent
        if with_close_frame:
            self._read_on()
            self._say_goodbye(self._socket)
        else:
            self._socket.abort()
        return True

    def close(self) -> None:
        """Begin to close the connection; :attr:`ended` is set when the service has closed it too."""
        self._begin_closing()
        self._read_on()
        if self._socket is not None:
            self._say_goodbye(self._socket)

    def abort(self) -> None:
        """Close the connection at once, without a close frame."""
        self._begin_closing()
        if self._socket is not None:
            self._socket.abort()

    def _begin_closing(self) -> None:
        self._closing = True
        if self._subscriptions is not None:
            self._subscriptions.stop()

    def _make_on_event(self) -> OnEvent:
        if not self._run.stamping.plain:
            return self._make_on_other_event()
        # The hot path: a closure's variables are faster than a method's attributes.
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
                # Another publisher uses the channel too: the event has no stamp, or is not JSON at all.
                recorder.foreign += 1
                self._on_foreign_event(subscription_id)
                return
            if self._watching:
                self._on_watched_event(subscription_id, event, arrival_ns, stamp)

        return on_event

    def _make_on_other_event(self) -> OnEvent:
        """Return the function for events whose stamps are elsewhere than usual, or hold checksums."""
        read, take = self._run.stamping.read, self._take

        def on_event(subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
            take(subscription_id, lambda: read(event), lambda: event, arrival_ns, read_ns)

        return on_event

    # Called by the session, from the hub.

    def on_marked(self, subscription_id: str, event: Marked, arrival_ns: int, read_ns: int) -> None:
        """Record a delivery with its stamp beside it; see `SessionHandler`."""
        self._take(
            subscription_id,
            lambda: self._run.stamping.read_beside(event.stamp, event.body),
            lambda: event.body.decode(errors="replace"),
            arrival_ns,
            read_ns,
        )

    def _take(
        self,
        subscription_id: str,
        read: Callable[[], Reading],
        text: Callable[[], str],
        arrival_ns: int,
        read_ns: int,
    ) -> None:
        recorder = self._run.recorder
        number = self._numbers.get(subscription_id)
        if number is None:
            recorder.unknown_subscription += 1
            self.on_deviation(DELIVERY_UNASKED)
            return
        try:
            stamp, altered = read()
            recorder.deliver(number, arrival_ns, read_ns, stamp)
        except (*NOT_OURS, struct.error):
            recorder.foreign += 1
            self._on_foreign_event(subscription_id)
            return
        if altered and stamp[0] == recorder.token:
            recorder.altered(AlteredRow(number, stamp[1], stamp[2], int(arrival_ns)))
        if self._watching:
            self._on_watched_event(subscription_id, text(), arrival_ns, stamp)

    def _on_watched_event(self, subscription_id: str, event: str, arrival_ns: int, stamp: Stamp) -> None:
        subscriptions = self._subscriptions
        if subscriptions is None:
            return
        if subscription_id in subscriptions.unready:
            subscriptions.on_delivery(subscription_id, arrival_ns, stamp)
        if self._on_delivery is not None and stamp[1] >= 0:
            self._on_delivery(subscriptions.channel_of(subscription_id), event)

    def _on_foreign_event(self, subscription_id: str) -> None:
        subscriptions = self._subscriptions
        if subscriptions is None or subscription_id not in self._numbers:
            self.on_deviation(DELIVERY_UNASKED)
        elif subscription_id in subscriptions.unready:
            subscriptions.note_early(subscription_id)

    def on_connected(self, arrival_ns: int) -> None:
        """Handle the service's acceptance of the connection."""
        if self._life.connected_ns is not None or self._socket is None:
            return
        self._life.connected_ns = arrival_ns
        self._run.progress.connected += 1
        # Recorded now in case this process is killed; the row at the end replaces this one.
        self._record_connection(self._socket, None, None)
        if (timeout_ns := self._session.timeout_ns) is not None:
            self._socket.watch_silence(timeout_ns, partial(self._on_silent, self._socket, timeout_ns))
        self._login.set()

    def on_refused(self, reason: str, refusal: Refusal | None = None) -> None:
        """Handle the service's refusal of the connection."""
        self._life.error = reason
        self._life.refused = True
        self._refuse(refusal)
        self._login.set()

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
        on_answer = self._answers.pop(publish_id, None)
        if on_answer is not None:
            on_answer(answer, arrival_ns)

    def on_undecodable(self, kind: str, example: Callable[[], str]) -> None:
        """Count an unreadable message."""
        self._run.recorder.undecodable.add(kind, example)

    def on_deviation(self, what: str) -> None:
        """Count a deviation of the service from its protocol."""
        self._run.recorder.deviations[what] += 1

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
        if self._socket is not None:
            self._socket.abort()

    # Called by the transport.

    def failed(self, error: BaseException) -> None:
        """Count a failure of the harness on this connection.

        The life's intent becomes `HARNESS_FAILURE`, so that later deliveries, which the harness cannot observe, do not
        count as lost.
        """
        if not isinstance(error, isolation.OF_THE_PROCESS):
            self._run.failures.add(HARNESS, "serving a connection", error)
        if self._life.intent is None and not self._closing:
            self._life.intent = HARNESS_FAILURE

    # Internals.

    def _refuse(self, refusal: Refusal | None) -> None:
        self._life.refusal = refusal
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
        """Close the connection, because no data has come for longer than the service may be silent."""
        self._life.error, self._life.silent_since_ns = silent(timeout_ns), heard_ns
        socket.abort()

    def _say_goodbye(self, socket: SocketStream) -> None:
        goodbye = self._session.closing()
        if goodbye and socket.is_open:
            socket.send(goodbye)
        socket.close()

    def _read_on(self) -> None:
        """Let a slow client read at full speed, since the answer to its close frame comes after the unread data."""
        slow, self._slow = self._slow, None
        if slow is not None:
            slow.stop()

    def _watch(self) -> None:
        """Update whether deliveries are examined, and use the fast path if they need not be.

        They are examined while a subscription is not ready or if the user overrides on_delivery().
        """
        unready = self._subscriptions is not None and bool(self._subscriptions.unready)
        self._watching = unready or self._on_delivery is not None
        rows = self._run.recorder.native_rows
        if self._socket is not None and rows is not None:
            self._socket.use_fast_path(
                self._session.fast_path(rows, self._numbers)
                if not self._watching and self._run.stamping.plain
                else None
            )

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
            answers, self._answers = self._answers, {}
            for on_answer in answers.values():
                try:
                    on_answer(None, at_ns)
                except Exception as error:
                    self.failed(error)
            self._login.set()
            self.ended.set()
            if self._on_ended is not None and self._life.established and not self._closing:
                self._on_ended(self)

    def _record_end(self, socket: SocketStream, code: int | None, reason: str, at_ns: int) -> None:
        progress = self._run.progress
        if socket.violation is not None:
            self._run.recorder.undecodable.add(FRAME_UNREADABLE, lambda: str(socket.violation))
        if self._life.intent == HARNESS_FAILURE:
            self._life.error = reason
        elif not self._closing and self._life.intent is None:
            why = f"closed with code {code}" if code is not None else socket.abrupt
            said = f"{why}: {reason}" if reason else why
            self._life.error = self._life.error or (
                said if socket.violation is None else str(socket.violation)
            )
            if self._life.connected_ns is not None:
                progress.lost_connections += 1
        if self._life.connected_ns is not None:
            progress.connected -= 1
        if self._subscriptions is not None:
            self._subscriptions.end(at_ns, self._life.intent)
        if not self._life.established:
            self._record_unasked(at_ns)
        self._record_connection(socket, code, at_ns)

    def _record_unasked(self, at_ns: int) -> None:
        """If the harness has failed, also record the subscriptions that were never requested."""
        if self._life.intent == HARNESS_FAILURE and self._subscriptions is not None:
            self._subscriptions.record_unasked(at_ns, self._life.intent)

    def _record_connection(self, socket: SocketStream, code: int | None, closed_ns: int | None) -> None:
        self._run.recorder.connection(
            self._life.row(
                self._client, socket, close_code=code, closed_ns=closed_ns, on_purpose=self._closing
            )
        )


def silent(timeout_ns: int) -> str:
    """Return the error text of a connection that was closed because no data came for ``timeout_ns``."""
    return f"silent for {timeout_ns / 1e9:g} s: nothing at all came, and the service must be heard within that time"
