"""A blocking client: each call waits for the service's answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import gevent
from gevent.event import AsyncResult, Event
from gevent.timeout import Timeout

from loadgen.client.frames import UPGRADED, Frames
from loadgen.payloads.stamping import Event as AnyEvent
from loadgen.payloads.stamping import Marked
from loadgen.protocol.base import UNACKNOWLEDGED, PublishAnswer, Service
from loadgen.protocol.refusals import Refusal
from loadgen.transport.address import Address
from loadgen.transport.connection import connection
from loadgen.transport.dialing import Dialer
from loadgen.transport.errors import TransportError
from loadgen.transport.isolation import OnFailed, OurFailureError

TIMEOUT_S: Final = 10.0
_NUMBERS = count()


def look_at_the_clock() -> None:
    """Update the event loop's clock, so that the next timeout counts from now.

    gevent counts a timeout from the last turn of the loop. If the command has blocked for long since that turn, the
    timeout would end too early.
    """
    gevent.get_hub().loop.update_now()


class ServiceRefusedError(Exception):
    """The service refused; the message quotes it, and ``refusal`` classifies the reason if it is known."""

    def __init__(self, text: str, refusal: Refusal | None = None) -> None:
        super().__init__(text)
        self.refusal = refusal


class NoAnswerError(Exception):
    """The service did not answer in time."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A received event; ``arrival_ns`` is by this machine's clock (ns since the epoch)."""

    subscription_id: str
    event: str
    arrival_ns: int


class EventClient:
    """A client with one connection; implements `SessionHandler`.

    ``on_event`` is called from the gevent hub and must not block.
    """

    def __init__(
        self,
        service: Service,
        on_event: Callable[[Delivery], None] = lambda _: None,
        channels: Sequence[str] = (),
        on_failed: OnFailed | None = None,
        dialer: Dialer | None = None,
        frames: Frames | None = None,
    ) -> None:
        """Make the client, not yet connected.

        ``channels`` are the channels to subscribe to; some services need them when the connection opens. If an error in
        the harness itself ends the connection, ``on_failed`` is called with that error. ``dialer`` opens the socket;
        the default one may connect to any host, since the user has named the target. ``frames`` collects the sent and
        received messages.
        """
        self._service = service
        self._frames = frames
        self._on_delivery = on_event
        self._login: AsyncResult = AsyncResult()
        self._answers: dict[str, AsyncResult] = {}
        self._number = 0
        self._tell_failure = on_failed
        self._failure: OurFailureError | None = None
        self._session = service.session(self, f"c{next(_NUMBERS)}")
        #: Set when the connection has ended; :attr:`why` is then the reason.
        self.ended = Event()
        self.why = ""
        #: Why the connection ended, if the reason was bytes that cannot be decoded; else empty.
        self._broken = ""
        self.deviations: list[str] = []
        handshake = service.handshake(channels)
        if frames is not None:
            frames.upgrade(service.connect_url, handshake)
        self.socket = connection(
            Address(service.connect_url, service.tls, dialer or Dialer(allow_remote=True)),
            handshake,
            self._session.receive if frames is None else self._receive,
            self._on_closed,
            self._on_failed,
        )

    @property
    def keepalive_timeout_ns(self) -> int | None:
        """Longest silence of the service before the connection counts as dead (ns), or None if there is no limit."""
        return self._session.timeout_ns

    def open(self, timeout_s: float = TIMEOUT_S) -> None:
        """Connect; raises TransportError if that fails."""
        look_at_the_clock()
        self.socket.open(timeout_s)
        if self._frames is not None:
            self._frames.accepted("200 OK" if self._service.connect_url.startswith("http") else UPGRADED)

    def login(self, timeout_s: float = TIMEOUT_S) -> None:
        """Log in and wait for the answer, if the service gives one.

        Raises:
            ServiceRefusedError: the service refused.
            NoAnswerError: the service did not answer in time.
            TransportError: the connection was lost.
        """
        for message in self._session.opening():
            if self.socket.is_open:
                self._send(message)
        if not self._service.answers_opening:
            self._login.set(None)
        try:
            self._wait(self._login, timeout_s, "the login")
        except NoAnswerError as error:
            awaited = self._session.awaits()
            raise NoAnswerError(f"{error}; {awaited}" if awaited else str(error)) from None

    def subscribe(self, channel: str, timeout_s: float = TIMEOUT_S) -> str:
        """Subscribe and return the subscription's id; raises the same errors as `login`."""
        name = self._next_id("s")
        answer = self._expect(name)
        message = self._session.subscribe(name, channel)
        if message:
            self._send(message)
        if not message or not self._service.answers_subscribes:
            self.on_subscribed(name, 0)
        self._wait(answer, timeout_s, "the subscribe")
        return name

    def publish(
        self, channel: str, events: Sequence[AnyEvent], timeout_s: float = TIMEOUT_S
    ) -> PublishAnswer:
        """Publish over this connection and return the answer, which also reports a refusal of the publish.

        Raises:
            ServiceRefusedError: the service sent an error that names no request, or a message that cannot be read.
            NoAnswerError: the service did not answer in time.
            TransportError: the connection was lost.
        """
        name = self._next_id("p")
        answer = self._expect(name)
        self._send(self._session.publish(name, channel, events))
        if not self._service.answers_publishes:
            self.on_published(name, UNACKNOWLEDGED, 0)
        published: PublishAnswer = self._wait(answer, timeout_s, "the publish")
        return published

    def close(self) -> None:
        """Close, wait up to 1 s for the server to close too, then drop the connection."""
        goodbye = self._session.closing()
        if goodbye and self.socket.is_open:
            self._send(goodbye)
        self.socket.close()
        look_at_the_clock()
        if not self.ended.wait(1.0):
            self.socket.abort()

    # Callbacks of the session.

    def on_connected(self, arrival_ns: int) -> None:
        """Complete the login: the service accepted it."""
        self._login.set(None)

    def on_refused(self, reason: str, refusal: Refusal | None = None) -> None:
        """Fail the login: the service refused it."""
        self._login.set_exception(ServiceRefusedError(reason, refusal))

    def on_subscribed(self, subscription_id: str, arrival_ns: int) -> None:
        """Complete a subscribe: the service acknowledged it."""
        self._answer(subscription_id).set(None)

    def on_subscribe_failed(self, subscription_id: str, reason: str, refusal: Refusal | None = None) -> None:
        """Fail a subscribe: the service refused it."""
        self._answer(subscription_id).set_exception(ServiceRefusedError(reason, refusal))

    def on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
        """Pass a delivered event to the callback."""
        self._on_delivery(Delivery(subscription_id, event, int(arrival_ns)))

    def on_marked(self, subscription_id: str, event: Marked, arrival_ns: int, read_ns: int) -> None:
        """Pass the body of a delivered event to the callback; the stamp, sent outside the body, is dropped."""
        self.on_event(subscription_id, event.body.decode(errors="replace"), arrival_ns, read_ns)

    def on_published(self, publish_id: str, answer: PublishAnswer, arrival_ns: int) -> None:
        """Complete a publish with the service's answer."""
        self._answer(publish_id).set(answer)

    def on_undecodable(self, kind: str, example: Callable[[], str]) -> None:
        """Record a message that cannot be read, and fail every pending request."""
        reason = f"{kind}: {example()}"
        self.deviations.append(f"a message cannot be read: {reason}")
        self._fail(
            ServiceRefusedError(f"it answers with something that is not a message of the protocol: {reason}")
        )

    def on_deviation(self, what: str) -> None:
        """Record that the service deviated from its protocol."""
        self.deviations.append(what)

    def on_aside(self, what: str) -> None:
        """Ignore a message that is not to be measured, such as a retained message."""

    def on_session(self, state: str) -> None:
        """Never called: this client keeps no session."""

    def on_service_error(self, reason: str) -> None:
        """Fail every pending request: an error that names no request may be about any of them."""
        self._fail(ServiceRefusedError(reason))

    def on_reply(self, message: bytes) -> None:
        """Send a reply that the protocol requires, such as a pong."""
        if self.socket.is_open:
            self._send(message)

    def on_broken(self, reason: str) -> None:
        """End the connection: nothing after this point can be decoded."""
        self._broken = reason
        self._fail(ServiceRefusedError(reason))
        self.socket.abort()

    # Internals.

    def _send(self, message: bytes) -> None:
        if self._frames is not None:
            self._frames.sent(message)
        self.socket.send(message)

    def _receive(self, message: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        assert self._frames is not None
        self._frames.received(message)
        self._session.receive(message, arrival_ns, read_ns)

    def _on_failed(self, error: BaseException) -> None:
        self._failure = OurFailureError(error)
        if self._tell_failure is not None:
            self._tell_failure(error)

    def _on_closed(self, code: int | None, reason: str) -> None:
        how = self.socket.abrupt if code is None else f"closed with code {code}"
        how = how.removeprefix("closed")
        self.why = f"the service closed the connection{how}" + (f" ({reason})" if reason else "")
        if self.socket.violation is not None:
            self.why = str(self.socket.violation)
        elif self._broken:
            self.why = self._broken
        if self._failure is not None:
            self.why = str(self._failure)
        if self._frames is not None:
            self._frames.closed(self.why)
        self.ended.set()
        self._fail(self._failure or TransportError(self.why))

    def _fail(self, error: Exception) -> None:
        for waiting in (self._login, *self._answers.values()):
            if not waiting.ready():
                waiting.set_exception(error)

    def _next_id(self, kind: str) -> str:
        self._number += 1
        return f"{kind}{self._number}"

    def _expect(self, name: str) -> AsyncResult:
        answer = self._answers[name] = AsyncResult()
        return answer

    def _answer(self, name: str) -> AsyncResult:
        # If nothing awaits this answer (it is unexpected, or the second one), the caller sets a new result that is
        # never read.
        return self._answers.pop(name, AsyncResult())

    def _wait(self, answer: AsyncResult, timeout_s: float, what: str) -> PublishAnswer:
        look_at_the_clock()
        try:
            value: PublishAnswer = answer.get(timeout=timeout_s)
        except Timeout:
            raise NoAnswerError(f"no answer to {what} within {timeout_s:g} s") from None
        return value
