"""Test sessions that outlive a connection (MQTT 5, 4.1 and 4.4; MQTT 3.1.1, 3.1.2.4)."""

from collections.abc import Callable
from typing import Any

import mqtt5
import pytest

from loadgen.protocol.base import SessionHandler
from loadgen.protocol.mqtt.endpoints import BrokerUrl
from loadgen.protocol.mqtt.incoming import NOT_HELD, RELEASED_AGAIN, RETAINED
from loadgen.protocol.mqtt.memory import LOST_SESSION, UNASKED_SESSION, Memory
from loadgen.protocol.mqtt.outgoing import ANSWERED_AGAIN, NO_PUBLISH, SENT_AGAIN
from loadgen.protocol.mqtt.service import MqttService
from loadgen.protocol.mqtt.session import MqttSession
from loadgen.protocol.mqtt.wire import wire_of
from tests.protocol.mqtt.sessions import packets, session_of
from tests.protocol.recording import Recording

QOS_1, QOS_2 = mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE


class Site:
    """A client whose connections break, with a simulated clock."""

    def __init__(self, qos: int = 1, version: str = "5", expiry_s: float | None = 300) -> None:
        self.now_s = 100.0
        self.memory = Memory("loadgen-1-7", expiry_s, clock=lambda: self.now_s)
        self._qos, self._version = qos, version

    def connect(self, present: bool, **connack: Any) -> tuple[MqttSession, Recording]:
        handler = Recording()
        session = session_of(handler, self._qos, version=self._version, memory=self.memory)
        self.opening = session.opening()[0]
        answer = (
            mqtt5.ConnAckPacket(session_present=present, **connack).write()
            if self._version == "5"
            else bytes((0x20, 2, present, 0))
        )
        session.receive(answer, 1, 2)
        return session, handler


def test_the_first_connection_begins_anew_and_the_next_ones_go_on() -> None:
    site = Site()
    _, handler = site.connect(False)
    (connect,) = packets(site.opening)
    assert (connect.client_id, connect.clean_start, connect.session_expiry_interval) == (
        "loadgen-1-7",
        True,
        300,
    )
    assert handler.named("on_session") == [("new",)]
    _, handler = site.connect(True)
    (connect,) = packets(site.opening)
    assert (connect.client_id, connect.clean_start) == ("loadgen-1-7", False)
    names = [name for name, _ in handler.calls]
    assert names.index("on_session") < names.index("on_connected")
    assert handler.named("on_session") == [("resumed",)]
    assert not handler.named("on_deviation")


def test_in_311_one_flag_keeps_the_session_from_the_first_connection_on() -> None:
    site = Site(version="3.1.1", expiry_s=None)
    site.connect(False)
    # The variable header consists of the protocol name, level 4, the connect flags, and the keep alive.
    assert site.opening[2:12] == b"\x00\x04MQTT\x04\x00\x00\x3c"
    _, handler = site.connect(True)
    assert handler.named("on_session") == [("resumed",)]


@pytest.mark.parametrize(("away_s", "became"), [(10.0, "lost"), (299.0, "lost"), (300.0, "expired")])
def test_a_broker_that_forgets_deviates_unless_the_time_was_over(away_s: float, became: str) -> None:
    site = Site()
    session, _ = site.connect(False)
    session.publish("p1", "/a", ["1"])
    site.now_s += away_s
    _, handler = site.connect(False)
    assert handler.named("on_session") == [(became,)]
    assert handler.named("on_deviation") == ([(LOST_SESSION,)] if became == "lost" else [])
    assert not handler.named("on_reply"), "nothing of the old session is sent"


def test_the_broker_has_the_last_word_on_the_time() -> None:
    site = Site()
    site.connect(False, session_expiry_interval=5)
    site.now_s += 6
    _, handler = site.connect(False)
    assert handler.named("on_session") == [("expired",)]


def test_a_session_that_nobody_asked_for_is_a_deviation() -> None:
    handler = Recording()
    session_of(handler).receive(mqtt5.ConnAckPacket(session_present=True).write(), 1, 2)
    assert handler.named("on_deviation") == [(UNASKED_SESSION,)]
    _, handler = Site().connect(True)
    assert handler.named("on_deviation") == [(UNASKED_SESSION,)]
    assert handler.named("on_session") == [("new",)]


def test_unanswered_publishes_of_qos_1_are_sent_again_and_their_answers_are_nobodys() -> None:
    site = Site()
    session, handler = site.connect(False, receive_max=2)
    sent = packets(session.publish("p1", "/default/a", ["1", "2", "3"]))
    assert len(sent) == 2, "the third was never sent"
    session.receive(mqtt5.PubAckPacket(sent[0].packet_id).write(), 1, 1)
    session, handler = site.connect(True, receive_max=1)
    again = [packet for (data,) in handler.named("on_reply") for packet in packets(data)]
    assert [(each.payload, each.duplicate, each.packet_id) for each in again] == [
        (b"2", True, sent[1].packet_id)
    ]
    assert handler.named("on_aside") == [(SENT_AGAIN,)] * 2, "with the third, which waits for its turn"
    session.receive(mqtt5.PubAckPacket(sent[1].packet_id).write(), 1, 1)
    assert not handler.named("on_published")
    assert not handler.named("on_deviation")


def test_at_qos_2_what_the_broker_has_taken_is_only_released() -> None:
    site = Site(2)
    session, handler = site.connect(False)
    one, two = packets(session.publish("p1", "/default/a", ["1", "2"]))
    session.receive(mqtt5.PubRecPacket(one.packet_id).write(), 1, 1)
    session, handler = site.connect(True)
    ((data,),) = handler.named("on_reply")
    released, again = packets(data)
    assert isinstance(released, mqtt5.PubRelPacket)
    assert released.packet_id == one.packet_id
    assert (again.payload, again.duplicate, again.packet_id) == (b"2", True, two.packet_id)
    # New publishes do not reuse the packet ids of unfinished ones.
    (three,) = packets(session.publish("p2", "/default/a", ["3"]))
    assert three.packet_id not in (one.packet_id, two.packet_id)
    code = mqtt5.PubCompReasonCode.PACKET_ID_NOT_FOUND
    session.receive(mqtt5.PubCompPacket(one.packet_id, reason_code=code).write(), 1, 1)
    assert not handler.named("on_deviation")
    assert not site.memory.unfinished.get(one.packet_id)


def test_a_copy_of_a_message_of_qos_2_is_known_after_a_reconnect() -> None:
    site = Site(2)
    session, _ = site.connect(False)
    session.subscribe("s1", "/default/a")
    message = mqtt5.PublishPacket("default/a", b"1", qos=QOS_2, packet_id=9)
    session.receive(message.write(), 1, 2)
    message = mqtt5.PublishPacket("default/a", b"1", qos=QOS_2, packet_id=9, duplicate=True)
    session, handler = site.connect(True)
    session.receive(message.write(), 3, 4)
    session.subscribe("s1", "/default/a")
    assert not handler.named("on_event")
    # A new session does not know the packet id of the earlier message, so the same packet is a new delivery.
    session, handler = site.connect(False)
    session.subscribe("s1", "/default/a")
    session.receive(message.write(), 3, 4)
    assert len(handler.named("on_event")) == 1


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_broker_may_repeat_a_pubrel_after_a_reconnect_and_only_then(version: str) -> None:
    """If the last connection broke before our PUBCOMP arrived, the broker sends PUBREL again."""
    site = Site(2, version)
    released = mqtt5.PubRelPacket(9).write()

    def exchange(session: MqttSession) -> None:
        message = wire_of(version).publish("default/a", b"1", qos=2, packet_id=9, retain=False)
        session.receive(message, 1, 2)
        session.receive(released, 1, 2)

    session, handler = site.connect(False)
    session.subscribe("s1", "/default/a")
    exchange(session)
    assert not handler.named("on_deviation")
    session.receive(released, 3, 4)
    assert handler.named("on_deviation") == [(NOT_HELD,)]
    # Reconnect twice: the broker has still not received our PUBCOMP.
    site.connect(True)
    session, handler = site.connect(True)
    session.subscribe("s1", "/default/a")
    session.receive(released, 5, 6)
    assert handler.named("on_aside") == [(RELEASED_AGAIN,)]
    (answer,) = packets(handler.named("on_reply")[-1][0])
    assert (type(answer), answer.packet_id) == (mqtt5.PubCompPacket, 9)
    # Once the broker has used the packet id for a new message, a PUBREL with this id belongs to the new message.
    exchange(session)
    assert len(handler.named("on_event")) == 1
    assert not handler.named("on_deviation")
    session.receive(released, 7, 8)
    assert handler.named("on_deviation") == [(NOT_HELD,)]
    # In a new session no message is unfinished, so a PUBREL is a deviation.
    session, handler = site.connect(False)
    session.receive(released, 9, 10)
    assert (NOT_HELD,) in handler.named("on_deviation")


def test_the_ids_of_ended_exchanges_are_bounded() -> None:
    memory = Memory("c-1", 300)
    for packet_id in range(1, 1001):
        memory.held.add(packet_id)
        memory.end(packet_id)
    memory.end(800)
    assert (len(memory.ended), memory.held) == (256, set())
    assert list(memory.ended)[-2:] == [1000, 800]


def test_answers_that_a_broker_repeats_after_a_reconnect_are_no_deviation() -> None:
    """A broker that resumes a session may send PUBREC unasked.

    It may send PUBREC a second time in answer to our repeated PUBLISH.
    """
    site = Site(2)
    session, _ = site.connect(False)
    (sent,) = packets(session.publish("p1", "/default/a", ["1"]))
    session, handler = site.connect(True)
    received, completed = mqtt5.PubRecPacket(sent.packet_id), mqtt5.PubCompPacket(sent.packet_id)
    for _ in range(2):
        session.receive(received.write(), 1, 1)
    session.receive(completed.write(), 1, 1)
    handler.calls.clear()
    session.receive(received.write() + completed.write(), 1, 1)
    assert handler.named("on_aside") == [(ANSWERED_AGAIN,)] * 2
    assert not handler.named("on_deviation")
    # The next publish has another packet id, so its answers do not count as repeated answers to the first.
    (other,) = packets(session.publish("p2", "/default/a", ["2"]))
    assert other.packet_id == sent.packet_id + 1
    for packet in (mqtt5.PubRecPacket(other.packet_id), mqtt5.PubCompPacket(other.packet_id)):
        session.receive(packet.write(), 1, 1)
    assert len(handler.named("on_published")) == 1
    session.receive(mqtt5.PubCompPacket(other.packet_id).write(), 1, 1)
    assert handler.named("on_deviation") == [(NO_PUBLISH.format("PUBCOMP"),)]


def test_what_the_broker_kept_waits_for_its_subscription_with_the_time_of_its_arrival() -> None:
    site = Site()
    session, _ = site.connect(False)
    session.subscribe("s1", "/default/a")
    session.subscribe("s2", "/default/b/*")
    session, handler = site.connect(True)
    kept = [("default/b/c", b"1"), ("default/a", b"2"), ("default/b/c", b"3"), ("elsewhere", b"4")]
    stream = b"".join(
        mqtt5.PublishPacket(topic, payload, qos=QOS_1, packet_id=number).write()
        for number, (topic, payload) in enumerate(kept, start=1)
    )
    session.receive(stream, 10, 20)
    assert handler.named("on_event") == [("", "4", 10, 20)]
    (acknowledged,) = handler.named("on_reply")
    assert [each.packet_id for each in packets(acknowledged[0])] == [1, 2, 3, 4]
    session.subscribe("s2", "/default/b/*")
    assert handler.named("on_event")[1:] == [("s2", "1", 10, 20), ("s2", "3", 10, 20)]
    session.subscribe("s1", "/default/a")
    assert handler.named("on_event")[3:] == [("s1", "2", 10, 20)]


def test_connections_of_one_client_have_one_session_and_others_begin_anew() -> None:
    service = MqttService(BrokerUrl.from_url("mqtt://broker?clean=false&expiry=60"), None)

    def ids(make: Callable[[SessionHandler, str], MqttSession], *names: str) -> list[str]:
        sessions = [make(Recording(), name) for name in names]
        return [packets(session.opening()[0])[0].client_id for session in sessions]

    first, again, other = ids(service.session, "7-0", "7-1", "8-0")
    assert first == again != other
    probe, echo = ids(service.session, "c5", "c5")
    assert len({first, other, probe, echo}) == 4
    # Other runs and processes use other client ids, so that they share no session.
    assert ids(MqttService(BrokerUrl.from_url("mqtt://broker?clean=false"), None).session, "7-0") != [first]
    assert packets(service.session(Recording(), "c6").opening()[0])[0].session_expiry_interval == 0


def test_a_retained_message_is_counted_apart() -> None:
    handler = Recording()
    session = session_of(handler, retain=True)
    session.receive(mqtt5.ConnAckPacket().write(), 1, 2)
    (packet,) = packets(session.subscribe("s1", "/default/a"))
    assert packet.topic_filters[0].retain_handling == mqtt5.RetainHandling.SEND_ALWAYS
    assert packet.topic_filters[0].retain_as_published is False
    (sent,) = packets(session.publish("p1", "/default/a", ["1"]))
    assert sent.retain is True
    session.receive(mqtt5.PublishPacket("default/a", b"0", qos=QOS_1, packet_id=3, retain=True).write(), 1, 2)
    assert handler.named("on_aside") == [(RETAINED,)]
    assert not handler.named("on_event")
    assert handler.named("on_reply") == [(mqtt5.PubAckPacket(3).write(),)]


def test_a_broker_that_retains_nothing_is_told() -> None:
    handler = Recording()
    session_of(handler, retain=True).receive(mqtt5.ConnAckPacket(retain_available=False).write(), 1, 2)
    assert "retains no messages" in handler.named("on_refused")[0][0]
