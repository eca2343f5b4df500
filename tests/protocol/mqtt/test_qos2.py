"""Test exactly-once delivery both ways, with a broker that repeats packets at will (MQTT 5, 4.3.3)."""

from random import Random
from typing import Any

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.base import PublishAnswer
from loadgen.protocol.mqtt.incoming import COPIES, MARKED_AGAIN, REUSED_ID
from loadgen.protocol.mqtt.session import MqttSession
from loadgen.protocol.mqtt.wire import Mqtt311, read311
from tests.protocol.mqtt.sessions import packets, session_of
from tests.protocol.recording import Recording

QOS_2 = mqtt5.QoS.EXACTLY_ONCE
CONNACK = {"5": mqtt5.ConnAckPacket().write(), "3.1.1": b"\x20\x02\x00\x00"}


def connected(version: str = "5", **connack: Any) -> tuple[MqttSession, Recording]:
    handler = Recording()
    session = session_of(handler, 2, version=version)
    session.receive(mqtt5.ConnAckPacket(**connack).write() if connack else CONNACK[version], 1, 2)
    handler.calls.clear()
    return session, handler


def read(data: bytes, version: str = "5") -> list[Any]:
    if version == "5":
        return packets(data)
    found, view = [], memoryview(data)
    while view:
        packet, size = read311(view)
        found.append(packet)
        view = view[size:]
    return found


def replies(handler: Recording, version: str = "5") -> list[Any]:
    return [packet for (data,) in handler.named("on_reply") for packet in read(data, version)]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_publish_is_accepted_when_the_exchange_is_complete(version: str) -> None:
    session, handler = connected(version)
    (sent,) = read(session.publish("p1", "/default/a", ["1"]), version)
    assert (sent.qos, sent.duplicate, sent.retain) == (QOS_2, False, False)
    session.receive(bytes((0x50, 2, 0, sent.packet_id)), 10, 11)
    (release,) = replies(handler, version)
    assert isinstance(release, mqtt5.PubRelPacket)
    assert release.packet_id == sent.packet_id
    assert not handler.named("on_published"), "the broker may still not deliver it"
    session.receive(bytes((0x70, 2, 0, sent.packet_id)), 20, 21)
    assert handler.named("on_published") == [("p1", PublishAnswer(), 20)]
    # A second PUBCOMP is a deviation.
    session.receive(bytes((0x70, 2, 0, sent.packet_id)), 20, 21)
    assert handler.named("on_deviation") == [("a PUBCOMP belongs to no PUBLISH",)]


def test_a_refused_publish_ends_with_its_pubrec() -> None:
    session, handler = connected()
    (sent,) = packets(session.publish("p1", "/default/a", ["1"]))
    code = mqtt5.PubRecReasonCode.QUOTA_EXCEEDED
    session.receive(mqtt5.PubRecPacket(sent.packet_id, reason_code=code).write(), 10, 11)
    ((publish_id, answer, at_ns),) = handler.named("on_published")
    assert (publish_id, answer.rejected, at_ns) == ("p1", {0: "quota exceeded (MQTT reason code 151)"}, 10)
    assert not handler.named("on_reply")


def test_the_brokers_limit_counts_until_the_end_of_the_exchange() -> None:
    session, handler = connected(receive_max=1)
    first = packets(session.publish("p1", "/default/a", ["1", "2"]))
    assert len(first) == 1
    session.receive(mqtt5.PubRecPacket(first[0].packet_id).write(), 1, 1)
    assert [type(each) for each in replies(handler)] == [mqtt5.PubRelPacket]
    session.receive(mqtt5.PubCompPacket(first[0].packet_id).write(), 1, 1)
    assert [each.payload for each in replies(handler)[1:]] == [b"2"]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_message_that_comes_twice_is_delivered_once(version: str) -> None:
    session, handler = connected(version)
    session.subscribe("s1", "/default/a")
    wire = Mqtt311()
    message = (
        wire.publish("default/a", b"1", qos=2, packet_id=7, retain=False)
        if version == "3.1.1"
        else mqtt5.PublishPacket("default/a", b"1", qos=QOS_2, packet_id=7).write()
    )
    again = bytes((message[0] | 8,)) + message[1:]
    session.receive(message + again, 10, 11)
    assert [said[:2] for said in handler.named("on_event")] == [("s1", "1")]
    assert handler.named("on_aside") == [(COPIES,)]
    received = replies(handler, version)
    assert [type(each) for each in received] == [mqtt5.PubRecPacket] * 2
    session.receive(bytes((0x62, 2, 0, 7)), 12, 13)
    assert isinstance(replies(handler, version)[-1], mqtt5.PubCompPacket)
    # The packet id was released, so it may now belong to another message.
    session.receive(message, 20, 21)
    assert len(handler.named("on_event")) == 2
    # A message without the DUP flag is not a copy, so the broker has used the packet id twice.
    session.receive(message, 20, 21)
    assert handler.named("on_deviation") == [(REUSED_ID,)]
    assert len(handler.named("on_event")) == 2


def test_a_message_of_qos_1_that_is_marked_as_sent_again_is_a_delivery() -> None:
    """The first copy may never have arrived, so a message marked as a repetition is recorded too.

    The analysis of the record finds duplicates.
    """
    session, handler = connected()
    session.subscribe("s1", "/default/a")
    session.receive(
        mqtt5.PublishPacket(
            "default/a", b"1", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=7, duplicate=True
        ).write(),
        1,
        2,
    )
    assert len(handler.named("on_event")) == 1
    assert handler.named("on_aside") == [(MARKED_AGAIN,)]


@given(st.randoms(use_true_random=False), st.integers(1, 40), st.integers(1, 7))
def test_whatever_the_broker_repeats_each_event_is_published_and_delivered_once(
    random: Random, count: int, receive_max: int
) -> None:
    """The broker answers late, in any order, and twice."""
    session, handler = connected(receive_max=receive_max)
    session.subscribe("s1", "/default/a")
    handler.calls.clear()
    to_broker = packets(session.publish("p1", "/default/a", [str(n) for n in range(count)]))
    taken: dict[int, bytes] = {}
    published: list[bytes] = []
    held: set[int] = set()
    to_us: list[bytes] = []
    delivered: dict[int, bytes] = {}
    seen = 0
    for _ in range(40 * count):
        if to_broker:
            packet = to_broker.pop(random.randrange(len(to_broker)))
            number = packet.packet_id
            match packet:
                case mqtt5.PublishPacket():
                    taken[number] = packet.payload
                    assert len(taken) <= receive_max
                    to_us.append(mqtt5.PubRecPacket(number).write())
                case mqtt5.PubRelPacket():
                    if number in taken:
                        published.append(taken.pop(number))
                        copy = mqtt5.PublishPacket(
                            "default/a", published[-1], qos=QOS_2, packet_id=len(published)
                        )
                        delivered[len(published)] = copy.write()
                        to_us += [copy.write(), mqtt5.PubCompPacket(number).write()]
                case mqtt5.PubRecPacket():
                    if number not in held:
                        held.add(number)
                        to_us.append(mqtt5.PubRelPacket(number).write())
                case mqtt5.PubCompPacket():
                    pass
        elif to_us:
            data = to_us.pop(random.randrange(len(to_us)))
            if data[0] == 0x34 and random.random() < 0.3:
                number = data[2 + 2 + len("default/a") + 1]
                if number not in held:
                    data += bytes((data[0] | 8,)) + data[1:]
            session.receive(data, 1, 2)
            fresh = handler.named("on_reply")[seen:]
            seen += len(fresh)
            to_broker += [packet for (reply,) in fresh for packet in packets(reply)]
        else:
            break
    assert sorted(published) == sorted(str(n).encode() for n in range(count))
    assert [said[:2] for said in handler.named("on_published")] == [("p1", PublishAnswer())]
    assert sorted(said[1] for said in handler.named("on_event")) == sorted(str(n) for n in range(count))
    assert not handler.named("on_deviation")
