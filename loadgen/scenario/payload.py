"""Settings for the content of a group's events and for the stamp that identifies each event, with their checks."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SkipValidation, StringConstraints, model_validator

from loadgen.config.base import Part
from loadgen.config.problems import Path, Problem
from loadgen.config.text import nearest
from loadgen.config.units import SizeBytes, format_size, problem
from loadgen.payloads.lines import table_name
from loadgen.payloads.place import BESIDE, Kind, Place, pointer_tokens
from loadgen.payloads.plans import Lines, Payload, Sizes, Stamps, Template
from loadgen.payloads.template import BUILT_IN, Compiled, PayloadTemplateError, compiled_json, compiled_text
from loadgen.protocol.appsync.limits import EVENT_MAX_BYTES
from loadgen.protocol.rules import ProtocolRules

_KINDS = ("json", "file", "size", "text", "hex", "base64")
_BINARY = ("text", "hex", "base64")
_Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_BESIDE_WORDS = {"user_property": "user properties, which MQTT 5 has", "header": "headers in its messages"}


def payload_size(value: int) -> int:
    """Return a size of events (bytes); raise an error for pydantic if it is too small or too large."""
    if not 1 <= value <= EVENT_MAX_BYTES:
        raise problem(f"must be from 1B to {format_size(EVENT_MAX_BYTES)}, not '{format_size(value)}'")
    return value


def _pointer(value: str) -> str:
    try:
        pointer_tokens(value)
    except ValueError as error:
        raise problem(f"is no JSON pointer: it {error}") from None
    return _checked("pointer", value)


def _member(value: str) -> str:
    return _checked("member", value)


def _checked(kind: Kind, value: str) -> str:
    try:
        Place(kind, value)
    except ValueError as error:
        raise problem(str(error)) from None
    return value


_Size = Annotated[SizeBytes, AfterValidator(payload_size)]


class SizeSpread(Part):
    """Sizes of events, drawn for each event: a log-normal distribution with the given p50 and p99, limited to max."""

    p50: _Size
    """The size that half of the events do not exceed, such as 300B."""
    p99: _Size
    """The size that 99 % of the events do not exceed, such as 20KB."""
    max: _Size
    """The largest size. A larger draw becomes this size."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for low, high in (("p50", "p99"), ("p99", "max")):
            if getattr(self, low) > getattr(self, high):
                raise problem(f"has a {low} above its {high}; give ascending sizes")
        return self


class Content(Part):
    """The content of a group's events; give exactly one of json, file, size, text, hex and base64."""

    json_: Annotated[Any, SkipValidation] = Field(default=None, alias="json")
    """The event as a template: a mapping whose texts may contain {name.column}, {seq} (the number of the event among
    those of its publisher), {now} (the time at which it is sent, in ISO 8601) and {uuid}. {random: [...]} stands for
    one of several values. A text that is only a placeholder becomes the value itself, which may be a number. A literal
    brace is written twice."""
    file: _Name | None = None
    """A JSON Lines file in the scenario's folder. Each line is an event, a JSON object."""
    pick: Literal["in-turn", "random", "by-weight"] | None = None
    """file: the choice of the line for each event. in-turn (default): one line after another, and again from the first.
    random: a line is drawn. by-weight: a line is drawn in proportion to its weight, a number in the member that weight
    names."""
    weight: _Name | None = None
    """With pick by-weight: the name of the member that holds a line's weight. The event is sent without this member."""
    size: SizeSpread | None = None
    """Padding whose size is drawn from a distribution, such as {p50: 300B, p99: 20KB, max: 200KB}."""
    text: _Text | None = None
    """Any text, with the placeholders of json. It leaves no room for a stamp inside the event, so set stamp to
    user_property or header."""
    hex: _Text | None = None
    """Bytes as hexadecimal digits, with the placeholders of json. Set stamp to user_property or header, as for text."""
    base64: _Text | None = None
    """Bytes as Base64, with the placeholders of json, such as "{frames.image}". Set stamp to user_property or header,
    as for text."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = [kind for kind in _KINDS if self._given(kind)]
        if len(given) != 1:
            raise problem(
                f"has both {given[0]} and {given[1]}; keep one of them"
                if given
                else f"says nothing of the content; give it one of {', '.join(_KINDS)}, or a size such as 200B"
            )
        if self.file is None:
            for key in ("pick", "weight"):
                if getattr(self, key) is not None:
                    raise problem(f"has {key}, which only file takes; drop it")
        elif (self.weight is None) == (self.pick == "by-weight"):
            raise problem(
                "has 'pick: by-weight' without weight; name the member, as 'weight: NAME'"
                if self.weight is None
                else "has weight, which only 'pick: by-weight' takes; drop it"
            )
        return self

    def _given(self, kind: str) -> bool:
        return (self.json_ if kind == "json" else getattr(self, kind)) is not None

    @property
    def kind(self) -> str:
        """The one key of `_KINDS` that the payload sets, such as `json`."""
        return next(kind for kind in _KINDS if self._given(kind))

    @property
    def written(self) -> Any:
        """The template's source, or None if the content is not a template."""
        return self.json_ if self.json_ is not None else (self.text or self.hex or self.base64)

    @property
    def by_weight(self) -> bool:
        """True if lines are drawn in proportion to their weights."""
        return self.pick == "by-weight"

    def plan(self, group: str, rows: int | None) -> Payload:
        """Return this content as the payload of a resolved run; ``rows`` is the number of lines of its file, if any."""
        if self.file is not None:
            assert rows is not None
            return Lines(table_name(group), self.file, self.pick or "in-turn", rows)
        if self.size is not None:
            return Sizes(self.size.p50, self.size.p99, self.size.max)
        return Template(self.kind, self.written)

    def compiled(self, tokens: tuple[str, ...] | None) -> Compiled | None:
        """Return the compiled template, or None if the content has no template; raises PayloadTemplateError."""
        if self.json_ is not None:
            return compiled_json(self.json_, tokens)
        return None if self.written is None else compiled_text(self.written)


class StampPlace(Part):
    """The place of the stamp, which identifies each event; give exactly one of these keys."""

    member: Annotated[_Name, AfterValidator(_member)] | None = None
    """The name of a member of the event, such as trace. If the scenario has no stamp, it is _lg."""
    pointer: Annotated[_Name, AfterValidator(_pointer)] | None = None
    """A JSON pointer into the event, such as /meta/trace. Missing objects on its path are added to the event."""
    user_property: Annotated[_Name, StringConstraints(pattern=r"^[!-~]+$")] | None = None
    """The name of a user property of MQTT 5. The event itself can then be anything, including binary data."""
    header: Annotated[_Name, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """The name of a message header, for protocols that have headers, such as NATS. The event itself can then be
    anything, including binary data."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [kind for kind in ("member", "pointer", "user_property", "header") if getattr(self, kind)]
        if len(given) != 1:
            raise problem(
                f"has both {given[0]} and {given[1]}; keep one of them"
                if given
                else "names no place; give it one of member, pointer, user_property and header"
            )
        return self

    @property
    def place(self) -> Place:
        """The place of the stamp that is set, as a value for a resolved run."""
        kinds: tuple[Kind, ...] = ("member", "pointer", "user_property", "header")
        return next(Place(kind, name) for kind in kinds if (name := getattr(self, kind)) is not None)


def stamps_of(stamp: StampPlace | None, integrity: bool) -> Stamps:
    """Return the settings of stamps for a resolved run."""
    return Stamps(Place() if stamp is None else stamp.place, integrity)


def check_stamps(stamps: Stamps, rules: ProtocolRules, over_http: Iterator[Path]) -> Iterator[Problem]:
    """Yield a problem for each reason why the target cannot carry the stamps.

    ``over_http`` are the groups that publish over HTTP, as paths within the scenario.
    """
    kind = stamps.place.kind
    if kind not in BESIDE:
        return
    if rules.stamp_beside != kind:
        instead = f"use {rules.stamp_beside}, " if rules.stamp_beside else "use "
        yield Problem(
            ("stamp", kind),
            f"cannot be used: this target has no {_BESIDE_WORDS[kind]}; {instead}member or pointer",
        )
        return
    for path in over_http:
        yield Problem(path, f"must be websocket: the stamp's {kind} travels in messages of a connection only")


def check_payload(path: Path, made: Content, stamps: Stamps, rules: ProtocolRules) -> Iterator[Problem]:
    """Yield the problems of a payload that are found without reading data files; the caller checks names of columns."""
    if made.kind in _BINARY and not stamps.place.beside:
        yield Problem(
            (*path, made.kind),
            "leaves no place for the stamp within the event; put it beside the event, as 'stamp: {user_property: lg}'"
            " on MQTT or 'stamp: {header: Lg}' on NATS, or use json",
        )
        return
    limit = rules.event_bytes
    if made.size is not None and limit is not None and made.size.max > limit:
        yield Problem(
            (*path, "size", "max"),
            f"is {format_size(made.size.max)}, and the service takes events of at most {format_size(limit)}",
        )
    try:
        made.compiled(None if stamps.place.beside else stamps.place.tokens)
    except PayloadTemplateError as error:
        yield Problem((*path, made.kind, *error.path), str(error))


def names_in(path: Path, made: Content) -> Iterator[tuple[Path, str]]:
    """Yield each name in a payload's template that is not built in, with the path of the text that has it."""
    yield from _names((*path, made.kind), made.written)


def _names(path: Path, written: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(written, Mapping):
        for key, value in written.items():
            yield from _names((*path, key), value)
    elif isinstance(written, list | tuple):
        for number, value in enumerate(written):
            yield from _names((*path, number), value)
    elif isinstance(written, str):
        try:
            names = compiled_text(written).names
        except PayloadTemplateError:
            return
        yield from ((path, name) for name in names if name not in BUILT_IN)


def unknown(name: str, columns: Mapping[str, Any]) -> str:
    """Return why a payload cannot use ``name``, a name without a ".column" part; the text completes a sentence."""
    if name in columns:
        return f"has {{{name}}}, which is data: name one of its columns too, as in {{{name}.id}}"
    known = ", ".join(f"{{{each}}}" for each in BUILT_IN)
    return f"has {{{name}}}, which is no column and none of {known}{nearest(name, BUILT_IN)}".replace(
        f"; known are {', '.join(BUILT_IN)}", ""
    )
