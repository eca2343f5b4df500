"""WebSocket text frames as a server sends them: unmasked, unfragmented, without extensions (RFC 6455, 5.2)."""

from typing import Final

_FIN_TEXT: Final = b"\x81"


def text_header(length: int) -> bytes:
    """Return the frame header for a text of ``length`` bytes."""
    if length < 126:
        return _FIN_TEXT + length.to_bytes(1, "big")
    if length < 65536:
        return _FIN_TEXT + b"\x7e" + length.to_bytes(2, "big")
    return _FIN_TEXT + b"\x7f" + length.to_bytes(8, "big")


def text_frame(payload: bytes) -> bytes:
    """Return the frame with a text payload in UTF-8."""
    return text_header(len(payload)) + payload
