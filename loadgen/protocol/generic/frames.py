"""Frames to send: templates with ``{name}`` placeholders, parsed once, so that filling in a template is a single step.

A template is a text, or a mapping or list that is written as JSON. In JSON, values within a string are escaped. Braces
around anything but a name are literal, so that a text can hold JSON; secrets within strings of that JSON are escaped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote_plus

import msgspec

from loadgen.protocol.base import UnfitLoginError
from loadgen.protocol.generic.embedded import PLACEHOLDER, Place, TooManyBracketsError, Where, placed
from loadgen.protocol.generic.login import PLACEHOLDERS, plain_problem

_encode = msgspec.json.Encoder().encode

Written = str | int | float | bool | None | Mapping[str, "Written"] | Sequence["Written"]
"""A template as it is written in the protocol file."""

_Value = Callable[[str, int, str, Sequence[str]], bytes]
"""Returns the bytes to write for a placeholder. The arguments are a request's id, its number, its channel (in the
service's form) and its events."""

_RAW: Final[Mapping[str, _Value]] = {
    "id": lambda id_, number, channel, events: id_.encode(),
    "number": lambda id_, number, channel, events: b"%d" % number,
    "channel": lambda id_, number, channel, events: channel.encode(),
    "event": lambda id_, number, channel, events: events[0].encode(),
    "event_json": lambda id_, number, channel, events: events[0].encode(),
    "events": lambda id_, number, channel, events: _encode(events),
    "events_json": lambda id_, number, channel, events: b"[%b]" % ",".join(events).encode(),
    "bytes": lambda id_, number, channel, events: b"%d" % len(events[0].encode()),
    # The event as a form value in application/x-www-form-urlencoded (WHATWG URL, 5.2).
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

#: Placeholders that are replaced by JSON. In a JSON template, such a placeholder must be a whole value, not a part of a
#: string.
ALONE: Final = frozenset({"events", "events_json", "event_json"})


#: The placeholder for an event as a value in a URL-encoded form (application/x-www-form-urlencoded).
FORM: Final = "event_form"


class TemplateError(ValueError):
    """An invalid template; the message completes a sentence that begins with the template's place in the file."""


def pieces(text: str) -> Iterator[str | tuple[str, bool]]:
    """Yield a text's parts in order: literal text, or (name, whether it is an environment variable)."""
    place = 0
    for found in PLACEHOLDER.finditer(text):
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
        TemplateError: a placeholder has an unknown name, or is inside a JSON string although its value is JSON, or a
            text has too many brackets to search for JSON in.
    """
    for text in _texts(written):
        if _has_secrets(text):
            _check_secrets(text)
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


class Secrets:
    """The values of a template's secrets: environment variables, and the login of a client."""

    __slots__ = ("_environment", "_login")

    def __init__(self, environment: Mapping[str, str], login: Mapping[str, str] | None = None) -> None:
        self._environment, self._login = environment, login or {}

    def written(self, place: Place) -> str:
        """Return the value to write in place of a placeholder, escaped if the placeholder is within a JSON string.

        Raises:
            UnfitLoginError: a value of the login cannot be written into the text around the placeholder.
        """
        if place.of_environment:
            value = self._environment[place.name]
        else:
            value = self._login[place.name]
            if place.where is not Where.STRING:
                self._demand(place, plain_problem(value, place.before, place.after))
        return self._escaped(place, value)

    def in_json(self, place: Place) -> str:
        """Return the value for a placeholder inside a string that the caller then encodes as JSON.

        Unlike `written`, this method does not check whether a login's value fits the text around the placeholder,
        because JSON can hold any text.
        """
        return self._escaped(
            place, self._environment[place.name] if place.of_environment else self._login[place.name]
        )

    def _escaped(self, place: Place, value: str) -> str:
        """Return a value, escaped if its placeholder is within a JSON string."""
        if not place.of_environment and not _is_unicode(value):
            self._demand(place, "text with a broken character, which UTF-8 cannot hold")
        return _encode(value)[1:-1].decode() if place.where is Where.STRING else value

    def _demand(self, place: Place, problem: str | None) -> None:
        if problem is not None:
            raise UnfitLoginError(f"the value of {{{place.name}}} cannot stand there: it is {problem}")


class Frame:
    """A template with environment variables filled in; `repr` does not show their values."""

    __slots__ = ("_constant", "_format", "_values")

    def __init__(
        self, written: Written, environment: Mapping[str, str], login: Mapping[str, str] | None = None
    ) -> None:
        """Parse a template, which must have passed :func:`check`; ``environment`` must have each variable it names.

        ``login`` has the values of the placeholders of a client's login, or is None if the template has none.

        Raises:
            UnfitLoginError: a value of the login cannot be written into the text around its placeholder.
        """
        secrets = Secrets(environment, login)
        parts = _text_parts(written, secrets) if isinstance(written, str) else _parts(written, secrets)
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


def _has_secrets(text: str) -> bool:
    return any(_is_secret(piece) for piece in pieces(text))


def _is_secret(piece: str | tuple[str, bool]) -> bool:
    return not isinstance(piece, str) and (piece[1] or piece[0] in PLACEHOLDERS)


def _check_secrets(text: str) -> None:
    """Check the places of secrets in a text."""
    try:
        places = placed(text)
    except TooManyBracketsError:
        raise TemplateError(
            "has a secret and more than 1,000 brackets that begin no JSON; write a mapping or list instead of a text"
        ) from None
    for place in places:
        if isinstance(place, Place) and place.where is Where.VALUE and place.name in PLACEHOLDERS:
            raise TemplateError(
                f'has {{{place.name}}} in JSON without quotes; write "{{{place.name}}}" there'
            )


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pieces(text: str) -> Iterator[str | tuple[str, bool] | Place]:
    """Yield the parts of a template's text: literal text, (name, False) for a placeholder, a `Place` for a secret."""
    if not _has_secrets(text):
        yield from pieces(text)
        return
    for part in placed(text):
        if not isinstance(part, Place) or part.of_environment or part.name in PLACEHOLDERS:
            yield part
        else:
            yield part.name, False


def _text_parts(text: str, secrets: Secrets) -> Iterator[bytes | _Value]:
    for piece in _pieces(text):
        if isinstance(piece, str):
            yield piece.encode()
        elif isinstance(piece, Place):
            yield secrets.written(piece).encode()
        else:
            yield _RAW[piece[0]]


def _parts(written: Written, secrets: Secrets) -> Iterator[bytes | _Value]:
    if isinstance(written, str):
        yield from _string_parts(written, secrets)
    elif isinstance(written, Mapping):
        yield b"{"
        for number, (key, value) in enumerate(written.items()):
            yield (b"," if number else b"") + _encode(key) + b":"
            yield from _parts(value, secrets)
        yield b"}"
    elif isinstance(written, Sequence):
        yield b"["
        for number, value in enumerate(written):
            if number:
                yield b","
            yield from _parts(value, secrets)
        yield b"]"
    else:
        yield _encode(written)


def _string_parts(text: str, secrets: Secrets) -> Iterator[bytes | _Value]:
    parts = list(_pieces(text))
    if len(parts) == 1 and not isinstance(parts[0], str | Place):
        yield _AS_JSON[parts[0][0]]
        return
    yield b'"'
    for piece in parts:
        if isinstance(piece, str):
            yield _encode(piece)[1:-1]
        elif isinstance(piece, Place):
            yield _encode(secrets.in_json(piece))[1:-1]
        else:
            yield _IN_STRING[piece[0]]
    yield b'"'
