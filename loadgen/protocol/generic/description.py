"""The checked and parsed content of a protocol file, from which a service and its sessions are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from loadgen.protocol.generic.frames import Written, pieces
from loadgen.protocol.generic.patterns import Pattern, Scalar

Messages = Literal["text", "json", "lines"]
"""The content of a WebSocket message: one text, one JSON document, or a piece of a stream of lines ending in CR LF."""

Transport = Literal["websocket", "sse"]
"""The transport of the messages: a WebSocket, or a stream of server-sent events, which only receives."""

Identity = Literal["id", "number", "channel"]
"""The value by which a message names its request or subscription."""


@dataclass(frozen=True, slots=True)
class ChannelForm:
    """The service's form of a scenario's channel: `/a/b` becomes ``lead`` + `a` + ``separator`` + `b`."""

    lead: str = "/"
    separator: str = "/"
    #: The service's wildcard, which replaces the `*` at the end of a pattern; None if the service has no wildcards.
    wildcard: str | None = None

    def wire(self, channel: str) -> str:
        """Return the service's name of a channel or pattern."""
        parts = channel.strip("/").split("/")
        if parts[-1] == "*" and self.wildcard is not None:
            parts[-1] = self.wildcard
        return self.lead + self.separator.join(parts)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A frame to send, and the patterns of its answers.

    ``accepted`` is None if the service does not answer. ``identity`` is None if the answers come in the order of the
    requests.
    """

    send: Written
    accepted: Pattern | None = None
    refused: Pattern | None = None
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the opening: a frame to send or a message to wait for.

    A client with a login sends ``with_login`` if that is given, else ``send`` like all other clients.
    """

    send: Written = None
    expect: Pattern | None = None
    with_login: Written = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A message of the service that requires a reply, and the reply."""

    on: Pattern
    send: Written


@dataclass(frozen=True, slots=True)
class Delivery:
    """The pattern of a delivery, and the value that names its subscription.

    ``identity`` is None if a connection has only one subscription. ``when`` maps JSON pointers to the values that a
    delivery must have there. ``at`` maps names of the delivery's values to their pointers. Both are empty if messages
    are not JSON; `patterns.quick` uses them.
    """

    pattern: Pattern
    identity: Identity | None
    when: Mapping[str, Scalar] = field(default_factory=dict)
    at: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpPublish:
    """The request that publishes over HTTP."""

    url: str
    method: str
    headers: Mapping[str, str]
    body: Written
    expect: frozenset[int]
    refused: Pattern | None = None


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The keepalive message, and the silence after which a connection counts as dead."""

    #: The message to send, or None for a WebSocket ping frame.
    send: Written
    #: The interval between sent keepalives, or None if only the service sends keepalives.
    every_ns: int | None = None
    #: The silence of the service after which the connection is dead, or None if any silence is allowed.
    timeout_ns: int | None = None


@dataclass(frozen=True, slots=True)
class EventNames:
    """The names of server-sent events whose data is a message; events of other names are ignored."""

    #: Names of the events to read, or None for all.
    read: Sequence[str] | None = None
    #: Names of events that report an error, whose data is the reason.
    errors: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StampedForm:
    """Templates of messages that carry the stamp in a header, not in the event; see `generic.stamped`."""

    head: str
    send: str
    deliver: str


@dataclass(frozen=True, slots=True)
class Description:
    """The content of one protocol file."""

    name: str
    channels: ChannelForm
    url: str
    deliver: Delivery
    messages: Messages = "text"
    transport: Transport = "websocket"
    #: The names of events; only server-sent events have any.
    events: EventNames = EventNames()
    #: The text between two channels in the URL of a connection with several channels.
    join: str = ","
    binary: bool = False
    subprotocols: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    opening: Sequence[Step] = ()
    #: The messages of a subscribe, or None if the connection's URL makes the subscription.
    subscribe: Exchange | None = None
    unsubscribe: Exchange | None = None
    publish: Exchange | None = None
    publish_http: HttpPublish | None = None
    replies: Sequence[Reply] = ()
    ignore: Sequence[Pattern] = ()
    errors: Sequence[Pattern] = ()
    keepalive: KeepAlive | None = None
    #: The texts of messages with a stamp in a header, or None if the service has no such messages (see `stamped`).
    stamped: StampedForm | None = None
    #: True if a publish may carry several events.
    batches: bool = False
    environment: frozenset[str] = frozenset()
    #: The placeholders of a client's login in the file (see `loadgen.protocol.generic.login`).
    login: frozenset[str] = frozenset()
    #: True if every client needs a login.
    login_needed: bool = False
    #: True if the messages that open a connection contain the login.
    login_in_opening: bool = False

    @property
    def one_subscription(self) -> bool:
        """True if a connection carries at most one subscription."""
        by_url = self.subscribe is None and not self.several_by_url
        return by_url or self.deliver.identity is None

    @property
    def several_by_url(self) -> bool:
        """True if one connection may subscribe to several channels, which its URL names."""
        return ("channels", False) in list(pieces(self.url))
