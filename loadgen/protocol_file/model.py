"""The protocol file's schema, version 1.

The docstrings of fields are the descriptions in the JSON Schema.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from loadgen.config.base import MAPPING, WORD, Part, as_tuple, word_or_mapping
from loadgen.config.text import shown
from loadgen.config.units import PositiveDurationNs, format_duration, problem
from loadgen.protocol.generic.frames import TemplateError, Written, check, names
from loadgen.protocol.generic.patterns import PointerError, pointer_tokens, regex

_REQUEST = ("id", "number", "channel")
_EVENTS = ("event", "event_json", "events", "events_json", "bytes")
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})


def _template(*known: str) -> BeforeValidator:
    """Return what checks a template that may have these placeholders."""

    def validate(value: Any) -> Any:
        if not isinstance(value, str | dict | list):
            raise problem("must be text, or a mapping or list that is sent as JSON")
        _check(value, known)
        return value

    return BeforeValidator(validate)


def _text(*known: str) -> AfterValidator:
    """Return what checks a text that may have these placeholders."""

    def validate(value: str) -> str:
        _check(value, known)
        return value

    return AfterValidator(validate)


def _check(written: Written, known: Sequence[str]) -> None:
    try:
        check(written, known)
    except TemplateError as error:
        raise problem(str(error)) from None


def _pointer(value: str) -> str:
    try:
        pointer_tokens(value)
    except PointerError as error:
        raise problem(str(error)) from None
    return value


def _pattern_text(value: str) -> str:
    try:
        regex(value)
    except TemplateError as error:
        raise problem(str(error)) from None
    return value


def _header(value: str) -> str:
    if any(character < " " or character > "~" for character in value):
        raise problem("must be printable ASCII in one line")
    return value


def _of_form(pattern: str, wanted: str) -> Callable[[str], str]:
    def validate(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise problem(f"must be {wanted}, not {shown(value)}")
        return value

    return validate


def _scalar(value: object) -> object:
    if value is not None and not isinstance(value, str | int):
        raise problem(f"must be text, a whole number, true, false or null, not {shown(value)}")
    return value


def _no_secret(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if name.lower() in _SECRET_HEADERS and not any(of_environment for _, of_environment in names(value)):
            raise problem(
                f"has the header {name} with a value written out; put the secret into an environment variable and"
                " write {env:NAME}"
            )
    return headers


Pointer = Annotated[str, AfterValidator(_pointer)]
Header = Annotated[str, _text(), AfterValidator(_header)]
Url = Annotated[str, _text("target", "channel")]
_AS_SENT = WithJsonSchema({"type": ["string", "object", "array"]})
FixedTemplate = Annotated[Any, _template(), _AS_SENT]
RequestTemplate = Annotated[Any, _template(*_REQUEST), _AS_SENT]
PublishTemplate = Annotated[Any, _template(*_REQUEST, *_EVENTS), _AS_SENT]
BodyTemplate = Annotated[Any, _template("channel", *_EVENTS), _AS_SENT]
HeaderName = Annotated[str, AfterValidator(_of_form(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "the name of a header"))]
Method = Annotated[str, AfterValidator(_of_form(r"[A-Z]{1,20}", "a method such as POST"))]
Separator = Annotated[str, AfterValidator(_of_form(r"[!-~]{1,10}", "one to ten printable characters"))]
When = Annotated[str | int | bool | None, BeforeValidator(_scalar)]
Headers = Annotated[Mapping[HeaderName, Header], AfterValidator(_no_secret)]


class JsonMatch(Part):
    """What a JSON message is recognised by, and where in it is what: JSON pointers such as /payload/id."""

    when: Mapping[Pointer, When] = Field(default_factory=dict)
    """What must be where: a JSON pointer and the value there, such as {/type: data}."""
    id: Pointer | None = None
    """Where the id of the request or subscription is, as {id} has sent it."""
    number: Pointer | None = None
    """Where its number is, as {number} has sent it."""
    channel: Pointer | None = None
    """Where the channel is."""
    event: Pointer | None = None
    """Where the event is, as a string of JSON."""
    event_json: Pointer | None = None
    """Where the event is, as JSON itself."""
    reason: Pointer | None = None
    """Where the service says why it refuses."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.when and not self.at:
            raise problem("would fit every message; say with 'when' what it is recognised by")
        if self.event is not None and self.event_json is not None:
            raise problem("has both event and event_json; keep one of them")
        if sum(getattr(self, name) is not None for name in _REQUEST) > 1:
            raise problem("has more than one of id, number and channel; keep one of them")
        return self

    @property
    def at(self) -> dict[str, str]:
        """The pointers by what they lead to."""
        found = {name: getattr(self, name) for name in (*_REQUEST, "event", "event_json", "reason")}
        return {name: pointer for name, pointer in found.items() if pointer is not None}


Match = Annotated[
    Annotated[str, AfterValidator(_pattern_text), Tag(WORD)] | Annotated[JsonMatch, Tag(MAPPING)],
    Discriminator(word_or_mapping),
]
"""A text with {name} where a value stands, or a mapping with JSON pointers."""


class Channels(Part):
    """How a scenario's channel /a/b is written in the service."""

    lead: str = Field(default="/", max_length=100)
    """What stands before the first segment."""
    separator: Separator = "/"
    """What stands between two segments."""
    wildcard: Separator | None = None
    """What stands for the * that a pattern ends in: one or more segments; without it patterns are refused."""


class Connect(Part):
    """Where and how a connection is opened."""

    url: Url = "{target}"
    """The URL: {target} is the target's, {channel} the channel where each connection has its own subscription."""
    subprotocols: tuple[Header, ...] = Field(default=(), strict=False)
    """What to offer as Sec-WebSocket-Protocol."""
    headers: Headers = Field(default_factory=dict)
    """Headers of the handshake; secrets as {env:NAME}."""
    frames: Literal["text", "binary"] = "text"
    """The kind of WebSocket frame to send."""
    messages: Literal["text", "json", "lines"] = "text"
    """What a message of the service holds: one text, one JSON document, or a piece of a stream of lines that end in
    CR LF."""


class OpeningStep(Part):
    """A step of the opening: something to send, or something that must come."""

    send: FixedTemplate = None
    """What to send: text, or a mapping or list that is sent as JSON."""
    expect: Match | None = None
    """What must come next."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.send is None) == (self.expect is None):
            raise problem("must have either send or expect; write a step of its own for each")
        return self


class Subscribe(Part):
    """How one subscribes."""

    send: RequestTemplate
    """What to send; {id} is the subscription's id, {number} its number on the connection, {channel} the channel."""
    accepted: Match | None = None
    """How its acknowledgement is recognised; by {id}, {number} or {channel}, or else in the order of the requests.
    Without it there is none: only a delivery proves the subscription."""
    refused: Match | None = None
    """How a refusal is recognised, in the same way."""


class Unsubscribe(Part):
    """How a subscription is given up."""

    send: RequestTemplate
    """What to send; {id}, {number} and {channel} as the subscribe had them."""
    accepted: Match | None = None
    """How its acknowledgement is recognised; without it there is none."""
    refused: Match | None = None
    """How a refusal is recognised, in the same way."""


class PublishWebSocket(Part):
    """How one publishes over the connection."""

    send: PublishTemplate
    """What to send; {event} is the event's text ({event_json}: as JSON itself), {bytes} its length, {events} a JSON
    list of a batch ({events_json}: of JSON itself)."""
    accepted: Match | None = None
    """How its acknowledgement is recognised; without it there is none, and whether an event was accepted stays
    unknown."""
    refused: Match | None = None
    """How a refusal is recognised, in the same way."""


class PublishHttp(Part):
    """How one publishes over HTTP."""

    url: Url = "{target}"
    """The URL; {target} is the target's, with http in place of ws."""
    method: Method = "POST"
    """The method."""
    headers: Headers = Field(default_factory=dict)
    """Headers of the request; secrets as {env:NAME}."""
    body: BodyTemplate = "{event}"
    """The body: text, or a mapping or list that is sent as JSON."""
    expect: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = Field(default=(200,), min_length=1)
    """The statuses that say that the event was accepted."""
    refused: Match | None = None
    """How a body is recognised that refuses with one of these statuses all the same."""


class Publish(Part):
    """How one publishes: over the connection, over HTTP, or both."""

    websocket: PublishWebSocket | None = None
    """Over the connection."""
    http: PublishHttp | None = None
    """Over HTTP."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.websocket is None and self.http is None:
            raise problem("has neither websocket nor http; give it one of them")
        return self


class Reply(Part):
    """A message that is to be answered."""

    on: Match
    """How it is recognised."""
    send: FixedTemplate
    """What to answer."""


class KeepAlive(Part):
    """What is sent again and again, and when a connection counts as dead."""

    send: FixedTemplate = None
    """What to send; without it a ping frame of the WebSocket's, which every server answers."""
    every_ns: PositiveDurationNs | None = Field(default=None, alias="every")
    """How often, such as 30s; without it nothing is sent."""
    timeout_ns: PositiveDurationNs | None = Field(default=None, alias="timeout")
    """Within what time the service is heard, whatever it says, such as 75s: a connection on which nothing at all comes
    for so long is closed as silent. Without it nothing is."""

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
    """How a WebSocket service is spoken to, version 1."""

    version: Literal[1]
    """Version of this format: 1."""
    title: str = Field(default="", max_length=100)
    """The service's name as people write it; default is the file's name."""
    description: str = Field(default="", max_length=4000)
    """What the file is for, and what it needs of the service."""
    channels: Channels = Channels()
    """How a scenario's channels are written in the service."""
    connect: Connect = Connect()
    """Where and how a connection is opened."""
    opening: Annotated[tuple[OpeningStep, ...], BeforeValidator(as_tuple)] = ()
    """What is sent and must come before the first subscribe, step by step."""
    subscribe: Subscribe | None = None
    """How one subscribes; without it by the connection's URL, which then has {channel}."""
    unsubscribe: Unsubscribe | None = None
    """How a subscription is given up; without it scenarios that do that are refused."""
    publish: Publish
    """How one publishes."""
    deliver: Match
    """How a delivery is recognised, and where the event and the subscription are in it."""
    replies: Annotated[tuple[Reply, ...], BeforeValidator(as_tuple)] = ()
    """Messages that are to be answered, such as a ping."""
    ignore: Matches = ()
    """Messages that mean nothing."""
    errors: Matches = ()
    """Messages that report an error which belongs to no request."""
    keepalive: KeepAlive | None = None
    """What to send so that the service does not hang up, and when a connection counts as dead."""

    def environment(self) -> frozenset[str]:
        """Return the names of the environment variables that the file names."""
        found: set[str] = set()
        for written in _templates_in(self.model_dump(by_alias=True)):
            found.update(name for name, of_environment in names(written) if of_environment)
        return frozenset(found)


def json_schema() -> dict[str, Any]:
    """Return the schema of protocol files (JSON Schema, draft 2020-12), for editors."""
    from loadgen.config.json_schema import schema_of

    return schema_of(ProtocolFile, "Protocol file, version 1")


def _templates_in(value: Any) -> "list[Written]":
    if isinstance(value, Mapping):
        return [each for part in value.values() for each in _templates_in(part)]
    if isinstance(value, list | tuple):
        return [each for part in value for each in _templates_in(part)]
    return [value] if isinstance(value, str) else []
