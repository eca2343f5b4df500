"""Test the native fast path ("lane") of MQTT connections over TCP, TLS and WebSocket, including acknowledgements."""

import base64
import hashlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import gevent
import mqtt5
import pytest

from loadgen import native
from loadgen.measure.clock import now_ns
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import native_place
from loadgen.protocol.base import Handshake, TlsOptions
from loadgen.protocol.mqtt.session import MqttSession
from loadgen.transport.address import Address
from loadgen.transport.connection import connection
from loadgen.transport.dialing import Dialer
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.stream import SocketStream
from tests.authority import trusted
from tests.native.fuzz import rows_in
from tests.protocol.mqtt.sessions import packets, session_of
from tests.protocol.recording import Recording

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

PATIENCE_S = 30.0
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Broker:
    """The broker's end of one connection: sends what a test tells it, and keeps what the client sends."""

    def __init__(self, scheme: str, context: ssl.SSLContext | None) -> None:
        self._websocket = scheme.startswith("ws")
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = (
            f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}{'/mqtt' if self._websocket else ''}"
        )
        self._ready = threading.Event()
        self._received = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        peer, _ = self._listener.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            peer = self._context.wrap_socket(peer, server_side=True)
        self.peer = peer
        if self._websocket:
            request = b""
            while b"\r\n\r\n" not in request:
                request += peer.recv(65536)
            key = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
            assert key is not None
            accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
            peer.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
        self._ready.set()
        while data := peer.recv(65536):
            self._received += data

    def write(self, data: bytes) -> None:
        """Write bytes unchanged."""
        wait_for(self._ready.is_set)
        self.peer.sendall(data)

    def send(self, *messages: bytes) -> None:
        """Send all messages in one write; over WebSocket, they are in one frame."""
        data = b"".join(messages)
        if self._websocket:
            assert 126 <= len(data) < 65536
            data = b"\x82\x7e" + len(data).to_bytes(2, "big") + data
        self.write(data)

    @property
    def received(self) -> bytes:
        """All data that the client has sent, without WebSocket frames."""
        if not self._websocket:
            return self._received
        data, found = self._received, b""
        while len(data) >= 8:
            begin, size = (
                (2, data[1] & 0x7F) if data[1] & 0x7F < 126 else (4, int.from_bytes(data[2:4], "big"))
            )
            mask, body = data[begin : begin + 4], data[begin + 4 : begin + 4 + size]
            if len(body) < size:
                break
            found += bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
            data = data[begin + 4 + size :]
        return found

    def close(self) -> None:
        """Hang up."""
        self.peer.close()
        self._listener.close()


def wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        gevent.sleep(0.005)


@pytest.fixture(params=["tcp", "tls", "ws", "wss"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Yield a broker for each transport."""
    with ExitStack() as stack:
        context = stack.enter_context(trusted(tmp_path)) if request.param in ("tls", "wss") else None
        made = Broker(request.param, context)
        yield made
        made.close()


def publish(sequence: int, packet_id: int = 0, topic: str = "default/a") -> bytes:
    """Return a PUBLISH of QoS 1 if ``packet_id`` is given, else of QoS 0.

    It is so long that its WebSocket frame has a two-byte length.
    """
    event = b'{"a":["' + b"x" * 120 + b'"],"_lg":[7,1,%d,3,4]}' % sequence
    if not packet_id:
        return bytes(mqtt5.PublishPacket(topic, event).write())
    return bytes(mqtt5.PublishPacket(topic, event, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id).write())


def sequence_in(event: str) -> int:
    return int(json.loads(event)["_lg"][2])


def opened(
    broker: Broker, rows: native.Rows, slow: SlowReading | None = None
) -> tuple[SocketStream, MqttSession, Recording]:
    """Connect a client, let it subscribe, and give its stream a native fast path (a "lane")."""
    handler = Recording()
    websocket = broker.url.startswith("ws")
    session = session_of(handler, 1, websocket=websocket)
    address = Address(broker.url, TlsOptions(), Dialer())
    handshake = Handshake(("mqtt",), binary=True)
    stream = connection(address, handshake, session.receive, lambda code, why: None, slow=slow)
    handler.on_reply = stream.send  # type: ignore[attr-defined]
    stream.open(PATIENCE_S)
    session.receive(mqtt5.ConnAckPacket().write(), 1, 2)
    session.subscribe("s1", "/default/a")
    place = native_place(Stamps())
    assert place is not None
    stream.use_fast_path(session.fast_path(rows, {"s1": 5}, place))
    return stream, session, handler


def acknowledged(broker: Broker) -> list[int]:
    """Return the ids of the PUBACKs that the client has sent."""
    return [packet.packet_id for packet in packets(broker.received)]


def test_packets_are_taken_and_acknowledged_in_their_order(broker: Broker) -> None:
    rows = native.Rows(9, 100)
    begun_ns = now_ns()
    stream, _, handler = opened(broker, rows)
    broker.send(publish(0), publish(1, 11), publish(2, 12))
    found: list[list[int]] = []

    def has(count: int) -> bool:
        found.extend(rows_in(rows))
        return len(found) >= count and len(acknowledged(broker)) >= count - 1

    wait_for(lambda: has(3))
    # Native code leaves the second packet, whose topic has no subscription, to Python. The acknowledgements must still
    # be in order.
    broker.send(publish(3, 13), publish(4, 14, "default/other"), publish(5, 15))
    wait_for(lambda: len(acknowledged(broker)) == 5)
    broker.send(publish(6, 16))
    wait_for(lambda: len(acknowledged(broker)) == 6)
    found += rows_in(rows)
    assert acknowledged(broker) == [11, 12, 13, 14, 15, 16]
    events = [(call[0], call[1]) for call in handler.named("on_event")]
    assert ("", '{"a":["' + "x" * 120 + '"],"_lg":[7,1,4,3,4]}') in events
    by_python = [sequence_in(text) for name, text in events if name == "s1"]
    assert sorted([row[6] for row in found] + by_python) == [0, 1, 2, 3, 5, 6]
    assert {row[0] for row in found} == {5}
    assert {0, 1, 2, 6} <= {row[6] for row in found}
    assert all(begun_ns < row[1] <= row[2] <= now_ns() for row in found)
    stream.abort()


def test_packets_in_pieces_are_taken_once_each(broker: Broker) -> None:
    """Python processes each packet that is split over two reads; native code processes the whole packets after it."""
    rows = native.Rows(9, 100)
    stream, _, handler = opened(broker, rows)
    sent = [publish(sequence, 100 + sequence) for sequence in range(40)]
    if broker.url.startswith("ws"):
        for at in range(0, 40, 4):
            broker.send(*sent[at : at + 4])
    else:
        data = b"".join(sent)
        for at in range(0, len(data), 331):
            broker.write(data[at : at + 331])
            gevent.sleep(0.002)
    wait_for(lambda: len(acknowledged(broker)) == 40)
    assert acknowledged(broker) == [100 + sequence for sequence in range(40)]
    by_lane = [row[6] for row in rows_in(rows)]
    by_python = [sequence_in(call[1]) for call in handler.named("on_event")]
    assert sorted(by_lane + by_python) == list(range(40))
    stream.abort()


def test_what_a_lane_owes_is_sent_when_it_is_taken_away(broker: Broker) -> None:
    rows = native.Rows(9, 100)
    stream, session, handler = opened(broker, rows)
    broker.send(publish(0, 1))
    wait_for(lambda: len(acknowledged(broker)) == 1)
    stream.use_fast_path(None)
    broker.send(publish(1, 2))
    wait_for(lambda: len(acknowledged(broker)) == 2)
    assert [call[0] for call in handler.named("on_event")] == ["s1"]
    place = native_place(Stamps())
    assert place is not None
    stream.use_fast_path(session.fast_path(rows, {"s1": 6}, place))
    broker.send(publish(2, 3))
    wait_for(lambda: len(acknowledged(broker)) == 3)
    assert [(row[0], row[6]) for row in rows_in(rows)] == [(5, 0), (6, 2)]
    stream.abort()


def test_a_connection_that_is_read_slowly_has_the_lane_too(broker: Broker) -> None:
    rows = native.Rows(9, 100)
    stream, _, handler = opened(broker, rows, SlowReading(1_000_000))
    broker.send(publish(0, 1), publish(1, 2))
    wait_for(lambda: len(acknowledged(broker)) == 2)
    assert acknowledged(broker) == [1, 2]
    assert [row[6] for row in rows_in(rows)] == [0, 1]
    assert handler.named("on_event") == []
    stream.abort()
