"""The place of an event's stamp: a member or a JSON pointer in its body, or a property or header outside the body."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from loadgen.measure.stamp import PADDING_KEY, STAMP_KEY

Kind = Literal["member", "pointer", "user_property", "header"]
#: The kinds of places for a stamp that are outside the event's body.
BESIDE: Final = ("user_property", "header")
_ESCAPE: Final = re.compile(r"~(?![01])")
_NAME_BESIDE: Final = re.compile(r"[!-~]+").fullmatch
_Members = dict[str, msgspec.Raw]
_members = msgspec.json.Decoder(_Members).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class PlaceError(ValueError):
    """A body has no place for the stamp; the error's text is the end of a sentence about the body."""


class Place(Struct, frozen=True):
    """The place of the stamp; ``name`` is the member, the JSON pointer (RFC 6901), the property or the header."""

    kind: Kind = "member"
    name: Annotated[str, Meta(min_length=1, max_length=1000)] = STAMP_KEY

    def __post_init__(self) -> None:
        """Check the name, which can also come from another process in a resolved run; raises ValueError."""
        if not self.beside:
            if self.tokens[0] == PADDING_KEY:
                raise ValueError(f"must not be or lead through {PADDING_KEY!r}, which holds the padding")
        elif not _NAME_BESIDE(self.name) or (self.kind == "header" and ":" in self.name):
            raise ValueError("must be printable characters without spaces")

    @property
    def is_default(self) -> bool:
        """True if the stamp is in its usual place, the event's member `_lg`."""
        return self.kind == "member" and self.name == STAMP_KEY

    @property
    def beside(self) -> bool:
        """True if the stamp travels outside the body."""
        return self.kind in BESIDE

    @property
    def tokens(self) -> tuple[str, ...]:
        """The names that lead to the stamp within the body."""
        assert not self.beside
        return (self.name,) if self.kind == "member" else pointer_tokens(self.name)

    @property
    def words(self) -> str:
        """The place in words, for messages."""
        return {
            "member": f"the member {self.name!r}",
            "pointer": f"the pointer {self.name!r}",
            "user_property": f"the user property {self.name!r}",
            "header": f"the header {self.name!r}",
        }[self.kind]


DEFAULT: Final = Place()


def place_named(name: str) -> Place:
    """Return the place of a stamp within an event: a JSON pointer if the name begins with '/', else a member.

    Raises:
        ValueError: the name is not valid; the error's text is the end of a sentence that the caller begins.
    """
    if not 1 <= len(name) <= 1000:
        raise ValueError("must have 1 to 1,000 characters")
    return Place("pointer" if name.startswith("/") else "member", name)


def pointer_tokens(pointer: str) -> tuple[str, ...]:
    """Return the names in a JSON pointer (RFC 6901, section 4).

    Raises:
        ValueError: the text is not a pointer, or points to the whole event; the error's text is the end of a
            sentence that the caller begins.
    """
    if not pointer.startswith("/"):
        raise ValueError(f"must begin with '/', as in '/{pointer[:60]}'" if pointer else "must not be empty")
    if _ESCAPE.search(pointer):
        raise ValueError("has a '~' that is neither '~0' (for '~') nor '~1' (for '/')")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


def index_of(name: str) -> int | None:
    """Return the list index that a part of a JSON pointer stands for, or None if it can only name a member."""
    return int(name) if re.fullmatch("0|[1-9][0-9]{0,8}", name) else None


def split(body: str | msgspec.Raw, tokens: tuple[str, ...]) -> tuple[str, str]:
    """Return the JSON text before and after the stamp in an object's text; other members keep their text.

    The stamp becomes the first member of its object, and each object on the path to the stamp becomes the first member
    of its parent. A value at the stamp's place is replaced, and missing objects on the path are made. An element of a
    list must exist.

    Raises:
        PlaceError: the body is not a JSON object, or the path leads through a value that is neither an object nor a
            list.
    """
    return _split(body, tokens, "the body")


def _split(body: str | msgspec.Raw, tokens: tuple[str, ...], where: str) -> tuple[str, str]:
    token, rest = tokens[0], tokens[1:]
    text = body if isinstance(body, str) else str(body, "utf-8")
    first = text.lstrip()[:1]
    if first == "[" and where != "the body":
        return _split_list(text, token, rest, where)
    if first != "{":
        raise PlaceError(f"has no room for the stamp: {where} is no object")
    try:
        members = _members(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise PlaceError(f"is no JSON: {error}") from None
    own = members.pop(token, None)
    if not rest:
        inner = "", ""
    elif own is None:
        inner = _made(rest)
    else:
        inner = _split(own, rest, f"its {_quoted(token)}")
    others = [f"{_text(name)}:{str(value, 'utf-8')}" for name, value in members.items()]
    after = "".join(f",{each}" for each in others)
    return f"{{{_text(token)}:{inner[0]}", f"{inner[1]}{after}}}"


def _split_list(body: str, token: str, rest: tuple[str, ...], where: str) -> tuple[str, str]:
    elements = [str(each, "utf-8") for each in _elements(body)]
    place = index_of(token)
    if place is None or place >= len(elements):
        raise PlaceError(
            f"has no room for the stamp: {where} is a list of {len(elements)} elements and has no {_quoted(token)}"
        )
    inner = ("", "") if not rest else _split(elements[place], rest, f"its {_quoted(token)}")
    before = "".join(f"{each}," for each in elements[:place])
    after = "".join(f",{each}" for each in elements[place + 1 :])
    return f"[{before}{inner[0]}", f"{inner[1]}{after}]"


def _made(tokens: tuple[str, ...]) -> tuple[str, str]:
    """Return the JSON text before and after the stamp, including the nested objects that the body lacks on its path."""
    return "".join(f"{{{_text(token)}:" for token in tokens), "}" * len(tokens)


def _text(name: str) -> str:
    return _encode(name).decode()


def _quoted(token: str) -> str:
    return repr(token if len(token) <= 60 else token[:60] + "…")


def stamp_in(value: Any, tokens: tuple[str, ...]) -> tuple[Any, Any, str | int]:
    """Return the value at the stamp's path in a decoded event, the value's parent, and its key or index in the parent.

    Raises:
        KeyError: the event has no such path.
    """
    parent: Any = None
    key: str | int = ""
    for token in tokens:
        parent, key = value, token
        if isinstance(value, Mapping):
            value = value[token]
        elif isinstance(value, list) and (at := index_of(token)) is not None and at < len(value):
            key, value = at, value[at]
        else:
            raise KeyError(token)
    return value, parent, key
