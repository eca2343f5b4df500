"""Test the packets of MQTT 3.1.1 byte by byte, and against those of MQTT 5."""

from typing import Any

import mqtt5
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.mqtt.packets import UnreadablePacketError
from loadgen.protocol.mqtt.wire import Mqtt5, Mqtt311, acknowledgement, read311, sent_again, wire_of
from loadgen.protocol.refusals import Kind
from tests.protocol.mqtt.sessions import session_of
from tests.protocol.recording import Recording

WIRE = Mqtt311()
TOPICS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=40)


def test_each_packet_that_we_send_is_as_the_standard_writes_it() -> None:
    assert WIRE.connect("c", None, clean=True, expiry_s=0).hex(" ") == (
        "10 0d 00 04 4d 51 54 54 04 02 00 3c 00 01 63"
    )
    assert WIRE.connect("c", UserPassword("u", "pw"), clean=False, expiry_s=9).hex(" ") == (
        "10 14 00 04 4d 51 54 54 04 c0 00 3c 00 01 63 00 01 75 00 02 70 77"
    )
    assert (
        WIRE.publish("a/b", b"xy", qos=0, packet_id=None, retain=False).hex(" ")
        == "30 07 00 03 61 2f 62 78 79"
    )
    assert WIRE.publish("a", b"x", qos=2, packet_id=258, retain=True).hex(" ") == "35 06 00 01 61 01 02 78"
    assert WIRE.subscribe(10, "a/#", qos=2, retained=False).hex(" ") == "82 08 00 0a 00 03 61 2f 23 02"
    assert WIRE.unsubscribe(10, "a/#").hex(" ") == "a2 07 00 0a 00 03 61 2f 23"
    assert acknowledgement(0x62, 258).hex(" ") == "62 02 01 02"
    assert WIRE.unknown_id(0x70, 1) == acknowledgement(0x70, 1)
    with pytest.raises(ValueError, match="no user properties"):
        WIRE.publish("a", b"", qos=0, packet_id=None, retain=False, stamp=("lg", "[1]"))


def test_acknowledgements_are_those_of_the_codec() -> None:
    for kind, packet in (
        (0x40, mqtt5.PubAckPacket(300)),
        (0x50, mqtt5.PubRecPacket(300)),
        (0x62, mqtt5.PubRelPacket(300)),
        (0x70, mqtt5.PubCompPacket(300)),
    ):
        assert acknowledgement(kind, 300) == packet.write()
    code = mqtt5.PubCompReasonCode.PACKET_ID_NOT_FOUND
    assert Mqtt5().unknown_id(0x70, 300) == mqtt5.PubCompPacket(300, reason_code=code).write()
    again = mqtt5.PublishPacket("a", b"x", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1, duplicate=True).write()
    assert sent_again(Mqtt5().publish("a", b"x", qos=1, packet_id=1, retain=False)) == again


@given(
    TOPICS, st.binary(max_size=300), st.integers(0, 2), st.integers(1, 65_535), st.booleans(), st.booleans()
)
def test_a_publish_is_read_as_it_was_written(
    topic: str, payload: bytes, qos: int, packet_id: int, retain: bool, again: bool
) -> None:
    data = WIRE.publish(topic, payload, qos=qos, packet_id=packet_id if qos else None, retain=retain)
    data = sent_again(data) if again else data
    for end in range(len(data)):
        with pytest.raises(IndexError):
            read311(memoryview(data[:end]))
    packet, size = read311(memoryview(data + b"\xd0"))
    assert size == len(data)
    assert (packet.topic, packet.payload, int(packet.qos), packet.retain, packet.duplicate) == (
        topic,
        payload,
        qos,
        retain,
        again,
    )
    assert packet.packet_id == (packet_id if qos else None)


@given(st.binary(max_size=60))
@example(b"\x30\x05\x00\x01\xff\x00\x01")
@example(b"\x36\x05\x00\x01a\x00\x01")
@example(b"\x32\x05\x00\x01a\x00\x00")
def test_any_bytes_are_a_packet_incomplete_or_refused(data: bytes) -> None:
    try:
        _, size = read311(memoryview(data))
    except (IndexError, ValueError):
        return
    except UnreadablePacketError as error:
        size = error.size
    assert 2 <= size <= len(data)


@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([
    b"\x20\x02\x00\x00", b"\x20\x02\x01\x00", b"\x40\x02\x00\x01", b"\x50\x02\x00\x01", b"\x62\x02\x00\x01",
    b"\x70\x02\x00\x01", b"\x90\x03\x00\x02\x02", b"\x90\x03\x00\x02\x80", b"\xb0\x02\x00\x03", b"\xd0\x00",
    b"\x34\x07\x00\x01a\x00\x07xy", b"\x3d\x07\x00\x01a\x00\x07xy", b"\xe0\x00",
])), max_size=8), st.integers(0, 2))  # fmt: skip
def test_a_session_of_311_survives_whatever_comes(parts: list[bytes], qos: int) -> None:
    handler = Recording()
    session = session_of(handler, qos, version="3.1.1")
    session.receive(b"\x20\x02\x00\x00", 1, 2)
    session.publish("p1", "/a", ["1", "2"])
    session.subscribe("s1", "/a")
    for part in parts:
        session.receive(part, 3, 4)
    assert len(handler.named("on_broken")) <= 1


@pytest.mark.parametrize(
    ("code", "said", "kind"),
    [
        (1, "unsupported protocol version", None),
        (2, "client id not valid", None),
        (3, "server unavailable", Kind.THROTTLED),
        (4, "bad user name or password", Kind.DENIED),
        (5, "not authorized", Kind.DENIED),
    ],
)
def test_the_return_codes_of_a_connack_are_told(code: int, said: str, kind: Kind | None) -> None:
    handler = Recording()
    session_of(handler, version="3.1.1").receive(bytes((0x20, 2, 0, code)), 1, 2)
    ((reason, refusal),) = handler.named("on_refused")
    assert reason.startswith(said)
    assert (None if refusal is None else refusal.kind) == kind


def test_a_broker_of_5_is_told_from_one_of_311() -> None:
    handler = Recording()
    session_of(handler, version="3.1.1").receive(mqtt5.ConnAckPacket(receive_max=20).write(), 1, 2)
    assert "does it speak MQTT 3.1.1?" in handler.named("on_refused")[0][0]


def test_a_subscription_of_311_is_acknowledged_or_refused() -> None:
    handler = Recording()
    session = session_of(handler, 2, version="3.1.1")
    session.receive(b"\x20\x02\x00\x00", 1, 2)
    for code in (2, 1, 0x80):
        number = session.subscribe("s1", "/a")[3]
        session.receive(bytes((0x90, 3, 0, number, code)), 5, 6)
    assert handler.named("on_subscribed") == [("s1", 5), ("s1", 5)]
    assert handler.named("on_deviation") == [
        ("the broker granted QoS 1 to a subscription that asked for QoS 2",)
    ]
    assert len(handler.named("on_subscribe_failed")) == 1
    assert session.unsubscribe("s1")[0] == 0xA2


def wires() -> list[Any]:
    return [wire_of("5"), wire_of("3.1.1")]


def test_each_version_has_a_wire() -> None:
    assert [wire.version for wire in wires()] == ["5", "3.1.1"]
