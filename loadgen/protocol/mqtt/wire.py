"""Encode packets of MQTT 5 and 3.1.1, and decode both versions to the packet objects of the `mqtt5` package.

MQTT 3.1.1 has the packets of MQTT 5 without properties and with other codes. Since both are decoded to the same
objects, a session handles both versions alike.
"""

from typing import Any, Final, Protocol

import mqtt5

from loadgen.protocol.mqtt import limits
from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.mqtt.packets import PacketReader, UnreadablePacketError, fixed_header

#: First bytes of acknowledgements. An acknowledgement of success has the same bytes in MQTT 3.1.1 and MQTT 5
#: (MQTT 5, 2.1.2 and 2.1.3).
PUBACK, PUBREC, PUBREL, PUBCOMP = 0x40, 0x50, 0x62, 0x70
#: The flag in the first byte of a PUBLISH that is sent again (MQTT 5, 3.3.1.1).
DUPLICATE: Final = 0x08
PINGREQ: Final = b"\xc0\x00"
#: A DISCONNECT without a reason: a normal disconnection, after which the broker keeps the session until it expires.
DISCONNECT: Final = b"\xe0\x00"
_PACKET_ID_NOT_FOUND: Final = 0x92
_QOS: Final = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)

#: The stamp of an event outside its body: name and value of a user property.
Stamp = tuple[str, str]


def acknowledgement(kind: int, packet_id: int) -> bytes:
    """Return a PUBACK, PUBREC, PUBREL or PUBCOMP that reports success."""
    return bytes((kind, 2, packet_id >> 8, packet_id & 0xFF))


def sent_again(publish: bytes) -> bytes:
    """Return a PUBLISH with the DUP flag, which marks it as sent before."""
    return bytes((publish[0] | DUPLICATE,)) + publish[1:]


class Wire(Protocol):
    """Writes the packets of one version of MQTT; :attr:`reader` reads them."""

    version: str
    #: The reader that all sessions of a service share.
    reader: PacketReader

    def connect(self, client_id: str, login: UserPassword | None, *, clean: bool, expiry_s: int) -> bytes:
        """Return a CONNECT; ``expiry_s`` is the time for which the broker keeps a session without a connection."""

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        packet_id: int | None,
        retain: bool,
        stamp: Stamp | None = None,
    ) -> bytes:
        """Return a PUBLISH; ``packet_id`` is None at QoS 0 only."""

    def subscribe(self, packet_id: int, topic_filter: str, *, qos: int, retained: bool) -> bytes:
        """Return a SUBSCRIBE; ``retained`` asks for retained messages."""

    def unsubscribe(self, packet_id: int, topic_filter: str) -> bytes:
        """Return an UNSUBSCRIBE."""

    def unknown_id(self, kind: int, packet_id: int) -> bytes:
        """Return the PUBREL or PUBCOMP that answers a packet whose id is not in use."""


class Mqtt5:
    """Implements `Wire` for MQTT 5."""

    version = "5"

    def __init__(self, reader: PacketReader | None = None) -> None:
        self.reader = reader or PacketReader()

    def connect(self, client_id: str, login: UserPassword | None, *, clean: bool, expiry_s: int) -> bytes:
        """Return a CONNECT."""
        return mqtt5.ConnectPacket(
            client_id,
            username=login.username if login else None,
            password=login.password.encode() if login else None,
            clean_start=clean,
            session_expiry_interval=expiry_s,
            keep_alive=limits.KEEP_ALIVE_S,
            receive_max=limits.RECEIVE_MAX,
            max_packet_size=limits.PACKET_MAX_BYTES,
        ).write()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        packet_id: int | None,
        retain: bool,
        stamp: Stamp | None = None,
    ) -> bytes:
        """Return a PUBLISH, with the stamp in a user property if there is one."""
        return mqtt5.PublishPacket(
            topic,
            payload,
            qos=_QOS[qos],
            packet_id=packet_id,
            retain=retain,
            user_properties=None if stamp is None else [stamp],
        ).write()

    def subscribe(self, packet_id: int, topic_filter: str, *, qos: int, retained: bool) -> bytes:
        """Return a SUBSCRIBE."""
        handling = mqtt5.RetainHandling
        wanted = mqtt5.TopicFilter(
            topic_filter,
            max_qos=_QOS[qos],
            # With False, the retain flag marks only messages retained before the subscription, as in MQTT 3.1.1.
            retain_as_published=False,
            retain_handling=handling.SEND_ALWAYS if retained else handling.SEND_NEVER,
        )
        return mqtt5.SubscribePacket(packet_id, [wanted]).write()

    def unsubscribe(self, packet_id: int, topic_filter: str) -> bytes:
        """Return an UNSUBSCRIBE."""
        return mqtt5.UnsubscribePacket(packet_id, [topic_filter]).write()

    def unknown_id(self, kind: int, packet_id: int) -> bytes:
        """Return a packet with the reason code "Packet Identifier not found" (MQTT 5, 3.6.2.1 and 3.7.2.1)."""
        return bytes((kind, 3, packet_id >> 8, packet_id & 0xFF, _PACKET_ID_NOT_FOUND))


class Mqtt311:
    """Implements `Wire` for MQTT 3.1.1."""

    version = "3.1.1"

    def __init__(self, reader: PacketReader | None = None) -> None:
        self.reader = reader or PacketReader(read311)

    def connect(self, client_id: str, login: UserPassword | None, *, clean: bool, expiry_s: int) -> bytes:
        """Return a CONNECT (MQTT 3.1.1, 3.1); ``expiry_s`` has no effect: the broker sets the session's expiry."""
        flags = (0x02 if clean else 0) | (0xC0 if login else 0)
        content = (
            _text("MQTT") + bytes((4, flags)) + limits.KEEP_ALIVE_S.to_bytes(2, "big") + _text(client_id)
        )
        if login:
            content += _text(login.username) + _text(login.password)
        return _packet(0x10, content)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        packet_id: int | None,
        retain: bool,
        stamp: Stamp | None = None,
    ) -> bytes:
        """Return a PUBLISH (3.1.1, 3.3).

        Raises:
            ValueError: there is a stamp outside the payload, for which this version has no place.
        """
        if stamp is not None:
            raise ValueError("MQTT 3.1.1 has no user properties")
        numbered = b"" if packet_id is None else packet_id.to_bytes(2, "big")
        return _packet(0x30 | qos << 1 | retain, _text(topic) + numbered + payload)

    def subscribe(self, packet_id: int, topic_filter: str, *, qos: int, retained: bool) -> bytes:
        """Return a SUBSCRIBE (MQTT 3.1.1, 3.8); ``retained`` has no effect: brokers always send retained messages."""
        return _packet(0x82, packet_id.to_bytes(2, "big") + _text(topic_filter) + bytes((qos,)))

    def unsubscribe(self, packet_id: int, topic_filter: str) -> bytes:
        """Return an UNSUBSCRIBE (MQTT 3.1.1, 3.10)."""
        return _packet(0xA2, packet_id.to_bytes(2, "big") + _text(topic_filter))

    def unknown_id(self, kind: int, packet_id: int) -> bytes:
        """Return an acknowledgement of success: MQTT 3.1.1 has no reason code for an unknown packet id."""
        return acknowledgement(kind, packet_id)


def wire_of(version: str) -> Wire:
    """Return the codec for the packets of an MQTT version."""
    return Mqtt5() if version == "5" else Mqtt311()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def _packet(first: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while True:
        size, low = size >> 7, size & 0x7F
        length.append(low | (0x80 if size else 0))
        if not size:
            return bytes((first,)) + length + content


#: The MQTT 5 reason codes of a CONNACK's return codes (3.1.1, 3.2.2.3).
_CONNACK: Final = {
    0: mqtt5.ConnAckReasonCode.SUCCESS,
    1: mqtt5.ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    2: mqtt5.ConnAckReasonCode.CLIENT_ID_NOT_VALID,
    3: mqtt5.ConnAckReasonCode.SERVER_UNAVAILABLE,
    4: mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD,
    5: mqtt5.ConnAckReasonCode.NOT_AUTHORIZED,
}
_SUBACK: Final = {
    0: mqtt5.SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE,
    1: mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE,
    2: mqtt5.SubAckReasonCode.GRANTED_QOS_EXACTLY_ONCE,
    0x80: mqtt5.SubAckReasonCode.UNSPECIFIED_ERROR,
}


def read311(view: memoryview) -> tuple[Any, int]:
    """Return the packet of MQTT 3.1.1 at the start of the given bytes, and its size.

    Packets that only a client sends are not read.

    Raises:
        IndexError: the packet is incomplete.
        ValueError: the bytes are not an MQTT 3.1.1 packet that a broker may send.
        UnreadablePacketError: the topic of a PUBLISH is not UTF-8; later packets can be read.
    """
    begin, size = fixed_header(view)
    if size > len(view):
        # Refuse a packet of an unknown kind now, instead of waiting for the rest of it.
        _demand(view[0] >> 4 in _READ, "its kind is unknown")
        raise IndexError("the packet is incomplete")
    read = _READ.get(view[0] >> 4)
    if read is None:
        raise ValueError("its kind is unknown")
    try:
        return read(view[0] & 0x0F, view[begin:size]), size
    except UnicodeDecodeError:
        raise UnreadablePacketError(size, topic=True) from None


def _demand(condition: bool, why: str) -> None:
    if not condition:
        raise ValueError(why)


def _number(content: memoryview) -> int:
    number = int.from_bytes(content[:2], "big")
    _demand(len(content) >= 2 and number > 0, "its packet id is missing or 0")
    return number


def _connack(flags: int, content: memoryview) -> Any:
    _demand(flags == 0 and len(content) == 2 and content[0] <= 1, "its CONNACK is malformed")
    _demand(content[1] in _CONNACK, f"its CONNACK has the unknown return code {content[1]}")
    return mqtt5.ConnAckPacket(session_present=content[0] == 1, reason_code=_CONNACK[content[1]])


def _publish(flags: int, content: memoryview) -> Any:
    """Read a PUBLISH of MQTT 3.1.1: give it to the codec as a PUBLISH of MQTT 5 without properties."""
    length = int.from_bytes(content[:2], "big")
    place = 2 + length
    _demand(len(content) >= 2 and place <= len(content), "its PUBLISH is malformed")
    # The codec panics if the topic is not UTF-8, so decode it here.
    str(content[2:place], "utf-8")
    if flags & 6:
        _number(content[place:])
        place += 2
    packet, _ = mqtt5.read(
        memoryview(_packet(0x30 | flags, b"".join((content[:place], b"\0", content[place:]))))
    )
    return packet


def _answer(kind: Any, wanted_flags: int = 0) -> Any:
    def read(flags: int, content: memoryview) -> Any:
        _demand(flags == wanted_flags and len(content) == 2, "its acknowledgement is malformed")
        return kind(_number(content))

    return read


def _suback(flags: int, content: memoryview) -> Any:
    _demand(flags == 0 and len(content) >= 3, "its SUBACK is malformed")
    _demand(all(code in _SUBACK for code in content[2:]), "its SUBACK has an unknown return code")
    return mqtt5.SubAckPacket(_number(content), [_SUBACK[code] for code in content[2:]])


def _unsuback(flags: int, content: memoryview) -> Any:
    _demand(flags == 0 and len(content) == 2, "its UNSUBACK is malformed")
    return mqtt5.UnsubAckPacket(_number(content), [mqtt5.UnsubAckReasonCode.SUCCESS])


def _pingresp(flags: int, content: memoryview) -> Any:
    _demand(flags == 0 and not len(content), "its PINGRESP is malformed")
    return mqtt5.PingRespPacket()


_READ: Final = {
    2: _connack,
    3: _publish,
    4: _answer(mqtt5.PubAckPacket),
    5: _answer(mqtt5.PubRecPacket),
    6: _answer(mqtt5.PubRelPacket, 2),
    7: _answer(mqtt5.PubCompPacket),
    9: _suback,
    11: _unsuback,
    13: _pingresp,
}
