"""Frames to send: templates with ``{name}`` placeholders, parsed once so that filling one in is a single step.

A template is a text, or a mapping or list that is written as JSON. In JSON, values within a string are escaped. Braces
around anything but a name are literal, so that a text can hold JSON.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote_plus

import msgspec

_PLACEHOLDER = re.compile(r"\{(?P<env>env:)?(?P<name>[A-Za-z_*][A-Za-z0-9_.-]*)\}", re.ASCII)
_encode = msgspec.json.Encoder().encode

Written = str | int | float | bool | None | Mapping[str, "Written"] | Sequence["Written"]
"""A template as the file has it."""

_Value = Callable[[str, int, str, Sequence[str]], bytes]
"""Returns a placeholder's bytes, given the id, the number, the channel (in the service's form) and the events of a
request."""

_RAW: Final[Mapping[str, _Value]] = {
    "id": lambda id_, number, channel, events: id_.encode(),
    "number": lambda id_, number, channel, events: b"%d" % number,
    "channel": lambda id_, number, channel, events: channel.encode(),
    "event": lambda id_, number, channel, events: events[0].encode(),
    "event_json": lambda id_, number, channel, events: events[0].encode(),
    "events": lambda id_, number, channel, events: _encode(events),
    "events_json": lambda id_, number, channel, events: b"[%b]" % ",".join(events).encode(),
    "bytes": lambda id_, number, channel, events: b"%d" % len(events[0].encode()),
    # Encoded as a value of application/x-www-form-urlencoded (WHATWG URL, 5.2).
    "event_form": lambda id_, number, channel, events: quote_plus(events[0], safe="*-._").encode(),
}
_IN_STRING: Final[Mapping[str, _Value]] = {
    **_RAW,
    "id": lambda id_, number, channel, events: _encode(id_)[1:-1],
    "channel": lambda id_, number, channel, events: _encode(channel)[1:-1],
    "event": lambda id_, number, channel, events: _encode(events[0])[1:-1],
}
_AS_JSON: Final[Mapping[str, _Value]] = {
    **_RAW,
    "id": lambda id_, number, channel, events: _encode(id_),
    "channel": lambda id_, number, channel, events: _encode(channel),
    "event": lambda id_, number, channel, events: _encode(events[0]),
}

#: Placeholders for values that are JSON: in a JSON template each must be a whole value, not part of a string.
ALONE: Final = frozenset({"events", "events_json", "event_json"})


#: The placeholder for an event as a value of a form.
FORM: Final = "event_form"


class TemplateError(ValueError):
    """An invalid template; the message completes a sentence that begins with the template's place in the file."""


def pieces(text: str) -> Iterator[str | tuple[str, bool]]:
    """Yield a text's parts in order: literal text, or (name, whether it is an environment variable)."""
    place = 0
    for found in _PLACEHOLDER.finditer(text):
        if found.start() > place:
            yield text[place : found.start()]
        yield found["name"], found["env"] is not None
        place = found.end()
    if place < len(text):
        yield text[place:]


def names(written: Written) -> Iterator[tuple[str, bool]]:
    """Yield each placeholder of a template: its name, and whether it is an environment variable."""
    for text in _texts(written):
        yield from (piece for piece in pieces(text) if not isinstance(piece, str))


def check(written: Written, known: Sequence[str]) -> None:
    """Check a template's placeholders.

    Raises:
        TemplateError: a placeholder has an unknown name, or is within a JSON string although its value is JSON.
    """
    for name, of_environment in names(written):
        if not of_environment and name not in known:
            listed = ", ".join(f"{{{each}}}" for each in known) or "none"
            raise TemplateError(
                f"has the placeholder {{{name}}}, which is none here; known are {listed}"
                + (" and {env:NAME}" if known else ", only {env:NAME}")
            )
    if not isinstance(written, str):
        for text in _texts(written):
            parts = list(pieces(text))
            if (FORM, False) in parts:
                raise TemplateError(f"has {{{FORM}}} in JSON; it is for a body that is a text")
            alone = next((part[0] for part in parts if not isinstance(part, str) and part[0] in ALONE), None)
            if alone is not None and len(parts) > 1:
                raise TemplateError(
                    f"has {{{alone}}} within a string; it is JSON itself: let it stand alone as '{{{alone}}}'"
                )


class Frame:
    """A template with environment variables filled in; `repr` does not show their values."""

    __slots__ = ("_constant", "_format", "_values")

    def __init__(self, written: Written, environment: Mapping[str, str]) -> None:
        """Parse a template, which must have passed :func:`check`; ``environment`` must have each variable it names."""
        parts = (
            _text_parts(written, environment) if isinstance(written, str) else _parts(written, environment)
        )
        literal: list[bytes] = []
        values: list[_Value] = []
        for part in parts:
            if isinstance(part, bytes):
                literal.append(part.replace(b"%", b"%%"))
            else:
                literal.append(b"%b")
                values.append(part)
        self._format = b"".join(literal)
        self._values = tuple(values)
        self._constant = None if values else self._format % ()

    def render(self, id_: str = "", number: int = 0, channel: str = "", events: Sequence[str] = ()) -> bytes:
        """Return the bytes to send."""
        if self._constant is not None:
            return self._constant
        return self._format % tuple([value(id_, number, channel, events) for value in self._values])


def filled(text: str, values: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Return a text with the given values filled in; a placeholder without a value stays as it is."""
    done = []
    for piece in pieces(text):
        if isinstance(piece, str):
            done.append(piece)
            continue
        name, of_environment = piece
        known = environment if of_environment else values
        done.append(known.get(name, f"{{{'env:' if of_environment else ''}{name}}}"))
    return "".join(done)


def _texts(written: Written) -> Iterator[str]:
    if isinstance(written, str):
        yield written
    elif isinstance(written, Mapping):
        for value in written.values():
            yield from _texts(value)
    elif isinstance(written, Sequence):
        for value in written:
            yield from _texts(value)


def _text_parts(text: str, environment: Mapping[str, str]) -> Iterator[bytes | _Value]:
    for piece in pieces(text):
        if isinstance(piece, str):
            yield piece.encode()
        else:
            name, of_environment = piece
            yield environment[name].encode() if of_environment else _RAW[name]


def _parts(written: Written, environment: Mapping[str, str]) -> Iterator[bytes | _Value]:
    if isinstance(written, str):
        yield from _string_parts(written, environment)
    elif isinstance(written, Mapping):
        yield b"{"
        for number, (key, value) in enumerate(written.items()):
            yield (b"," if number else b"") + _encode(key) + b":"
            yield from _parts(value, environment)
        yield b"}"
    elif isinstance(written, Sequence):
        yield b"["
        for number, value in enumerate(written):
            if number:
                yield b","
            yield from _parts(value, environment)
        yield b"]"
    else:
        yield _encode(written)


def _string_parts(text: str, environment: Mapping[str, str]) -> Iterator[bytes | _Value]:
    parts = list(pieces(text))
    if len(parts) == 1 and not isinstance(parts[0], str) and not parts[0][1]:
        yield _AS_JSON[parts[0][0]]
        return
    yield b'"'
    for piece in parts:
        if isinstance(piece, str):
            yield _encode(piece)[1:-1]
        else:
            name, of_environment = piece
            yield _encode(environment[name])[1:-1] if of_environment else _IN_STRING[name]
    yield b'"'
