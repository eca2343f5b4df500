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

#: The keys whose values are texts for people. Braces in these texts are no placeholders.
_FOR_PEOPLE = {"title", "description"}


class JsonMatch(Part):
    """A pattern of JSON messages: the values that a message must have, and the JSON pointers of the values to read."""

    when: Mapping[Pointer, When] = Field(default_factory=dict)
    """Values that the message must have, by JSON pointer, such as {/type: data}. Without this key, the message only has
    to contain the values to which the other keys of this section point."""
    id: Pointer | None = None
    """JSON pointer, such as /payload/id, to the id of the request or subscription. The id is the value that was sent in
    place of {id}."""
    number: Pointer | None = None
    """JSON pointer to the number of the request or subscription. The number is the value that was sent in place of
    {number}."""
    channel: Pointer | None = None
    """JSON pointer to the channel."""
    event: Pointer | None = None
    """JSON pointer to the event, if the event is a string that holds JSON."""
    event_json: Pointer | None = None
    """JSON pointer to the event, if the event is a JSON value and not a string that holds JSON."""
    reason: Pointer | None = None
    """JSON pointer to the reason of a refusal or error. The value may be missing in a message."""

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
        """The JSON pointers that the file sets, by the name of the value to read, such as `event`."""
        found = {name: getattr(self, name) for name in (*REQUEST_NAMES, "event", "event_json", "reason")}
        return {name: pointer for name, pointer in found.items() if pointer is not None}


Match = Annotated[
    Annotated[str, AfterValidator(pattern_text), Tag(WORD)] | Annotated[JsonMatch, Tag(MAPPING)],
    Discriminator(word_or_mapping),
]
"""A pattern of messages: a text with {name} placeholders, or a mapping with JSON pointers."""


class Channels(Part):
    """The form in which the service writes a scenario's channel /a/b."""

    lead: str = Field(default="/", max_length=100)
    """Text before the first segment of a channel."""
    separator: Separator = "/"
    """Text between two segments of a channel."""
    wildcard: Separator | None = None
    """The service's wildcard for one or more segments. It is sent in place of the * at the end of a channel such as
    /news/*. Without it, subscriptions to such channels are refused."""


class Connect(Part):
    """The URL and options for opening a connection."""

    transport: Literal["websocket", "sse"] = "websocket"
    """The transport of messages: a WebSocket, or server-sent events (the endless body of an answer to a GET)."""
    url: ConnectUrl = "{target}"
    """The URL to connect to. {target} is the target's URL, with http in place of ws if the transport is sse. If
    connecting already subscribes, write {channel} for a connection's one channel, or {channels} for all channels of the
    client. {channels} requires that each delivery names its channel."""
    join: Separator = ","
    """The text between two channels in the {channels} of connect.url."""
    events: tuple[EventName, ...] | None = Field(default=None, strict=False, min_length=1)
    """For transport sse: the names of the events whose data is a message. Events with other names are ignored. An event
    without a name has the name message. Default: all events are messages."""
    error_events: tuple[EventName, ...] = Field(default=(), strict=False)
    """For transport sse: the names of events that report an error. The data of such an event is the reason."""
    subprotocols: tuple[Header, ...] = Field(default=(), strict=False)
    """WebSocket subprotocols to offer in the header Sec-WebSocket-Protocol. Default: none."""
    headers: Headers = Field(default_factory=dict)
    """Headers of the request that opens the connection. Write secrets as {env:NAME}. Write a client's own login as
    {login.token}, as {login.key}, or as {login.username} and {login.password}."""
    frames: Literal["text", "binary"] = "text"
    """The kind of WebSocket frames in which messages are sent."""
    messages: Literal["text", "json", "lines"] = "text"
    """The content of a message of the service. text: one text. json: one JSON document. lines: a piece of a stream of
    lines that end in CR LF."""


class OpeningStep(Part):
    """A step of the opening: a message to send or a message to wait for."""

    send: OpeningTemplate = None
    """The message to send: text, or a mapping or list that is sent as JSON. Write secrets as {env:NAME}. Write a
    client's own login as {login.token}, as {login.key}, or as {login.username} and {login.password}."""
    with_login: OpeningTemplate = None
    """The message to send in place of send if the client has its own login. Use it if clients without a login can
    connect too. Without it, all clients send the message in send."""
    expect: Match | None = None
    """The message that the service must send next. Messages under replies and ignore may come before it. Any other
    message counts as a refusal of the connection."""

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
    """The message to send. {id} is the subscription's id, {number} is the subscription's number on the connection, and
    {channel} is the channel."""
    accepted: Match | None = None
    """The acknowledgement. It belongs to the request with the same {id}, {number} or {channel}. If it has none of
    these, it belongs to the oldest unanswered request. Leave it out if the service sends no acknowledgement: then only
    a delivery proves the subscription."""
    refused: Match | None = None
    """The refusal. It names its request in the same way as accepted, and can only be set together with accepted."""


class Unsubscribe(Part):
    """The messages that end a subscription."""

    send: RequestTemplate
    """The message to send. {id}, {number} and {channel} have the same values as in the message that subscribed."""
    accepted: Match | None = None
    """The acknowledgement. Leave it out if the service sends none."""
    refused: Match | None = None
    """The refusal. It names its request in the same way as accepted, and can only be set together with accepted."""


class PublishWebSocket(Part):
    """The messages that publish over the connection."""

    send: PublishTemplate
    """The message to send. {event} is the event's text, {event_json} the event as JSON itself, and {bytes} its length
    in bytes. For a batch, {events} is a JSON list of the events' texts and {events_json} a list of JSON values."""
    accepted: Match | None = None
    """The acknowledgement. Leave it out if the service sends none: then it stays unknown which events were accepted."""
    refused: Match | None = None
    """The refusal. It names its request in the same way as accepted, and can only be set together with accepted."""


class PublishHttp(Part):
    """The request that publishes over HTTP."""

    url: Url = "{target}"
    """The URL of the request. {target} is the target's URL, with http in place of ws. {channel} is the channel."""
    method: Method = "POST"
    """The HTTP method of the request."""
    headers: Headers = Field(default_factory=dict)
    """Headers of the request. Write secrets as {env:NAME}, and a client's own login as in connect.headers."""
    body: BodyTemplate = "{event}"
    """The body: text, or a mapping or list that is sent as JSON. {event} is the event's text. {event_form} is the text
    encoded as a value of an HTML form, as in "topic={channel}&data={event_form}"."""
    expect: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = Field(default=(200,), min_length=1)
    """The HTTP status, or a list of statuses, that means that the event was accepted."""
    refused: Match | None = None
    """A pattern of response bodies that mean a refusal, even if the status is one of expect. Without it, only the
    status counts."""


class Publish(Part):
    """The ways to publish: over the connection, over HTTP, or both."""

    websocket: PublishWebSocket | None = None
    """The messages that publish over the connection. Without it, every publish goes over HTTP."""
    http: PublishHttp | None = None
    """The request that publishes over HTTP. Without it, every publish goes over the connection."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.websocket is None and self.http is None:
            raise problem("has neither websocket nor http; give it one of them")
        return self


class Stamped(Part):
    """Messages that carry an event's time stamp in a header outside the event.

    Scenarios with 'stamp: {header: NAME}' use them. They require 'connect.messages: lines'.
    """

    head: Annotated[str, checked(lambda text: check_names(text, HEAD_NAMES))]
    """The headers of an event. {name} is the name of the header with the time stamp, and {stamp} is the time stamp."""
    send: Annotated[str, checked(lambda text: check_names(text, SEND_NAMES))]
    """The message that publishes an event. It must have {channel}, {head} (the headers), {event}, {head_bytes} (length
    of the headers in bytes) and {bytes} (length of headers and event in bytes)."""
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
    """Messages that keep a connection alive, and the silence after which a connection is closed as dead."""

    send: FixedTemplate = None
    """The message to send. Default: a WebSocket ping frame, which every server answers."""
    every_ns: PositiveDurationNs | None = Field(default=None, alias="every")
    """The time between two of these messages, such as 30s. Without it, none is sent."""
    timeout_ns: PositiveDurationNs | None = Field(default=None, alias="timeout")
    """The time without any data from the service, such as 75s, after which a connection is closed as dead. Without it,
    silent connections stay open."""

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
    """The service's name in reports and messages. Default: the file's name."""
    description: str = Field(default="", max_length=4000)
    """A text for people: what the file is for, and what it requires of the service."""
    channels: Channels = Channels()
    """The form in which the service writes a scenario's channels."""
    connect: Connect = Connect()
    """The URL and options for opening a connection."""
    opening: Annotated[tuple[OpeningStep, ...], BeforeValidator(as_tuple)] = ()
    """The steps before the first subscribe: messages to send and messages to wait for."""
    subscribe: Subscribe | None = None
    """The messages that make a subscription. Leave it out if connecting already subscribes: connect.url must then have
    {channel} or {channels}."""
    unsubscribe: Unsubscribe | None = None
    """The messages that end a subscription. Without it, scenarios that unsubscribe are refused."""
    publish: Publish
    """The ways to publish: over the connection, over HTTP, or both."""
    deliver: Match
    """The pattern of a delivery. It says where in the message the event is and, unless a connection has only one
    subscription, where the subscription's id, number or channel is."""
    stamped: Stamped | None = None
    """Messages that carry an event's time stamp in a header outside the event. Without it, scenarios with 'stamp:
    {header: NAME}' are refused."""
    replies: Annotated[tuple[Reply, ...], BeforeValidator(as_tuple)] = ()
    """Messages of the service that require a reply, such as a ping, and the replies."""
    ignore: Matches = ()
    """Messages of the service to ignore: one pattern or a list."""
    errors: Matches = ()
    """Messages that report an error which belongs to no request: one pattern or a list. During the opening, such a
    message counts as a refusal of the connection."""
    keepalive: KeepAlive | None = None
    """Messages that keep a connection alive, and the silence after which a connection is closed as dead."""

    def environment(self) -> frozenset[str]:
        """Return the names of the environment variables that the file uses."""
        found: set[str] = set()
        for written in _templates_in(self.model_dump(by_alias=True, exclude=_FOR_PEOPLE)):
            found.update(name for name, of_environment in names(written) if of_environment)
        return frozenset(found)

    def login(self) -> frozenset[str]:
        """Return the placeholders for a client's own login that the file contains."""
        return _logins_in(self.model_dump(by_alias=True, exclude=_FOR_PEOPLE))

    def login_in_opening(self) -> frozenset[str]:
        """Return the placeholders for a client's own login that the opening's messages contain."""
        return _logins_in([step.model_dump() for step in self.opening])

    def login_needed(self) -> bool:
        """Return True if a client without a login cannot connect or publish."""
        whole = self.model_dump(by_alias=True, exclude=_FOR_PEOPLE)
        for step in whole["opening"]:
            # A client without a login sends the message in `send`, so placeholders in `with_login` do not matter.
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
