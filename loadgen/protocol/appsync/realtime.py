"""The parts that Event APIs and GraphQL APIs share: the logins of a service, and a connection's handshake."""

import re
from collections.abc import Callable, Mapping
from copy import copy
from typing import Final, Protocol, Self

import msgspec

from loadgen.protocol import unreadable
from loadgen.protocol.appsync.auth import Credential
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.base import ClientLogins, Handshake, PublishAnswer, SessionHandler, TlsOptions
from loadgen.protocol.refusals import Refusal

#: Python evaluates the annotations of a nested function whenever it makes one; a name is faster than a new union type.
Message = bytes | bytearray
OnMessage = Callable[[Message, int, int], None]

#: Deviations of a service from AWS; the harness reports them and continues.
NO_TIMEOUT = "connection_ack has no connectionTimeoutMs"
IMPOSSIBLE_TIMEOUT = "connection_ack has an impossible connectionTimeoutMs"
EARLY_KEEPALIVE = "a ka came before connection_ack"
SECOND_ACK = "connection_ack came a second time"
LATE_REFUSAL = "connection_error came after connection_ack"
_MOST_TIMEOUT_MS: Final = 1 << 40
#: A shorter timeout from the service is reported and not applied, since it would end each connection in any short pause
#: between two messages.
_LEAST_TIMEOUT_MS: Final = 100
#: States of a subscription.
ASKED, ACTIVE, LEAVING = 0, 1, 2

#: Matches the authorization in a message and the rest of that message. Both are hidden in error texts, as the service
#: may echo one of our messages. Searching for a known secret is not enough, since every message has another signature.
_AUTHORIZATION: Final = re.compile(rb"(authorization|header[-=]).*", re.IGNORECASE | re.DOTALL)
_NOTHING_SENT: Final[Mapping[str, str]] = {}


class Refused(Protocol):
    """A message of the service with errors."""

    def describe_errors(self) -> str:
        """Return the errors as one text."""

    def refusal(self) -> Refusal:
        """Classify the errors."""


class RealtimeSession:
    """The state of one connection up to `connection_ack`, and the methods of `Session` that need only this state."""

    __slots__ = ("_acknowledged", "_handler", "_subscriptions", "receive", "timeout_ns")

    receive: OnMessage
    """Processes a message of the service and calls the handler."""
    #: Any number of events may be unanswered.
    most_unanswered: Final = 0
    #: The client sends no keepalives, as the service sends its own.
    keepalive_ns: Final = None

    def __init__(self, handler: SessionHandler) -> None:
        self.timeout_ns: int | None = None
        self._acknowledged = False
        self._subscriptions: dict[str, int] = {}
        self._handler = handler

    def awaits(self) -> str:
        """Return no detail on what the opening connection waits for, as this can only be `connection_ack`."""
        return ""

    def keepalive(self) -> bytes:
        """Return no bytes: the service expects no keepalive."""
        return b""

    def closing(self) -> bytes:
        """Return no bytes: the WebSocket close frame is enough."""
        return b""

    def _on_keepalive(self) -> None:
        if not self._acknowledged:
            self._handler.on_deviation(EARLY_KEEPALIVE)

    def _on_ack(self, timeout_ms: int | None, arrival_ns: int) -> None:
        handler = self._handler
        if self._acknowledged:
            handler.on_deviation(SECOND_ACK)
        self._acknowledged = True
        if timeout_ms is None:
            handler.on_deviation(NO_TIMEOUT)
        elif not _LEAST_TIMEOUT_MS <= timeout_ms < _MOST_TIMEOUT_MS:
            handler.on_deviation(IMPOSSIBLE_TIMEOUT)
        else:
            self.timeout_ns = timeout_ms * 1_000_000
        handler.on_connected(arrival_ns)

    def _on_refused(self, message: Refused) -> None:
        if self._acknowledged:
            self._handler.on_deviation(LATE_REFUSAL)
        self._handler.on_refused(message.describe_errors(), message.refusal())


class RealtimeService:
    """The URLs of an API, a credential for each operation, and the methods of `Service` that need only these."""

    __slots__ = (
        "_channels",
        "_connect",
        "_handshake",
        "_host",
        "_publish",
        "_sent",
        "_subscribe",
        "connect_url",
        "http_url",
    )

    tls = TlsOptions()
    answers_opening = answers_subscribes = answers_publishes = True

    def __init__(self, endpoints: Endpoints, credential: Credential) -> None:
        self.connect_url = endpoints.ws_url
        self.http_url = endpoints.http_url
        self._host = endpoints.http_host
        self._connect = self._subscribe = self._publish = self._signing(credential)
        #: Credentials by channel, used for subscriptions instead of `_subscribe`, or None if no channel has its own.
        self._channels: Mapping[str, Credential] | None = None
        #: The authorization sent last: it must be hidden if the service echoes it.
        self._sent: Mapping[str, str] = _NOTHING_SENT
        #: The last handshake and its headers, to be reused: most credentials give every connection the same headers.
        self._handshake: tuple[Mapping[str, str], Handshake] | None = None

    def for_client(self, logins: ClientLogins) -> Self:
        """Return a copy of the service with one client's own credentials; everything else is shared with this one."""
        made = copy(self)
        made._use(logins)
        return made

    def carry_stamps(self, name: str) -> None:
        """Never called: the service passes on no header or property of a message that could hold a stamp."""
        raise NotImplementedError

    def _use(self, logins: ClientLogins) -> None:
        self._connect = self._signing(logins.connect or self._connect)
        self._subscribe = self._signing(logins.subscribe or self._subscribe)
        self._publish = self._signing(logins.publish or self._publish)
        if logins.channels is not None:
            self._channels = {
                self._normal(channel): self._signing(each) for channel, each in logins.channels.items()
            }
        self._sent = _NOTHING_SENT

    def _signing(self, credential: Credential) -> Credential:
        """Return the credential to use: ``credential`` itself, unless a subclass must make it sign other paths."""
        return credential

    def _normal(self, channel: str) -> str:
        """Return a channel in its normal form."""
        raise NotImplementedError

    def _subscribes_by(self, channel: str) -> Credential:
        """Return the credential for subscribing to ``channel``, which must be in its normal form."""
        return self._subscribe if self._channels is None else self._channels.get(channel, self._subscribe)

    def _handshake_by(self, make: Callable[[dict[str, str]], Handshake]) -> Handshake:
        """Return ``make``'s handshake for the credential's headers; ``make`` is called again only for new headers."""
        headers = self._sent = self._connect.connect_headers(self._host)
        if self._handshake is None or self._handshake[0] != headers:
            self._handshake = dict(headers), make(headers)
        return self._handshake[1]

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return a message of the service for display: escaped, cut, and without any `authorization`."""
        secrets = [(value, unreadable.HIDDEN) for name, value in self._sent.items() if name != "host"]
        return unreadable.shown(_AUTHORIZATION.sub(rb"\g<1>(secret)", bytes(message)), secrets)


def unreadable_kind(error: Exception, message: bytes | bytearray) -> str:
    """Return the kind of a message that the JSON decoder refused with ``error``."""
    if not unreadable.is_utf8(message):
        return unreadable.MESSAGE_NOT_UTF8
    return unreadable.UNKNOWN_FORM if isinstance(error, msgspec.ValidationError) else unreadable.NOT_JSON


def unreadable_answer(status: int, body: bytes, wanted: str) -> PublishAnswer:
    """Return the outcome of a publish whose answer has an unexpected form; ``wanted`` names the expected one."""
    return PublishAnswer(
        error=f"HTTP {status} with a body that is not {wanted}",
        refusal=Refusal.of(status),
        unreadable=unreadable.ANSWER_UNREADABLE if unreadable.is_utf8(body) else unreadable.ANSWER_NOT_UTF8,
    )
