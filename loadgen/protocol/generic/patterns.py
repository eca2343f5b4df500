"""Patterns that recognise messages and extract values from them.

The pattern of a text is a text with ``{name}`` placeholders. The pattern of JSON gives the values that must be present,
and the places of the values to extract, both by JSON pointers (RFC 6901).
"""

import re
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple

import msgspec

from loadgen.protocol.generic.frames import TemplateError, pieces

Scalar = str | int | bool | None
Message = bytes | bytearray

_WORD = r"(?P<{name}>\S+)"
_DIGITS = r"(?P<{name}>[0-9]{{1,9}})"
_REST = r"(?P<{name}>.*)"
_CAPTURES: Final[Mapping[str, str]] = {
    "id": _WORD,
    "channel": _WORD,
    "number": _DIGITS,
    "bytes": _DIGITS,
    "event": _REST,
    "reason": _REST,
}
#: Name of a placeholder that matches anything and extracts nothing.
ANYTHING: Final = "*"
TEXT_NAMES: Final = (*_CAPTURES, ANYTHING)


class Found(NamedTuple):
    """The values that a pattern extracts from a message; None for a value that the pattern does not name."""

    id: str | None = None
    number: int | None = None
    channel: str | None = None
    event: str | None = None
    reason: str | None = None


_NOTHING = Found()


def regex(text: str) -> str:
    """Return the regular expression of a text pattern, with a group for each name in it.

    Raises:
        TemplateError: a placeholder is unknown, is used twice, or is an environment variable.
    """
    written, seen = [], set()
    for piece in pieces(text):
        if isinstance(piece, str):
            written.append(re.escape(piece))
            continue
        name, of_environment = piece
        if of_environment:
            raise TemplateError(
                f"has {{env:{name}}}; what is recognised holds no secret: write {{*}} instead"
            )
        if name == ANYTHING:
            written.append(".*")
            continue
        if name not in _CAPTURES:
            listed = ", ".join(f"{{{each}}}" for each in TEXT_NAMES)
            raise TemplateError(f"has the placeholder {{{name}}}, which is none here; known are {listed}")
        if name in seen:
            raise TemplateError(f"has {{{name}}} twice; write {{*}} for the other")
        seen.add(name)
        written.append(_CAPTURES[name].format(name=name))
    return "".join(written)


class TextPattern:
    """Recognises a text, which is a whole message or a line without its line break."""

    __slots__ = ("_fullmatch", "_names", "written")

    def __init__(self, written: str) -> None:
        compiled = re.compile(regex(written).encode(), re.DOTALL)
        self._fullmatch = compiled.fullmatch
        self._names = frozenset(compiled.groupindex)
        #: The pattern as written in the file.
        self.written = written

    def match(self, message: Message) -> Found | None:
        """Return the values in the message, or None if it does not match.

        Raises:
            UnicodeDecodeError: the message matches, and a value is not UTF-8.
        """
        found = self._fullmatch(message)
        if found is None:
            return None
        if not self._names:
            return _NOTHING
        values = {name: value.decode() for name, value in found.groupdict().items() if name != "bytes"}
        number = values.pop("number", None)
        return Found(number=None if number is None else int(number), **values)


class JsonPattern:
    """Recognises a JSON message."""

    __slots__ = ("_at", "_when", "written")

    def __init__(self, when: Mapping[str, Scalar], at: Mapping[str, str]) -> None:
        """``when`` maps JSON pointers to the values that a message must have; ``at`` maps names to pointers of values.

        The names are `id`, `number`, `channel`, `event` (a string of JSON), `event_json` (JSON itself) and `reason`.
        """
        self._when = [(pointer_tokens(pointer), value) for pointer, value in when.items()]
        self._at = [(name, pointer_tokens(pointer)) for name, pointer in at.items()]
        self.written = ", ".join(
            [f"{pointer} = {msgspec.json.encode(value).decode()}" for pointer, value in when.items()]
            + [f"{name} at {pointer or 'the whole message'}" for name, pointer in at.items()]
        )

    def match(self, message: Any) -> Found | None:
        """Return the values in the decoded message, or None if it does not match."""
        for tokens, wanted in self._when:
            value = resolve(message, tokens)
            if value is _ABSENT or value != wanted or isinstance(value, bool) != isinstance(wanted, bool):
                return None
        values: dict[str, Any] = {}
        for name, tokens in self._at:
            value = resolve(message, tokens)
            if name == "reason":
                # The service's reason is only displayed, so it may be missing or have any JSON type.
                if value is not _ABSENT:
                    values[name] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            elif value is _ABSENT:
                return None
            elif name == "event_json":
                values["event"] = msgspec.json.encode(value).decode()
            elif name == "number":
                if not isinstance(value, int) or isinstance(value, bool):
                    return None
                values[name] = value
            elif not isinstance(value, str):
                return None
            else:
                values[name] = value
        return Found(**values)


Pattern = TextPattern | JsonPattern


class PointerError(ValueError):
    """A text is not a JSON pointer; the message completes a sentence that begins with the text's place in the file."""


def pointer_tokens(pointer: str) -> tuple[str, ...]:
    """Return the reference tokens of a JSON pointer (RFC 6901, section 4).

    Raises:
        PointerError: the text is not a JSON pointer.
    """
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise PointerError(
            f"is not a JSON pointer: {pointer[:60]!a} does not begin with '/'; write '/{pointer[:60]}'"
        )
    if re.search(r"~(?![01])", pointer):
        raise PointerError("is not a JSON pointer: a '~' in a name is written '~0', and a '/' in one '~1'")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


_ABSENT: Final = object()


def resolve(document: Any, tokens: tuple[str, ...]) -> Any:
    """Return the value at a pointer, or `_ABSENT` if there is none."""
    for token in tokens:
        if isinstance(document, dict):
            document = document.get(token, _ABSENT)
        elif isinstance(document, list) and token.isdecimal() and int(token) < len(document):
            document = document[int(token)]
        else:
            return _ABSENT
    return document


class Quick(NamedTuple):
    """The two steps from a message to a delivery, separate so that the hot path calls each without a wrapper.

    ``decode`` raises msgspec.MsgspecError for a message that is not a delivery. ``take`` returns two values: one
    that identifies the subscription (None if deliveries have none), and the event as text or `msgspec.Raw`.
    """

    decode: Callable[[Message], Any]
    take: Callable[[Any], tuple[Any, Any]]


def quick(when: Mapping[str, Scalar], at: Mapping[str, str]) -> Quick | None:
    """Return a decoder that extracts only a delivery's values, in one pass, or None if the pattern does not allow it.

    The decoder accepts no message that a `JsonPattern` with the same arguments refuses. If the decoder refuses a
    message, the `JsonPattern` decides.
    """
    leaves: dict[tuple[str, ...], Any] = {}
    for pointer, value in when.items():
        if isinstance(value, bool):
            return None  # Older versions of msgspec do not accept a bool in a Literal.
        leaves[pointer_tokens(pointer)] = None if value is None else Literal[value]
    identity, event = None, None
    for name, pointer in at.items():
        tokens = pointer_tokens(pointer)
        if tokens in leaves:
            return None
        if name in ("event", "event_json"):
            event = tokens
            leaves[tokens] = str if name == "event" else msgspec.Raw
        elif name in ("id", "channel", "number"):
            identity = tokens
            leaves[tokens] = int if name == "number" else str
    if event is None or any(_lies_above(one, other) for one in leaves for other in leaves):
        return None
    places: dict[tuple[str, ...], str] = {}
    struct = _struct(leaves, (), places, "")
    if struct is None:
        return None
    decode = msgspec.json.Decoder(struct).decode
    if identity is None:
        event_of = attrgetter(places[event])
        return Quick(decode, lambda found: (None, event_of(found)))
    return Quick(decode, attrgetter(places[identity], places[event]))


def _lies_above(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return len(one) < len(other) and other[: len(one)] == one


def _struct(
    leaves: Mapping[tuple[str, ...], Any],
    above: tuple[str, ...],
    places: dict[tuple[str, ...], str],
    path: str,
) -> Any:
    """Return a struct type to decode the JSON value at path ``above``, or None if no struct can describe it.

    ``leaves`` has the paths of the values wanted; the attribute path of each is added to ``places``.
    """
    depth = len(above)
    tokens = list(
        dict.fromkeys(each[depth] for each in leaves if each[:depth] == above and len(each) > depth)
    )
    of_list = all(token.isdecimal() for token in tokens)
    if not tokens or (not of_list and any(token.isdecimal() for token in tokens)):
        return None
    order = [str(k) for k in range(max(map(int, tokens)) + 1)] if of_list else tokens
    if len(order) > 64:
        return None
    fields: list[Any] = []
    for number, token in enumerate(order):
        here, attribute = (*above, token), f"f{number}"
        kind: Any
        if token not in tokens:
            kind = msgspec.Raw  # The pattern does not use this element of a list.
        elif here in leaves:
            kind = leaves[here]
            places[here] = path + attribute
        else:
            kind = _struct(leaves, here, places, f"{path}{attribute}.")
            if kind is None:
                return None
        fields.append((attribute, kind) if of_list else (attribute, kind, msgspec.field(name=token)))
    return msgspec.defstruct("Delivery", fields, array_like=of_list, frozen=True, gc=False)
