"""Test the publishes of one connection."""

from typing import Any

import mqtt5
import pytest

from loadgen.payloads.stamping import Marked
from loadgen.protocol.base import PublishAnswer
from loadgen.protocol.mqtt.outgoing import NO_PUBLISH, Outgoing
from loadgen.protocol.mqtt.packet_ids import PacketIds
from tests.protocol.mqtt.sessions import packets, use_of
from tests.protocol.recording import Recording

CODE = mqtt5.PubAckReasonCode


def outgoing(
    qos: int = 1, receive_max: int = 100, packet_max: int | None = None, **settings: Any
) -> tuple[Outgoing, Recording]:
    handler = Recording()
    made = Outgoing(handler, use_of(qos, **settings), None, PacketIds())
    made.connected(receive_max, packet_max)
    return made, handler


def test_a_batch_is_answered_when_each_of_its_events_is() -> None:
    publishes, handler = outgoing()
    sent = packets(publishes.publish("p1", "default/a", ["1", "2", "3"]))
    assert [(packet.topic, packet.payload, int(packet.qos)) for packet in sent] == [
        ("default/a", b"1", 1),
        ("default/a", b"2", 1),
        ("default/a", b"3", 1),
    ]
    for index, code in ((2, CODE.SUCCESS), (0, CODE.NO_MATCHING_SUBSCRIBERS)):
        publishes.acknowledged(mqtt5.PubAckPacket(sent[index].packet_id, reason_code=code), 1)
        assert not handler.named("on_published")
    publishes.acknowledged(mqtt5.PubAckPacket(sent[1].packet_id, reason_code=CODE.QUOTA_EXCEEDED), 30)
    assert handler.named("on_published") == [
        ("p1", PublishAnswer(rejected={1: "quota exceeded (MQTT reason code 151)"}), 30)
    ]
    assert not handler.named("on_deviation")
    publishes.acknowledged(mqtt5.PubAckPacket(sent[1].packet_id), 31)
    assert handler.named("on_deviation") == [(NO_PUBLISH.format("PUBACK"),)], "acknowledged twice"


def test_at_qos_0_all_is_sent_at_once_without_an_id() -> None:
    publishes, handler = outgoing(0, receive_max=1)
    sent = packets(publishes.publish("p1", "default/a", ["1", "2"]))
    assert [(packet.payload, packet.packet_id, int(packet.qos)) for packet in sent] == [
        (b"1", None, 0),
        (b"2", None, 0),
    ]
    assert not publishes.sendable
    assert not handler.calls


def test_packets_above_the_receive_maximum_wait_and_none_overtakes_them() -> None:
    publishes, _ = outgoing(receive_max=2)
    sent = packets(publishes.publish("p1", "a", ["1", "2", "3"]))
    assert [packet.payload for packet in sent] == [b"1", b"2"]
    assert publishes.publish("p2", "a", ["4"]) == b""
    assert not publishes.sendable
    publishes.acknowledged(mqtt5.PubAckPacket(sent[0].packet_id), 1)
    assert publishes.sendable
    assert publishes.publish("p3", "a", ["5"]) == b"", "3 and 4 wait before it"
    assert [packet.payload for packet in packets(publishes.take())] == [b"3"]
    assert publishes.take() == b""


@pytest.mark.parametrize("qos", [1, 2])
def test_a_request_of_nothing_but_too_large_events_is_answered_at_once(qos: int) -> None:
    publishes, handler = outgoing(qos, packet_max=20)
    assert publishes.publish("p1", "a", ["x" * 20, "y" * 21]) == b""
    ((publish_id, answer, _),) = handler.named("on_published")
    assert publish_id == "p1"
    assert answer.rejected == dict.fromkeys((0, 1), "the broker takes packets of at most 20 bytes")


def test_at_qos_2_puback_and_early_pubcomp_are_deviations() -> None:
    publishes, handler = outgoing(2)
    (sent,) = packets(publishes.publish("p1", "a", ["1"]))
    publishes.completed(mqtt5.PubCompPacket(sent.packet_id), 1)
    assert handler.named("on_deviation") == [(NO_PUBLISH.format("PUBCOMP"),)]
    assert (
        publishes.received(mqtt5.PubRecPacket(sent.packet_id), 2)
        == mqtt5.PubRelPacket(sent.packet_id).write()
    )
    publishes.acknowledged(mqtt5.PubAckPacket(sent.packet_id), 3)
    assert handler.named("on_deviation")[1:] == [(NO_PUBLISH.format("PUBACK"),)]
    assert not handler.named("on_published")
    publishes.completed(mqtt5.PubCompPacket(sent.packet_id), 4)
    assert handler.named("on_published") == [("p1", PublishAnswer(), 4)]


@pytest.mark.parametrize(("qos", "retain"), [(0, False), (1, True), (2, False)])
def test_the_stamp_is_a_user_property_beside_any_bytes(qos: int, retain: bool) -> None:
    publishes, _ = outgoing(qos, stamp_name="lg", retain=retain)
    events = [Marked(b"\xff\x00", "[1,2,3,4,5]"), Marked(b"", "[1,2,4,4,5]")]
    sent = packets(publishes.publish("p1", "default/a", events))
    assert [(each.payload, each.user_properties) for each in sent] == [
        (b"\xff\x00", [("lg", "[1,2,3,4,5]")]),
        (b"", [("lg", "[1,2,4,4,5]")]),
    ]
    assert {(int(each.qos), each.retain) for each in sent} == {(qos, retain)}
