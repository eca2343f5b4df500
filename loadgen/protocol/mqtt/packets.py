"""Read packets with the codec of the `mqtt5` package, after checking that their texts are UTF-8.

If a text is not UTF-8 the codec panics: it raises a BaseException with another error pending, and its runtime writes to
standard error. In rare cases this crashed the interpreter. Most packets are ASCII throughout and need no check.
"""

from collections.abc import Callable
from typing import Final

import mqtt5

_PUBLISH: Final = 3
_LENGTH_BYTES_MAX: Final = 4
#: Bytes between header and properties, by packet type (MQTT 5, chapter 3). PUBLISH is left out: its topic varies in
#: length.
_BEFORE_PROPERTIES: Final = {2: 2, 4: 3, 5: 3, 6: 3, 7: 3, 9: 2, 11: 2, 14: 1, 15: 1}
#: Types of packets that only a client sends. The codec reads their texts, so they are checked too.
_CONNECT: Final = 1
_SUBSCRIBE: Final = 8
_UNSUBSCRIBE: Final = 10
#: Flags of CONNECT (MQTT 5, 3.1.2.3): a will, and a user name.
_WILL: Final = 0x04
_USER_NAME: Final = 0x80
#: Size of each property's value by its identifier (MQTT 5, 2.2.2.2).
_PROPERTY_BYTES: Final = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
_VARIABLE: Final = 0x0B
_BINARY: Final = frozenset({0x09, 0x16})
#: Number of texts in a property.
_TEXTS: Final = {**dict.fromkeys((0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F), 1), 0x26: 2}


class UnreadablePacketError(Exception):
    """A complete packet of ``size`` bytes cannot be read; later packets can."""

    def __init__(self, size: int, *, topic: bool) -> None:
        super().__init__("a packet cannot be read")
        self.size = size
        #: True if the packet is unreadable because its topic is not UTF-8.
        self.topic = topic


Read = Callable[[memoryview], tuple[mqtt5.Packet, int]]


def fixed_header(view: memoryview) -> tuple[int, int]:
    """Return (size of the fixed header, size of the packet) of the packet at the start of ``view`` (MQTT 5, 2.1).

    Raises:
        IndexError: the header is incomplete.
        ValueError: its length is malformed.
    """
    length = 0
    for place in range(_LENGTH_BYTES_MAX):
        byte = view[1 + place]
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return 2 + place, 2 + place + length
    raise ValueError("its length is malformed")


def read_checked(view: memoryview) -> tuple[mqtt5.Packet, int]:
    """Read the MQTT 5 packet at the start of the given bytes; return the packet and its size.

    Raises:
        IndexError: the packet is incomplete.
        ValueError: the bytes are not a packet.
        UnreadablePacketError: a text of the packet is not UTF-8.
    """
    try:
        begin, size = fixed_header(view)
    except (IndexError, ValueError):
        # Let the codec raise its own error: with an invalid header it reads no text, so it cannot panic.
        return mqtt5.read(view)
    if size <= len(view) and not bytes(view[begin:size]).isascii():
        _demand_utf8(view, begin, size)
    return mqtt5.read(view)


class PacketReader:
    """Reads packets and explains errors; all sessions of a service share one reader.

    The default ``read`` reads MQTT 5. To read another version of MQTT, pass a function that raises
    `UnreadablePacketError` for packets on which the codec, a library in Rust, would panic.
    """

    def __init__(self, read: Read = read_checked) -> None:
        #: Reads the packet at the start of the given bytes; returns the packet and its size. Raises IndexError if the
        #: packet is incomplete, ValueError if the bytes are not a packet, or another exception, which :meth:`explain`
        #: translates.
        self.read: Final[Read] = read

    def explain(self, error: BaseException, view: memoryview) -> UnreadablePacketError | None:
        """Return the error for a packet that cannot be read, or None if ``error`` has another cause.

        If the codec panics in spite of the checks, the packet counts as unreadable. No text is known to cause this.
        """
        if isinstance(error, UnreadablePacketError):
            return error
        if type(error).__name__ != "PanicException":
            return None
        _, size = fixed_header(view)
        return UnreadablePacketError(size, topic=False)


def _demand_utf8(view: memoryview, begin: int, size: int) -> None:
    """Check the texts of a complete packet, in the order in which the codec reads them.

    A malformed packet is left to the codec, which refuses it at the same byte.

    Raises:
        UnreadablePacketError: a text is not UTF-8.
        ValueError: the topic is not UTF-8, and the codec refuses the rest of the packet.
    """
    kind = view[0] >> 4
    if kind == _CONNECT:
        _demand_texts_of_connect(view, begin, size)
    elif kind in (_SUBSCRIBE, _UNSUBSCRIBE):
        place = _demand_texts_of(view, begin + 2, size)
        while place < size:
            place = _after_text(view, place, size) + (1 if kind == _SUBSCRIBE else 0)
    elif kind == _PUBLISH:
        place = begin + 2 + int.from_bytes(view[begin : begin + 2], "big")
        if place > size:
            return
        properties = place + (2 if view[0] & 0x06 else 0)
        try:
            _demand_text(view[begin + 2 : place], size)
        except UnreadablePacketError:
            _demand_texts_of(view, properties, size, topic=True)
            # Let the codec check the rest of the packet: give it a copy with a readable topic.
            mqtt5.read(
                memoryview(b"".join((view[: begin + 2], b"t" * (place - begin - 2), view[place:size])))
            )
            raise UnreadablePacketError(size, topic=True) from None
        _demand_texts_of(view, properties, size)
    elif kind in _BEFORE_PROPERTIES:
        _demand_texts_of(view, begin + _BEFORE_PROPERTIES[kind], size)


def _demand_texts_of_connect(view: memoryview, begin: int, size: int) -> None:
    """Check the texts of a CONNECT (MQTT 5, 3.1); raises UnreadablePacketError if one is not UTF-8."""
    flags_at = _after_text(view, begin, size) + 1
    if flags_at >= size:
        return
    place = _after_text(view, _demand_texts_of(view, flags_at + 3, size), size)
    if view[flags_at] & _WILL:
        place = _after_text(view, _demand_texts_of(view, place, size), size)
        # Skip the will's payload, which is not text.
        place += 2 + int.from_bytes(view[place : place + 2], "big")
    if view[flags_at] & _USER_NAME:
        _after_text(view, place, size)


def _demand_texts_of(view: memoryview, place: int, size: int, *, topic: bool = False) -> int:
    """Check the texts of the properties that begin at ``place``; return their end, or ``size`` if they are malformed.

    Raises:
        UnreadablePacketError: a text is not UTF-8.
    """
    length, place = _variable(view[:size], place)
    # Like the codec, read every property that begins within the declared length of all properties, even if the
    # property itself ends after it.
    end = min(place + length, size)
    while place < end:
        identifier, place = view[place], place + 1
        if identifier in _PROPERTY_BYTES:
            place += _PROPERTY_BYTES[identifier]
        elif identifier == _VARIABLE:
            _, place = _variable(view[:size], place)
        elif identifier in _BINARY:
            place += 2 + int.from_bytes(view[place : place + 2], "big")
        elif identifier in _TEXTS:
            for _ in range(_TEXTS[identifier]):
                place = _after_text(view, place, size, topic=topic)
        else:
            return size
    return min(place, size)


def _after_text(view: memoryview, place: int, size: int, *, topic: bool = False) -> int:
    """Check the text at ``place``; return the index after it, or ``size`` if the packet ends within the text.

    Raises:
        UnreadablePacketError: the text is not UTF-8.
    """
    begin = place + 2
    after = begin + int.from_bytes(view[place:begin], "big")
    if begin > size or after > size:
        return size
    _demand_text(view[begin:after], size, topic=topic)
    return after


def _demand_text(text: memoryview, size: int, *, topic: bool = False) -> None:
    try:
        str(text, "utf-8")
    except UnicodeDecodeError:
        raise UnreadablePacketError(size, topic=topic) from None


def _variable(view: memoryview, place: int) -> tuple[int, int]:
    """Return the variable byte integer at ``place`` (MQTT 5, 1.5.5) and its end, or (0, ``len(view)``) if malformed."""
    value = 0
    for number, byte in enumerate(view[place : place + _LENGTH_BYTES_MAX]):
        value |= (byte & 0x7F) << 7 * number
        if byte < 0x80:
            return value, place + number + 1
    return 0, len(view)
