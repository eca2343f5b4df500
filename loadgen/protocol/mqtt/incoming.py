"""A connection's unusual deliveries: copies at QoS 2, retained messages, and messages before the subscribe.

At QoS 2 the broker may repeat a message until we have sent PUBREC. The packet id identifies the copies until the broker
sends PUBREL (MQTT 5, 4.3.3). A broker that resumes a session may deliver stored messages before the client subscribes.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from loadgen.protocol.base import SessionHandler
from loadgen.protocol.mqtt.memory import Memory
from loadgen.protocol.mqtt.topics import Subscriptions
from loadgen.protocol.mqtt.wire import PUBCOMP, Wire, acknowledgement

RETAINED: Final = "retained messages, which came on subscribing"
MARKED_AGAIN: Final = "messages that the broker marked as sent again (DUP)"
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
    """The received messages of one connection; with a ``memory`` they continue the session of the last connection."""

    __slots__ = ("_early", "_former", "_handler", "_held", "_wire")

    def __init__(self, handler: SessionHandler, wire: Wire, memory: Memory | None) -> None:
        self._handler, self._wire = handler, wire
        #: Packet ids of QoS 2 messages that were delivered and that the broker has not released yet by PUBREL.
        self._held: set[int] = set() if memory is None else memory.held
        #: Subscriptions of the client's last connection, or None. Messages for them wait until this connection has
        #: subscribed again.
        self._former: Subscriptions | None = None
        self._early: list[Message] = []

    def resume(self, topics: Subscriptions) -> None:
        """Keep messages for subscriptions of the last connection until the client has subscribed to them again."""
        self._former = topics

    def is_copy(self, packet: Any) -> bool:
        """Remember a PUBLISH of QoS 2; return True if it was delivered before."""
        if packet.packet_id not in self._held:
            self._held.add(packet.packet_id)
            return False
        if not packet.duplicate:
            self._handler.on_deviation(REUSED_ID)
        self._handler.on_aside(COPIES)
        return True

    def release(self, packet: Any) -> bytes:
        """Process a PUBREL and return the answer to it."""
        if packet.packet_id in self._held:
            self._held.discard(packet.packet_id)
            return acknowledgement(PUBCOMP, packet.packet_id)
        self._handler.on_deviation(NOT_HELD)
        return self._wire.unknown_id(PUBCOMP, packet.packet_id)

    def is_aside(self, packet: Any) -> bool:
        """Count a PUBLISH with the flag RETAIN or DUP; return True if it is not a live delivery."""
        if packet.retain:
            self._handler.on_aside(RETAINED)
            return True
        if packet.duplicate:
            self._handler.on_aside(MARKED_AGAIN)
        return False

    def is_early(self, message: Message) -> bool:
        """Keep a message for a subscription that only the last connection had; return False for any other message."""
        former = self._former
        if former is None or len(self._early) >= _EARLY_MAX or former.find(message.packet.topic) is None:
            return False
        self._early.append(message)
        return True

    def take_early(self, topics: Subscriptions) -> Iterator[Message]:
        """Yield the kept messages for which ``topics`` now has a subscription, in order of arrival."""
        if self._early:
            early, self._early = self._early, []
            for message in early:
                if topics.find(message.packet.topic) is None:
                    self._early.append(message)
                else:
                    yield message
