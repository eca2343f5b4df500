"""The messages that one connection receives: their acknowledgements, and the subscriptions they are delivered to.

At QoS 1 we answer a message with PUBACK. At QoS 2 the broker may repeat a message until we have sent PUBREC; the packet
id identifies the copies until the broker sends PUBREL (MQTT 5, 4.3.3). A broker that resumes a session may deliver
stored messages before the client subscribes.
"""

from typing import Any, Final, NamedTuple

import mqtt5

from loadgen.payloads.stamping import Marked
from loadgen.protocol import unreadable
from loadgen.protocol.base import SessionHandler
from loadgen.protocol.mqtt.memory import Memory
from loadgen.protocol.mqtt.topics import Subscriptions
from loadgen.protocol.mqtt.use import Use
from loadgen.protocol.mqtt.wire import PUBACK, PUBCOMP, PUBREC, acknowledgement

_QOS_1: Final = mqtt5.QoS.AT_LEAST_ONCE

RETAINED: Final = "retained messages, which came on subscribing"
MARKED_AGAIN: Final = "messages that the broker marked as sent again (DUP)"
RELEASED_AGAIN: Final = "PUBREL packets that the broker sent again after a reconnect"
COPIES: Final = "further copies of a message of QoS 2, which count once"

REUSED_ID: Final = "the broker used the packet id of a message of QoS 2 that it had not released"
NOT_HELD: Final = "a PUBREL belongs to no PUBLISH"

#: Maximum number of messages that wait for their subscription; further ones count as messages without a subscription.
_EARLY_MAX: Final = 100_000


class Message(NamedTuple):
    """A PUBLISH packet, the time at which it arrived, and the time at which it was read (ns)."""

    packet: Any
    arrival_ns: int
    read_ns: int


class Incoming:
    """The received messages of one connection; with a ``memory`` they continue the session of the last connection.

    ``topics`` finds the subscription of each message.
    """

    __slots__ = (
        "_early",
        "_ended_before",
        "_former",
        "_handler",
        "_held",
        "_memory",
        "_stamp_name",
        "_topics",
        "_use",
    )

    def __init__(
        self, handler: SessionHandler, use: Use, memory: Memory | None, topics: Subscriptions
    ) -> None:
        self._handler, self._use, self._memory, self._topics = handler, use, memory, topics
        self._stamp_name = use.stamp_name
        #: Packet ids of QoS 2 messages that were delivered and that the broker has not released yet by PUBREL.
        self._held: set[int] = set() if memory is None else memory.held
        #: Packet ids of messages that the broker had released before this connection. The broker repeats a PUBREL
        #: if the last connection broke before our PUBCOMP arrived (MQTT 5, 4.4).
        self._ended_before: set[int] = set()
        #: Subscriptions of the client's last connection, or None. Messages for these subscriptions wait in `_early`
        #: until this connection has subscribed again.
        self._former: Subscriptions | None = None
        self._early: list[Message] = []

    def resume(self, topics: Subscriptions) -> None:
        """Keep messages for subscriptions of the last connection until the client has subscribed to them again."""
        self._former = topics
        if self._memory is not None:
            self._ended_before = set(self._memory.ended)

    def take(self, packet: Any, arrival_ns: int, read_ns: int, answers: list[bytes]) -> None:
        """Deliver a PUBLISH, unless it is a copy or retained, and append the answer to it to ``answers``."""
        packet_id = packet.packet_id
        if packet_id is not None:
            if packet.qos == _QOS_1:
                answers.append(acknowledgement(PUBACK, packet_id))
            else:
                answers.append(acknowledgement(PUBREC, packet_id))
                if self._is_copy(packet):
                    return
        if (packet.retain or packet.duplicate) and self._is_aside(packet):
            return
        self._deliver(packet, arrival_ns, read_ns)

    def release(self, packet: Any) -> bytes:
        """Process a PUBREL and return the answer to it."""
        packet_id: int = packet.packet_id
        if packet_id in self._held:
            self._held.discard(packet_id)
            if self._memory is not None:
                self._memory.end(packet_id)
            return acknowledgement(PUBCOMP, packet_id)
        if packet_id in self._ended_before:
            self._handler.on_aside(RELEASED_AGAIN)
        else:
            self._handler.on_deviation(NOT_HELD)
        return self._use.wire.unknown_id(PUBCOMP, packet_id)

    def deliver_early(self) -> None:
        """Deliver the kept messages for which there is a subscription now, in order of arrival."""
        if self._early:
            early, self._early = self._early, []
            for message in early:
                if self._topics.find(message.packet.topic) is None:
                    self._early.append(message)
                else:
                    self._deliver(*message)

    def _is_copy(self, packet: Any) -> bool:
        """Remember a PUBLISH of QoS 2; return True if it was delivered before."""
        if packet.packet_id not in self._held:
            self._held.add(packet.packet_id)
            self._ended_before.discard(packet.packet_id)
            return False
        if not packet.duplicate:
            self._handler.on_deviation(REUSED_ID)
        self._handler.on_aside(COPIES)
        return True

    def _is_aside(self, packet: Any) -> bool:
        """Count a PUBLISH with the flag RETAIN or DUP; return True if it is not a live delivery."""
        if packet.retain:
            self._handler.on_aside(RETAINED)
            return True
        if packet.duplicate:
            self._handler.on_aside(MARKED_AGAIN)
        return False

    def _deliver(self, packet: Any, arrival_ns: int, read_ns: int) -> None:
        """Pass a message to its subscription, or keep it if the client may still subscribe again to its topic."""
        # A message without a subscription gets an empty subscription id, so that it is counted as a message for an
        # unknown subscription.
        subscription_id = self._topics.find(packet.topic)
        if subscription_id is None:
            if self._is_early(packet):
                self._early.append(Message(packet, arrival_ns, read_ns))
                return
            subscription_id = ""
        name = self._stamp_name
        if name is not None and (stamp := _property(packet, name)) is not None:
            self._handler.on_marked(
                subscription_id, Marked(bytes(packet.payload), stamp), arrival_ns, read_ns
            )
            return
        try:
            text = str(packet.payload, "utf-8")
        except UnicodeDecodeError:
            self._handler.on_undecodable(unreadable.PAYLOAD_NOT_UTF8, self._use.example(packet.payload))
            return
        self._handler.on_event(subscription_id, text, arrival_ns, read_ns)

    def _is_early(self, packet: Any) -> bool:
        """Return True if a message is to be kept: the last connection had a subscription for it, and there is room."""
        former = self._former
        return former is not None and len(self._early) < _EARLY_MAX and former.find(packet.topic) is not None


def _property(packet: mqtt5.PublishPacket, name: str) -> str | None:
    """Return the value of the first user property with this name, or None if there is none."""
    return next((value for key, value in packet.user_properties or () if key == name), None)
