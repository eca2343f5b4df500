"""Reading packets by the codec of the `mqtt5` package, which panics over text that is not UTF-8.

A panic is a BaseException, and the codec's runtime writes lines to standard error with each. So the first one is
caught, and from then on this process looks at the topic of a message before the codec does; while no broker sends such
a packet, that costs nothing.
"""

from collections.abc import Callable
from typing import Final

import mqtt5

_PUBLISH: Final = 3
_LENGTH_BYTES_MAX: Final = 4


class UnreadablePacketError(Exception):
    """A whole packet of ``size`` bytes that cannot be read; the next one can."""

    def __init__(self, size: int, *, topic: bool) -> None:
        super().__init__("a packet cannot be read")
        self.size = size
        #: Whether its topic is what is not UTF-8.
        self.topic = topic


class PacketReader:
    """What is called to read a packet, as `mqtt5.read` is; one a process."""

    def __init__(self) -> None:
        #: Takes bytes from a packet's beginning on; returns (packet, its size). Raises IndexError where it is not
        #: whole, ValueError where the bytes are no packet, and what :meth:`explain` takes.
        self.read: Callable[[memoryview], tuple[mqtt5.Packet, int]] = mqtt5.read

    def explain(self, error: BaseException, view: memoryview) -> UnreadablePacketError | None:
        """Return what a panic of the codec over these bytes means; None where the error is no panic."""
        if isinstance(error, UnreadablePacketError):
            return error
        if type(error).__name__ != "PanicException" or (size := _size(view)) is None or size > len(view):
            return None
        self.read = _read_carefully
        return UnreadablePacketError(size, topic=not _has_good_topic(view))


reader = PacketReader()


def _read_carefully(view: memoryview) -> tuple[mqtt5.Packet, int]:
    size = _size(view)
    if size is not None and size <= len(view) and not _has_good_topic(view):
        # Whether it is a packet is the codec's to say, as of the first such packet: it reads it with another topic.
        mqtt5.read(memoryview(_without_topic(view[:size])))
        raise UnreadablePacketError(size, topic=True)
    return mqtt5.read(view)


def _without_topic(packet: memoryview) -> bytes:
    """Return a whole PUBLISH with a topic of the same length that is ASCII."""
    begin, length = _topic(packet)
    return b"".join((packet[:begin], b"t" * length, packet[begin + length :]))


def _size(view: memoryview) -> int | None:
    """Return the size of the packet that begins here (MQTT 5, 1.5.5); None where its header is not whole, or wrong."""
    length = 0
    for place, byte in enumerate(view[1 : 1 + _LENGTH_BYTES_MAX]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return 2 + place + length
    return None


def _topic(packet: memoryview) -> tuple[int, int]:
    """Return where the topic of a whole PUBLISH begins, and its length as the packet says it (MQTT 5, 3.3.2.1)."""
    begin = next(place for place in range(1, 1 + _LENGTH_BYTES_MAX) if packet[place] < 0x80) + 1
    return begin + 2, int.from_bytes(packet[begin : begin + 2], "big")


def _has_good_topic(view: memoryview) -> bool:
    """Whether a whole packet is no PUBLISH, or its topic is UTF-8; a topic longer than the packet is the codec's."""
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
