"""Describe violations of the WebSocket protocol (RFC 6455) by a server, as a phrase for each kind.

A frame's header is checked as soon as it has arrived, since the rest of an invalid frame may never arrive.
"""

from typing import Final

from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode

from loadgen.protocol.unreadable import shown

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_NAMES: Final = {
    _CONTINUATION: "continuation",
    _TEXT: "text",
    _BINARY: "binary",
    _CLOSE: "close",
    _PING: "ping",
    _PONG: "pong",
}
_FIN, _RESERVED, _OPCODE, _MASKED = 0x80, 0x70, 0x0F, 0x80
_CONTROL_BYTES: Final = 125

TEXT_NOT_UTF8: Final = "a message of text that is not UTF-8"

Violation = tuple[CloseCode, str]
"""The close code to send, and a phrase that describes the violation."""


def of_header(
    first: int, second: int, length: int, most_bytes: int | None, begun_bytes: int | None
) -> Violation | None:
    """Check a frame's header (RFC 6455, 5.2 to 5.5); return the violation, or None if there is none.

    ``first`` and ``second`` are the header's first two bytes, and ``length`` is the length of the frame's payload.
    ``begun_bytes`` is the size so far of a fragmented message that is not finished, or None if there is none.
    ``most_bytes`` is the longest message allowed, or None for any length.
    """
    opcode = first & _OPCODE
    name = _NAMES.get(opcode)
    if name is None:
        return CloseCode.PROTOCOL_ERROR, f"a frame with the reserved opcode 0x{opcode:X}"
    if first & _RESERVED:
        return (
            CloseCode.PROTOCOL_ERROR,
            f"a {name} frame with reserved bits (0x{first & _RESERVED:X}), and no extension was agreed on",
        )
    if second & _MASKED:
        return CloseCode.PROTOCOL_ERROR, f"a masked {name} frame, and a server must not mask"
    if opcode >= _CLOSE:
        if not first & _FIN:
            return CloseCode.PROTOCOL_ERROR, f"a fragmented {name} frame"
        if length > _CONTROL_BYTES:
            return (
                CloseCode.PROTOCOL_ERROR,
                f"a {name} frame of {length:,} bytes, and a control frame has 125 at most",
            )
        return None
    if opcode == _CONTINUATION and begun_bytes is None:
        return CloseCode.PROTOCOL_ERROR, "a continuation frame of a message that has not begun"
    if opcode != _CONTINUATION and begun_bytes is not None:
        return CloseCode.PROTOCOL_ERROR, f"a {name} frame in the middle of a fragmented message"
    whole = length + (begun_bytes or 0)
    if most_bytes is not None and whole > most_bytes:
        return (
            CloseCode.MESSAGE_TOO_BIG,
            f"a message of {whole:,} bytes or more, and we take {most_bytes:,}",
        )
    return None


def of_library(error: Exception) -> str:
    """Describe a violation that the `websockets` library found.

    The library finds violations within close frames, and all others only if it alone reads the connection.
    """
    if isinstance(error, UnicodeDecodeError):
        return "a close frame whose reason is not UTF-8"
    if isinstance(error, PayloadTooBig):
        return shown(str(error).encode())
    return _SAID.get(str(error), shown(str(error).encode()))


_SAID: Final = {
    "invalid status code": "a close frame with a code that may not be sent",
    "close frame too short": "a close frame of one byte",
    "incomplete fragmented message": "a close frame in the middle of a fragmented message",
    "invalid opcode": "a frame with a reserved opcode",
    "reserved bits must be 0": "a frame with reserved bits, and no extension was agreed on",
    "incorrect masking": "a masked frame, and a server must not mask",
    "fragmented control frame": "a fragmented control frame",
    "control frame too long": "a control frame of more than 125 bytes",
    "unexpected continuation frame": "a continuation frame of a message that has not begun",
    "expected a continuation frame": "a new message in the middle of a fragmented message",
}
