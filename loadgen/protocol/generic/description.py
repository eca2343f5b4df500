"""What a protocol file says, checked and taken apart: what a service and its sessions are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from loadgen.protocol.generic.frames import Written
from loadgen.protocol.generic.patterns import Pattern, Scalar

Messages = Literal["text", "json", "lines"]
"""What a WebSocket message holds: one text, one JSON document, or a piece of a stream of lines that end in CR LF."""

Identity = Literal["id", "number", "channel"]
"""By what a message says which request or subscription it is about."""


@dataclass(frozen=True, slots=True)
class ChannelForm:
    """How a scenario's channel `/a/b` is written in the service: ``lead`` + `a` + ``separator`` + `b`."""

    lead: str = "/"
    separator: str = "/"
    #: What stands for the `*` at the end of a pattern; None: the service has no wildcards.
    wildcard: str | None = None

    def wire(self, channel: str) -> str:
        """Return the service's name of a channel or pattern."""
        parts = channel.strip("/").split("/")
        if parts[-1] == "*" and self.wildcard is not None:
            parts[-1] = self.wildcard
        return self.lead + self.separator.join(parts)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A frame, and how its answers are recognised; ``accepted`` None: there are none.

    ``identity`` None: the answers come in the order of the requests.
    """

    send: Written
    accepted: Pattern | None = None
    refused: Pattern | None = None
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the opening: a frame, or a message that must come."""

    send: Written = None
    expect: Pattern | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A message that is to be answered."""

    on: Pattern
    send: Written


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a delivery is recognised, and where event and subscription are in it.

    ``when`` and ``at`` are of JSON, for `patterns.quick`. ``identity`` None: a connection has one subscription only.
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
    """What keeps a connection alive, and when it counts as dead."""

    #: None: a ping frame of the WebSocket's.
    send: Written
    #: None: nothing is sent, since the service speaks by itself.
    every_ns: int | None = None
    #: Within what time the service must be heard; None: it need not.
    timeout_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """A protocol."""

    name: str
    channels: ChannelForm
    url: str
    deliver: Delivery
    messages: Messages = "text"
    binary: bool = False
    subprotocols: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    opening: Sequence[Step] = ()
    #: None: the subscription is in the connection's URL.
    subscribe: Exchange | None = None
    unsubscribe: Exchange | None = None
    publish: Exchange | None = None
    publish_http: HttpPublish | None = None
    replies: Sequence[Reply] = ()
    ignore: Sequence[Pattern] = ()
    errors: Sequence[Pattern] = ()
    keepalive: KeepAlive | None = None
    #: Whether a publish may hold several events.
    batches: bool = False
    environment: frozenset[str] = frozenset()

    @property
    def one_subscription(self) -> bool:
        """Whether a connection carries one subscription at most."""
        return self.subscribe is None or self.deliver.identity is None
