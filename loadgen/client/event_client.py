"""A client that waits for each answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import gevent
from gevent.event import AsyncResult, Event
from gevent.timeout import Timeout

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
    """Let the timeouts of the next wait count from now.

    They count from when the event loop last ran, and between two waits these commands do blocking things.
    """
    gevent.get_hub().loop.update_now()


class ServiceRefusedError(Exception):
    """The service said no; the message is what it said, ``refusal`` what that means where it is known."""

    def __init__(self, text: str, refusal: Refusal | None = None) -> None:
        super().__init__(text)
        self.refusal = refusal


class NoAnswerError(Exception):
    """The service did not answer in time."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that came in; times on this machine's clock (ns since the epoch)."""

    subscription_id: str
    event: str
    arrival_ns: int


class EventClient:
    """One connection; implements `SessionHandler`. `on_event` is called from the hub and must not block."""

    def __init__(
        self,
        service: Service,
        on_event: Callable[[Delivery], None] = lambda _: None,
        channels: Sequence[str] = (),
        on_failed: OnFailed | None = None,
        dialer: Dialer | None = None,
    ) -> None:
        """``channels`` is what will be subscribed to; some services want to know that with the connection.

        ``on_failed`` is told of an error of the harness that ended the connection. ``dialer`` opens the socket; without
        one it may go anywhere, as whoever uses a client by hand has named the target.
        """
        self._service = service
        self._on_delivery = on_event
        self._login: AsyncResult = AsyncResult()
        self._answers: dict[str, AsyncResult] = {}
        self._number = 0
        self._tell_failure = on_failed
        self._failure: OurFailureError | None = None
        self._session = service.session(self, f"c{next(_NUMBERS)}")
        #: Set when the connection has ended; :attr:`why` then says how.
        self.ended = Event()
        self.why = ""
        #: What the service sent that was no message of the protocol, and so ended the connection.
        self._broken = ""
        self.deviations: list[str] = []
        self.socket = connection(
            Address(service.connect_url, service.tls, dialer or Dialer(allow_remote=True)),
            service.handshake(channels),
            self._session.receive,
            self._on_closed,
            self._on_failed,
        )

    @property
    def keepalive_timeout_ns(self) -> int | None:
        """Within what time the service promises to be heard."""
        return self._session.timeout_ns

    def open(self, timeout_s: float = TIMEOUT_S) -> None:
        """Connect; raises TransportError."""
        look_at_the_clock()
        self.socket.open(timeout_s)

    def login(self, timeout_s: float = TIMEOUT_S) -> None:
        """Ask to be let in.

        Raises:
            ServiceRefusedError: the service refused.
            NoAnswerError: it said nothing in time.
            TransportError: the connection was lost.
        """
        for message in self._session.opening():
            if self.socket.is_open:
                self.socket.send(message)
        if not self._service.answers_opening:
            self._login.set(None)
        try:
            self._wait(self._login, timeout_s, "the login")
        except NoAnswerError as error:
            awaited = self._session.awaits()
            raise NoAnswerError(f"{error}; {awaited}" if awaited else str(error)) from None

    def subscribe(self, channel: str, timeout_s: float = TIMEOUT_S) -> str:
        """Subscribe and return the subscription's id; raises as `login` does."""
        name = self._next_id("s")
        answer = self._expect(name)
        message = self._session.subscribe(name, channel)
        if message:
            self.socket.send(message)
        if not message or not self._service.answers_subscribes:
            self.on_subscribed(name, 0)
        self._wait(answer, timeout_s, "the subscribe")
        return name

    def publish(self, channel: str, events: Sequence[str], timeout_s: float = TIMEOUT_S) -> PublishAnswer:
        """Publish over this connection; raises as `login` does, but for a refusal: that is in the answer."""
        name = self._next_id("p")
        answer = self._expect(name)
        self.socket.send(self._session.publish(name, channel, events))
        if not self._service.answers_publishes:
            self.on_published(name, UNACKNOWLEDGED, 0)
        published: PublishAnswer = self._wait(answer, timeout_s, "the publish")
        return published

    def close(self) -> None:
        """Close and wait a moment for the other side to agree."""
        goodbye = self._session.closing()
        if goodbye and self.socket.is_open:
            self.socket.send(goodbye)
        self.socket.close()
        look_at_the_clock()
        if not self.ended.wait(1.0):
            self.socket.abort()

    # What the session tells.

    def on_connected(self, arrival_ns: int) -> None:
        """The service let us in."""
        self._login.set(None)

    def on_refused(self, reason: str, refusal: Refusal | None = None) -> None:
        """The service did not let us in."""
        self._login.set_exception(ServiceRefusedError(reason, refusal))

    def on_subscribed(self, subscription_id: str, arrival_ns: int) -> None:
        """The subscription is acknowledged."""
        self._answer(subscription_id).set(None)

    def on_subscribe_failed(self, subscription_id: str, reason: str, refusal: Refusal | None = None) -> None:
        """The subscription is refused."""
        self._answer(subscription_id).set_exception(ServiceRefusedError(reason, refusal))

    def on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
        """An event was delivered."""
        self._on_delivery(Delivery(subscription_id, event, int(arrival_ns)))

    def on_published(self, publish_id: str, answer: PublishAnswer, arrival_ns: int) -> None:
        """The publish was answered."""
        self._answer(publish_id).set(answer)

    def on_undecodable(self, kind: str, example: Callable[[], str]) -> None:
        """Not the protocol that we speak."""
        reason = f"{kind}: {example()}"
        self.deviations.append(f"a message cannot be read: {reason}")
        self._fail(
            ServiceRefusedError(f"it answers with something that is no message of the protocol: {reason}")
        )

    def on_deviation(self, what: str) -> None:
        """The service did something else than its protocol says."""
        self.deviations.append(what)

    def on_service_error(self, reason: str) -> None:
        """An error that belongs to no request: it may well be about the one that waits."""
        self._fail(ServiceRefusedError(reason))

    def on_reply(self, message: bytes) -> None:
        """The protocol wants this sent in answer to what was received."""
        if self.socket.is_open:
            self.socket.send(message)

    def on_broken(self, reason: str) -> None:
        """Nothing that follows can be understood."""
        self._broken = reason
        self._fail(ServiceRefusedError(reason))
        self.socket.abort()

    # Inside.

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
        # An answer that nobody waits for, or a second one, goes nowhere.
        return self._answers.pop(name, AsyncResult())

    def _wait(self, answer: AsyncResult, timeout_s: float, what: str) -> PublishAnswer:
        look_at_the_clock()
        try:
            value: PublishAnswer = answer.get(timeout=timeout_s)
        except Timeout:
            raise NoAnswerError(f"no answer to {what} within {timeout_s:g} s") from None
        return value
