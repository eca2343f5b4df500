"""Frames that a client sends (RFC 6455, section 5.2): final and masked."""

import os
from typing import Final

from websockets.utils import apply_mask

_MASKED: Final = 0x80
_FINAL: Final = 0x80
_POOL_BYTES: Final = 4096
_MASK_BYTES: Final = 4


class _Masks:
    """Random masks, many from one call of the operating system."""

    __slots__ = ("_place", "_pool")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Drop all masks: a forked process must not use those of its parent."""
        self._pool, self._place = b"", 0

    def next(self) -> bytes:
        """Return a mask that was not used before."""
        place = self._place
        if place >= len(self._pool):
            self._pool, place = os.urandom(_POOL_BYTES), 0
        self._place = place + _MASK_BYTES
        return self._pool[place : place + _MASK_BYTES]


_masks = _Masks()
os.register_at_fork(after_in_child=_masks.renew)


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Return a whole message, or a control frame, as one frame."""
    length, mask = len(payload), _masks.next()
    if length < 126:
        head = bytes((_FINAL | opcode, _MASKED | length))
    elif length < 65536:
        head = bytes((_FINAL | opcode, _MASKED | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | opcode, _MASKED | 127)) + length.to_bytes(8, "big")
    return head + mask + apply_mask(payload, mask)
