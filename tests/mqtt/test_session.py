"""The conversation with a broker, packet by packet; the codec plays the broker."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.arrival import of_bytes
from loadgen.protocol import unreadable
from loadgen.protocol.base import PublishAnswer
from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.mqtt.session import LESS_THAN_ASKED, MqttSession
from loadgen.protocol.refusals import Kind

QOS_1 = mqtt5.QoS.AT_LEAST_ONCE


class Recording:
    """A `SessionHandler` that keeps everything."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((name, arguments))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called == name]


def packets(data: bytes) -> list[Any]:
    """Read whole packets."""
    found, view = [], memoryview(data)
    while view:
        packet, size = mqtt5.read(view)
        found.append(packet)
        view = view[size:]
    return found


def connected(qos: int = 1, **connack: Any) -> tuple[MqttSession, Recording]:
    handler = Recording()
    session = MqttSession(handler, "loadgen-1", qos)
    session.receive(mqtt5.ConnAckPacket(**connack).write(), 1, 2)
    return session, handler


def subscribed(session: MqttSession, handler: Recording, *channels: str) -> None:
    for number, channel in enumerate(channels):
        (packet,) = packets(session.subscribe(f"s{number}", channel))
        session.receive(mqtt5.SubAckPacket(packet.packet_id, [grant(1)]).write(), 5, 6)


def grant(qos: int) -> Any:
    return list_of_grants()[qos]


def list_of_grants() -> Sequence[Any]:
    codes = mqtt5.SubAckReasonCode
    return (codes.GRANTED_QOS_AT_MOST_ONCE, codes.GRANTED_QOS_AT_LEAST_ONCE)


def test_it_connects_without_a_past_and_with_the_login() -> None:
    session = MqttSession(Recording(), "loadgen-1", 1, UserPassword("me", "pass"))
    (packet,) = packets(session.opening()[0])
    assert (packet.client_id, packet.username, packet.password) == ("loadgen-1", "me", b"pass")
    assert packet.clean_start is True
    assert packet.session_expiry_interval == 0
    assert packet.keep_alive == 60


def test_the_broker_lets_us_in_or_says_why_not() -> None:
    _, handler = connected()
    assert handler.named("on_connected") == [(1,)]
    _, handler = connected(
        reason_code=mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD, reason_str="who are you"
    )
    ((said, refusal),) = handler.named("on_refused")
    assert said == "bad user name or password (MQTT reason code 134): who are you"
    assert refusal.kind is Kind.DENIED
    assert not handler.named("on_connected")


def test_a_broker_of_qos_0_is_refused_where_qos_1_was_asked_for() -> None:
    _, handler = connected(max_qos=mqtt5.QoS.AT_MOST_ONCE)
    assert "?qos=0" in handler.named("on_refused")[0][0]
    _, handler = connected(qos=0, max_qos=mqtt5.QoS.AT_MOST_ONCE)
    assert handler.named("on_connected")


def test_an_answer_that_is_no_mqtt_5_is_told_as_such() -> None:
    handler = Recording()
    session = MqttSession(handler, "c", 1)
    # A broker of MQTT 3.1.1 refuses the protocol's version (its 3.2.2.3).
    session.receive(b"\x20\x02\x00\x01", 1, 1)
    assert "does it speak MQTT 5?" in handler.named("on_refused")[0][0]
    session.receive(b"\xff" * 9, 1, 1)
    assert len(handler.calls) == 1, "nothing is read after that"


def test_a_subscription_is_acknowledged_granted_less_or_refused() -> None:
    session, handler = connected()
    for answer in (grant(1), grant(0), mqtt5.SubAckReasonCode.NOT_AUTHORIZED):
        (packet,) = packets(session.subscribe("s1", "/default/news/*"))
        assert packet.topic_filters[0].pattern == "default/news/#"
        assert packet.topic_filters[0].max_qos == QOS_1
        assert packet.topic_filters[0].retain_handling == mqtt5.RetainHandling.SEND_NEVER
        session.receive(mqtt5.SubAckPacket(packet.packet_id, [answer]).write(), 7, 8)
    assert handler.named("on_subscribed") == [("s1", 7), ("s1", 7)]
    assert handler.named("on_deviation") == [(LESS_THAN_ASKED,)]
    (failed,) = handler.named("on_subscribe_failed")
    assert failed[:2] == ("s1", "not authorized (MQTT reason code 135)")
    assert failed[2].kind is Kind.DENIED
    (packet,) = packets(session.unsubscribe("s1"))
    assert packet.patterns == ["default/news/#"]


def test_a_message_goes_to_its_subscription_and_is_acknowledged() -> None:
    session, handler = connected()
    subscribed(session, handler, "/default/a", "/default/b/*")
    stream = b"".join(
        mqtt5.PublishPacket(topic, payload, qos=QOS_1, packet_id=number).write()
        for number, (topic, payload) in enumerate(
            [("default/a", b'{"n":1}'), ("default/b/c", "ü".encode()), ("elsewhere", b"0")], start=1
        )
    )
    session.receive(stream + mqtt5.PublishPacket("default/a", b"2").write(), 10, 20)
    assert handler.named("on_event") == [
        ("s0", '{"n":1}', 10, 20),
        ("s1", "ü", 10, 20),
        ("", "0", 10, 20),
        ("s0", "2", 10, 20),
    ]
    ((acknowledgements,),) = handler.named("on_reply")
    assert [packet.packet_id for packet in packets(acknowledgements)] == [1, 2, 3], "none for QoS 0"


def test_a_payload_that_is_no_text_is_counted_and_acknowledged() -> None:
    session, handler = connected()
    session.receive(mqtt5.PublishPacket("a", b"\xff\xfe", qos=QOS_1, packet_id=9).write(), 1, 1)
    ((kind, example),) = handler.named("on_undecodable")
    assert (kind, example()) == (unreadable.PAYLOAD_NOT_UTF8, r"\xff\xfe")
    assert handler.named("on_reply")


def test_a_batch_is_answered_when_each_of_its_events_is() -> None:
    session, handler = connected()
    sent = packets(session.publish("p1", "/default/a", ["1", "2", "3"]))
    assert [(packet.topic, packet.payload, packet.qos) for packet in sent] == [
        ("default/a", b"1", QOS_1),
        ("default/a", b"2", QOS_1),
        ("default/a", b"3", QOS_1),
    ]
    codes = mqtt5.PubAckReasonCode
    for index, code in ((2, codes.SUCCESS), (0, codes.NO_MATCHING_SUBSCRIBERS)):
        session.receive(mqtt5.PubAckPacket(sent[index].packet_id, reason_code=code).write(), 1, 1)
        assert not handler.named("on_published")
    session.receive(mqtt5.PubAckPacket(sent[1].packet_id, reason_code=codes.QUOTA_EXCEEDED).write(), 30, 31)
    assert handler.named("on_published") == [
        ("p1", PublishAnswer(rejected={1: "quota exceeded (MQTT reason code 151)"}), 30)
    ]
    session.receive(mqtt5.PubAckPacket(sent[1].packet_id).write(), 1, 1)
    assert handler.named("on_deviation"), "acknowledged twice"


def test_at_qos_0_there_is_no_packet_id_and_no_answer() -> None:
    session, handler = connected(qos=0)
    assert session.most_unanswered == 0
    for packet in packets(session.publish("p1", "/default/a", ["1", "2"])):
        assert packet.packet_id is None
    assert not handler.named("on_published")


@given(
    st.integers(1, 5),
    st.lists(st.integers(1, 4), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_no_more_is_unacknowledged_than_the_broker_takes_and_nothing_is_overtaken(
    receive_max: int, batches: list[int], random: Any
) -> None:
    session, handler = connected(receive_max=receive_max)
    assert session.most_unanswered == receive_max
    unacknowledged: list[Any] = []
    order: list[bytes] = []

    def take(data: bytes) -> None:
        for packet in packets(data):
            unacknowledged.append(packet)
            order.append(packet.payload)
        assert len(unacknowledged) <= receive_max

    for number, batch in enumerate(batches):
        take(session.publish(f"p{number}", "/a", [f"{number}.{index}" for index in range(batch)]))
        if random.random() < 0.4 and unacknowledged:
            answer(session, handler, unacknowledged, take, random)
    while unacknowledged:
        answer(session, handler, unacknowledged, take, random)
    assert order == [f"{n}.{i}".encode() for n, batch in enumerate(batches) for i in range(batch)]
    assert {call[0] for call in handler.named("on_published")} == {f"p{n}" for n in range(len(batches))}


def answer(
    session: MqttSession,
    handler: Recording,
    unacknowledged: list[Any],
    take: Callable[[bytes], None],
    random: Any,
) -> None:
    packet = unacknowledged.pop(random.randrange(len(unacknowledged)))
    before = len(handler.named("on_reply"))
    session.receive(mqtt5.PubAckPacket(packet.packet_id).write(), 1, 1)
    for (data,) in handler.named("on_reply")[before:]:
        take(data)


PAYLOADS = st.lists(st.text(max_size=300), min_size=1, max_size=6)


@given(PAYLOADS, st.lists(st.integers(0, 1 << 16), max_size=8), st.booleans())
def test_however_the_stream_is_cut_the_same_messages_come_out(
    payloads: list[str], cuts: list[int], acknowledged: bool
) -> None:
    session, handler = connected()
    subscribed(session, handler, "/default/a")
    stream = b"".join(
        (
            mqtt5.PublishPacket("default/a", payload.encode(), qos=QOS_1, packet_id=number)
            if acknowledged
            else mqtt5.PublishPacket("default/a", payload.encode())
        ).write()
        for number, payload in enumerate(payloads, start=1)
    )
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for time_ns, (begin, end) in enumerate(pairwise(edges)):
        session.receive(stream[begin:end], time_ns, time_ns)
    assert [call[:2] for call in handler.named("on_event")] == [("s0", payload) for payload in payloads]
    replies = b"".join(data for (data,) in handler.named("on_reply"))
    assert [packet.packet_id for packet in packets(replies)] == (
        list(range(1, len(payloads) + 1)) if acknowledged else []
    )


@given(st.binary(max_size=60))
def test_whatever_comes_nothing_is_raised(data: bytes) -> None:
    session, _ = connected()
    session.receive(data, 1, 1)
    session.receive(data, 2, 2)


def test_what_cannot_be_read_ends_the_connection_with_the_reason() -> None:
    session, handler = connected()
    session.receive(b"\x00\x00", 1, 1)
    assert "is no MQTT 5 packet" in handler.named("on_broken")[0][0]


def test_a_packet_above_the_limit_is_not_waited_for() -> None:
    session, handler = connected()
    # The header of a PUBLISH of 200 MB, and the beginning of it.
    session.receive(b"\x30\x80\x84\xaf\x5f" + bytes(1 << 20), 1, 1)
    assert not handler.named("on_broken")
    for _ in range(4):
        session.receive(bytes(1 << 20), 1, 1)
    assert "longer than we said" in handler.named("on_broken")[0][0]


def test_the_brokers_goodbye_is_told() -> None:
    session, handler = connected()
    session.receive(
        mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER).write(), 1, 1
    )
    assert handler.named("on_service_error") == [
        ("the broker ended the connection: session taken over (MQTT reason code 142)",)
    ]


def test_it_pings_at_the_brokers_pace_which_says_when_the_broker_counts_as_gone() -> None:
    session, _ = connected()
    assert session.keepalive_ns == 45_000_000_000
    assert session.timeout_ns == 90_000_000_000
    session, _ = connected(server_keep_alive=20)
    assert session.keepalive_ns == 15_000_000_000
    assert session.timeout_ns == 30_000_000_000
    assert isinstance(packets(session.keepalive())[0], mqtt5.PingReqPacket)
    session.receive(mqtt5.PingRespPacket().write(), 1, 1)
    assert session.keepalive()
    session, _ = connected(server_keep_alive=0)
    assert session.keepalive_ns is None
    assert session.timeout_ns is None


def test_it_says_goodbye() -> None:
    session, _ = connected()
    (packet,) = packets(session.closing())
    assert packet.reason_code == mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION


@pytest.mark.parametrize("qos", [0, 1])
def test_packet_ids_go_round_and_skip_what_is_in_use(qos: int) -> None:
    session, _ = connected(qos=qos, receive_max=65_535)
    session._last_id = 65_534
    session._requests[1] = (None, 0)  # type: ignore[assignment]
    assert [session._next_id() for _ in range(3)] == [65_535, 2, 3]


@pytest.mark.parametrize("rest", [b"", b"\x30"])
def test_of_several_messages_only_the_last_of_the_bytes_arrived_with_them(rest: bytes) -> None:
    session, handler = connected()
    subscribed(session, handler, "/default/a")
    one = mqtt5.PublishPacket("default/a", b"1").write()
    session.receive(one * 3 + rest, of_bytes(100, 40, 0), 200)
    events = handler.named("on_event")
    assert [event[2] for event in events] == [100, 100, 100]
    assert [getattr(event[2], "uncertain_ns", 0) for event in events] == [40, 40, 40 if rest else 0]
    # Read alone: exact, and where the bytes' own end is not exact it is not.
    session, handler = connected()
    subscribed(session, handler, "/default/a")
    session.receive(one, of_bytes(100, 40, 0), 200)
    session.receive(one, of_bytes(100, 40, 40), 200)
    assert [getattr(event[2], "uncertain_ns", 0) for event in handler.named("on_event")] == [0, 40]
