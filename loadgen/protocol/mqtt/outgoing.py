"""The publishes of one connection: packets, acknowledgements, and the broker's limit of unacknowledged publishes.

Each event is a PUBLISH packet. A request of several events becomes as many packets, and counts as answered once all of
them are answered. At QoS 1 and 2 the broker limits the number of unacknowledged packets (receive maximum); further
packets wait until it acknowledges one. At QoS 0 the broker does not answer, so that nothing shows whether it accepted
an event.

At QoS 1 the broker answers a PUBLISH with PUBACK. At QoS 2 the broker answers with PUBREC, the client sends PUBREL, and
the broker sends PUBCOMP: only then is the publish complete (MQTT 5, 4.3.3).
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from loadgen.measure.clock import now_ns
from loadgen.protocol.base import PublishAnswer, SessionHandler
from loadgen.protocol.mqtt.memory import Memory, Unfinished
from loadgen.protocol.mqtt.packet_ids import PacketIds
from loadgen.protocol.mqtt.reasons import REFUSED, reason_of
from loadgen.protocol.mqtt.use import Use
from loadgen.protocol.mqtt.wire import PUBREL, acknowledgement, sent_again

NO_PUBLISH: Final = "a {} belongs to no PUBLISH"
ANSWERED_AGAIN: Final = "answers that the broker sent again after a reconnect"
SENT_AGAIN: Final = "our publishes sent again after a reconnect"


class Request:
    """A publish request that waits for acknowledgements."""

    __slots__ = ("open", "publish_id", "rejected")

    def __init__(self, publish_id: str, events: int) -> None:
        self.publish_id = publish_id
        self.open = events
        self.rejected: dict[int, str] = {}

    def refused(self, index: int, why: str) -> None:
        """Store why an event was refused; this counts as its answer."""
        self.rejected[index] = why
        self.open -= 1


class Outgoing:
    """The publishes of one connection.

    The publisher's ``handler`` is called once all events of a request are answered. With a ``memory``, unfinished
    publishes are kept for the next connection.
    """

    __slots__ = (
        "_handler",
        "_ids",
        "_memory",
        "_packet_max",
        "_pending_before",
        "_qos",
        "_released",
        "_requests",
        "_retain",
        "_room",
        "_stamp_name",
        "_waiting",
        "_wire",
        "receive_max",
    )

    def __init__(self, handler: SessionHandler, use: Use, memory: Memory | None, ids: PacketIds) -> None:
        self._handler, self._wire, self._memory, self._ids = handler, use.wire, memory, ids
        self._qos: int = use.settings.qos
        self._retain, self._stamp_name = use.settings.retain, use.stamp_name
        #: By packet id of a PUBLISH: its publish request and the index of its event there. None for a PUBLISH of an
        #: earlier connection, since the request ended with that connection.
        self._requests: dict[int, tuple[Request, int] | None] = {}
        ids.skip(self._requests)
        #: Packet ids of the publishes of earlier connections that this connection continues. The broker may answer them
        #: twice: once because it resumes the session, and once because we send the packet again (MQTT 5, 4.4).
        self._pending_before: set[int] = set()
        #: Packet ids of the QoS 2 messages that the broker has acknowledged by PUBREC.
        self._released: set[int] = set()
        #: The number of PUBLISH packets that the broker still accepts now, and the packets that must wait, with
        #: their ids.
        self._room = 0
        self._waiting: deque[tuple[int, bytes]] = deque()
        #: The number of unacknowledged PUBLISH packets that the broker accepts; known once connected.
        self.receive_max = 0
        #: The largest packet that the broker accepts, in bytes, or None if the broker has stated no limit.
        self._packet_max: int | None = None

    def connected(self, receive_max: int, packet_max: int | None) -> None:
        """Store the broker's receive maximum and its maximum packet size in bytes, or None if it has stated none."""
        self._room = self.receive_max = receive_max
        self._packet_max = packet_max

    @property
    def sendable(self) -> bool:
        """True if a waiting packet may be sent now."""
        return bool(self._waiting) and self._room > 0

    def publish(self, publish_id: str, topic: str, events: Sequence[Any]) -> bytes:
        """Return the PUBLISH packets that the broker accepts now; :meth:`take` returns the others later."""
        qos = self._qos
        if not qos:
            return b"".join([self._written(topic, event, 0, None) for event in events])
        request = Request(publish_id, len(events))
        packets = []
        for index, event in enumerate(events):
            packet_id = self._ids.next()
            packet = self._written(topic, event, qos, packet_id)
            if self._packet_max is not None and len(packet) > self._packet_max:
                request.refused(index, f"the broker takes packets of at most {self._packet_max:,} bytes")
                continue
            self._requests[packet_id] = request, index
            packets.append((packet_id, packet))
            self._pending_before.discard(packet_id)
            if self._memory is not None:
                self._memory.last_id = packet_id
        if not request.open:
            self._done(request, now_ns())
        # Keep the order: no packet overtakes a waiting one.
        behind = bool(self._waiting)
        self._waiting.extend(packets)
        return b"" if behind else self.take()

    def _written(self, topic: str, event: Any, qos: int, packet_id: int | None) -> bytes:
        write, retain = self._wire.publish, self._retain
        if self._stamp_name is None:
            return write(topic, event.encode(), qos=qos, packet_id=packet_id, retain=retain)
        stamp = self._stamp_name, event.stamp
        return write(topic, event.body, qos=qos, packet_id=packet_id, retain=retain, stamp=stamp)

    def take(self) -> bytes:
        """Return the waiting packets that the broker accepts now."""
        count = min(self._room, len(self._waiting))
        self._room -= count
        taken = [self._waiting.popleft() for _ in range(count)]
        if self._memory is not None:
            for packet_id, packet in taken:
                if packet_id not in self._memory.unfinished:
                    self._memory.unfinished[packet_id] = Unfinished(packet)
        return b"".join([packet for _, packet in taken])

    def resume(self) -> tuple[bytes, int]:
        """Return the packets that continue the publishes of earlier connections, and their number.

        If the broker has acknowledged a message by PUBREC, only the PUBREL is sent again; otherwise the message is sent
        again, with the same packet id (MQTT 5, 4.4). All these packets precede any new publish.
        """
        if self._memory is None:
            return b"", 0
        self._pending_before = set(self._memory.unfinished)
        released, again = [], []
        for packet_id, each in self._memory.unfinished.items():
            self._requests[packet_id] = None
            if each.released:
                self._released.add(packet_id)
                released.append(acknowledgement(PUBREL, packet_id))
            else:
                again.append((packet_id, sent_again(each.packet)))
        # Each PUBREL sent again counts against the broker's limit: its PUBLISH is unacknowledged until the PUBCOMP.
        self._room -= len(released)
        self._waiting.extendleft(reversed(again))
        return b"".join(released) + self.take(), len(released) + len(again)

    def acknowledged(self, packet: Any, arrival_ns: int) -> None:
        """Process a PUBACK."""
        if packet.packet_id in self._released:
            self._handler.on_deviation(NO_PUBLISH.format("PUBACK"))
        else:
            self._end(packet, arrival_ns, "PUBACK")

    def received(self, packet: Any, arrival_ns: int) -> bytes:
        """Process a PUBREC and return the answer to it."""
        packet_id = packet.packet_id
        if packet_id not in self._requests:
            self._unknown(packet_id, "PUBREC")
            return self._wire.unknown_id(PUBREL, packet_id)
        if int(packet.reason_code) >= REFUSED:
            self._end(packet, arrival_ns, "PUBREC")
            return b""
        self._released.add(packet_id)
        if self._memory is not None and (kept := self._memory.unfinished.get(packet_id)) is not None:
            kept.released = True
        return acknowledgement(PUBREL, packet_id)

    def completed(self, packet: Any, arrival_ns: int) -> None:
        """Process a PUBCOMP."""
        if packet.packet_id not in self._released:
            self._unknown(packet.packet_id, "PUBCOMP")
            return
        # Accept any reason code: after a reconnect the broker may have completed the exchange and forgotten the id.
        self._end(packet, arrival_ns, "PUBCOMP")

    def _unknown(self, packet_id: int, kind: str) -> None:
        """Count an answer to a publish that is not under way."""
        if packet_id in self._pending_before and packet_id not in self._requests:
            self._handler.on_aside(ANSWERED_AGAIN)
        else:
            self._handler.on_deviation(NO_PUBLISH.format(kind))

    def _end(self, packet: Any, arrival_ns: int, kind: str) -> None:
        packet_id = packet.packet_id
        if packet_id not in self._requests:
            self._unknown(packet_id, kind)
            return
        found = self._requests.pop(packet_id)
        self._released.discard(packet_id)
        if self._memory is not None:
            self._memory.unfinished.pop(packet_id, None)
        self._room += 1
        if found is None:
            return
        request, index = found
        if kind != "PUBCOMP" and int(packet.reason_code) >= REFUSED:
            request.refused(index, reason_of(packet))
        else:
            request.open -= 1
        if not request.open:
            self._done(request, arrival_ns)

    def _done(self, request: Request, at_ns: int) -> None:
        """Report to the handler that all events of a request are answered."""
        self._handler.on_published(request.publish_id, PublishAnswer(rejected=request.rejected), at_ns)
