"""The seam between the harness and a service's wire protocol.

A protocol is one package that provides a :class:`TargetProtocol` (see `registry`) and by it a :class:`Service`; users,
transport and measurement know only these names. Everything here is free of I/O: a session is given what was received
and returns the bytes to send.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from loadgen.native import FastPath, Rows
from loadgen.protocol.refusals import Refusal
from loadgen.protocol.rules import ProtocolRules


@dataclass(frozen=True, slots=True)
class Handshake:
    """What to offer in the WebSocket handshake; a plain byte stream has none."""

    subprotocols: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Whether messages go as binary frames; else as text. Both kinds are taken.
    binary: bool = False
    #: Path and query where they are this connection's own; may hold credentials. None: those of `Service.connect_url`.
    resource: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How a TLS connection is secured beyond the system's trust (`SSL_CERT_FILE` names another bundle)."""

    #: Paths of the client's own certificate chain and its key, PEM.
    certificate: str | None = None
    key: str | None = None
    #: What to offer as application protocols (RFC 7301).
    alpn: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A publish request over HTTP; headers may hold credentials and are never shown."""

    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    method: str = "POST"
    #: Path and query where they are this request's own; None: those of `Service.http_url`.
    resource: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PublishAnswer:
    """The service's answer to one publish request.

    ``error`` says why the whole request was refused; ``rejected`` maps the index of an event in the request to why that
    event was. ``acknowledged`` is false where the service answers no publish: whether it took this one is unknown.
    ``unreadable`` is the kind of what the service has sent instead of an answer (see `unreadable`), or None.
    ``refusal`` is what ``error`` means, where the service has answered.
    """

    error: str | None = None
    rejected: Mapping[int, str] = field(default_factory=dict)
    acknowledged: bool = True
    unreadable: str | None = None
    refusal: Refusal | None = field(default=None, compare=False)


#: In a keepalive message's stead: a ping frame (RFC 6455, 5.5.2), which every WebSocket server answers.
PING: Final = b"ping frame"

#: In an answer's stead where there never is one.
UNACKNOWLEDGED = PublishAnswer(acknowledged=False)


class SessionHandler(Protocol):
    """What a connection's owner is told. Called from the hub and must not block.

    What it raises leaves `Session.receive`, whoever called that, and is taken for a failure of the harness. Ids are as
    the service said them: they may be of a request that was never made, was answered before, or was given up.
    """

    def on_connected(self, arrival_ns: int) -> None:
        """The service accepted the connection."""

    def on_refused(self, reason: str, refusal: Refusal | None = None) -> None:
        """The service refused the connection; ``refusal`` None: for good, and the protocol does not say why."""

    def on_subscribed(self, subscription_id: str, arrival_ns: int) -> None:
        """The service acknowledged a subscription."""

    def on_subscribe_failed(self, subscription_id: str, reason: str, refusal: Refusal | None = None) -> None:
        """The service refused a subscription; ``refusal`` as with `on_refused`."""

    def on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
        """An event was delivered; ``event`` is its text as it was published."""

    def on_published(self, publish_id: str, answer: PublishAnswer, arrival_ns: int) -> None:
        """A publish over this connection was answered."""

    def on_undecodable(self, kind: str, example: Callable[[], str]) -> None:
        """A message cannot be read, and is left out; the next may well be.

        ``kind`` is one of `unreadable`; ``example`` returns the message as people may see it: escaped, cut, no secrets.
        """

    def on_deviation(self, what: str) -> None:
        """The service did something else than its protocol says; it was understood all the same."""

    def on_service_error(self, reason: str) -> None:
        """The service reported an error that belongs to no request."""

    def on_reply(self, message: bytes) -> None:
        """The protocol wants this sent in answer to what was received."""

    def on_broken(self, reason: str) -> None:
        """Nothing that follows can be understood: the connection is of no use any more."""


class Session(Protocol):
    """One connection's conversation."""

    #: The service must be heard within this time, whatever it says, or the connection is dead. None: it need not. Known
    #: once connected.
    timeout_ns: int | None

    @property
    def early_delivery(self) -> str | None:
        """What a delivery before the answer to its subscribe is a deviation of, as a sentence; None: it is allowed."""

    @property
    def most_unanswered(self) -> int:
        """How many events may be published and not yet answered at once; 0: any number. Known once connected."""

    @property
    def keepalive_ns(self) -> int | None:
        """How often the service wants to hear :meth:`keepalive`; None: never."""

    def opening(self) -> Sequence[bytes]:
        """Return the messages to send when the connection has opened."""

    def awaits(self) -> str:
        """Return what must yet come for the connection to be accepted, for a message; nothing where that is plain."""

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return the message that asks for a subscription; nothing, where the connection's URL has asked."""

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return the message that ends a subscription."""

    def publish(self, publish_id: str, channel: str, events: Sequence[str]) -> bytes:
        """Return the message that publishes a batch."""

    def keepalive(self) -> bytes:
        """Return the message that says that we are there; `PING` itself: a ping frame of the WebSocket's."""

    def closing(self) -> bytes:
        """Return what is to be sent before the connection is closed in good order; may be nothing."""

    def receive(self, message: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        """Take a message from the service, of a byte stream any part of it, and tell the handler.

        Raises nothing but what the handler does, whatever the bytes are.
        """

    def fast_path(self, rows: Rows, numbers: Mapping[str, int]) -> FastPath | None:
        """Return what takes stamped deliveries in `receive`'s stead and writes them to ``rows``.

        ``numbers`` says which number each subscription id has there. None: everything goes to `receive`.
        """


class Service(Protocol):
    """A target service: where it is, how to log in, how to speak."""

    @property
    def connect_url(self) -> str:
        """Where connections are opened.

        The scheme says what carries them: `ws` or `wss` a WebSocket, `tcp` or `tls` a plain byte stream.
        """

    @property
    def tls(self) -> TlsOptions:
        """How those are secured, where they are."""

    @property
    def http_url(self) -> str | None:
        """Where one publishes over HTTP; None: it cannot be done, and everything goes over connections."""

    @property
    def answers_publishes(self) -> bool:
        """Whether each publish over a connection is answered; else whether an event was accepted stays unknown."""

    @property
    def answers_opening(self) -> bool:
        """Whether the service says that it has accepted a connection; else it has with the upgrade."""

    @property
    def answers_subscribes(self) -> bool:
        """Whether each subscribe is answered; else only a delivery shows that it was accepted."""

    def handshake(self, channels: Sequence[str] = ()) -> Handshake:
        """Return what to offer when connecting, for a client that will subscribe to these; asked anew each time."""

    def session(self, handler: SessionHandler, name: str = "") -> Session:
        """Return a fresh conversation; ``name`` tells the connections and lives of a process apart."""

    def http_publish(self, channel: str, events: Sequence[str]) -> HttpRequest:
        """Return the HTTP request that publishes a batch."""

    def http_answer(self, status: int, body: bytes) -> PublishAnswer:
        """Read the answer to it; raises nothing, whatever the bytes are."""

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return what the service has sent as people may see it: escaped, cut, without the secrets of the login."""

    def channel_for(self, pattern: str) -> str:
        """Return a channel to publish on that a subscription to ``pattern`` receives."""


class Endpoints(Protocol):
    """What a target's URL says, known to be usable."""

    @property
    def host(self) -> str:
        """The host, with the port where it is not the scheme's own: what credentials are for."""

    @property
    def hostnames(self) -> tuple[str, ...]:
        """The names of all hosts that are connected to, without ports; that of the target's URL first."""

    @property
    def loopback(self) -> bool:
        """Whether the names of all hosts say that they are this machine."""

    def describe(self) -> Mapping[str, str | None]:
        """Return the URLs as they go into the manifest, `url` being the one that names the target; no secret."""


@dataclass(frozen=True, slots=True)
class TargetProtocol:
    """A protocol as a kind of target: what `registry` chooses among."""

    name: str
    """As it stands in records: `appsync-events`."""
    title: str
    """As people read it: `AWS AppSync Events`."""
    rules: ProtocolRules
    logins: frozenset[str]
    """Modes of `loadgen.scenario.login.Login` by which one can log in."""
    anonymous: bool
    """Whether one may do without a login."""
    endpoints: Callable[[str], Endpoints]
    """Reads a target's URL; raises ValueError with one sentence."""
    service: Callable[[Any, Any], Service]
    """Takes what `endpoints` gave and a credential, or None; raises ValueError where the two do not go together."""
    setup: Callable[[Any], Mapping[str, str]]
    """Returns what a reader of figures must know of how the service was used (`publish`, `qos`), for the manifest."""
    variables: frozenset[str] = frozenset()
    """Names of environment variables that its protocol file asks for. `service` then takes their values, as a mapping,
    in place of a credential."""
    bills: bool = False
    """Whether it costs money to use."""
    priced: bool = False
    """Whether the prices and quotas of `loadgen.planning` are those of this service."""
