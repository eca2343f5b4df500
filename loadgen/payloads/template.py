"""Payload templates: JSON or a text with placeholders, compiled once and filled in for each event.

``{people.id}`` is a column of the data ``people``, ``{seq}`` the event's number within its publisher, ``{now}`` its
sending time, and ``{uuid}`` a random UUID. ``{{`` and ``}}`` are braces. If a JSON string is nothing but a placeholder,
the placeholder's value, such as a number, replaces the string. Within a longer string, a placeholder becomes text. An
object whose only member is ``random`` with a list stands for one element of the list, drawn at random.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from random import Random
from secrets import token_hex
from typing import Any, Final
from uuid import UUID

import msgspec

from loadgen.data.cells import Cell, json_of, text_of
from loadgen.payloads.place import PlaceError, index_of

SEQ, NOW, UUID4 = "seq", "now", "uuid"
BUILT_IN: Final = (SEQ, NOW, UUID4)
#: Placeholder for the sending time until it is known. It is random, so no row of data can contain the same text.
NOW_MARK: Final = f"now-{token_hex(12)}-mark"

_PART: Final = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|(?P<text>[^{}]+)|(?P<stray>[{}])")
_MOST_DEPTH: Final = 50
_encode = msgspec.json.Encoder().encode

Path = tuple[str | int, ...]


class PayloadTemplateError(ValueError):
    """A template is invalid at ``path`` within it; the message completes a sentence that begins with that place."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


class Context:
    """The values of one publisher's events; ``sequence`` and ``rows`` are set before each event."""

    __slots__ = ("_cell", "_random", "sequence")

    def __init__(self, seed: str, cell: Callable[[str], Cell]) -> None:
        """``cell`` returns the value of a column by its name in templates."""
        self.sequence = 0
        self._cell = cell
        self._random = Random(seed).random

    def json(self, name: str) -> str:
        """Return a placeholder's value as JSON text."""
        if name == SEQ:
            return str(self.sequence)
        if name in BUILT_IN:
            return f'"{self.text(name)}"'
        return json_of(self._cell(name))

    def text(self, name: str) -> str:
        """Return a placeholder's value as text."""
        if name == SEQ:
            return str(self.sequence)
        if name == NOW:
            return NOW_MARK
        if name == UUID4:
            # A UUID needs 128 bits, and `random()` gives 53 at a time: make four draws and use 32 bits of each.
            bits = 0
            for _ in range(4):
                bits = bits << 32 | int(self._random() * 0x1_0000_0000)
            return str(UUID(int=bits, version=4))
        return text_of(self._cell(name))

    def choice(self, count: int) -> int:
        """Return a number from 0 to ``count - 1``."""
        return int(self._random() * count)


#: A piece of a template: a literal text, a function that returns the text for an event, or None at the place of the
#: stamp.
Piece = str | Callable[[Context], str] | None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled template: the pieces before and after the stamp; all are in ``before`` if it contains no stamp."""

    before: Sequence[str | Callable[[Context], str]]
    after: Sequence[str | Callable[[Context], str]]
    names: tuple[str, ...]
    """The placeholders, without repetition."""

    def texts(self, context: Context) -> tuple[str, str]:
        """Return the texts before and after the stamp; `NOW_MARK` stands where the sending time belongs."""
        return _joined(self.before, context), _joined(self.after, context)

    @property
    def timed(self) -> bool:
        """True if the text contains the sending time."""
        return NOW in self.names


def compiled_json(written: Any, tokens: tuple[str, ...] | None) -> Compiled:
    """Compile a JSON template; ``tokens`` are the path to the stamp, or None if the stamp is not in the body.

    Raises:
        PayloadTemplateError: the template is invalid, or the stamp has no place in it.
    """
    names: dict[str, None] = {}
    pieces = list(_json(written, (), names, tokens))
    if tokens is None:
        return Compiled(_merged(pieces), (), tuple(names))
    at = pieces.index(None)
    return Compiled(_merged(pieces[:at]), _merged(pieces[at + 1 :]), tuple(names))


def compiled_text(written: str) -> Compiled:
    """Compile a template of plain text; raises PayloadTemplateError if it is invalid."""
    names: dict[str, None] = {}
    pieces: list[Piece] = [
        part if isinstance(part, str) else _text_of(part.name) for part in _parts(written, (), names)
    ]
    return Compiled(_merged(pieces), (), tuple(names))


def binary(kind: str, text: str) -> bytes:
    """Return the bytes that a text in hexadecimal digits (``hex``) or Base64 (``base64``) stands for.

    Raises:
        ValueError: the text is not valid in this encoding.
    """
    try:
        return bytes.fromhex(text) if kind == "hex" else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        wanted = "pairs of hexadecimal digits" if kind == "hex" else "Base64"
        raise ValueError(f"gives {len(text)} characters that are no {wanted}") from None


def iso(sent_ns: int) -> str:
    """Return a time in ns as ISO 8601 in UTC, with milliseconds."""
    return _iso(sent_ns // 1_000_000)


@lru_cache(maxsize=64)
def _iso(sent_ms: int) -> str:
    seconds, ms = divmod(sent_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


@dataclass(frozen=True, slots=True)
class _Name:
    name: str


def _parts(text: str, path: Path, names: dict[str, None]) -> Iterator[str | _Name]:
    for part in _PART.finditer(text):
        if part["stray"]:
            raise PayloadTemplateError(
                path,
                f"has a {part['stray']!r} without its partner; a brace itself is written '{{{{' or '}}}}'",
            )
        if part["text"]:
            yield part["text"]
        elif part["name"] is None:
            yield part[0][0]
        elif name := part["name"].strip():
            names[name] = None
            yield _Name(name)
        else:
            raise PayloadTemplateError(path, "has '{}' with no name in it; columns are written '{people.id}'")


def _text_of(name: str) -> Callable[[Context], str]:
    return lambda context: context.text(name)


def _json(
    written: Any, path: Path, names: dict[str, None], tokens: tuple[str, ...] | None
) -> Iterator[Piece]:
    if len(path) > _MOST_DEPTH:
        raise PayloadTemplateError(path, f"is nested deeper than {_MOST_DEPTH} levels")
    if isinstance(written, Mapping) and not _is_choice(written):
        yield from _object(written, path, names, tokens)
        return
    if tokens is not None and isinstance(written, list | tuple) and path:
        yield from _stamped_list(written, path, names, tokens)
        return
    if tokens is not None:
        where = "the payload" if not path else f"its {'/'.join(map(str, path))!r}"
        raise PayloadTemplateError(
            path, f"has no room for the stamp: {where} is no object; choose another place with 'stamp'"
        )
    if isinstance(written, Mapping):
        yield _choice(written["random"], path, names)
    elif isinstance(written, list | tuple):
        yield "["
        for number, value in enumerate(written):
            if number:
                yield ","
            yield from _json(value, (*path, number), names, None)
        yield "]"
    elif isinstance(written, str):
        yield from _string(written, path, names)
    elif written is None or isinstance(written, bool | int | float):
        yield json_of(written)
    else:
        raise PayloadTemplateError(
            path, f"has a value of type {type(written).__name__}, which JSON cannot hold; write it in quotes"
        )


def _object(
    written: Mapping[Any, Any], path: Path, names: dict[str, None], tokens: tuple[str, ...] | None
) -> Iterator[Piece]:
    members = {}
    for key, value in written.items():
        if not isinstance(key, str):
            raise PayloadTemplateError(
                path, f"has a member {key!r} whose name is no text; write it in quotes"
            )
        members[key] = value
    first = True
    yield "{"
    if tokens is not None:
        token, rest = tokens[0], tokens[1:]
        yield f"{_quoted(token)}:"
        if not rest:
            members.pop(token, None)
            yield None
        elif token in members:
            yield from _json(members.pop(token), (*path, token), names, rest)
        else:
            yield "".join(f"{{{_quoted(each)}:" for each in rest)
            yield None
            yield "}" * len(rest)
        first = False
    for key, value in members.items():
        yield f"{'' if first else ','}{_quoted(key)}:"
        first = False
        yield from _json(value, (*path, key), names, None)
    yield "}"


def _stamped_list(
    written: Sequence[Any], path: Path, names: dict[str, None], tokens: tuple[str, ...]
) -> Iterator[Piece]:
    place = index_of(tokens[0])
    if place is None or place >= len(written):
        raise PayloadTemplateError(
            path, f"has no room for the stamp: it is a list of {len(written)} and has no {tokens[0]!r}"
        )
    yield "["
    for number, value in enumerate(written):
        if number:
            yield ","
        if number == place and len(tokens) == 1:
            yield None
        else:
            yield from _json(value, (*path, number), names, tokens[1:] if number == place else None)
    yield "]"


def _is_choice(written: Mapping[Any, Any]) -> bool:
    return len(written) == 1 and isinstance(written.get("random"), list | tuple)


def _choice(choices: Sequence[Any], path: Path, names: dict[str, None]) -> Callable[[Context], str]:
    if not choices:
        raise PayloadTemplateError((*path, "random"), "is an empty list; give it the values to choose from")
    each = [
        _merged(list(_json(value, (*path, "random", number), names, None)))
        for number, value in enumerate(choices)
    ]
    return lambda context: _joined(each[context.choice(len(each))], context)


def _string(text: str, path: Path, names: dict[str, None]) -> Iterator[Piece]:
    parts = list(_parts(text, path, names))
    if len(parts) == 1 and isinstance(parts[0], _Name):
        name = parts[0].name
        yield lambda context: context.json(name)
        return
    yield '"'
    for part in parts:
        yield _quoted(part)[1:-1] if isinstance(part, str) else _within(part.name)
    yield '"'


def _within(name: str) -> Callable[[Context], str]:
    return lambda context: _quoted(context.text(name))[1:-1]


def _quoted(text: str) -> str:
    return _encode(text).decode()


def _merged(pieces: Sequence[Piece]) -> list[str | Callable[[Context], str]]:
    """Return the pieces with neighbouring literals joined."""
    merged: list[str | Callable[[Context], str]] = []
    for piece in pieces:
        if piece is None:
            raise AssertionError("the stamp has a place of its own")
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def _joined(pieces: Sequence[str | Callable[[Context], str]], context: Context) -> str:
    return "".join([piece if isinstance(piece, str) else piece(context) for piece in pieces])


__all__ = [
    "BUILT_IN",
    "NOW_MARK",
    "Compiled",
    "Context",
    "PayloadTemplateError",
    "PlaceError",
    "binary",
    "compiled_json",
    "compiled_text",
    "iso",
]
