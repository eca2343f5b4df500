"""Test the messages that one connection receives."""

from typing import Any

import mqtt5
import pytest

from loadgen.payloads.stamping import Marked
from loadgen.protocol import unreadable
from loadgen.protocol.mqtt import incoming as module
from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.mqtt.incoming import COPIES, MARKED_AGAIN, NOT_HELD, RETAINED, REUSED_ID, Incoming
from loadgen.protocol.mqtt.memory import Memory
from loadgen.protocol.mqtt.topics import Subscriptions
from loadgen.protocol.mqtt.wire import PUBACK, PUBCOMP, PUBREC, acknowledgement
from tests.protocol.mqtt.sessions import use_of
from tests.protocol.recording import Recording

QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)


class Receiving:
    """Receives the messages of a connection with subscriptions to `default/a` (id s1) and `default/b/#` (id s2)."""

    def __init__(self, memory: Memory | None = None, *, subscribed: bool = True, **settings: Any) -> None:
        self.handler, self.topics = Recording(), Subscriptions()
        self.incoming = Incoming(self.handler, use_of(**settings), memory, self.topics)
        if subscribed:
            self.subscribe()

    def subscribe(self) -> None:
        self.topics.add("default/a", "s1")
        self.topics.add("default/b/#", "s2")

    def take(self, topic: str, payload: bytes = b"1", qos: int = 0, **fields: Any) -> bytes:
        """Take a message; return the answer to it."""
        answers: list[bytes] = []
        packet = mqtt5.PublishPacket(topic, payload, qos=QOS[qos], packet_id=7 if qos else None, **fields)
        self.incoming.take(packet, 10, 20, answers)
        return b"".join(answers)

    @property
    def events(self) -> list[tuple[str, str]]:
        """The (subscription id, event) of each delivery."""
        return [said[:2] for said in self.handler.named("on_event")]


@pytest.mark.parametrize(
    ("qos", "answer"), [(0, b""), (1, acknowledgement(PUBACK, 7)), (2, acknowledgement(PUBREC, 7))]
)
def test_a_message_goes_to_its_subscription_and_is_acknowledged(qos: int, answer: bytes) -> None:
    receiving = Receiving()
    assert receiving.take("default/b/c", "ü".encode(), qos) == answer
    assert receiving.handler.calls == [("on_event", ("s2", "ü", 10, 20))]


def test_a_message_without_a_subscription_is_delivered_with_an_empty_id() -> None:
    receiving = Receiving()
    assert receiving.take("elsewhere", qos=1) == acknowledgement(PUBACK, 7)
    assert receiving.events == [("", "1")]


def test_a_payload_that_is_no_text_is_counted_and_acknowledged_without_the_login() -> None:
    receiving = Receiving(login=UserPassword("me", "secret"))
    assert receiving.take("default/a", b"\xff secret", 1) == acknowledgement(PUBACK, 7)
    ((kind, example),) = receiving.handler.named("on_undecodable")
    assert kind == unreadable.PAYLOAD_NOT_UTF8
    assert example() == rf"\xff {unreadable.HIDDEN}"
    assert not receiving.events


def test_a_stamp_in_a_user_property_is_delivered_with_the_payloads_bytes() -> None:
    receiving = Receiving(stamp_name="lg")
    receiving.take("default/a", b"\xff", user_properties=[("x", "0"), ("lg", "[1]"), ("lg", "[2]")])
    assert receiving.handler.calls == [("on_marked", ("s1", Marked(b"\xff", "[1]"), 10, 20))]
    # A message without the stamp's user property, such as another publisher's, is passed on unchanged.
    receiving.take("default/a", b"x", user_properties=[("other", "1")])
    assert receiving.events == [("s1", "x")]


def test_a_retained_message_is_counted_and_acknowledged_but_not_delivered() -> None:
    receiving = Receiving()
    assert receiving.take("default/a", qos=1, retain=True) == acknowledgement(PUBACK, 7)
    assert receiving.handler.calls == [("on_aside", (RETAINED,))]


def test_a_message_of_qos_1_marked_as_sent_again_is_counted_and_delivered() -> None:
    receiving = Receiving()
    receiving.take("default/a", qos=1, duplicate=True)
    assert receiving.handler.named("on_aside") == [(MARKED_AGAIN,)]
    assert receiving.events == [("s1", "1")]


@pytest.mark.parametrize("marked", [True, False])
def test_a_copy_at_qos_2_is_acknowledged_but_delivered_once_until_the_release(marked: bool) -> None:
    receiving = Receiving()
    receiving.take("default/a", qos=2)
    assert receiving.take("default/a", qos=2, duplicate=marked) == acknowledgement(PUBREC, 7)
    assert receiving.events == [("s1", "1")]
    assert receiving.handler.named("on_aside") == [(COPIES,)]
    assert receiving.handler.named("on_deviation") == ([] if marked else [(REUSED_ID,)])
    assert receiving.incoming.release(mqtt5.PubRelPacket(7)) == acknowledgement(PUBCOMP, 7)
    receiving.take("default/a", b"2", qos=2)
    assert receiving.events == [("s1", "1"), ("s1", "2")]


def test_the_release_of_an_unknown_message_is_answered_as_such() -> None:
    receiving = Receiving()
    code = mqtt5.PubCompReasonCode.PACKET_ID_NOT_FOUND
    answer = receiving.incoming.release(mqtt5.PubRelPacket(9))
    assert answer == mqtt5.PubCompPacket(9, reason_code=code).write()
    assert receiving.handler.calls == [("on_deviation", (NOT_HELD,))]


def test_the_next_connection_knows_the_copies_of_this_one() -> None:
    memory = Memory("c-1", 300)
    Receiving(memory).take("default/a", qos=2)
    receiving = Receiving(memory)
    receiving.take("default/a", qos=2, duplicate=True)
    assert not receiving.events


def resumed() -> Receiving:
    """Return a connection that resumes a session whose earlier connection has subscribed; this one has not yet."""
    former = Receiving().topics
    receiving = Receiving(Memory("c-1", 300), subscribed=False)
    receiving.incoming.resume(former)
    return receiving


def test_messages_wait_in_order_for_subscriptions_of_the_last_connection() -> None:
    receiving = resumed()
    for topic, payload in (
        ("default/b/c", b"1"),
        ("default/a", b"2"),
        ("elsewhere", b"3"),
        ("default/b/d", b"4"),
    ):
        receiving.take(topic, payload)
    assert receiving.events == [("", "3")]
    receiving.incoming.deliver_early()
    assert len(receiving.events) == 1, "there is no subscription yet"
    receiving.topics.add("default/b/#", "s2")
    receiving.incoming.deliver_early()
    assert receiving.events[1:] == [("s2", "1"), ("s2", "4")]
    receiving.subscribe()
    receiving.incoming.deliver_early()
    assert receiving.events[3:] == [("s1", "2")]
    receiving.incoming.deliver_early()
    assert len(receiving.events) == 4


def test_a_new_session_keeps_nothing_for_later() -> None:
    receiving = Receiving(subscribed=False)
    receiving.take("default/a")
    assert receiving.events == [("", "1")]


def test_messages_above_the_limit_of_waiting_ones_have_no_subscription(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_EARLY_MAX", 2)
    receiving = resumed()
    for payload in (b"1", b"2", b"3"):
        receiving.take("default/a", payload)
    assert receiving.events == [("", "3")]
    receiving.subscribe()
    receiving.incoming.deliver_early()
    assert receiving.events[1:] == [("s1", "1"), ("s1", "2")]
