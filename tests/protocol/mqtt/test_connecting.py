"""Test the beginning of a connection: CONNECT, CONNACK, keep-alive and the resumed session."""

from typing import Any

import mqtt5
import pytest

from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.mqtt.connecting import SECOND_CONNACK, Connecting, Refused
from loadgen.protocol.mqtt.incoming import Incoming
from loadgen.protocol.mqtt.memory import LOST_SESSION, UNASKED_SESSION, Memory, Unfinished
from loadgen.protocol.mqtt.outgoing import SENT_AGAIN, Outgoing
from loadgen.protocol.mqtt.packet_ids import PacketIds
from loadgen.protocol.mqtt.topics import Subscriptions
from loadgen.protocol.mqtt.wire import PUBREL, acknowledgement
from loadgen.protocol.refusals import Kind
from tests.protocol.mqtt.sessions import packets, use_of
from tests.protocol.recording import Recording


class Beginning:
    """A connection that is about to be opened, with the objects whose state the CONNACK decides."""

    def __init__(self, qos: int = 1, memory: Memory | None = None, **settings: Any) -> None:
        self.handler = Recording()
        use = use_of(qos, clean=memory is None, **settings)
        self.topics = Subscriptions()
        self.incoming = Incoming(self.handler, use, memory, self.topics)
        self.outgoing = Outgoing(self.handler, use, memory, PacketIds())
        self.connecting = Connecting(self.handler, use, "c-1", memory, self.incoming, self.outgoing)

    def connack(self, **fields: Any) -> Refused | None:
        return self.connecting.acknowledged(mqtt5.ConnAckPacket(**fields), 1)

    def request(self) -> Any:
        (packet,) = packets(self.connecting.request())
        return packet


def test_it_connects_without_stored_state_and_with_the_login() -> None:
    packet = Beginning(login=UserPassword("me", "pass")).request()
    assert (packet.client_id, packet.username, packet.password) == ("c-1", "me", b"pass")
    assert packet.clean_start is True
    assert packet.session_expiry_interval == 0
    assert packet.keep_alive == 60


def test_an_accepted_connection_is_reported_once() -> None:
    begun = Beginning()
    assert not begun.connecting.connected
    assert begun.connack() is None
    assert begun.connecting.connected
    assert begun.connack() is None
    assert begun.handler.calls == [("on_connected", (1,)), ("on_deviation", (SECOND_CONNACK,))]


def test_a_refusal_has_the_brokers_reason_and_its_kind() -> None:
    code = mqtt5.ConnAckReasonCode
    begun = Beginning()
    refused = begun.connack(reason_code=code.BAD_USER_NAME_OR_PASSWORD, reason_str="who are you")
    assert refused is not None
    assert refused.why == "bad user name or password (MQTT reason code 134): who are you"
    assert refused.refusal is not None
    assert refused.refusal.kind is Kind.DENIED
    assert not begun.connecting.connected
    assert not begun.handler.calls
    refused = begun.connack(reason_code=code.UNSPECIFIED_ERROR)
    assert refused is not None
    assert refused.refusal is None, "an error of unknown kind"


@pytest.mark.parametrize("offered", [0, 1, 2])
@pytest.mark.parametrize("asked", [0, 1, 2])
def test_a_broker_of_lower_quality_of_service_than_asked_for_is_of_no_use(asked: int, offered: int) -> None:
    qos = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)[offered]
    refused = Beginning(asked).connack(max_qos=qos)
    assert (refused is not None) == (offered < asked)
    assert refused is None or f"'?qos={offered}'" in refused.why


@pytest.mark.parametrize("asked", [True, False])
def test_a_broker_that_retains_nothing_is_of_no_use_only_to_a_run_with_retained_events(asked: bool) -> None:
    refused = Beginning(retain=asked).connack(retain_available=False)
    assert (refused is not None) == asked
    assert refused is None or "retain=true" in refused.why


@pytest.mark.parametrize(
    ("stated", "pings_s", "silent_s"), [(None, 45, 90), (20, 15, 30), (65_535, 49_151.25, 98_302.5)]
)
def test_pings_and_the_longest_silence_follow_from_the_brokers_keep_alive(
    stated: int | None, pings_s: float, silent_s: float
) -> None:
    begun = Beginning()
    assert begun.connecting.timeout_ns is None
    begun.connack(server_keep_alive=stated)
    assert begun.connecting.keepalive_ns == pings_s * 1e9
    assert begun.connecting.timeout_ns == silent_s * 1e9


def test_without_keep_alive_there_are_no_pings_and_no_limit() -> None:
    begun = Beginning()
    begun.connack(server_keep_alive=0)
    assert begun.connecting.keepalive_ns is None
    assert begun.connecting.timeout_ns is None


def test_publishes_obey_the_brokers_limits() -> None:
    begun = Beginning()
    begun.connack(receive_max=1, max_packet_size=30)
    assert begun.outgoing.receive_max == 1
    sent = packets(begun.outgoing.publish("p1", "a", ["1", "2" * 30, "3"]))
    assert [packet.payload for packet in sent] == [b"1"]
    begun.outgoing.acknowledged(mqtt5.PubAckPacket(sent[0].packet_id), 1)
    (last,) = packets(begun.outgoing.take())
    begun.outgoing.acknowledged(mqtt5.PubAckPacket(last.packet_id), 1)
    ((_, answer, _),) = begun.handler.named("on_published")
    assert answer.rejected == {1: "the broker takes packets of at most 30 bytes"}


def test_a_resumed_session_sends_what_is_unfinished_and_keeps_early_messages() -> None:
    memory = Memory("c-1", 300)
    assert Beginning(2, memory).request().clean_start is True
    Beginning(2, memory).connack()
    memory.topics.add("a", "s1")
    wire = use_of(2).wire
    packet = wire.publish("a", b"1", qos=2, packet_id=4, retain=False)
    memory.unfinished = {3: Unfinished(packet, released=True), 4: Unfinished(packet)}
    begun = Beginning(2, memory)
    assert begun.request().clean_start is False
    begun.connack(session_present=True)
    names = [name for name, _ in begun.handler.calls]
    assert names == ["on_aside", "on_aside", "on_reply", "on_session", "on_connected"]
    assert begun.handler.named("on_aside") == [(SENT_AGAIN,)] * 2
    assert begun.handler.named("on_session") == [("resumed",)]
    ((sent,),) = begun.handler.named("on_reply")
    assert sent.startswith(acknowledgement(PUBREL, 3))
    (again,) = packets(sent[4:])
    assert (again.packet_id, again.duplicate) == (4, True)
    begun.incoming.take(mqtt5.PublishPacket("a", b"x"), 10, 20, [])
    assert not begun.handler.named("on_event"), "its subscription may still follow"
    begun.topics.add("a", "s1")
    begun.incoming.deliver_early()
    assert begun.handler.named("on_event") == [("s1", "x", 10, 20)]


def test_a_session_that_the_broker_has_lost_begins_anew() -> None:
    now_s = 100.0
    memory = Memory("c-1", 300, clock=lambda: now_s)
    Beginning(1, memory).connack(session_expiry_interval=50)
    memory.unfinished[4] = Unfinished(b"")
    now_s += 49
    begun = Beginning(1, memory)
    begun.connack()
    assert begun.handler.named("on_deviation") == [(LOST_SESSION,)]
    assert begun.handler.named("on_session") == [("lost",)]
    assert not begun.handler.named("on_reply")
    now_s += 50
    begun = Beginning(1, memory)
    begun.connack()
    assert begun.handler.named("on_session") == [("expired",)]
    assert not begun.handler.named("on_deviation")


def test_a_session_that_was_not_asked_for_is_a_deviation() -> None:
    begun = Beginning()
    begun.connack(session_present=True)
    assert begun.handler.named("on_deviation") == [(UNASKED_SESSION,)]
    assert not begun.handler.named("on_session"), "the client keeps none"
    begun = Beginning(1, Memory("c-1", 300))
    begun.connack(session_present=True)
    assert begun.handler.named("on_deviation") == [(UNASKED_SESSION,)]
    assert begun.handler.named("on_session") == [("new",)]


def test_in_311_the_flag_for_old_state_is_never_set_for_a_session_to_keep() -> None:
    # The ninth byte holds the connect flags (MQTT 3.1.1, 3.1.2.3); 0x02 is Clean Session.
    assert Beginning(1, version="3.1.1").connecting.request()[9] & 0x02
    assert not Beginning(1, Memory("c-1", None), version="3.1.1").connecting.request()[9] & 0x02
