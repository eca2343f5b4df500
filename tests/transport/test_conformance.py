"""Test our client with the cases of `tests.websocket.cases`, on real sockets, with each receive path."""

import socket
import threading
import time
from collections.abc import Iterator

import gevent
import pytest

from loadgen import native
from loadgen.native import DeliveryFastPath, Rows
from loadgen.transport import poller as pollers
from loadgen.transport.address import Address
from loadgen.transport.websocket import WebSocket
from tests.transport.hostile import yes
from tests.websocket.cases import BINARY, CASES, CLOSE, PING, PONG, Case, Frame, frames_in, stream

PATIENCE_S = 10.0
_END = b"are you there?"


@pytest.fixture(params=["python", "native", "fast path"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Select the Python poller, the native one, or the native one with a fast path that declines all messages."""
    if request.param != "python" and not native.available:
        pytest.skip("the native receive path was not built")
    monkeypatch.setattr(native, "available", request.param != "python")
    pollers._pollers.clear()
    yield request.param
    pollers._pollers.clear()


class Peer:
    """A server in a thread that sends the frames of a case, and keeps what it receives."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._converse, daemon=True)
        self._thread.start()

    def _converse(self) -> None:
        peer, _ = self._listener.accept()
        peer.settimeout(PATIENCE_S)
        with peer, self._listener:
            peer.sendall(yes(peer.recv(65536)))
            reader = threading.Thread(target=self._hear, args=(peer,), daemon=True)
            reader.start()
            try:
                for part in stream(self._case, masked=False):
                    peer.sendall(part)
                if self._case.closes is None:
                    peer.sendall(Frame(PING, _END).bytes(masked=False))
            except OSError:
                pass
            reader.join(PATIENCE_S)

    def _hear(self, peer: socket.socket) -> None:
        try:
            while data := peer.recv(65536):
                self.heard += data
                # After the closing handshake, the server closes the connection first (RFC 6455, 7.1.1).
                if any(opcode == CLOSE for opcode, _ in frames_in(self.heard)):
                    peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def frames(self) -> list[tuple[int, bytes]]:
        return list(frames_in(self.heard))

    def join(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_client_does_what_the_standard_says(path: str, case: Case) -> None:
    messages: list[bytes] = []
    ends: list[int | None] = []
    peer = Peer(case)
    client = WebSocket(
        Address(f"ws://127.0.0.1:{peer.port}/"),
        subprotocols=(),
        headers={},
        on_text=lambda message, *_: messages.append(bytes(message)),
        on_closed=lambda code, _: ends.append(code),
    )
    client.open(PATIENCE_S)
    if path == "fast path":
        client.use_fast_path(DeliveryFastPath(Rows(9, 64)))
    deadline = time.monotonic() + PATIENCE_S

    def done() -> bool:
        if case.closes is None:
            return (PONG, _END) in peer.frames()
        return bool(ends)

    while not done():
        assert time.monotonic() < deadline, (messages[:3], peer.frames()[-3:], ends)
        gevent.sleep(0.001)
    violation = client.violation
    if not ends:
        client.abort()
    peer.join()
    assert messages == list(case.messages)
    assert case.fails is None or (violation is not None) is case.fails, violation
    said = peer.frames()
    if case.pong is not None and case.closes is None:
        # If a later ping has arrived, earlier ones need not be answered (RFC 6455, 5.5.3).
        assert {payload for opcode, payload in said if opcode == PONG} & {case.pong, _END}
    closes = [payload for opcode, payload in said if opcode == CLOSE]
    if case.closes is None:
        assert closes == []
    else:
        assert len(closes) == 1
        code = int.from_bytes(closes[0][:2], "big") if closes[0] else 1005
        assert code in case.closes


def test_the_table_has_each_kind() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 400
    assert {frame.opcode for case in CASES for frame in case.frames} == set(range(16))
    assert any(frame.opcode == BINARY and not frame.fin for case in CASES for frame in case.frames)
