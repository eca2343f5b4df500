"""WebSocket text frames of a server: unmasked, whole, without extensions (RFC 6455, 5.2)."""

from typing import Final

_FIN_TEXT: Final = b"\x81"


def text_header(length: int) -> bytes:
    """Return what precedes a text of that many bytes."""
    if length < 126:
        return _FIN_TEXT + length.to_bytes(1, "big")
    if length < 65536:
        return _FIN_TEXT + b"\x7e" + length.to_bytes(2, "big")
    return _FIN_TEXT + b"\x7f" + length.to_bytes(8, "big")


def text_frame(payload: bytes) -> bytes:
    """Return the frame that carries the text."""
    return text_header(len(payload)) + payload
