"""Compile a protocol file's pattern of deliveries into a template that `loadgen.native` executes.

A template reads a message in exactly one way, so a pattern that could match a message in several ways is not compiled:
each `{name}` must be followed by a text that ends it. Without a template, Python code (`receiving`) processes all
messages.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from loadgen import native
from loadgen.protocol.generic.description import Description, Identity
from loadgen.protocol.generic.frames import pieces
from loadgen.protocol.generic.patterns import ANYTHING, Scalar, TextPattern, pointer_tokens, quick

#: The parts of a template, as `native.Template` expects them.
Parts = tuple[Any, ...]

_IDENTITIES: Final[Sequence[Identity]] = ("id", "channel", "number")
_LINE_END: Final = "\r\n"
#: The whitespace characters, which end a placeholder's text: those that `\s` matches with `re.ASCII`.
_SPACES: Final = " \t\n\r\f\v"
_DIGITS: Final = "0123456789"
_EVENTS: Final[Mapping[str, str]] = {"event": "json_event", "event_json": "json_raw"}
_KEYS: Final[Mapping[str, str]] = {"id": "json_key", "channel": "json_key", "number": "json_number"}


def identity_in(description: Description) -> Identity | None:
    """Return the kind of value in a delivery that names its subscription, or None if deliveries name none."""
    deliver = description.deliver
    if description.messages == "text":
        # A text may name its subscription by several values: take the one that `Routes.subscription_of` tries first.
        assert isinstance(deliver.pattern, TextPattern)
        found = _names(deliver.pattern.written)
        return next((name for name in _IDENTITIES if name in found), None)
    return deliver.identity


def parts_of(description: Description) -> Parts | None:
    """Return the template for the deliveries of a protocol, or None if no template can express their pattern."""
    deliver = description.deliver
    if description.messages == "json":
        return json_parts(deliver.when, deliver.at)
    assert isinstance(deliver.pattern, TextPattern)
    written, sized = deliver.pattern.written, False
    if description.messages == "lines":
        head, end, rest = written.partition(_LINE_END)
        sized = bool(end and rest)
        written = head + _LINE_END + ("{event}" + _LINE_END if sized else "")
    return _of_text(written, identity_in(description), description.messages == "lines", sized)


def template_of(description: Description) -> "native.Template | None":
    """Return the compiled template, or None if there is none."""
    parts = parts_of(description)
    try:
        return None if parts is None else native.Template(description.messages, parts)
    except (ValueError, OverflowError):
        return None  # the template exceeds a limit of `native.Template` on parts or numbers


def _names(written: str) -> list[str]:
    return [piece[0] for piece in pieces(written) if not isinstance(piece, str)]


def _of_text(written: str, identity: Identity | None, lines: bool, sized: bool) -> Parts | None:
    parts: list[bytes | str] = []
    found = [piece if isinstance(piece, str) else (piece[0],) for piece in pieces(written)]
    for place, piece in enumerate(found):
        if isinstance(piece, str):
            parts.append(piece.encode())
            continue
        (name,) = piece
        behind = found[place + 1] if place + 1 < len(found) else ""
        is_last = all(isinstance(other, str) for other in found[place + 1 :])
        if not isinstance(behind, str):
            return None
        if name == "event" and (is_last or sized):
            parts.append("event")
        elif name == ANYTHING and (behind == "" or (lines and behind.startswith(_LINE_END))):
            parts.append("rest")
        elif name in ("id", "channel") and (behind == "" or behind[0] in _SPACES):
            parts.append("key" if name == identity else "word")
        elif name in ("number", "bytes") and (behind == "" or behind[0] not in _DIGITS):
            parts.append("number" if name == identity else "size" if name == "bytes" and sized else "digits")
        else:
            return None
    return tuple(parts)


def json_parts(when: Mapping[str, Scalar], at: Mapping[str, str]) -> Parts | None:
    """Return the template of JSON deliveries, or None if no template can express them; see `JsonPattern.__init__`."""
    if quick(when, at) is None or sum(name in _KEYS for name in at) > 1:
        return None
    leaves: dict[tuple[str, ...], Any] = {}
    for pointer, value in when.items():
        leaves[pointer_tokens(pointer)] = _literal(value)
    for name, pointer in at.items():
        if name != "reason":
            leaves[pointer_tokens(pointer)] = _EVENTS.get(name) or _KEYS[name]
    tree: Parts = _tree(leaves)
    return tree


def _literal(value: Any) -> Any:
    if value is None:
        return "null"
    return value.encode() if isinstance(value, str) else value


def _tree(leaves: Mapping[tuple[str, ...], Any]) -> Any:
    """Return the template of the JSON value with these leaves by path; `patterns.quick` has accepted the paths."""
    if () in leaves:
        return leaves[()]
    tokens = dict.fromkeys(place[0] for place in leaves)
    of_list = all(token.isdecimal() for token in tokens)
    children = [
        (token, _tree({place[1:]: leaf for place, leaf in leaves.items() if place[0] == token}))
        for token in tokens
    ]
    if of_list:
        return "list", tuple(
            sorted(((int(token), child) for token, child in children), key=lambda each: each[0])
        )
    return "object", tuple((token.encode(), child) for token, child in children)


def names_in(
    identity: Identity | None,
    numbers: Mapping[str, int],
    by_channel: Mapping[str, str],
    by_number: Mapping[int, str],
) -> Iterator[tuple[str, int | None]]:
    """Yield each value that identifies a subscription in deliveries, with the subscription's number.

    The number is None if native code must not record the subscription's deliveries.
    """
    if identity == "id":
        yield from numbers.items()
    elif identity == "channel":
        for channel, subscription_id in by_channel.items():
            yield channel, numbers.get(subscription_id)
    elif identity == "number":
        for number, subscription_id in by_number.items():
            yield str(number), numbers.get(subscription_id)
