"""The stamp that every published event carries and from which every delivery is measured.

An event is a JSON object whose member ``_lg`` is ``[token, publisher, sequence, intended_ns, sent_ns]``: the run's
31-bit token, the publisher's global number, the event's number within its publisher, the time at which it was due by
the open-loop schedule, and the time at which it was handed to the socket. Other members are payload.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

STAMP_KEY = "_lg"
PADDING_KEY: Final = "pad"

#: A decoded stamp: token, publisher, sequence, intended_ns, sent_ns.
Stamp = tuple[int, int, int, int, int]


class StampedEvent(msgspec.Struct, gc=False):
    """The part of an event that the harness decodes: its stamp; the payload is skipped without being built."""

    stamp: tuple[int, int, int, int, int] = msgspec.field(name=STAMP_KEY)


#: Decodes an event's JSON text. Raises msgspec.DecodeError if the text is not JSON, and its subclass
#: msgspec.ValidationError if it is JSON without a stamp.
decode_event: Callable[[str | bytes], StampedEvent] = msgspec.json.Decoder(StampedEvent).decode


class PayloadError(ValueError):
    """The user's payload cannot go into an event; the message continues a sentence that begins with `payload()`."""


def encode_members(payload: Any) -> str:
    """Return the JSON text of a payload's members, without the braces; an empty string for None and `{}`.

    Raises:
        PayloadError: the payload is not a mapping, has a member that the harness itself writes, or holds a value that
            JSON cannot represent.
    """
    if payload is None:
        return ""
    if isinstance(payload, Mapping) and not isinstance(payload, dict):
        payload = dict(payload)
    try:
        text = msgspec.json.encode(payload).decode()
        problem = (
            None if text.startswith("{") else f"returned {_named(payload)}, and must return a mapping or None"
        )
        problem = problem or _unjson(payload)
    except Exception as error:
        raise PayloadError(
            f"returned what JSON cannot hold: {type(error).__name__}: {error}"
            if isinstance(payload, Mapping)
            else f"returned {_named(payload)}, and must return a mapping or None"
        ) from None
    # The names of stamp and padding are forbidden at the top level only. To save time, decode the JSON only if one of
    # them occurs anywhere in it.
    if problem is None and (f'"{STAMP_KEY}"' in text or f'"{PADDING_KEY}"' in text):
        for key in (STAMP_KEY, PADDING_KEY):
            if key in msgspec.json.decode(text, type=dict[str, msgspec.Raw]):
                problem = f"returned a member called {key!r}, which the harness writes itself"
    if problem is not None:
        raise PayloadError(problem)
    return text[1:-1]


def _unjson(value: Any) -> str | None:
    """Return why JSON cannot represent a value faithfully, or None if it can."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"returned {value}, which JSON cannot hold"
    if isinstance(value, bytes | bytearray | memoryview):
        return "returned bytes, which JSON cannot hold: decode them"
    items: Any = ()
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        items = value
    for item in items:
        if type(item) is not str and (problem := _unjson(item)) is not None:
            return problem
    return None


def _named(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


#: Parts of an event: (head, tail, room). The numbers of the stamp go between head and tail. If `room` is not None,
#: padding and a closing brace follow the tail; `room` is the number of characters of the stamp's numbers and the
#: padding together.
Parts = tuple[str, str, int | None]


def usual_parts(size_bytes: int, members: str = "") -> Parts:
    """Return the parts of an event with its stamp in the usual place, padded to ``size_bytes`` in UTF-8.

    ``members`` is JSON text without braces, such as the user's payload as :func:`encode_members` returns it.
    """
    head, tail = f'{{"{STAMP_KEY}":[', f"],{members}" if members else "]"
    return head, tail, size_bytes - len(head) - len(tail.encode()) - len(padding(0)) - 1


def joined(parts: Parts, numbers: str) -> str:
    """Return an event from its parts; ``numbers`` are the numbers of its stamp as text, separated by commas."""
    head, tail, room = parts
    if room is None:
        return f"{head}{numbers}{tail}"
    return f"{head}{numbers}{tail}{padding(room - len(numbers))}}}"


def padding(length: int) -> str:
    """Return the JSON member with ``length`` bytes of padding, or an empty text if ``length`` is negative."""
    return f',"{PADDING_KEY}":"{"x" * length}"' if length >= 0 else ""


def encode_event(
    token: int,
    publisher: int,
    sequence: int,
    intended_ns: int,
    sent_ns: int,
    size_bytes: int,
    members: str | None = None,
) -> str:
    """Return the JSON text of an event with its stamp in the usual place, padded to ``size_bytes``.

    ``members`` are as in :func:`usual_parts`. If stamp and members leave no room for padding, the event is not padded
    and may be longer than ``size_bytes``.
    """
    return joined(
        usual_parts(size_bytes, members or ""), f"{token},{publisher},{sequence},{intended_ns},{sent_ns}"
    )
