"""Read packets with the codec of the `mqtt5` package, which panics over text that is not UTF-8.

A panic is a BaseException, and each one makes the codec's runtime write to standard error. After the first panic, a
reader therefore checks the topic of each message before it calls the codec. Before that, the check is skipped.
"""

from collections.abc import Callable
from typing import Final

import mqtt5

_PUBLISH: Final = 3
_LENGTH_BYTES_MAX: Final = 4


class UnreadablePacketError(Exception):
    """A complete packet of ``size`` bytes cannot be read; later packets can."""

    def __init__(self, size: int, *, topic: bool) -> None:
        super().__init__("a packet cannot be read")
        self.size = size
        #: True if the packet is unreadable because its topic is not UTF-8.
        self.topic = topic


Read = Callable[[memoryview], tuple[mqtt5.Packet, int]]


class PacketReader:
    """Reads packets by `mqtt5.read` and explains its panics; the sessions of a service share one.

    ``read``, if given, reads another version of MQTT; it raises `UnreadablePacketError` instead of panics.
    """

    def __init__(self, read: Read = mqtt5.read) -> None:
        #: Reads the packet at the start of the given bytes; returns the packet and its size. Raises IndexError if the
        #: packet is incomplete, ValueError if the bytes are not a packet, or another exception, which :meth:`explain`
        #: translates.
        self.read: Read = read

    def explain(self, error: BaseException, view: memoryview) -> UnreadablePacketError | None:
        """Return the error for a panic of the codec on these bytes, or None if ``error`` is no such panic."""
        if isinstance(error, UnreadablePacketError):
            return error
        if type(error).__name__ != "PanicException" or (size := _size(view)) is None or size > len(view):
            return None
        self.read = _read_carefully
        return UnreadablePacketError(size, topic=not _has_good_topic(view))


def _read_carefully(view: memoryview) -> tuple[mqtt5.Packet, int]:
    size = _size(view)
    if size is not None and size <= len(view) and not _has_good_topic(view):
        # The codec must still check the rest of the packet: give it the packet with a readable topic.
        mqtt5.read(memoryview(_without_topic(view[:size])))
        raise UnreadablePacketError(size, topic=True)
    return mqtt5.read(view)


def _without_topic(packet: memoryview) -> bytes:
    """Return a complete PUBLISH with its topic replaced by an ASCII text of the same length."""
    begin, length = _topic(packet)
    return b"".join((packet[:begin], b"t" * length, packet[begin + length :]))


def _size(view: memoryview) -> int | None:
    """Return the size of the packet that begins here (MQTT 5, 1.5.5), or None if its header is incomplete or wrong."""
    length = 0
    for place, byte in enumerate(view[1 : 1 + _LENGTH_BYTES_MAX]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return 2 + place + length
    return None


def _topic(packet: memoryview) -> tuple[int, int]:
    """Return the offset of a complete PUBLISH's topic, and the length that the packet states (MQTT 5, 3.3.2.1)."""
    begin = next(place for place in range(1, 1 + _LENGTH_BYTES_MAX) if packet[place] < 0x80) + 1
    return begin + 2, int.from_bytes(packet[begin : begin + 2], "big")


def _has_good_topic(view: memoryview) -> bool:
    """Return True unless a complete packet is a PUBLISH whose topic is not UTF-8.

    A topic longer than the packet counts as good: the codec refuses it.
    """
    if view[0] >> 4 != _PUBLISH:
        return True
    size = _size(view)
    assert size is not None
    begin, length = _topic(view[:size])
    if begin + length > size:
        return True
    try:
        str(view[begin : begin + length], "utf-8")
    except UnicodeDecodeError:
        return False
    return True
