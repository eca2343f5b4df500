"""Test SUBSCRIBE and UNSUBSCRIBE, and the broker's acknowledgements of both."""

from typing import Any

import mqtt5
import pytest

from loadgen.protocol.mqtt.memory import Memory
from loadgen.protocol.mqtt.packet_ids import PacketIds
from loadgen.protocol.mqtt.subscribing import LESS_THAN_ASKED, NO_SUBSCRIBE, Subscribing
from loadgen.protocol.refusals import Kind
from tests.protocol.mqtt.sessions import packets, use_of
from tests.protocol.recording import Recording

CODE = mqtt5.SubAckReasonCode
GRANTED = (CODE.GRANTED_QOS_AT_MOST_ONCE, CODE.GRANTED_QOS_AT_LEAST_ONCE, CODE.GRANTED_QOS_EXACTLY_ONCE)


def subscribing(
    qos: int = 1, memory: Memory | None = None, ids: PacketIds | None = None, **settings: Any
) -> tuple[Subscribing, Recording]:
    handler = Recording()
    return Subscribing(handler, use_of(qos, **settings), memory, ids or PacketIds()), handler


@pytest.mark.parametrize("retain", [False, True])
def test_a_subscribe_asks_for_the_runs_quality_of_service_and_for_retained_messages(retain: bool) -> None:
    parts, _ = subscribing(retain=retain)
    (packet,) = packets(parts.subscribe("s1", "/default/news/*"))
    (asked,) = packet.topic_filters
    assert (asked.pattern, int(asked.max_qos)) == ("default/news/#", 1)
    handling = mqtt5.RetainHandling
    assert asked.retain_handling == (handling.SEND_ALWAYS if retain else handling.SEND_NEVER)
    assert parts.topics.find("default/news/1") == "s1"


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("asked", [0, 1, 2])
def test_a_granted_subscription_is_reported_and_a_lower_quality_of_service_too(
    asked: int, granted: int
) -> None:
    parts, handler = subscribing(asked)
    (packet,) = packets(parts.subscribe("s1", "/default/news"))
    parts.acknowledged(mqtt5.SubAckPacket(packet.packet_id, [GRANTED[granted]]), 7)
    assert handler.named("on_subscribed") == [("s1", 7)]
    less = [(LESS_THAN_ASKED.format(granted, asked),)] if granted < asked else []
    assert handler.named("on_deviation") == less


def test_a_refused_subscription_is_reported_with_the_reason() -> None:
    parts, handler = subscribing()
    (packet,) = packets(parts.subscribe("s1", "/default/news"))
    parts.acknowledged(mqtt5.SubAckPacket(packet.packet_id, [CODE.NOT_AUTHORIZED], reason_str="no"), 7)
    ((subscription_id, reason, refusal),) = handler.named("on_subscribe_failed")
    assert (subscription_id, reason) == ("s1", "not authorized (MQTT reason code 135): no")
    assert refusal.kind is Kind.DENIED
    assert not handler.named("on_subscribed")


def test_answers_in_any_order_belong_to_their_subscribes_and_count_once() -> None:
    parts, handler = subscribing()
    first, second = (packets(parts.subscribe(f"s{n}", f"/default/{n}"))[0].packet_id for n in (1, 2))
    for packet_id in (second, first, first):
        parts.acknowledged(mqtt5.SubAckPacket(packet_id, [GRANTED[1]]), packet_id)
    assert handler.named("on_subscribed") == [("s2", second), ("s1", first)]
    assert handler.named("on_deviation") == [(NO_SUBSCRIBE,)]


@pytest.mark.parametrize("codes", [[], [GRANTED[1]] * 2])
def test_an_answer_with_another_number_of_codes_is_a_deviation(codes: list[Any]) -> None:
    parts, handler = subscribing()
    (packet,) = packets(parts.subscribe("s1", "/default/news"))
    parts.acknowledged(mqtt5.SubAckPacket(packet.packet_id, codes), 7)
    assert handler.calls == [("on_deviation", (NO_SUBSCRIBE,))]


def test_the_id_of_an_unanswered_subscribe_is_not_used_again() -> None:
    ids = PacketIds()
    parts, _ = subscribing(ids=ids)
    (packet,) = packets(parts.subscribe("s1", "/default/news"))
    assert packet.packet_id == 1
    assert [ids.next() for _ in range(65_535)][-2:] == [65_535, 2]
    parts.acknowledged(mqtt5.SubAckPacket(1, [GRANTED[1]]), 7)
    assert [ids.next() for _ in range(65_534)][-1] == 1


def test_an_unsubscribe_names_the_filter_and_its_failure_is_reported() -> None:
    parts, handler = subscribing()
    parts.subscribe("s1", "/$share/group/default/news/*")
    (packet,) = packets(parts.unsubscribe("s1"))
    assert packet.patterns == ["$share/group/default/news/#"]
    codes = mqtt5.UnsubAckReasonCode
    parts.ended(mqtt5.UnsubAckPacket(packet.packet_id, [codes.SUCCESS]))
    assert not handler.calls
    parts.ended(mqtt5.UnsubAckPacket(packet.packet_id, [codes.NOT_AUTHORIZED]))
    assert handler.named("on_service_error") == [
        ("an unsubscribe failed: not authorized (MQTT reason code 135)",)
    ]


def test_the_next_connection_gets_the_subscriptions() -> None:
    memory = Memory("c-1", 300)
    parts, _ = subscribing(memory=memory)
    assert memory.topics.find("default/news") is None
    parts.subscribe("s1", "/default/news")
    assert memory.topics.find("default/news") == "s1"


class Lane:
    """Records the topics that are added to a native fast path, each with its subscription's number."""

    def __init__(self) -> None:
        self.exact: dict[str, int | None] = {}
        self.below: dict[str, int | None] = {}

    def add(self, topic: str, number: int | None) -> None:
        self.exact[topic] = number

    def add_below(self, beginning: str, number: int | None) -> None:
        self.below[beginning] = number


def test_a_fast_path_gets_all_topics_with_the_numbers_of_their_subscriptions() -> None:
    parts, _ = subscribing()
    for subscription_id, channel in (("s1", "/a/b"), ("s2", "/a/*"), ("s3", "/c")):
        parts.subscribe(subscription_id, channel)
    lane = Lane()
    parts.fill(lane, {"s1": 5, "s2": 6})  # type: ignore[arg-type]
    # The subscription of topic c is not recorded, so it has no number: Python takes its messages.
    assert (lane.exact, lane.below) == ({"a/b": 5, "c": None}, {"a/": 6})
