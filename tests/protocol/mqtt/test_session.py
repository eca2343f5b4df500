"""Test the conversation with a broker, packet by packet; the library `mqtt5` makes the broker's packets."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import mqtt5
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loadgen.measure.arrival import of_bytes
from loadgen.protocol import unreadable
from loadgen.protocol.mqtt.endpoints import BrokerUrl
from loadgen.protocol.mqtt.incoming import NOT_HELD
from loadgen.protocol.mqtt.outgoing import NO_PUBLISH
from loadgen.protocol.mqtt.packets import PacketReader, UnreadablePacketError, read_checked
from loadgen.protocol.mqtt.service import MqttService
from loadgen.protocol.mqtt.session import MqttSession
from loadgen.protocol.refusals import Kind
from tests.protocol.mqtt.sessions import packets, session_of
from tests.protocol.recording import Recording

QOS_1 = mqtt5.QoS.AT_LEAST_ONCE


def connected(
    qos: int = 1, reader: PacketReader | None = None, **connack: Any
) -> tuple[MqttSession, Recording]:
    handler = Recording()
    session = session_of(handler, qos, reader=reader)
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


def test_an_answer_that_is_no_mqtt_5_is_told_as_such() -> None:
    handler = Recording()
    session = session_of(handler)
    # A broker that knows only MQTT 3.1.1 refuses the protocol version (section 3.2.2.3 of 3.1.1).
    session.receive(b"\x20\x02\x00\x01", 1, 1)
    assert "does it speak MQTT 5?" in handler.named("on_refused")[0][0]
    session.receive(b"\xff" * 9, 1, 1)
    assert len(handler.calls) == 1, "nothing is read after that"


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


#: One packet of each kind in MQTT 5 (2.1.2), whether a broker may send it or not.
PACKETS = {
    "CONNECT": mqtt5.ConnectPacket("loadgen-1", username="me", password=b"secret").write(),
    "CONNACK": mqtt5.ConnAckPacket(reason_str="welcome", receive_max=7).write(),
    "PUBLISH, QoS 0": mqtt5.PublishPacket("default/a", b'{"n":1}').write(),
    "PUBLISH, QoS 1": mqtt5.PublishPacket("default/a", "ü".encode(), qos=QOS_1, packet_id=9).write(),
    "PUBACK": mqtt5.PubAckPacket(1).write(),
    "PUBACK, refused": mqtt5.PubAckPacket(
        1, reason_code=mqtt5.PubAckReasonCode.QUOTA_EXCEEDED, reason_str="too much"
    ).write(),
    "PUBREC": mqtt5.PubRecPacket(1).write(),
    "PUBREL": mqtt5.PubRelPacket(1).write(),
    "PUBCOMP": mqtt5.PubCompPacket(1).write(),
    "SUBSCRIBE": mqtt5.SubscribePacket(3, [mqtt5.TopicFilter("a/#")]).write(),
    "SUBACK": mqtt5.SubAckPacket(2, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]).write(),
    "SUBACK, refused": mqtt5.SubAckPacket(2, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED]).write(),
    "UNSUBSCRIBE": mqtt5.UnsubscribePacket(3, ["a/#"]).write(),
    "UNSUBACK": mqtt5.UnsubAckPacket(3, [mqtt5.UnsubAckReasonCode.SUCCESS]).write(),
    "PINGREQ": mqtt5.PingReqPacket().write(),
    "PINGRESP": mqtt5.PingRespPacket().write(),
    "DISCONNECT": mqtt5.DisconnectPacket().write(),
    "AUTH": mqtt5.AuthPacket().write(),
}
#: The expected calls of the handler for each complete packet, as (method, first argument). The session has
#: subscribed to /default/a with packet 1 and requested s9 with packet 2; it awaits no PUBACK.
SAID = {
    "CONNECT": [("on_deviation", "the broker sent a Connect")],
    "CONNACK": [("on_deviation", "the broker sent a second ConnAck")],
    "PUBLISH, QoS 0": [("on_event", "s0")],
    "PUBLISH, QoS 1": [("on_event", "s0"), ("on_reply", mqtt5.PubAckPacket(9).write())],
    "PUBACK": [("on_deviation", NO_PUBLISH.format("PUBACK"))],
    "PUBACK, refused": [("on_deviation", NO_PUBLISH.format("PUBACK"))],
    "PUBREC": [("on_deviation", NO_PUBLISH.format("PUBREC")), ("on_reply", bytes.fromhex("62 03 00 01 92"))],
    "PUBREL": [("on_deviation", NOT_HELD), ("on_reply", bytes.fromhex("70 03 00 01 92"))],
    "PUBCOMP": [("on_deviation", NO_PUBLISH.format("PUBCOMP"))],
    "SUBSCRIBE": [("on_deviation", "the broker sent a Subscribe")],
    "SUBACK": [("on_subscribed", "s9")],
    "SUBACK, refused": [("on_subscribe_failed", "s9")],
    "UNSUBSCRIBE": [("on_deviation", "the broker sent a Unsubscribe")],
    "UNSUBACK": [],
    "PINGREQ": [("on_deviation", "the broker sent a PingReq")],
    "PINGRESP": [],
    "DISCONNECT": [
        (
            "on_service_error",
            "the broker ended the connection: normal disconnection (MQTT reason code 0)",
        )
    ],
    "AUTH": [("on_deviation", "the broker sent a Auth")],
}


def asking(reader: PacketReader | None = None) -> tuple[MqttSession, Recording]:
    """Return a session whose subscription s0 to /default/a is acknowledged, and whose s9 to /default/nine is not."""
    session, handler = connected(reader=reader)
    subscribed(session, handler, "/default/a")
    session.subscribe("s9", "/default/nine")
    handler.calls.clear()
    return session, handler


@pytest.mark.parametrize("kind", PACKETS)
def test_each_kind_of_packet_is_taken_or_told(kind: str) -> None:
    session, handler = asking()
    session.receive(PACKETS[kind], 10, 20)
    assert [(name, arguments[0]) for name, arguments in handler.calls] == SAID[kind]
    # The session continues after the packet, unless that was a DISCONNECT.
    handler.calls.clear()
    session.receive(PACKETS["PUBLISH, QoS 0"], 30, 40)
    goes_on = [("on_event", ("s0", '{"n":1}', 30, 40))]
    assert handler.calls == ([] if kind == "DISCONNECT" else goes_on)


def by_the_codec(stream: bytes) -> tuple[list[tuple[str, tuple[str, str]]], bool]:
    """Return the events in a stream as the library `mqtt5` reads it, and False if some bytes are no packet.

    Reading ends at such bytes, at a DISCONNECT, or at an incomplete last packet.
    """
    found: list[tuple[str, tuple[str, str]]] = []
    held: set[int] = set()
    view = memoryview(stream)
    while view:
        try:
            packet, size = read_checked(view)
        except IndexError:
            return found, True
        except ValueError:
            return found, False
        except UnreadablePacketError as error:
            view = view[error.size :]
            continue
        view = view[size:]
        if isinstance(packet, mqtt5.DisconnectPacket):
            return found, True
        if isinstance(packet, mqtt5.PubRelPacket):
            held.discard(packet.packet_id)
        if isinstance(packet, mqtt5.PublishPacket):
            if packet.qos == mqtt5.QoS.EXACTLY_ONCE and packet.packet_id is not None:
                if packet.packet_id in held:
                    continue
                held.add(packet.packet_id)
            if packet.retain:
                continue
            try:
                found.append(("on_event", (packet.topic, packet.payload.decode())))
            except UnicodeDecodeError:
                found.append(("on_undecodable", (packet.topic, "")))
    return found, True


@st.composite
def nearly_packets(draw: st.DrawFn) -> bytes:
    """Draw a packet of any kind with some bytes changed, removed or added, or with another length."""
    data = bytearray(draw(st.sampled_from(sorted(PACKETS.values()))))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["put", "flip", "delete", "insert", "length"])):
            case "put":
                data[place : place + 1] = bytes([draw(st.integers(0, 255))])
            case "flip" if data:
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "delete":
                del data[place : place + 1]
            case "insert":
                data.insert(place, draw(st.integers(0, 255)))
            case "length" if 2 <= len(data) < 130:
                # Correct the length in the header; otherwise the reader would refuse the packet without reading its
                # content.
                data[1] = len(data) - 2
    return bytes(data)


STREAMS = st.lists(
    st.one_of(st.sampled_from(sorted(PACKETS.values())), nearly_packets(), st.binary(max_size=12)), max_size=6
)


@settings(max_examples=150, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 400), max_size=4))
@example([b"0", PACKETS["CONNECT"]], [])
@example([b"\x36\x05\x00\x01\xc0\x00\x01"], [])
def test_of_whatever_comes_the_events_are_those_that_the_codec_finds(
    parts: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(parts)
    session, handler = asking()
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for begin, end in pairwise(edges):
        session.receive(stream[begin:end], 1, 2)
    expected, readable = by_the_codec(stream)
    events = [arguments for name, arguments in handler.calls if name == "on_event"]
    texts = [(topic, text) for name, (topic, text) in expected if name == "on_event"]
    assert [text for _, text, *_ in events] == [text for _, text in texts]
    owners = {"default/a": "s0", "default/nine": "s9"}
    assert [subscription_id for subscription_id, *_ in events] == [
        owners.get(topic, "") for topic, _ in texts
    ]
    assert bool(handler.named("on_broken")) == (not readable)
    assert len(handler.named("on_broken")) <= 1
    # Whatever the bytes, the session calls only the following methods of its handler.
    assert {name for name, _ in handler.calls} <= {
        "on_aside",
        "on_broken",
        "on_deviation",
        "on_event",
        "on_reply",
        "on_service_error",
        "on_subscribed",
        "on_subscribe_failed",
        "on_undecodable",
    }


@given(STREAMS.map(b"".join))
def test_before_the_broker_has_let_us_in_it_does_or_is_refused_with_a_reason(stream: bytes) -> None:
    handler = Recording()
    session = session_of(handler)
    session.receive(stream, 1, 2)
    let_in, refused = handler.named("on_connected"), handler.named("on_refused")
    assert len(let_in) + len(refused) <= 1
    assert all(said for said, *_ in refused)
    if refused:
        after = len(handler.calls)
        session.receive(PACKETS["CONNACK"], 3, 4)
        assert len(handler.calls) == after, "nothing is read after that"


def test_what_cannot_be_read_ends_the_connection_with_the_reason() -> None:
    session, handler = connected()
    session.receive(b"\x00\x00", 1, 1)
    assert "is not an MQTT 5 packet" in handler.named("on_broken")[0][0]


def test_a_packet_above_the_limit_is_not_waited_for() -> None:
    session, handler = connected()
    # Send the header of a PUBLISH of 200 MB, and the first 1 MiB of its content.
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


@pytest.mark.parametrize("rest", [b"", b"\x30"])
def test_of_several_messages_only_the_last_of_the_bytes_arrived_with_them(rest: bytes) -> None:
    session, handler = connected()
    subscribed(session, handler, "/default/a")
    one = mqtt5.PublishPacket("default/a", b"1").write()
    session.receive(one * 3 + rest, of_bytes(100, 40, 0), 200)
    events = handler.named("on_event")
    assert [event[2] for event in events] == [100, 100, 100]
    assert [getattr(event[2], "uncertain_ns", 0) for event in events] == [40, 40, 40 if rest else 0]
    # If a read ends with the message, the arrival of the message is as uncertain as that of the last byte of the read.
    session, handler = connected()
    subscribed(session, handler, "/default/a")
    session.receive(one, of_bytes(100, 40, 0), 200)
    session.receive(one, of_bytes(100, 40, 40), 200)
    assert [getattr(event[2], "uncertain_ns", 0) for event in handler.named("on_event")] == [0, 40]


def test_the_sessions_of_a_service_share_the_reader() -> None:
    service = MqttService(BrokerUrl.from_url("mqtt://127.0.0.1"), None)
    first, second = service.session(Recording(), "a"), service.session(Recording(), "b")
    assert first._use.wire is second._use.wire
