"""What a client keeps of its session between two connections, if it resumes sessions (MQTT 5, 4.1)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from loadgen.protocol.mqtt.topics import Subscriptions

#: What became of a session that the client asked the broker to keep; see `SessionHandler.on_session`.
NEW, RESUMED, EXPIRED, LOST = "new", "resumed", "expired", "lost"

LOST_SESSION: Final = "the broker did not keep a session until it expired"
UNASKED_SESSION: Final = "the broker resumed a session that we asked it to discard"


@dataclass(slots=True)
class Unfinished:
    """A publish whose exchange with the broker is not complete."""

    packet: bytes
    #: True once the broker has said that it took the message of QoS 2 (PUBREC): from then on only PUBREL is sent.
    released: bool = False


@dataclass(slots=True)
class Memory:
    """The state of one client's session; all its connections share it."""

    client_id: str
    #: How long the broker keeps the session without a connection (seconds), or None if that is its own decision.
    expiry_s: float | None
    clock: Callable[[], float] = monotonic
    #: Publishes without a final answer by packet id, in the order in which they were first sent.
    unfinished: dict[int, Unfinished] = field(default_factory=dict)
    #: Packet ids of messages of QoS 2 that were delivered and that the broker has not released.
    held: set[int] = field(default_factory=set)
    #: The subscriptions of the last connection, which the broker keeps with the session.
    topics: Subscriptions = field(default_factory=Subscriptions)
    #: True once a broker has accepted a connection of this session.
    begun: bool = False
    #: When something last came over a connection, in seconds of ``clock``.
    heard_s: float = 0.0

    def found(self, present: bool) -> str:
        """Note that the broker accepted a connection and has the session or not; return what became of the session."""
        begun, self.begun = self.begun, True
        gone_s = self.clock() - self.heard_s
        self.heard_s = self.clock()
        if present and begun:
            return RESUMED
        self.unfinished.clear()
        self.held.clear()
        if not begun:
            return NEW
        return EXPIRED if self.expiry_s is not None and gone_s >= self.expiry_s else LOST

    def heard(self) -> None:
        """Note that something came over the connection."""
        self.heard_s = self.clock()
