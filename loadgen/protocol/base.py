"""The interface between the harness and a service's wire protocol.

A protocol is one package that provides a :class:`TargetProtocol` (see `loadgen.targets`), which creates a
:class:`Service`. The users, the transport and the measurement use only the names in this module. A protocol does no
I/O: a session takes the received bytes and returns the bytes to send.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from loadgen.native import FastPath, PublishLane, Rows
from loadgen.payloads.stamping import Event, Marked, NativePlace
from loadgen.protocol.refusals import Refusal
from loadgen.protocol.rules import ProtocolRules


@dataclass(frozen=True, slots=True)
class Handshake:
    """Subprotocols and headers to offer in the WebSocket handshake; a plain byte stream has no handshake."""

    subprotocols: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: True if messages are sent as binary frames, not as text frames. Frames of both kinds are accepted.
    binary: bool = False
    #: Path and query for this connection, or None to use those in `Service.connect_url`. They may hold credentials.
    resource: str | None = field(default=None, repr=False)
    #: The longest payload of a frame that the service accepts: longer messages are sent in fragments (RFC 6455, 5.4).
    #: None for no limit.
    most_frame_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """TLS settings except for the trusted authorities, for which OpenSSL's defaults or `SSL_CERT_FILE` apply."""

    #: Paths of the client's certificate chain and its private key, PEM.
    certificate: str | None = None
    key: str | None = None
    #: Application protocols to offer (ALPN, RFC 7301).
    alpn: Sequence[str] = ()
    #: True to resume the TLS session of an earlier connection (RFC 8446, 2.2), as browsers do: the server then sends no
    #: certificate.
    resumption: bool = False


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A publish request over HTTP; its headers may hold credentials and are never shown."""

    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    method: str = "POST"
    #: Path and query for this request, or None to use those in `Service.http_url`.
    resource: str | None = field(default=None, repr=False)


#: A publish message in three parts: the bytes before its id, those between id and events, and those after the events.
PublishFrame = tuple[bytes, bytes, bytes]


@dataclass(frozen=True, slots=True)
class PublishAnswer:
    """The service's answer to one publish request.

    ``error`` says why the service refused the whole request. If it refused only some events, ``rejected`` has their
    indices in the request, each with the reason. ``acknowledged`` is false if the service never answers publishes: it
    is then unknown whether it accepted the events. ``unreadable`` is the kind of unreadable message that came instead
    of an answer (see `unreadable`), or None. ``refusal`` classifies ``error`` if the service has answered.
    """

    error: str | None = None
    rejected: Mapping[int, str] = field(default_factory=dict)
    acknowledged: bool = True
    unreadable: str | None = None
    refusal: Refusal | None = field(default=None, compare=False)


#: Used as the keepalive message to send a ping frame (RFC 6455, 5.5.2), which every WebSocket server answers.
PING: Final = b"ping frame"

#: Takes the place of an answer if the service never acknowledges publishes, as in MQTT at QoS 0.
UNACKNOWLEDGED = PublishAnswer(acknowledged=False)


@dataclass(frozen=True, slots=True)
class ClientLogins:
    """One client's credentials, by operation; None means the service's own credentials. `repr` shows no secret."""

    connect: Any = field(default=None, repr=False)
    subscribe: Any = field(default=None, repr=False)
    publish: Any = field(default=None, repr=False)
    #: Credentials by channel, for subscriptions that need others than ``subscribe``; None if there are none.
    channels: Mapping[str, Any] | None = field(default=None, repr=False)


class UnfitLoginError(ValueError):
    """A client's credentials cannot be sent to this service; the message is a sentence without their values."""


class SessionHandler(Protocol):
    """Callbacks of a session to the client that owns the connection; called from gevent's hub, so they must not block.

    An exception that a callback raises propagates from `Session.receive`, and counts as a failure of the harness. Ids
    are passed as the service sent them: they may belong to a request that was never made, was already answered, or was
    abandoned.
    """

    def on_connected(self, arrival_ns: int) -> None:
        """The service accepted the connection."""

    def on_refused(self, reason: str, refusal: Refusal | None = None) -> None:
        """The service refused the connection; without ``refusal`` the refusal is permanent and of unknown kind."""

    def on_subscribed(self, subscription_id: str, arrival_ns: int) -> None:
        """The service acknowledged a subscription."""

    def on_subscribe_failed(self, subscription_id: str, reason: str, refusal: Refusal | None = None) -> None:
        """The service refused a subscription; ``refusal`` has the same meaning as for `on_refused`."""

    def on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
        """An event was delivered; ``event`` is its text as it was published."""

    def on_marked(self, subscription_id: str, event: Marked, arrival_ns: int, read_ns: int) -> None:
        """An event was delivered with its stamp in a property or header; called only after `Service.carry_stamps`."""

    def on_published(self, publish_id: str, answer: PublishAnswer, arrival_ns: int) -> None:
        """A publish over this connection was answered."""

    def on_undecodable(self, kind: str, example: Callable[[], str]) -> None:
        """A message is unreadable and was skipped; later messages may be readable.

        ``kind`` is one of the constants of `unreadable`. ``example`` returns the message for display: escaped,
        truncated, and without secrets.
        """

    def on_deviation(self, what: str) -> None:
        """The service deviated from its protocol, but was understood."""

    def on_aside(self, what: str) -> None:
        """A message that is counted but not measured was received or sent; ``what`` is its kind, such as `retained`."""

    def on_session(self, state: str) -> None:
        """The state of the client's session is known; called before `on_connected` if sessions outlast connections.

        ``state`` is `new`, `resumed`, `expired`, or `lost` if the service did not keep the session though it should
        have.
        """

    def on_service_error(self, reason: str) -> None:
        """The service reported an error that belongs to no request."""

    def on_reply(self, message: bytes) -> None:
        """The protocol requires sending ``message`` in reply to a received message."""

    def on_broken(self, reason: str) -> None:
        """The stream is broken: no later message can be understood, and the connection must end."""


class Session(Protocol):
    """The protocol state of one connection."""

    @property
    def timeout_ns(self) -> int | None:
        """Longest silence of the service before the connection counts as dead, or None for no limit.

        The value is valid once the service has accepted the connection.
        """

    @property
    def early_delivery(self) -> str | None:
        """The deviation to report if a delivery arrives before the answer to the subscribe, or None if it may."""

    @property
    def most_unanswered(self) -> int:
        """Maximum number of published events that may await an answer at once, or 0 for no limit.

        The value is valid once the service has accepted the connection.
        """

    @property
    def keepalive_ns(self) -> int | None:
        """The interval for sending :meth:`keepalive`, or None to send none."""

    def opening(self) -> Sequence[bytes]:
        """Return the messages to send once the connection is open."""

    def awaits(self) -> str:
        """Return the step that the opening waits for, to name it in an error; empty if no step needs to be named."""

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return the message that subscribes, or no bytes if connecting to the URL already subscribes."""

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return the message that ends a subscription."""

    def publish(self, publish_id: str, channel: str, events: Sequence[Event]) -> bytes:
        """Return the message that publishes a batch.

        Events are `Marked` if, and only if, `Service.carry_stamps` was called.
        """

    def keepalive(self) -> bytes:
        """Return the keepalive message, or the object `PING` for a WebSocket ping frame."""

    def closing(self) -> bytes:
        """Return the bytes to send before an orderly close; may be empty."""

    def receive(self, message: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        """Process a message of the service, or any part of a byte stream, and call the handler.

        Raises only what the handler raises, whatever the bytes are.
        """

    def fast_path(self, rows: Rows, numbers: Mapping[str, int], place: NativePlace) -> FastPath | None:
        """Return C code that processes stamped deliveries instead of `receive`, or None if the protocol has none.

        The code writes one row for each delivery to ``rows``. ``numbers`` maps subscription ids to the numbers that the
        rows contain, and ``place`` locates the stamp in an event.
        """

    def use_lane(self, lane: PublishLane) -> Callable[[str], PublishFrame | None] | None:
        """Let C code send publishes through ``lane``, besides :meth:`publish`; return None if this is not supported.

        The returned function gives the C code the current frame of publishes to a channel, or None if :meth:`publish`
        must build the message. The C code and :meth:`publish` never use the same publish id.
        """


class Service(Protocol):
    """A target service: its addresses, its credentials and its messages."""

    @property
    def connect_url(self) -> str:
        """The URL to open connections to.

        The scheme gives the transport: `ws` or `wss` for a WebSocket, `tcp` or `tls` for a plain byte stream, `http` or
        `https` for server-sent events, an endless response to a GET, over which a client can only receive.
        """

    @property
    def tls(self) -> TlsOptions:
        """The TLS settings of the connections, if they are encrypted."""

    @property
    def http_url(self) -> str | None:
        """The URL to publish to over HTTP, or None if all publishes go over connections."""

    @property
    def answers_publishes(self) -> bool:
        """True if each publish over a connection is answered; if not, it stays unknown which events were accepted."""

    @property
    def answers_opening(self) -> bool:
        """True if the service acknowledges a connection by a message; if not, the handshake alone acknowledges it."""

    @property
    def answers_subscribes(self) -> bool:
        """True if the service answers each subscribe; if not, only a delivery shows that it accepted the subscribe."""

    def for_client(self, logins: ClientLogins) -> "Service":
        """Return a copy of the service for one client that has its own credentials.

        The copy shares everything else with this service.

        Raises:
            UnfitLoginError: a value of the credentials cannot be sent to this service.
            ValueError: the protocol does not support these credentials.
        """

    def carry_stamps(self, name: str) -> None:
        """From now on, send and read each event's stamp in the property or header ``name`` instead of within the event.

        A stamp holds an event's publisher, sequence number and times. The method is called at most once, before any
        session is made, and only if the protocol's rules have `stamp_beside`.
        """

    def handshake(self, channels: Sequence[str] = ()) -> Handshake:
        """Return the handshake of a client that will subscribe to ``channels``; called for every connection."""

    def session(self, handler: SessionHandler, name: str = "") -> Session:
        """Return a new session; ``name`` is different for each connection of the process.

        For a connection of a scenario's client, the name is the client's number, a hyphen, and the number of this
        client's earlier attempts to connect: `7-0` for the first connection of client 7.
        """

    def http_publish(self, channel: str, events: Sequence[str]) -> HttpRequest:
        """Return the HTTP request that publishes a batch."""

    def http_answer(self, status: int, body: bytes) -> PublishAnswer:
        """Parse the answer to a request of `http_publish`; raises no error, whatever the bytes are."""

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return a message of the service for display: escaped, cut, and without the secrets of the login."""

    def channel_for(self, pattern: str) -> str:
        """Return a channel that matches ``pattern``, so that subscriptions to the pattern receive its events."""


class Endpoints(Protocol):
    """The validated hosts and URLs of a target."""

    @property
    def host(self) -> str:
        """The host that credentials are for, with the port if it is not the scheme's default."""

    @property
    def hostnames(self) -> tuple[str, ...]:
        """The names of all hosts to connect to, without ports; the host of the target's URL comes first."""

    @property
    def loopback(self) -> bool:
        """True if the names of all hosts are loopback names or addresses."""

    def describe(self) -> Mapping[str, str | None]:
        """Return the URLs for the manifest, without secrets; the entry `url` is the URL that names the target."""


@dataclass(frozen=True, slots=True)
class TargetProtocol:
    """A kind of target, such as AWS AppSync Events; `loadgen.targets` chooses one by the target's URL."""

    name: str
    """The name in records, such as `appsync-events`."""
    title: str
    """The display name, such as `AWS AppSync Events`."""
    rules: ProtocolRules
    logins: frozenset[str]
    """The modes of `loadgen.scenario.login.Login` that the service supports."""
    anonymous: bool
    """True if a client may connect without a login."""
    endpoints: Callable[[str], Endpoints]
    """Parses a target's URL; raises ValueError with one sentence."""
    service: Callable[[Any, Any], Service]
    """Creates the service from the result of `endpoints` and a credential or None; raises ValueError if the two do not
    fit together."""
    setup: Callable[[Any], Mapping[str, str]]
    """Returns entries for the manifest that describe how the service is used, such as the way of publishing."""
    variables: frozenset[str] = frozenset()
    """The environment variables that the protocol file names. If there are any, `service` takes a mapping of their
    values instead of a credential."""
    bills: bool = False
    """True if using the service costs money."""
    priced: bool = False
    """True if the prices and quotas of `loadgen.planning` are those of this service."""
