"""The session state that a client keeps between two connections, if it resumes sessions (MQTT 5, 4.1)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from loadgen.protocol.mqtt.topics import Subscriptions

#: The states of a session that the client asked the broker to keep; see `SessionHandler.on_session`.
NEW, RESUMED, EXPIRED, LOST = "new", "resumed", "expired", "lost"

#: Number of completed QoS 2 messages whose packet ids are kept, as a broker may repeat its last packets after a
#: reconnect. By default, brokers have at most 10 to 100 messages in flight.
_ENDED_MAX: Final = 256

LOST_SESSION: Final = "the broker did not keep a session until it expired"
UNASKED_SESSION: Final = "the broker resumed a session that we asked it to discard"


@dataclass(slots=True)
class Unfinished:
    """A publish whose exchange with the broker is not complete."""

    packet: bytes
    #: True once the broker has acknowledged the QoS 2 message by PUBREC: from then on, only PUBREL is sent.
    released: bool = False


@dataclass(slots=True)
class Memory:
    """The state of one client's session; all its connections share it."""

    client_id: str
    #: Seconds for which the broker keeps the session without a connection, or None if the broker alone decides.
    expiry_s: float | None
    clock: Callable[[], float] = monotonic
    #: Publishes without a final answer, by packet id, in the order in which they were first sent.
    unfinished: dict[int, Unfinished] = field(default_factory=dict)
    #: Packet ids of QoS 2 messages that were delivered and that the broker has not released yet by PUBREL.
    held: set[int] = field(default_factory=set)
    #: Packet ids of the last QoS 2 messages that the broker has released by PUBREL, oldest first.
    ended: dict[int, None] = field(default_factory=dict)
    #: The packet id of the last publish. The next connection continues from there, so that a late answer to an old
    #: publish is not taken for the answer to a new one.
    last_id: int = 0
    #: The subscriptions of the last connection, which the broker keeps with the session.
    topics: Subscriptions = field(default_factory=Subscriptions)
    #: True once a broker has accepted a connection of this session.
    begun: bool = False
    #: Time of the last received bytes, in seconds of ``clock``.
    heard_s: float = 0.0

    def found(self, present: bool) -> str:
        """Store that the broker accepted a connection, with or without the session; return the state of the session."""
        begun, self.begun = self.begun, True
        gone_s = self.clock() - self.heard_s
        self.heard_s = self.clock()
        if present and begun:
            return RESUMED
        self.unfinished.clear()
        self.held.clear()
        self.ended.clear()
        if not begun:
            return NEW
        return EXPIRED if self.expiry_s is not None and gone_s >= self.expiry_s else LOST

    def end(self, packet_id: int) -> None:
        """Store that the broker has released a message of QoS 2."""
        self.held.discard(packet_id)
        self.ended.pop(packet_id, None)
        self.ended[packet_id] = None
        if len(self.ended) > _ENDED_MAX:
            del self.ended[next(iter(self.ended))]

    def heard(self) -> None:
        """Store the current time, since the connection has just received bytes."""
        self.heard_s = self.clock()
