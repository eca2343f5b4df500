"""Senders of other protocols than AppSync Events: just enough of an MQTT broker, a NATS server and a Socket.IO server.

Each answers one client until it has subscribed, and makes the frames of its events. In each protocol a frame has the
same number of bytes, headers included, and contains the same event: the stamp, then padding or the members of a real
payload.
"""

import json
import socket
import ssl
import struct

from websockets.frames import Frame, Opcode

from loadgen.measure.stamp import STAMP_KEY
from receive.payloads import PAYLOADS, Payload
from receive.sender import TOKEN, Subscriber, stamp_text

#: The channel used with AppSync Events, written as a topic of MQTT and as a subject of NATS.
TOPIC, SUBJECT = "default/bench", "default.bench"
_INFO = json.dumps(
    {
        "server_id": "bench",
        "server_name": "bench",
        "version": "2.9.10",
        "proto": 1,
        "headers": True,
        "max_payload": 1_048_576,
    },
    separators=(",", ":"),
)
#: Heartbeat interval: longer than any benchmark, so that no heartbeat is sent between the events.
_NO_HEARTBEAT_MS = 3_600_000


def _event(payload: Payload, size: int) -> tuple[bytes, bytes]:
    """Return the parts of an event before and after the numbers in its stamp. The whole event has ``size`` bytes."""
    before, after = f'{{"{STAMP_KEY}":[{TOKEN},1,'.encode(), b"]%b}"
    room = size - len(before) - len(stamp_text(0, 0)) - len(after % b"")
    return before, after % payload.members(room, in_string=False)


class MqttSubscriber(Subscriber):
    """A client of MQTT 3.1.1 or 5 over TCP; events are sent with quality of service 0."""

    title = "MQTT"

    def __init__(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        super().__init__(connection, tls)
        self._rest = b""
        self._v5 = False

    def received(self, data: bytes) -> bytes:
        """Return the answers to all packets that are complete."""
        data = self._rest + data
        answers = b""
        while (packet := _packet(data)) is not None:
            begin, end = packet
            answers += self._answered(data[0] >> 4, data[begin:end])
            data = data[end:]
        self._rest = data
        return answers

    def _answered(self, kind: int, body: bytes) -> bytes:
        """Answer CONNECT, SUBSCRIBE and PINGREQ (MQTT 5, chapters 3.1, 3.8 and 3.12)."""
        if kind == 1:
            self._v5 = body[2 + int.from_bytes(body[:2], "big")] == 5
            return b"\x20\x03\0\0\0" if self._v5 else b"\x20\x02\0\0"
        if kind == 8:
            place = 2
            if self._v5:
                # The packet's MQTT 5 properties are shorter than 128 bytes, so their length field is one byte.
                place += 1 + body[2]
            topic = body[place + 2 : place + 2 + int.from_bytes(body[place : place + 2], "big")]
            self._prepare_topic(topic)
            self.subscribed = True
            properties = b"\0" if self._v5 else b""
            return bytes([0x90, 3 + len(properties)]) + body[:2] + properties + b"\0"
        return b"\xd0\0" if kind == 12 else b""

    def _prepare_topic(self, topic: bytes) -> None:
        properties = b"\0" if self._v5 else b""
        for payload in PAYLOADS:
            length = payload.frame_bytes - 3
            header = b"\x30" + bytes([0x80 | length & 0x7F, length >> 7])
            header += len(topic).to_bytes(2, "big") + topic + properties
            event = payload.frame_bytes - len(header)
            before, after = _event(payload, event)
            self.around(payload, header + before, after)


def _packet(data: bytes) -> tuple[int, int] | None:
    """Return where the body of the first packet begins and ends, or None if it is incomplete."""
    length = 0
    for place, byte in enumerate(data[1:5]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            end = 2 + place + length
            return (2 + place, end) if end <= len(data) else None
    return None


class NatsSubscriber(Subscriber):
    """A client of NATS over TCP."""

    title = "NATS"
    #: Bytes of the WebSocket frame header before each MSG; 0 over TCP.
    _FRAME_BYTES = 0

    def __init__(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        super().__init__(connection, tls)
        self._rest = b""
        self._verbose = False
        self._greet()

    def _greet(self) -> None:
        greeting = f"INFO {_INFO}\r\n".encode()
        self.handshake_bytes += len(greeting)
        self.socket.sendall(greeting)

    def received(self, data: bytes) -> bytes:
        """Return the answers to all complete lines."""
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        return b"".join(map(self._answered, lines))

    def _answered(self, line: bytes) -> bytes:
        """Answer a line of the NATS protocol: PING always, CONNECT and SUB only in verbose mode."""
        word, _, rest = line.partition(b" ")
        if word == b"CONNECT":
            self._verbose = bool(json.loads(rest).get("verbose"))
        elif word == b"SUB":
            # The form of the line: SUB subject [queue group] sid
            subject, *_, number = rest.split()
            self._prepare_subject(subject, number)
            self.subscribed = True
        elif word == b"PING":
            return b"PONG\r\n"
        return b"+OK\r\n" if self._verbose and word in (b"CONNECT", b"SUB") else b""

    def _prepare_subject(self, subject: bytes, number: bytes) -> None:
        for payload in PAYLOADS:
            # The header line contains the event's size, a number of three or four digits.
            digits = 3 if payload.frame_bytes < 1_000 else 4
            line = len(b"MSG %b %b " % (subject, number)) + digits + 2
            event = payload.frame_bytes - self._FRAME_BYTES - line - 2
            header = b"MSG %b %b %d\r\n" % (subject, number, event)
            before, after = _event(payload, event)
            self.around(payload, self._head(line + event + 2) + header + before, after + b"\r\n")

    def _head(self, length: int) -> bytes:
        return b""


class NatsWebSocketSubscriber(NatsSubscriber):
    """A client of NATS over WebSocket: each MSG is a binary frame."""

    title = "NATS over WebSocket"
    _FRAME_BYTES = 4

    def _greet(self) -> None:
        """Do nothing: `received` sends the greeting after the upgrade."""

    def received(self, data: bytes) -> bytes:
        """Return the answers to all complete frames; the answer to the upgrade includes the greeting (INFO)."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):
                self._protocol.send_response(self._protocol.accept(event))  # type: ignore[arg-type]
                self._protocol.send_binary(f"INFO {_INFO}\r\n".encode())
            elif event.opcode in (Opcode.BINARY, Opcode.TEXT) and (
                answer := super().received(bytes(event.data))
            ):
                self._protocol.send_binary(answer)
        return b"".join(self._protocol.data_to_send())

    def _head(self, length: int) -> bytes:
        return struct.pack("!BBH", 0x80 | Opcode.BINARY, 126, length)


class SocketIoSubscriber(Subscriber):
    """A client of Socket.IO over WebSocket (Engine.IO protocol 4, Socket.IO protocol 5)."""

    title = "Socket.IO"

    def answered(self, text: str) -> None:
        """Answer a Socket.IO packet: accept a connect to the namespace (40), and a `subscribe` event (42)."""
        if text.startswith("40"):
            self.say('40{"sid":"bench"}')
        elif text.startswith("42"):
            name, *_ = json.loads(text[2:])
            if name == "subscribe":
                self._prepare_event()
                self.subscribed = True

    def received(self, data: bytes) -> bytes:
        """Return the answers to all complete frames; the answer to the upgrade includes Engine.IO's greeting."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                if event.opcode is Opcode.TEXT:
                    self.answered(bytes(event.data).decode())
            else:
                self._protocol.send_response(self._protocol.accept(event))  # type: ignore[arg-type]
                opening = {
                    "sid": "bench",
                    "upgrades": [],
                    "pingInterval": _NO_HEARTBEAT_MS,
                    "pingTimeout": _NO_HEARTBEAT_MS,
                    "maxPayload": 1_000_000,
                }
                self.say("0" + json.dumps(opening, separators=(",", ":")))
        return b"".join(self._protocol.data_to_send())

    def say(self, text: str) -> None:
        """Send a text frame with the next answers."""
        self._protocol.send_text(text.encode())

    def _prepare_event(self) -> None:
        head, tail = b'42["data",', b"]"
        for payload in PAYLOADS:
            body = payload.frame_bytes - 4
            header = struct.pack("!BBH", 0x80 | Opcode.TEXT, 126, body) + head
            before, after = _event(payload, body - len(head) - len(tail))
            self.around(payload, header + before, after + tail)
