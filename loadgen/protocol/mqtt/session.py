"""The session of one connection to an MQTT 5 broker, with the codec of the `mqtt5` package; no I/O.

Each event is a PUBLISH packet. A request of several events becomes as many packets, and is answered once all of them
are. At QoS 1 the broker acknowledges each packet (PUBACK), and limits the number of unacknowledged ones (receive
maximum); further packets wait here until it acknowledges one. At QoS 0 the broker does not answer, so that nothing
shows whether it accepted an event.

Each connection starts without stored state (clean start, no session kept). Messages that a broker would have stored for
an absent client are not delivered, as with AppSync Events.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import mqtt5

from loadgen import native
from loadgen.measure.arrival import end_of
from loadgen.native import FastPath, PublishLane, Rows
from loadgen.payloads.stamping import Marked, NativePlace
from loadgen.protocol import unreadable
from loadgen.protocol.base import PublishAnswer, PublishFrame, SessionHandler
from loadgen.protocol.boundary import Boundary
from loadgen.protocol.mqtt import limits
from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.mqtt.packets import PacketReader
from loadgen.protocol.mqtt.topics import Subscriptions, topic_of
from loadgen.protocol.refusals import Refusal

_REFUSED: Final = 128
"""Reason codes from here on mean failure (MQTT 5, 2.4)."""
_LAST_PACKET_ID: Final = 65_535
_QOS_0, _QOS_1 = mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE
_Publish, _PubAck = mqtt5.PublishPacket, mqtt5.PubAckPacket

LESS_THAN_ASKED = "the broker granted QoS 0 to a subscription that asked for QoS 1"


class _Request:
    """A publish request that waits for acknowledgements."""

    __slots__ = ("open", "publish_id", "rejected")

    def __init__(self, publish_id: str, events: int) -> None:
        self.publish_id = publish_id
        self.open = events
        self.rejected: dict[int, str] = {}


class MqttSession:
    """Implements `Session`."""

    __slots__ = (
        "_boundary",
        "_client_id",
        "_connected",
        "_ended",
        "_handler",
        "_keep_alive_s",
        "_last_id",
        "_login",
        "_partial",
        "_qos",
        "_reader",
        "_receive_max",
        "_requests",
        "_room",
        "_stamp_name",
        "_stream",
        "_subscriptions",
        "_topics",
        "_waiting",
        "timeout_ns",
    )

    def __init__(
        self,
        handler: SessionHandler,
        client_id: str,
        qos: int,
        login: UserPassword | None = None,
        reader: PacketReader | None = None,
        stamp_name: str | None = None,
        websocket: bool = False,
    ) -> None:
        """``reader`` is shared by the sessions of a service; without it this session makes its own.

        ``stamp_name`` is the user property with the stamps, or None if they are in the events. ``websocket`` tells that
        the packets travel in WebSocket frames.
        """
        #: Set by the CONNACK: 1.5 times the keep alive, within which the broker must answer our pings.
        self.timeout_ns: int | None = None
        self._handler = handler
        self._client_id = client_id
        self._qos = qos
        self._login = login
        self._reader = reader or PacketReader()
        self._stamp_name = stamp_name
        self._connected = False
        #: True once the broker has refused or ended the connection, or the stream is unreadable.
        self._ended = False
        self._keep_alive_s = limits.KEEP_ALIVE_S
        self._last_id = 0
        self._topics = Subscriptions()
        #: By packet id: the subscription that a SUBSCRIBE requests.
        self._subscriptions: dict[int, str] = {}
        #: By packet id: the request that a PUBLISH belongs to, and the index of its event in it.
        self._requests: dict[int, tuple[_Request, int]] = {}
        #: The number of PUBLISH packets that the broker still accepts, its receive maximum, and the waiting packets.
        self._room = self._receive_max = 0
        self._waiting: deque[bytes] = deque()
        #: The received part of an incomplete packet.
        self._partial: bytearray | None = None
        self._boundary = Boundary()
        #: How messages are framed for `native.PacketFastPath`: the first byte of a frame, or 0 without frames.
        self._stream = native.BINARY_FRAMES if websocket else native.NO_FRAMES

    @property
    def early_delivery(self) -> str | None:
        """None: a broker may deliver before its SUBACK (MQTT 5, 3.8.4)."""
        return None

    @property
    def most_unanswered(self) -> int:
        """The broker's receive maximum, or 0 (any number) at QoS 0, which has no answers."""
        return self._receive_max if self._qos else 0

    @property
    def keepalive_ns(self) -> int | None:
        """The interval of our pings, or None for never."""
        return int(self._keep_alive_s * limits.PING_AFTER * 1e9) or None

    def opening(self) -> Sequence[bytes]:
        """Return the CONNECT."""
        login = self._login
        connect = mqtt5.ConnectPacket(
            self._client_id,
            username=login.username if login else None,
            password=login.password.encode() if login else None,
            clean_start=True,
            keep_alive=limits.KEEP_ALIVE_S,
            receive_max=limits.RECEIVE_MAX,
            max_packet_size=limits.PACKET_MAX_BYTES,
        )
        return (connect.write(),)

    def awaits(self) -> str:
        """Return an empty text: the opening can only be waiting for the CONNACK."""
        return ""

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return a SUBSCRIBE that asks for no retained messages."""
        topic_filter = topic_of(channel)
        packet_id = self._next_id()
        self._subscriptions[packet_id] = subscription_id
        self._topics.add(topic_filter, subscription_id)
        wanted = mqtt5.TopicFilter(
            topic_filter,
            max_qos=_QOS_1 if self._qos else _QOS_0,
            retain_handling=mqtt5.RetainHandling.SEND_NEVER,
        )
        return mqtt5.SubscribePacket(packet_id, [wanted]).write()

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return an UNSUBSCRIBE; late messages belong to this subscription until its filter is subscribed again."""
        return mqtt5.UnsubscribePacket(self._next_id(), [self._topics.filter_of(subscription_id)]).write()

    def publish(self, publish_id: str, channel: str, events: Sequence[Any]) -> bytes:
        """Return the PUBLISH packets that the broker accepts now; the others are sent later by `on_reply`."""
        topic = topic_of(channel)
        if not self._qos:
            if self._stamp_name is not None:
                return b"".join([self._marked(topic, event).write() for event in events])
            return b"".join([_Publish(topic, event.encode()).write() for event in events])
        request = _Request(publish_id, len(events))
        packets = []
        for index, event in enumerate(events):
            packet_id = self._next_id()
            self._requests[packet_id] = request, index
            packet = (
                _Publish(topic, event.encode(), qos=_QOS_1, packet_id=packet_id)
                if self._stamp_name is None
                else self._marked(topic, event, qos=_QOS_1, packet_id=packet_id)
            )
            packets.append(packet.write())
        # Keep the order: no packet overtakes a waiting one.
        room = 0 if self._waiting else min(self._room, len(packets))
        self._room -= room
        self._waiting.extend(packets[room:])
        return b"".join(packets[:room])

    def _marked(self, topic: str, event: Marked, **more: Any) -> mqtt5.PublishPacket:
        assert self._stamp_name is not None
        return _Publish(topic, event.body, user_properties=[(self._stamp_name, event.stamp)], **more)

    def keepalive(self) -> bytes:
        """Return a PINGREQ; the broker must answer, so that silence beyond `timeout_ns` means that it is gone."""
        return mqtt5.PingReqPacket().write()

    def closing(self) -> bytes:
        """Return the DISCONNECT."""
        return mqtt5.DisconnectPacket().write()

    def fast_path(self, rows: Rows, numbers: Mapping[str, int], place: NativePlace) -> FastPath | None:
        """Return a fast path for the PUBLISH packets of this connection, or None if events have checksums."""
        if place.checked:
            return None
        lane = native.PacketFastPath(rows, place.tokens, self._stream)
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
        """Process any part of the stream; the acknowledgements of all its messages are sent together."""
        if self._ended:
            return
        if self._partial is not None:
            self._partial += data
            data, self._partial = self._partial, None
        view, place, end = memoryview(data), 0, len(data)
        on_event, find, read = self._handler.on_event, self._topics.find, self._reader.read
        acknowledgements = []
        stamp_name = self._stamp_name
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
                # The codec panics over some packets: skip this one.
                broken = self._reader.explain(error, view[place:])
                if broken is None:
                    raise
                read = self._reader.read
                kind = unreadable.TOPIC_NOT_UTF8 if broken.topic else unreadable.PACKET_UNREADABLE
                self._handler.on_undecodable(kind, self._shown(view[place : place + broken.size]))
                place += broken.size
                continue
            place += size
            if type(packet) is _Publish:
                if packet.packet_id is not None:
                    acknowledgements.append(_PubAck(packet.packet_id).write())
                if stamp_name is not None and (stamp := _property(packet, stamp_name)) is not None:
                    self._handler.on_marked(
                        find(packet.topic) or "",
                        Marked(bytes(packet.payload), stamp),
                        arrival_ns if place < end else end_of(arrival_ns),
                        read_ns,
                    )
                    continue
                try:
                    text = str(packet.payload, "utf-8")
                except UnicodeDecodeError:
                    self._handler.on_undecodable(unreadable.PAYLOAD_NOT_UTF8, self._shown(packet.payload))
                    continue
                # A message without a subscription gets an empty id, so that it is counted as unknown.
                at_ns = arrival_ns if place < end else end_of(arrival_ns)
                on_event(find(packet.topic) or "", text, at_ns, read_ns)
            elif type(packet) is _PubAck:
                self._on_acknowledged(packet, arrival_ns)
            else:
                self._on_other(packet, arrival_ns)
                if self._ended:
                    break
        self._boundary.set(self._partial is None and not self._ended)
        if acknowledgements:
            self._handler.on_reply(self._boundary.take_owed() + b"".join(acknowledgements))
        if self._waiting and self._room:
            self._send_waiting()

    # Internals.

    def _on_acknowledged(self, packet: mqtt5.PubAckPacket, arrival_ns: int) -> None:
        found = self._requests.pop(packet.packet_id, None)
        if found is None:
            self._handler.on_deviation("a PUBACK belongs to no PUBLISH")
            return
        self._room += 1
        request, index = found
        if int(packet.reason_code) >= _REFUSED:
            request.rejected[index] = _reason(packet)
        request.open -= 1
        if not request.open:
            self._handler.on_published(
                request.publish_id, PublishAnswer(rejected=request.rejected), arrival_ns
            )

    def _on_other(self, packet: mqtt5.Packet, arrival_ns: int) -> None:
        handler = self._handler
        match packet:
            case mqtt5.ConnAckPacket():
                self._on_connack(packet, arrival_ns)
            case mqtt5.SubAckPacket():
                subscription_id = self._subscriptions.pop(packet.packet_id, None)
                if subscription_id is None or len(packet.reason_codes) != 1:
                    handler.on_deviation("a SUBACK belongs to no SUBSCRIBE")
                    return
                granted = packet.reason_codes[0]
                if int(granted) >= _REFUSED:
                    handler.on_subscribe_failed(
                        subscription_id, _words(granted, packet.reason_str), _refusal(int(granted))
                    )
                    return
                if int(granted) < self._qos:
                    handler.on_deviation(LESS_THAN_ASKED)
                handler.on_subscribed(subscription_id, arrival_ns)
            case mqtt5.UnsubAckPacket():
                for code in packet.reason_codes:
                    if int(code) >= _REFUSED:
                        handler.on_service_error(f"an unsubscribe failed: {_words(code, packet.reason_str)}")
            case mqtt5.PingRespPacket():
                pass
            case mqtt5.DisconnectPacket():
                self._ended = True
                handler.on_service_error(f"the broker ended the connection: {_reason(packet)}")
            case _:
                handler.on_deviation(f"the broker sent a {type(packet).__name__.removesuffix('Packet')}")

    def _on_connack(self, packet: mqtt5.ConnAckPacket, arrival_ns: int) -> None:
        if self._connected:
            self._handler.on_deviation("the broker sent a second ConnAck")
            return
        if int(packet.reason_code) >= _REFUSED:
            self._ended = True
            self._handler.on_refused(_reason(packet), _refusal(int(packet.reason_code)))
            return
        if int(packet.max_qos) < self._qos:
            self._ended = True
            self._handler.on_refused("the broker offers QoS 0 only: ask for it with '?qos=0' in the URL")
            return
        self._connected = True
        self._room = self._receive_max = packet.receive_max
        if packet.server_keep_alive is not None:
            self._keep_alive_s = packet.server_keep_alive
        self.timeout_ns = int(self._keep_alive_s * limits.SILENT_AFTER * 1e9) or None
        self._handler.on_connected(arrival_ns)

    def _send_waiting(self) -> None:
        count = min(self._room, len(self._waiting))
        self._room -= count
        self._handler.on_reply(b"".join([self._waiting.popleft() for _ in range(count)]))

    def _cannot_go_on(self, why: str, sent: memoryview | bytearray) -> None:
        """End the session: the beginning of the next packet is no longer known."""
        self._ended = True
        self._partial = None
        if self._connected:
            self._handler.on_undecodable(unreadable.NO_PACKET, self._shown(sent))
            self._handler.on_broken(f"the broker sent something that is not an MQTT 5 packet: {why}")
        else:
            self._handler.on_refused(
                f"it answers with something that is not an MQTT 5 packet ({why}); does it speak MQTT 5?"
            )

    def _shown(self, message: bytes | bytearray | memoryview) -> Callable[[], str]:
        # A copy, since the caller may reuse the buffer.
        return partial(shown, bytes(message[: unreadable.SEARCHED_BYTES]), self._login)

    def _next_id(self) -> int:
        """Return a packet id that is not in use (MQTT 5, 2.2.1: from 1 to 65,535)."""
        for _ in range(_LAST_PACKET_ID):
            self._last_id = self._last_id % _LAST_PACKET_ID + 1
            if self._last_id not in self._requests and self._last_id not in self._subscriptions:
                break
        return self._last_id


def _property(packet: mqtt5.PublishPacket, name: str) -> str | None:
    """Return the first user property of a name, or None if there is none."""
    return next((value for key, value in packet.user_properties or () if key == name), None)


def shown(message: bytes | bytearray | memoryview, login: UserPassword | None) -> str:
    """Return a broker's message for display, without the login's secrets: the broker may echo our CONNECT."""
    secrets = (login.password, login.username) if login else ()
    return unreadable.shown(message, [(secret, unreadable.HIDDEN) for secret in secrets])


_Reasoned = mqtt5.ConnAckPacket | mqtt5.PubAckPacket | mqtt5.DisconnectPacket


#: Server unavailable, server busy, quota exceeded, connection rate exceeded (MQTT 5, 2.4).
_NOT_NOW: Final = frozenset({0x88, 0x89, 0x97, 0x9F})
#: Bad user name or password, not authorized, banned, bad authentication method (MQTT 5, 2.4).
_DENIED: Final = frozenset({0x86, 0x87, 0x8A, 0x8C})


def _refusal(code: int) -> Refusal | None:
    """Return the refusal that a reason code means, or None if the code has no known class."""
    if code in _NOT_NOW:
        return Refusal.throttled()
    return Refusal.denied() if code in _DENIED else None


def _reason(packet: _Reasoned) -> str:
    return _words(packet.reason_code, packet.reason_str)


def _words(code: Any, said: str | None) -> str:
    """Return a reason code as words, with the broker's reason string."""
    # The codec's enumerations have no `name`; their `repr` is `<ConnAckReasonCode.BANNED: 138>`.
    name = repr(code).partition(".")[2].partition(":")[0].replace("_", " ").lower()
    return f"{name} (MQTT reason code {int(code)})" + (f": {unreadable.cut(said)}" if said else "")
