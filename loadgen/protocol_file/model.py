"""The schema of protocol files, version 1.

The docstrings of the fields are the descriptions in the JSON Schema.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from loadgen.config.base import MAPPING, WORD, Part, as_tuple, word_or_mapping
from loadgen.config.units import PositiveDurationNs, format_duration, problem
from loadgen.protocol.generic.frames import Written, names
from loadgen.protocol.generic.login import PLACEHOLDERS
from loadgen.protocol.generic.stamped import HEAD_NAMES, SEND_NAMES, check_delivery, check_names
from loadgen.protocol_file.values import (
    REQUEST_NAMES,
    BodyTemplate,
    ConnectUrl,
    EventName,
    FixedTemplate,
    Header,
    Headers,
    Method,
    OpeningTemplate,
    Pointer,
    PublishTemplate,
    RequestTemplate,
    Separator,
    Url,
    When,
    checked,
    pattern_text,
)

#: The keys of texts for people, in which braces are no placeholders.
_FOR_PEOPLE = {"title", "description"}


class JsonMatch(Part):
    """A pattern of JSON messages: values that a message must have, and JSON pointers (/payload/id) to those to read."""

    when: Mapping[Pointer, When] = Field(default_factory=dict)
    """Values that the message must have, by JSON pointer, such as {/type: data}."""
    id: Pointer | None = None
    """Pointer to the id of the request or subscription, which was sent in place of {id}."""
    number: Pointer | None = None
    """Pointer to the number of the request or subscription, which was sent in place of {number}."""
    channel: Pointer | None = None
    """Pointer to the channel."""
    event: Pointer | None = None
    """Pointer to the event, if the event is a string that holds JSON."""
    event_json: Pointer | None = None
    """Pointer to the event, if the event is JSON itself."""
    reason: Pointer | None = None
    """Pointer to the reason of a refusal or error."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.when and not self.at:
            raise problem("would fit every message; say with 'when' what it is recognised by")
        if self.event is not None and self.event_json is not None:
            raise problem("has both event and event_json; keep one of them")
        if sum(getattr(self, name) is not None for name in REQUEST_NAMES) > 1:
            raise problem("has more than one of id, number and channel; keep one of them")
        return self

    @property
    def at(self) -> dict[str, str]:
        """The JSON pointers that the file sets, by the name of the value that each leads to."""
        found = {name: getattr(self, name) for name in (*REQUEST_NAMES, "event", "event_json", "reason")}
        return {name: pointer for name, pointer in found.items() if pointer is not None}


Match = Annotated[
    Annotated[str, AfterValidator(pattern_text), Tag(WORD)] | Annotated[JsonMatch, Tag(MAPPING)],
    Discriminator(word_or_mapping),
]
"""A text with {name} placeholders, or a mapping with JSON pointers."""


class Channels(Part):
    """The form in which the service writes a scenario's channel /a/b."""

    lead: str = Field(default="/", max_length=100)
    """Text before the first segment."""
    separator: Separator = "/"
    """Text between two segments."""
    wildcard: Separator | None = None
    """The service's wildcard for one or more segments, written in place of the * at a pattern's end; without it
    patterns are refused."""


class Connect(Part):
    """The URL and options for opening a connection."""

    transport: Literal["websocket", "sse"] = "websocket"
    """The transport of messages: a WebSocket, or server-sent events (the endless body of an answer to a GET)."""
    url: ConnectUrl = "{target}"
    """The URL to connect to. {target} is the target's URL, with http in place of ws if the transport is sse. {channel}
    is the channel, if connecting subscribes to it, and {channels} are all channels of the client, if connecting
    subscribes to them and each delivery names its channel."""
    join: Separator = ","
    """The text between two channels in {channels}."""
    events: tuple[EventName, ...] | None = Field(default=None, strict=False, min_length=1)
    """sse: the names of the events that are messages; events with other names are ignored. An event without a name has
    the name message. Default is all events."""
    error_events: tuple[EventName, ...] = Field(default=(), strict=False)
    """sse: the names of events that report an error, with the reason as their data."""
    subprotocols: tuple[Header, ...] = Field(default=(), strict=False)
    """Subprotocols to offer as Sec-WebSocket-Protocol."""
    headers: Headers = Field(default_factory=dict)
    """Headers of the handshake; write secrets as {env:NAME}, and a client's own login as {login.token}, {login.key}, or
    {login.username} and {login.password}."""
    frames: Literal["text", "binary"] = "text"
    """The kind of WebSocket frame to send."""
    messages: Literal["text", "json", "lines"] = "text"
    """The content of a message of the service: one text, one JSON document, or a piece of a stream of lines that end in
    CR LF."""


class OpeningStep(Part):
    """A step of the opening: a message to send or a message to wait for."""

    send: OpeningTemplate = None
    """The message to send: text, or a mapping or list that is sent as JSON. Write secrets as {env:NAME}, and a client's
    own login as {login.token}, {login.key}, or {login.username} and {login.password}."""
    with_login: OpeningTemplate = None
    """The message that a client with its own login sends in place of send, so that clients without a login can connect
    too."""
    expect: Match | None = None
    """The message that the service must send next."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.send is None) == (self.expect is None):
            raise problem("must have either send or expect; write a separate step for each")
        if self.with_login is not None and self.send is None:
            raise problem(
                "has with_login without send, the message of clients without a login; write send too"
            )
        return self


class Subscribe(Part):
    """The messages that make a subscription."""

    send: RequestTemplate
    """The message to send; {id} is the subscription's id, {number} its number on the connection, {channel} the
    channel."""
    accepted: Match | None = None
    """The acknowledgement; it belongs to the request with the same {id}, {number} or {channel}, and if it has none of
    these, to the oldest unanswered request. Leave it out if the service sends none: then only a delivery proves the
    subscription."""
    refused: Match | None = None
    """The refusal; it names its request in the same way as accepted."""


class Unsubscribe(Part):
    """The messages that end a subscription."""

    send: RequestTemplate
    """The message to send; {id}, {number} and {channel} are those of the subscribe."""
    accepted: Match | None = None
    """The acknowledgement; leave it out if the service sends none."""
    refused: Match | None = None
    """The refusal; it names its request in the same way as accepted."""


class PublishWebSocket(Part):
    """The messages that publish over the connection."""

    send: PublishTemplate
    """The message to send. {event} is the event's text, {event_json} the event as JSON itself, and {bytes} its length
    in bytes. For a batch, {events} is a JSON list of the events' texts and {events_json} a list of JSON values."""
    accepted: Match | None = None
    """The acknowledgement; leave it out if the service sends none. Then it stays unknown which events were accepted."""
    refused: Match | None = None
    """The refusal; it names its request in the same way as accepted."""


class PublishHttp(Part):
    """The request that publishes over HTTP."""

    url: Url = "{target}"
    """The URL; {target} is the target's URL, with http in place of ws."""
    method: Method = "POST"
    """The HTTP method."""
    headers: Headers = Field(default_factory=dict)
    """Headers of the request; write secrets as {env:NAME}."""
    body: BodyTemplate = "{event}"
    """The body: text, or a mapping or list that is sent as JSON. {event_form} is the event as a value of a form, as in
    "topic={channel}&data={event_form}"."""
    expect: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = Field(default=(200,), min_length=1)
    """The HTTP statuses that mean that the event was accepted."""
    refused: Match | None = None
    """A body that means a refusal although the status is one of expect."""


class Publish(Part):
    """The ways to publish: over the connection, over HTTP, or both."""

    websocket: PublishWebSocket | None = None
    """Publish over the connection."""
    http: PublishHttp | None = None
    """Publish over HTTP."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.websocket is None and self.http is None:
            raise problem("has neither websocket nor http; give it one of them")
        return self


class Stamped(Part):
    """Messages of a stream of lines that carry an event's stamp in a header outside the event, for scenarios with
    'stamp: {header: NAME}'.
    """

    head: Annotated[str, checked(lambda text: check_names(text, HEAD_NAMES))]
    """The headers of an event; {name} is the header's name and {stamp} its value."""
    send: Annotated[str, checked(lambda text: check_names(text, SEND_NAMES))]
    """The message that publishes an event, with {head}, {event}, {head_bytes} (bytes of the headers) and {bytes} (bytes
    of headers and event)."""
    deliver: Annotated[str, checked(check_delivery)]
    """The pattern of a delivery: a line with {head_bytes} and {bytes}, and then {head}{event}."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for key, wanted in (
            ("head", HEAD_NAMES),
            ("send", ("channel", "head", "event", "head_bytes", "bytes")),
        ):
            for name in wanted:
                if f"{{{name}}}" not in getattr(self, key):
                    raise problem(f"has no {{{name}}} in its {key}; write it there")
        return self


class Reply(Part):
    """A message of the service that requires a reply."""

    on: Match
    """The message to reply to."""
    send: FixedTemplate
    """The reply to send."""


class KeepAlive(Part):
    """Messages that keep a connection alive, and the silence after which the connection counts as dead."""

    send: FixedTemplate = None
    """The message to send; default is a WebSocket ping frame, which every server answers."""
    every_ns: PositiveDurationNs | None = Field(default=None, alias="every")
    """The interval of sending, such as 30s; without it nothing is sent."""
    timeout_ns: PositiveDurationNs | None = Field(default=None, alias="timeout")
    """The time without any data from the service, such as 75s, after which a connection is closed. Without it silent
    connections stay open."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.every_ns is None:
            if self.send is not None:
                raise problem("has send without every; say how often, as 'every: 30s'")
            if self.timeout_ns is None:
                raise problem("has neither every nor timeout; give it one of them, as 'every: 30s'")
        elif self.timeout_ns is not None and self.timeout_ns <= self.every_ns:
            raise problem(
                f"has a timeout of {format_duration(self.timeout_ns)} and sends every"
                f" {format_duration(self.every_ns)}; the timeout must be longer, so that an answer can come"
            )
        return self


def _many(value: object) -> object:
    return as_tuple(value) if isinstance(value, list) else (value,)


Matches = Annotated[tuple[Match, ...], BeforeValidator(_many)]


class ProtocolFile(Part):
    """The protocol of a service over WebSocket or server-sent events, version 1."""

    version: Literal[1]
    """Version of this format: 1."""
    title: str = Field(default="", max_length=100)
    """The service's display name; default is the file's name."""
    description: str = Field(default="", max_length=4000)
    """The purpose of the file, and its requirements on the service."""
    channels: Channels = Channels()
    """The service's form of a scenario's channels."""
    connect: Connect = Connect()
    """The URL and options for opening a connection."""
    opening: Annotated[tuple[OpeningStep, ...], BeforeValidator(as_tuple)] = ()
    """The steps before the first subscribe: messages to send and messages to wait for."""
    subscribe: Subscribe | None = None
    """The messages that make a subscription; without it, connecting to a connect.url with {channel} subscribes."""
    unsubscribe: Unsubscribe | None = None
    """The messages that end a subscription; without it scenarios that unsubscribe are refused."""
    publish: Publish
    """The ways to publish: over the connection, over HTTP, or both."""
    deliver: Match
    """The pattern of a delivery, with the places of the event and the subscription in it."""
    stamped: Stamped | None = None
    """Messages with a stamp outside the event; without it scenarios with 'stamp: {header: NAME}' are refused."""
    replies: Annotated[tuple[Reply, ...], BeforeValidator(as_tuple)] = ()
    """Messages that require a reply, such as a ping."""
    ignore: Matches = ()
    """Messages to ignore."""
    errors: Matches = ()
    """Messages that report an error which belongs to no request."""
    keepalive: KeepAlive | None = None
    """Messages that keep a connection alive, and the silence after which the connection counts as dead."""

    def environment(self) -> frozenset[str]:
        """Return the environment variables that the file names."""
        found: set[str] = set()
        for written in _templates_in(self.model_dump(by_alias=True, exclude=_FOR_PEOPLE)):
            found.update(name for name, of_environment in names(written) if of_environment)
        return frozenset(found)

    def login(self) -> frozenset[str]:
        """Return the file's placeholders for a client's own login."""
        return _logins_in(self.model_dump(by_alias=True, exclude=_FOR_PEOPLE))

    def login_in_opening(self) -> frozenset[str]:
        """Return the placeholders for a client's own login that the opening's messages contain."""
        return _logins_in([step.model_dump() for step in self.opening])

    def login_needed(self) -> bool:
        """Return True if a client without a login cannot connect or publish."""
        whole = self.model_dump(by_alias=True, exclude=_FOR_PEOPLE)
        for step in whole["opening"]:
            # A client without a login sends `send` instead of `with_login`.
            del step["with_login"]
        return bool(_logins_in(whole))


def json_schema() -> dict[str, Any]:
    """Return the schema of protocol files (JSON Schema, draft 2020-12), for editors."""
    from loadgen.config.json_schema import schema_of

    return schema_of(ProtocolFile, "Protocol file, version 1")


def _logins_in(value: Any) -> frozenset[str]:
    """Return the placeholders for a client's login in a part of the file."""
    return frozenset(
        name
        for written in _templates_in(value)
        for name, of_environment in names(written)
        if name in PLACEHOLDERS and not of_environment
    )


def _templates_in(value: Any) -> "list[Written]":
    if isinstance(value, Mapping):
        return [each for part in value.values() for each in _templates_in(part)]
    if isinstance(value, list | tuple):
        return [each for part in value for each in _templates_in(part)]
    return [value] if isinstance(value, str) else []
