"""Both inlets make the same of the same stream, whatever it is cut into."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from loadgen import native
from loadgen.measure.columns import DeliveryBuffer, NativeDeliveryBuffer
from loadgen.measure.stamp import decode_event, encode_event
from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.transport import inlet as inlets
from loadgen.transport.address import Address
from loadgen.transport.websocket import WebSocket

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")


def frame(message: bytes, opcode: Opcode = Opcode.TEXT, fin: bool = True) -> bytes:
    return Frame(opcode, message, fin=fin).serialize(mask=False)


def delivery(sequence: int, size: int, subscription_id: str = "s1") -> bytes:
    return messages.data(subscription_id, encode_event(7, 1, sequence, 3, 4, size))


FRAMES = st.one_of(
    st.builds(
        lambda n, size: frame(delivery(n, size)), st.integers(0, 10**9), st.sampled_from((1, 90, 200, 900))
    ),
    st.builds(lambda n: frame(delivery(n, 80_000)), st.integers(0, 9)),
    st.builds(lambda n: frame(delivery(n, 100, "s2")), st.integers(0, 9)),
    st.builds(
        lambda n: frame(delivery(n, 100)[:40], fin=False) + frame(delivery(n, 100)[40:], Opcode.CONT),
        st.integers(0, 9),
    ),
    st.just(frame(messages.KEEPALIVE)),
    st.just(frame(b"no json")),
    st.just(frame(messages.data("s1", '{"n":1}'))),
    st.just(frame(b"ping", Opcode.PING)),
    st.just(frame(b"", Opcode.TEXT)),
)
STREAMS = st.lists(FRAMES, max_size=12).map(b"".join)


class Handler:
    """A `SessionHandler` that records deliveries as a `ClientConnection` does, and all else by name."""

    def __init__(self, buffer: DeliveryBuffer | NativeDeliveryBuffer) -> None:
        self.buffer = buffer
        self.calls: list[tuple[str, Any]] = []

    def on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
        assert arrival_ns <= read_ns
        try:
            stamp = decode_event(event).stamp
        except ValueError:
            self.calls.append(("foreign", event))
            return
        if subscription_id != "s1":
            self.calls.append(("unknown", subscription_id))
            return
        self.buffer.add(5, arrival_ns, read_ns, stamp)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((name, arguments[0] if arguments else None))


def serve(listener: socket.socket, parts: Sequence[bytes]) -> None:
    peer, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    protocol = ServerProtocol()
    while not (events := protocol.events_received()):
        protocol.receive_data(peer.recv(65536))
    (request,) = events
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    peer.sendall(b"".join(protocol.data_to_send()))
    for part in parts:
        time.sleep(0.002)
        peer.sendall(part)
    peer.shutdown(socket.SHUT_WR)
    peer.settimeout(5)
    while peer.recv(65536):
        pass
    peer.close()


def receive(parts: Sequence[bytes], kind: str) -> tuple[list[list[int]], list[tuple[str, Any]]]:
    """Return (rows without their times, what else the handler was told) of a stream that comes in these parts."""
    native.available = kind == "native"
    inlets._inlets.clear()
    buffer = NativeDeliveryBuffer() if kind == "native" else DeliveryBuffer()
    handler = Handler(buffer)
    service = AppSyncEvents(Endpoints.from_url("http://127.0.0.1:1/event"), ApiKey("k"))
    session = service.session(handler)
    closed: list[int | None] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener, parts))
        thread.start()
        connection = WebSocket(
            Address(f"ws://127.0.0.1:{listener.getsockname()[1]}/"),
            subprotocols=(),
            headers={},
            on_text=session.receive,
            on_closed=lambda code, _: closed.append(code),
        )
        connection.open(5)
        if isinstance(buffer, NativeDeliveryBuffer):
            connection.express(session.lane(buffer.rows, {"s1": 5}))
        with gevent.Timeout(10):
            while not closed:
                gevent.sleep(0.001)
        thread.join()
    rows = [row for taken in buffer.take() for row in taken.tolist()]
    assert all(0 < row[1] <= row[2] for row in rows)
    return [[row[0], *row[3:]] for row in rows], handler.calls


@given(STREAMS, st.lists(st.integers(0, 1 << 20), max_size=6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_same_stream_gives_the_same_record(stream: bytes, cuts: list[int]) -> None:
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    parts = [stream[begin:end] for begin, end in pairwise(places)]
    was = native.available
    try:
        assert receive(parts, "native") == receive(parts, "python")
    finally:
        native.available = was
        inlets._inlets.clear()
