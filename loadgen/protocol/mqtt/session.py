"""The session of one connection to an MQTT broker, with the codec of the `mqtt5` package; no I/O.

It cuts the stream into packets and gives each to the part that handles it: `Connecting`, `Subscribing`, `Outgoing`
(our publishes) or `Incoming` (the broker's).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mqtt5

from loadgen import native
from loadgen.measure.arrival import end_of
from loadgen.native import FastPath, PublishLane, Rows
from loadgen.payloads.stamping import NativePlace
from loadgen.protocol import unreadable
from loadgen.protocol.base import PublishFrame, SessionHandler
from loadgen.protocol.boundary import Boundary
from loadgen.protocol.mqtt import limits, wire
from loadgen.protocol.mqtt.connecting import Connecting
from loadgen.protocol.mqtt.incoming import Incoming
from loadgen.protocol.mqtt.memory import Memory
from loadgen.protocol.mqtt.outgoing import Outgoing
from loadgen.protocol.mqtt.packet_ids import PacketIds
from loadgen.protocol.mqtt.packets import PacketReader
from loadgen.protocol.mqtt.reasons import reason_of
from loadgen.protocol.mqtt.subscribing import Subscribing
from loadgen.protocol.mqtt.topics import topic_of
from loadgen.protocol.mqtt.use import Use

_Publish, _PubAck = mqtt5.PublishPacket, mqtt5.PubAckPacket


class MqttSession:
    """Implements `Session` for one connection to a broker."""

    __slots__ = (
        "_boundary",
        "_connecting",
        "_ended",
        "_handler",
        "_incoming",
        "_memory",
        "_outgoing",
        "_partial",
        "_reader",
        "_subscribing",
        "_use",
    )

    def __init__(
        self, handler: SessionHandler, client_id: str, use: Use, memory: Memory | None = None
    ) -> None:
        """If ``memory`` is given, the client's MQTT session outlives the connection.

        All connections of the client must then have the same ``client_id``.
        """
        self._handler, self._use, self._memory = handler, use, memory
        self._reader: PacketReader = use.wire.reader
        ids = PacketIds(0 if memory is None else memory.last_id)
        self._subscribing = Subscribing(handler, use, memory, ids)
        self._outgoing = Outgoing(handler, use, memory, ids)
        self._incoming = Incoming(handler, use, memory, self._subscribing.topics)
        self._connecting = Connecting(handler, use, client_id, memory, self._incoming, self._outgoing)
        #: True once the broker has refused or ended the connection, or the stream is unreadable.
        self._ended = False
        #: The received part of an incomplete packet.
        self._partial: bytearray | None = None
        self._boundary = Boundary()

    @property
    def timeout_ns(self) -> int | None:
        """Time within which the broker must answer the client's pings; known once connected.

        It is 1.5 times the keep alive.
        """
        return self._connecting.timeout_ns

    @property
    def early_delivery(self) -> str | None:
        """None: deliveries before the SUBACK are no deviation, as a broker may send them (MQTT 5, 3.8.4)."""
        return None

    @property
    def most_unanswered(self) -> int:
        """Maximum number of unanswered publishes; 0 at QoS 0, which has no answers and so no limit."""
        return self._outgoing.receive_max if self._use.settings.qos else 0

    @property
    def keepalive_ns(self) -> int | None:
        """The interval between the client's pings, or None if it never pings."""
        return self._connecting.keepalive_ns

    def opening(self) -> Sequence[bytes]:
        """Return the CONNECT."""
        return (self._connecting.request(),)

    def awaits(self) -> str:
        """Return an empty text: an opening can only be waiting for the CONNACK, so errors need no detail on it."""
        return ""

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return a SUBSCRIBE; messages that the broker had kept for this subscription are delivered first."""
        packet = self._subscribing.subscribe(subscription_id, channel)
        self._incoming.deliver_early()
        return packet

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return an UNSUBSCRIBE.

        Messages that still arrive belong to this subscription until its topic filter is subscribed again.
        """
        return self._subscribing.unsubscribe(subscription_id)

    def publish(self, publish_id: str, channel: str, events: Sequence[Any]) -> bytes:
        """Return the PUBLISH packets that the broker accepts now; the others are sent later by `on_reply`."""
        return self._outgoing.publish(publish_id, topic_of(channel), events)

    def keepalive(self) -> bytes:
        """Return a PINGREQ; the broker must answer it, so silence beyond `timeout_ns` means that the broker is gone."""
        return wire.PINGREQ

    def closing(self) -> bytes:
        """Return the DISCONNECT; a session that outlives the connection stays at the broker until it expires."""
        return wire.DISCONNECT

    def fast_path(self, rows: Rows, numbers: Mapping[str, int], place: NativePlace) -> FastPath | None:
        """Return C code that processes this connection's PUBLISH packets, or None if events have checksums."""
        if place.checked:
            return None
        # Over a WebSocket, packets come in binary frames; over TCP, without frames.
        stream = native.BINARY_FRAMES if self._use.websocket else native.NO_FRAMES
        lane = native.PacketFastPath(rows, place.tokens, stream, self._use.settings.properties)
        self._subscribing.fill(lane, numbers)
        self._boundary.give(lane)
        return lane

    def use_lane(self, lane: PublishLane) -> Callable[[str], PublishFrame | None] | None:
        """Return None: `loadgen.native` publishes only to AppSync Events."""
        return None

    def receive(self, data: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        """Process received bytes, which may begin and end inside a packet; send all answers to them together."""
        if self._ended:
            return
        if self._partial is not None:
            self._partial += data
            data, self._partial = self._partial, None
        view, place, end = memoryview(data), 0, len(data)
        read, incoming = self._reader.read, self._incoming
        answers: list[bytes] = []
        while place < end:
            try:
                packet, size = read(view[place:])
            except IndexError:
                self._partial = bytearray(view[place:])
                if len(self._partial) > limits.PACKET_MAX_BYTES:
                    self._cannot_go_on("a packet is longer than we said that we take", self._partial)
                break
            except ValueError as error:
                self._cannot_go_on(str(error), view[place:])
                break
            except BaseException as error:
                # The packet has a text that is not UTF-8: skip it.
                broken = self._reader.explain(error, view[place:])
                if broken is None:
                    raise
                kind = unreadable.TOPIC_NOT_UTF8 if broken.topic else unreadable.PACKET_UNREADABLE
                self._handler.on_undecodable(kind, self._use.example(view[place : place + broken.size]))
                place += broken.size
                continue
            place += size
            if type(packet) is _Publish:
                incoming.take(packet, arrival_ns if place < end else end_of(arrival_ns), read_ns, answers)
            elif type(packet) is _PubAck:
                self._outgoing.acknowledged(packet, arrival_ns)
            else:
                self._on_other(packet, arrival_ns, answers)
                if self._ended:
                    break
        self._boundary.set(self._partial is None and not self._ended)
        if self._memory is not None:
            self._memory.heard()
        if answers:
            self._handler.on_reply(self._boundary.take_owed() + b"".join(answers))
        if self._outgoing.sendable:
            self._handler.on_reply(self._outgoing.take())

    # Internals.

    def _on_other(self, packet: mqtt5.Packet, arrival_ns: int, answers: list[bytes]) -> None:
        handler = self._handler
        match packet:
            case mqtt5.ConnAckPacket():
                if (refused := self._connecting.acknowledged(packet, arrival_ns)) is not None:
                    self._ended = True
                    handler.on_refused(*refused)
            case mqtt5.SubAckPacket():
                self._subscribing.acknowledged(packet, arrival_ns)
            case mqtt5.UnsubAckPacket():
                self._subscribing.ended(packet)
            case mqtt5.PubRecPacket():
                if answer := self._outgoing.received(packet, arrival_ns):
                    answers.append(answer)
            case mqtt5.PubRelPacket():
                answers.append(self._incoming.release(packet))
            case mqtt5.PubCompPacket():
                self._outgoing.completed(packet, arrival_ns)
            case mqtt5.PingRespPacket():
                pass
            case mqtt5.DisconnectPacket():
                self._ended = True
                handler.on_service_error(f"the broker ended the connection: {reason_of(packet)}")
            case _:
                handler.on_deviation(f"the broker sent a {type(packet).__name__.removesuffix('Packet')}")

    def _cannot_go_on(self, why: str, sent: memoryview | bytearray) -> None:
        """End the session: after this error, the start of the next packet is unknown."""
        self._ended = True
        self._partial = None
        settings = self._use.settings
        title = settings.title
        if self._connecting.connected:
            self._handler.on_undecodable(unreadable.NO_PACKET, self._use.example(sent))
            self._handler.on_broken(f"the broker sent something that is not an {title} packet: {why}")
        else:
            other = "" if settings.properties else " (for MQTT 5 drop 'version=3.1.1')"
            self._handler.on_refused(
                f"it answers with something that is not an {title} packet ({why}); does it speak"
                f" {title}?{other}"
            )
