"""Test that packets are read, and that text which is not UTF-8 never reaches the codec, which would panic."""

from collections.abc import Callable

import mqtt5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.protocol.mqtt.packets import UnreadablePacketError, read_checked

#: A text, and bytes of the same length that are not UTF-8.
GOOD, BAD = b"abc", b"a\xffc"
TEXT = GOOD.decode()
_USER = [(TEXT, "v")]

PACKETS: dict[str, bytes] = {
    "topic": mqtt5.PublishPacket(TEXT, b"{}").write(),
    "topic at QoS 1": mqtt5.PublishPacket(TEXT, b"{}", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=4).write(),
    "content type": mqtt5.PublishPacket("t", b"{}", content_type=TEXT).write(),
    "response topic": mqtt5.PublishPacket("t", b"{}", response_topic=TEXT).write(),
    "user property of an event": mqtt5.PublishPacket("t", b"{}", user_properties=_USER).write(),
    "value of a user property": mqtt5.PublishPacket("t", b"{}", user_properties=[("k", TEXT)]).write(),
    "assigned client id": mqtt5.ConnAckPacket(assigned_client_id=TEXT).write(),
    "reason of CONNACK": mqtt5.ConnAckPacket(reason_str=TEXT, receive_max=200).write(),
    "reason of SUBACK": mqtt5.SubAckPacket(1, [], reason_str=TEXT).write(),
    "reason of UNSUBACK": mqtt5.UnsubAckPacket(1, [], reason_str=TEXT).write(),
    "reason of PUBACK": mqtt5.PubAckPacket(3, reason_str=TEXT).write(),
    "reason of PUBREC": mqtt5.PubRecPacket(3, reason_str=TEXT).write(),
    "reason of DISCONNECT": mqtt5.DisconnectPacket(reason_str=TEXT).write(),
    "method of AUTH": mqtt5.AuthPacket(authentication_method=TEXT).write(),
    "client id of CONNECT": mqtt5.ConnectPacket(TEXT, username="me", password=b"\xff").write(),
    "user name of CONNECT": mqtt5.ConnectPacket("me", username=TEXT, password=b"\xff").write(),
    "filter of SUBSCRIBE": mqtt5.SubscribePacket(
        1, [mqtt5.TopicFilter("a"), mqtt5.TopicFilter(TEXT)]
    ).write(),
    "filter of UNSUBSCRIBE": mqtt5.UnsubscribePacket(1, ["a", TEXT]).write(),
}


@pytest.mark.parametrize("name", PACKETS)
def test_a_text_that_is_not_utf8_never_reaches_the_codec(name: str) -> None:
    packet = PACKETS[name]
    assert packet.count(GOOD) == 1
    read, size = read_checked(memoryview(packet))
    assert size == len(packet)
    assert type(read) is type(mqtt5.read(memoryview(packet))[0])
    with pytest.raises(UnreadablePacketError) as error:
        read_checked(memoryview(packet.replace(GOOD, BAD) + b"more"))
    assert error.value.size == len(packet)
    assert error.value.topic == name.startswith("topic")


def test_bytes_that_are_no_text_may_be_anything() -> None:
    packet = mqtt5.PublishPacket(
        "t", b"\xff\x00", correlation_data=b"\xc0\xff", message_expiry_interval=2**32 - 1
    )
    read, _ = read_checked(memoryview(packet.write()))
    assert isinstance(read, mqtt5.PublishPacket)
    assert (read.payload, read.correlation_data) == (b"\xff\x00", b"\xc0\xff")


def _outcome(read: Callable[[memoryview], tuple[mqtt5.Packet, int]], data: bytes) -> object:
    try:
        packet, size = read(memoryview(data))
    except UnreadablePacketError:
        return "unreadable"
    except (IndexError, ValueError) as error:
        return type(error)
    return type(packet), size


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(PACKETS.values())),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=5),
    st.integers(0, 80),
)
def test_whatever_is_damaged_there_is_no_panic(
    packet: bytes, changes: list[tuple[int, int]], kept: int
) -> None:
    damaged = bytearray(packet)
    for place, byte in changes:
        damaged[place % len(damaged)] = byte
    data = bytes(damaged[: kept or None])
    found = _outcome(read_checked, data)
    if data.isascii():
        assert found == _outcome(mqtt5.read, data)
