"""The session of one connection to an MQTT broker, with the codec of the `mqtt5` package; no I/O.

Each event is a PUBLISH packet. A request of several events becomes as many packets, and is answered once all these
packets are. At QoS 1 and 2 the broker acknowledges each packet, and limits the number of unacknowledged packets
(receive maximum); the session queues further packets until the broker acknowledges one. At QoS 0 the broker does not
answer, so that nothing shows whether it accepted an event.

Unless the client resumes its session (`Memory`), each connection starts without stored state (clean start, no session
kept): messages that a broker would have stored for an absent client are not delivered, as with AppSync Events.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import mqtt5

from loadgen import native
from loadgen.measure.arrival import end_of
from loadgen.measure.clock import now_ns
from loadgen.native import FastPath, PublishLane, Rows
from loadgen.payloads.stamping import Marked, NativePlace
from loadgen.protocol import unreadable
from loadgen.protocol.base import PublishFrame, SessionHandler
from loadgen.protocol.boundary import Boundary
from loadgen.protocol.mqtt import limits, wire
from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.mqtt.incoming import Incoming, Message
from loadgen.protocol.mqtt.memory import LOST, LOST_SESSION, RESUMED, UNASKED_SESSION, Memory
from loadgen.protocol.mqtt.outgoing import LAST_PACKET_ID, SENT_AGAIN, Outgoing, Request
from loadgen.protocol.mqtt.packets import PacketReader
from loadgen.protocol.mqtt.reasons import REFUSED, reason_of, refusal_of, words
from loadgen.protocol.mqtt.settings import Settings
from loadgen.protocol.mqtt.topics import Subscriptions, filter_of, topic_of
from loadgen.protocol.mqtt.wire import Wire, acknowledgement
from loadgen.protocol.refusals import Refusal

_Publish, _PubAck = mqtt5.PublishPacket, mqtt5.PubAckPacket
_QOS_1: Final = mqtt5.QoS.AT_LEAST_ONCE

LESS_THAN_ASKED: Final = "the broker granted QoS {} to a subscription that asked for QoS {}"


class Use(NamedTuple):
    """The settings by which all sessions of a service use a broker."""

    settings: Settings
    wire: Wire
    login: UserPassword | None = None
    #: The user property with the stamps, or None if the stamps are in the events.
    stamp_name: str | None = None
    #: True if the packets travel in WebSocket frames.
    websocket: bool = False


class MqttSession:
    """Implements `Session` for one connection to a broker."""

    __slots__ = (
        "_boundary",
        "_client_id",
        "_connected",
        "_ended",
        "_handler",
        "_incoming",
        "_keep_alive_s",
        "_last_id",
        "_login",
        "_memory",
        "_outgoing",
        "_packet_max",
        "_partial",
        "_qos",
        "_reader",
        "_settings",
        "_stamp_name",
        "_stream",
        "_subscriptions",
        "_topics",
        "_wire",
        "timeout_ns",
    )

    def __init__(
        self, handler: SessionHandler, client_id: str, use: Use, memory: Memory | None = None
    ) -> None:
        """With a ``memory``, the client's session outlives the connection; all its connections share ``client_id``."""
        #: Set by the CONNACK: 1.5 times the keep alive, within which the broker must answer our pings.
        self.timeout_ns: int | None = None
        self._handler = handler
        self._client_id = client_id
        self._settings, self._wire, self._login = use.settings, use.wire, use.login
        self._qos: int = use.settings.qos
        self._reader: PacketReader = use.wire.reader
        self._stamp_name = use.stamp_name
        self._memory = memory
        self._connected = False
        #: True once the broker has refused or ended the connection, or the stream is unreadable.
        self._ended = False
        self._keep_alive_s = limits.KEEP_ALIVE_S
        #: The largest packet that the broker accepts, in bytes, or None if the broker has stated no limit.
        self._packet_max: int | None = None
        self._last_id = 0
        self._topics = Subscriptions()
        #: The subscription that each unanswered SUBSCRIBE requests, by packet id.
        self._subscriptions: dict[int, str] = {}
        self._outgoing = Outgoing(handler, use.wire, memory)
        self._incoming = Incoming(handler, use.wire, memory)
        #: The received part of an incomplete packet.
        self._partial: bytearray | None = None
        self._boundary = Boundary()
        #: For `native.PacketFastPath`: the first byte of a frame that carries packets, or 0 if there are no frames.
        self._stream = native.BINARY_FRAMES if use.websocket else native.NO_FRAMES

    @property
    def early_delivery(self) -> str | None:
        """None: a broker may send deliveries before the SUBACK (MQTT 5, 3.8.4), so they are no deviation."""
        return None

    @property
    def most_unanswered(self) -> int:
        """The broker's receive maximum, or 0 (any number) at QoS 0, which has no answers."""
        return self._outgoing.receive_max if self._qos else 0

    @property
    def keepalive_ns(self) -> int | None:
        """The interval of our pings, or None for never."""
        return int(self._keep_alive_s * limits.PING_AFTER * 1e9) or None

    def opening(self) -> Sequence[bytes]:
        """Return the CONNECT."""
        memory, settings = self._memory, self._settings
        # A client's first connection starts a clean session: a session that the broker has kept under the
        # client's id belongs to an earlier run.
        clean = memory is None or not memory.begun
        expiry_s = 0 if memory is None else settings.expiry_s
        if memory is not None and not settings.properties:
            # MQTT 3.1.1 has one flag both for starting without old state and for keeping no state
            # afterwards. The broker must keep this session, so the flag stays unset.
            clean = False
        return (self._wire.connect(self._client_id, self._login, clean=clean, expiry_s=expiry_s),)

    def awaits(self) -> str:
        """Return an empty text: CONNACK is the only message that the opening can wait for."""
        return ""

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return a SUBSCRIBE; messages that the broker had kept for this subscription are delivered first."""
        packet_id = self._next_id()
        self._subscriptions[packet_id] = subscription_id
        topic_filter = filter_of(channel)
        self._topics.add(topic_of(channel), subscription_id, topic_filter)
        if self._memory is not None:
            self._memory.topics = self._topics
        for message in self._incoming.take_early(self._topics):
            self._deliver(*message)
        return self._wire.subscribe(packet_id, topic_filter, qos=self._qos, retained=self._settings.retain)

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return an UNSUBSCRIBE; late messages belong to this subscription until its filter is subscribed again."""
        return self._wire.unsubscribe(self._next_id(), self._topics.filter_of(subscription_id))

    def publish(self, publish_id: str, channel: str, events: Sequence[Any]) -> bytes:
        """Return the PUBLISH packets that the broker accepts now; the others are sent later by `on_reply`."""
        topic, qos = topic_of(channel), self._qos
        if not qos:
            return b"".join([self._written(topic, event, 0, None) for event in events])
        request = Request(publish_id, len(events))
        packets = []
        for index, event in enumerate(events):
            packet_id = self._next_id()
            packet = self._written(topic, event, qos, packet_id)
            if self._packet_max is not None and len(packet) > self._packet_max:
                request.refused(index, f"the broker takes packets of at most {self._packet_max:,} bytes")
                continue
            self._outgoing.reserve(packet_id, request, index)
            packets.append((packet_id, packet))
        if not request.open:
            self._outgoing.done(request, now_ns())
        return self._outgoing.publish(packets)

    def _written(self, topic: str, event: Any, qos: int, packet_id: int | None) -> bytes:
        write, retain = self._wire.publish, self._settings.retain
        if self._stamp_name is None:
            return write(topic, event.encode(), qos=qos, packet_id=packet_id, retain=retain)
        stamp = self._stamp_name, event.stamp
        return write(topic, event.body, qos=qos, packet_id=packet_id, retain=retain, stamp=stamp)

    def keepalive(self) -> bytes:
        """Return a PINGREQ; the broker must answer it, so silence beyond `timeout_ns` means that the broker is gone."""
        return wire.PINGREQ

    def closing(self) -> bytes:
        """Return the DISCONNECT; a session that outlives the connection stays at the broker until it expires."""
        return wire.DISCONNECT

    def fast_path(self, rows: Rows, numbers: Mapping[str, int], place: NativePlace) -> FastPath | None:
        """Return a fast path for the PUBLISH packets of this connection, or None if events have checksums."""
        if place.checked:
            return None
        lane = native.PacketFastPath(rows, place.tokens, self._stream, self._settings.properties)
        exact, below = self._topics.by_topic()
        for topic, subscription_id in exact.items():
            lane.add(topic, numbers.get(subscription_id))
        for beginning, subscription_id in below.items():
            lane.add_below(beginning, numbers.get(subscription_id))
        self._boundary.give(lane)
        return lane

    def use_lane(self, lane: PublishLane) -> Callable[[str], PublishFrame | None] | None:
        """Return None: `loadgen.native` publishes only to AppSync Events."""
        return None

    def receive(self, data: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        """Process any part of the stream; the answers to all its messages are sent together."""
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
                self._handler.on_undecodable(kind, self._shown(view[place : place + broken.size]))
                place += broken.size
                continue
            place += size
            if type(packet) is _Publish:
                packet_id = packet.packet_id
                if packet_id is not None:
                    if packet.qos == _QOS_1:
                        answers.append(acknowledgement(wire.PUBACK, packet_id))
                    else:
                        answers.append(acknowledgement(wire.PUBREC, packet_id))
                        if incoming.is_copy(packet):
                            continue
                if (packet.retain or packet.duplicate) and incoming.is_aside(packet):
                    continue
                self._deliver(packet, arrival_ns if place < end else end_of(arrival_ns), read_ns)
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

    def _deliver(self, packet: Any, arrival_ns: int, read_ns: int) -> None:
        """Pass a message to its subscription, or keep it if its subscription may still follow (`Incoming.is_early`)."""
        # A message without a subscription gets an empty id, so that it is counted as unknown.
        subscription_id = self._topics.find(packet.topic)
        if subscription_id is None:
            if self._incoming.is_early(Message(packet, arrival_ns, read_ns)):
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
            self._handler.on_undecodable(unreadable.PAYLOAD_NOT_UTF8, self._shown(packet.payload))
            return
        self._handler.on_event(subscription_id, text, arrival_ns, read_ns)

    def _on_other(self, packet: mqtt5.Packet, arrival_ns: int, answers: list[bytes]) -> None:
        handler = self._handler
        match packet:
            case mqtt5.ConnAckPacket():
                self._on_connack(packet, arrival_ns)
            case mqtt5.SubAckPacket():
                self._on_suback(packet, arrival_ns)
            case mqtt5.UnsubAckPacket():
                for code in packet.reason_codes:
                    if int(code) >= REFUSED:
                        handler.on_service_error(f"an unsubscribe failed: {words(code, packet.reason_str)}")
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

    def _on_suback(self, packet: mqtt5.SubAckPacket, arrival_ns: int) -> None:
        handler = self._handler
        subscription_id = self._subscriptions.pop(packet.packet_id, None)
        if subscription_id is None or len(packet.reason_codes) != 1:
            handler.on_deviation("a SUBACK belongs to no SUBSCRIBE")
            return
        granted = packet.reason_codes[0]
        if int(granted) >= REFUSED:
            handler.on_subscribe_failed(
                subscription_id, words(granted, packet.reason_str), refusal_of(int(granted))
            )
            return
        if int(granted) < self._qos:
            handler.on_deviation(LESS_THAN_ASKED.format(int(granted), self._qos))
        handler.on_subscribed(subscription_id, arrival_ns)

    def _on_connack(self, packet: mqtt5.ConnAckPacket, arrival_ns: int) -> None:
        if self._connected:
            self._handler.on_deviation("the broker sent a second ConnAck")
            return
        if int(packet.reason_code) >= REFUSED:
            self._refused(reason_of(packet), refusal_of(int(packet.reason_code)))
            return
        if int(packet.max_qos) < self._qos:
            best = int(packet.max_qos)
            self._refused(f"the broker offers QoS {best} at most: ask for it with '?qos={best}' in the URL")
            return
        if self._settings.retain and not packet.retain_available:
            self._refused("the broker retains no messages: drop 'retain=true' in the URL")
            return
        self._connected = True
        self._outgoing.connected(packet.receive_max)
        self._packet_max = packet.max_packet_size
        if packet.server_keep_alive is not None:
            self._keep_alive_s = packet.server_keep_alive
        self.timeout_ns = int(self._keep_alive_s * limits.SILENT_AFTER * 1e9) or None
        self._resume(packet)
        self._handler.on_connected(arrival_ns)

    def _refused(self, why: str, refusal: Refusal | None = None) -> None:
        self._ended = True
        self._handler.on_refused(why, refusal)

    def _resume(self, packet: mqtt5.ConnAckPacket) -> None:
        """Continue the session of the last connection, if the client and the broker kept it."""
        memory, handler = self._memory, self._handler
        if memory is None:
            if packet.session_present:
                handler.on_deviation(UNASKED_SESSION)
            return
        if packet.session_present and not memory.begun:
            handler.on_deviation(UNASKED_SESSION)
        found = memory.found(packet.session_present)
        if packet.session_expiry_interval is not None:
            # The broker may set another expiry than the client asked for (MQTT 5, 3.2.2.3.2).
            memory.expiry_s = packet.session_expiry_interval
        if found == LOST:
            handler.on_deviation(LOST_SESSION)
        if found == RESUMED:
            self._incoming.resume(memory.topics)
            unfinished, count = self._outgoing.resume()
            for _ in range(count):
                handler.on_aside(SENT_AGAIN)
            if unfinished:
                handler.on_reply(unfinished)
        handler.on_session(found)

    def _cannot_go_on(self, why: str, sent: memoryview | bytearray) -> None:
        """End the session: after this error, the start of the next packet is unknown."""
        self._ended = True
        self._partial = None
        title = self._settings.title
        if self._connected:
            self._handler.on_undecodable(unreadable.NO_PACKET, self._shown(sent))
            self._handler.on_broken(f"the broker sent something that is not an {title} packet: {why}")
        else:
            other = "" if self._settings.properties else " (for MQTT 5 drop 'version=3.1.1')"
            self._handler.on_refused(
                f"it answers with something that is not an {title} packet ({why}); does it speak"
                f" {title}?{other}"
            )

    def _shown(self, message: bytes | bytearray | memoryview) -> Callable[[], str]:
        # Copy the bytes, since the caller may reuse the buffer.
        return partial(shown, bytes(message[: unreadable.SEARCHED_BYTES]), self._login)

    def _next_id(self) -> int:
        """Return a packet id that is not in use (MQTT 5, 2.2.1: from 1 to 65,535)."""
        for _ in range(LAST_PACKET_ID):
            self._last_id = self._last_id % LAST_PACKET_ID + 1
            if not self._outgoing.in_use(self._last_id) and self._last_id not in self._subscriptions:
                break
        return self._last_id


def _property(packet: mqtt5.PublishPacket, name: str) -> str | None:
    """Return the first user property of a name, or None if there is none."""
    return next((value for key, value in packet.user_properties or () if key == name), None)


def shown(message: bytes | bytearray | memoryview, login: UserPassword | None) -> str:
    """Return a broker's message for display, without the login's secrets: the broker may echo our CONNECT."""
    secrets = (login.password, login.username) if login else ()
    return unreadable.shown(message, [(secret, unreadable.HIDDEN) for secret in secrets])
