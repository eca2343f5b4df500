"""Test that both pollers give the same result for a stream, however it is divided into reads."""

import contextlib
import fcntl
import socket
import ssl
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from loadgen.payloads.stamping import NativePlace
from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.transport import poller as pollers
from loadgen.transport.address import Address
from loadgen.transport.websocket import WebSocket
from tests.authority import trusted

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")


def frame(message: bytes, opcode: Opcode = Opcode.TEXT, fin: bool = True) -> bytes:
    return Frame(opcode, message, fin=fin).serialize(mask=False)


def delivery(sequence: int, size: int, subscription_id: str = "s1") -> bytes:
    return messages.data(
        subscription_id,
        encode_event(7, 1, sequence, 1_790_000_000_000_000_001, 1_790_000_000_000_000_002, size),
    )


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
    """A `SessionHandler` that records deliveries as a `ClientConnection` does, and keeps all other calls."""

    def __init__(self, buffer: DeliveryBuffer | NativeDeliveryBuffer) -> None:
        self.buffer = buffer
        #: Number of deliveries that Python handled.
        self.events = 0
        self.calls: list[tuple[str, Any]] = []

    def on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
        assert arrival_ns <= read_ns
        self.events += 1
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


class Plain:
    """The server's side of a connection without TLS."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer

    def read(self) -> bytes:
        return self.peer.recv(65536)

    def wire(self, parts: Sequence[bytes]) -> list[bytes]:
        return list(parts)

    def wire_end(self) -> bytes:
        return b""


class Tls(Plain):
    """The server's side of a TLS connection; each part to send becomes one record, or several if it is long."""

    def __init__(self, peer: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(peer)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                peer.sendall(self.outgoing.read())
                self.incoming.write(peer.recv(65536))
        peer.sendall(self.outgoing.read())

    def read(self) -> bytes:
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.incoming.write(self.peer.recv(65536))

    def wire(self, parts: Sequence[bytes]) -> list[bytes]:
        sealed = []
        for part in parts:
            if part:
                self.tls.write(part)
            sealed.append(self.outgoing.read())
        return sealed

    def wire_end(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({place % (len(stream) + 1) for place in cuts} | {0, len(stream)})
    return [stream[begin:end] for begin, end in pairwise(places)]


def serve(
    listener: socket.socket,
    stream: bytes,
    cuts: Sequence[int],
    again: Sequence[int],
    context: ssl.SSLContext | None,
    ready: threading.Event,
    reset: bool = False,
    pause_s: float = 0.002,
) -> None:
    """Send the stream in pieces once the client is ready for it; end it with a close or a reset.

    ``cuts`` are the places between pieces. Over TLS each piece becomes a record, and ``again`` are the places at which
    the encrypted bytes are cut, because a read need not end with a record.
    """
    peer, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    side = Plain(peer) if context is None else Tls(peer, context)
    protocol = ServerProtocol()
    while not (events := protocol.events_received()):
        protocol.receive_data(side.read())
    (request,) = events
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    for part in side.wire([b"".join(protocol.data_to_send())]):
        peer.sendall(part)
    assert ready.wait(60)
    parts = side.wire(cut(stream, cuts))
    end = side.wire_end()
    if context is not None:
        parts = cut(b"".join(parts) + end, again)
    for part in parts:
        time.sleep(pause_s)
        peer.sendall(part)
    if reset:
        # Wait until the client has all data, because a reset discards data under way.
        time.sleep(0.02)
        while unsent(peer):
            time.sleep(0.001)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        peer.close()
        return
    peer.shutdown(socket.SHUT_WR)
    peer.settimeout(60)
    while peer.recv(65536):
        pass
    peer.close()


def unsent(sock: socket.socket) -> int:
    """Return the number of sent bytes for which no TCP acknowledgement has arrived."""
    found = bytearray(4)
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, found)
    return int.from_bytes(found, sys.byteorder)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    with trusted(tmp_path_factory.mktemp("authority")) as context:
        yield context


def receive(
    kind: str, stream: bytes, cuts: Sequence[int], again: Sequence[int], context: ssl.SSLContext | None
) -> tuple[list[list[int]], list[tuple[str, Any]], int]:
    """Receive a stream; return (delivery rows without times, calls of other handler methods, deliveries via Python).

    The last member is the number of deliveries that Python code handled.
    """
    native.available = kind == "native"
    pollers._pollers.clear()
    buffer = NativeDeliveryBuffer() if kind == "native" else DeliveryBuffer()
    handler = Handler(buffer)
    service = AppSyncEvents(Endpoints.from_url("http://127.0.0.1:1/event"), ApiKey("k"))
    session = service.session(handler)
    closed: list[int | None] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ready = threading.Event()
        thread = threading.Thread(target=serve, args=(listener, stream, cuts, again, context, ready))
        thread.start()
        connection = WebSocket(
            Address(f"{'ws' if context is None else 'wss'}://127.0.0.1:{listener.getsockname()[1]}/"),
            subprotocols=(),
            headers={},
            on_text=session.receive,
            on_closed=lambda code, _: closed.append(code),
        )
        connection.open(60)
        if isinstance(buffer, NativeDeliveryBuffer):
            connection.use_fast_path(session.fast_path(buffer.rows, {"s1": 5}, NativePlace(("_lg",), False)))
        ready.set()
        with gevent.Timeout(60):
            while not closed:
                gevent.sleep(0.001)
        thread.join()
    rows = [row for taken in buffer.take() for row in taken.tolist()]
    assert all(0 <= row[3] < row[1] <= row[2] for row in rows)
    return [[row[0], *row[4:]] for row in rows], handler.calls, handler.events


CUTS = st.lists(st.integers(0, 1 << 20), max_size=6)


@pytest.mark.parametrize("tls", [False, True])
@given(stream=STREAMS, cuts=CUTS, again=CUTS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_same_stream_gives_the_same_record(
    context: ssl.SSLContext, tls: bool, stream: bytes, cuts: list[int], again: list[int]
) -> None:
    chosen = context if tls else None
    was = native.available
    try:
        natively, in_python = (receive(kind, stream, cuts, again, chosen) for kind in ("native", "python"))
        assert natively[:2] == in_python[:2]
    finally:
        native.available = was
        pollers._pollers.clear()


class Client:
    """One of several connections that are read at the same time."""

    def __init__(self, listener: socket.socket, case: "Case") -> None:
        self.case = case
        self.buffer = NativeDeliveryBuffer(7) if native.available else DeliveryBuffer(7)
        self.handler = Handler(self.buffer)
        service = AppSyncEvents(Endpoints.from_url("http://127.0.0.1:1/event"), ApiKey("k"))
        self.session = service.session(self.handler)
        self.closed: list[int | None] = []
        self.ready = threading.Event()
        self.thread = threading.Thread(
            target=serve,
            args=(listener, case.stream, case.cuts, (), None, self.ready, case.reset, case.pause_s),
        )
        self.thread.start()
        self.connection = WebSocket(
            Address(f"ws://127.0.0.1:{listener.getsockname()[1]}/"),
            subprotocols=(),
            headers={},
            on_text=self.session.receive,
            on_closed=lambda code, _: self.closed.append(code),
        )
        self.connection.open(60)

    def route(self, fast: bool) -> None:
        if isinstance(self.buffer, NativeDeliveryBuffer):
            path = (
                self.session.fast_path(self.buffer.rows, {"s1": 5}, NativePlace(("_lg",), checked=False))
                if fast
                else None
            )
            self.connection.use_fast_path(path)

    def play(self) -> None:
        """Switch between Python and the fast path while deliveries arrive."""
        self.route(True)
        self.ready.set()
        for after_s, fast in self.case.routes:
            gevent.sleep(after_s)
            self.route(fast)
        with gevent.Timeout(60):
            while not self.closed:
                gevent.sleep(0.001)
        self.thread.join()

    def record(self) -> tuple[list[list[int]], list[tuple[str, Any]], list[int | None]]:
        rows = [[row[0], *row[4:]] for taken in self.buffer.take() for row in taken.tolist()]
        return rows, self.handler.calls, self.closed


@dataclass(frozen=True)
class Case:
    """The data that the service sends on one connection, how the connection ends, and when its routing changes.

    ``routes`` are the times at which the client moves deliveries between the fast path and Python.
    """

    stream: bytes
    cuts: list[int]
    reset: bool
    pause_s: float
    routes: list[tuple[float, bool]]


CASES = st.lists(
    st.builds(
        Case,
        STREAMS,
        CUTS,
        st.booleans(),
        st.sampled_from((0.0, 0.001, 0.003)),
        st.lists(st.tuples(st.sampled_from((0.0, 0.001, 0.004)), st.booleans()), max_size=5),
    ),
    min_size=1,
    max_size=4,
)


@given(CASES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_connections_that_come_go_and_are_routed_at_any_time_give_the_same_record(cases: list[Case]) -> None:
    was, found = native.available, []
    try:
        for available in (True, False):
            native.available = available
            pollers._pollers.clear()
            with socket.create_server(("127.0.0.1", 0)) as listener:
                # Connect the clients one after the other, so that each gets the service of its case.
                clients = [Client(listener, case) for case in cases]
            gevent.joinall([gevent.spawn(client.play) for client in clients], raise_error=True)
            found.append([client.record() for client in clients])
    finally:
        native.available = was
        pollers._pollers.clear()
    assert found[0] == found[1]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("shift", [0, 1, 2, 3, 100])
def test_deliveries_take_the_fast_path_however_reads_cut_them(
    context: ssl.SSLContext, tls: bool, shift: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "available", True)
    frames = [frame(delivery(n, 200)) for n in range(40)]
    ends = [sum(map(len, frames[: n + 1])) + shift for n in range(39)]
    rows, calls, told = receive("native", b"".join(frames), ends, (), context if tls else None)
    assert [row[3] for row in rows] == list(range(40))
    assert calls == []
    assert told == 0
    pollers._pollers.clear()
