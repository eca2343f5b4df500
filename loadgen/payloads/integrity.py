"""Checksums that show whether an event's content changed on its way.

A service may rewrite JSON with other whitespace, other escapes, members in another order, or 1.0 for 1, although no
value changes. So a checksum of JSON covers the values and not the text. The value of the stamp is left out.
"""

from typing import Any, Final
from zlib import crc32

import msgspec

from loadgen.payloads.place import stamp_in


def _number(text: str) -> object:
    """Parse a JSON number with a point or an exponent; return an int if its value is whole, so 1.0 equals 1."""
    value = float(text)
    if value.is_integer():
        return int(value)
    # If the value is too large for a float, two numbers count as equal only if their texts are equal.
    return value if value - value == 0 else f"number {text.lower()}"


_decode: Final = msgspec.json.Decoder(float_hook=_number).decode
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def decoded(text: str | bytes) -> Any:
    """Return the values of a JSON text in the form that :func:`canonical_bytes` takes.

    Raises:
        msgspec.DecodeError: the text is not JSON.
        RecursionError: it is nested too deep.
    """
    return _decode(text)


def canonical_bytes(value: Any) -> bytes:
    """Return a decoded value as canonical JSON: equal values give the same text, however they were written."""
    return _encode(value)


def canonical(text: str | bytes, tokens: tuple[str, ...]) -> bytes:
    """Return the canonical text of an event whose stamp, at ``tokens``, counts as null.

    Raises:
        msgspec.DecodeError: the text is not JSON.
        KeyError: it has no stamp.
    """
    value = _decode(text)
    _, parent, key = stamp_in(value, tokens)
    parent[key] = None
    return _encode(value)


def checksum(content: bytes) -> int:
    """Return the CRC-32 of bytes."""
    return crc32(content)
