"""Test that the event loop runs regularly, however much one connection sends."""

import socket
import time

import gevent
import pytest

from loadgen import native
from loadgen.transport import poller as pollers

READ_TAKES_S = 0.02


class Slow:
    """A source that takes long to process each read."""

    whole = None

    def __init__(self, sock: socket.socket) -> None:
        self.recvmsg_into = sock.recvmsg_into
        self.since_ns = self.stamp_ns = time.time_ns()
        self.takes: list[int] = []
        self.errors: list[BaseException] = []
        self.turn = 0

    def take(self, data: bytes | memoryview, *_: int) -> None:
        assert data
        self.takes.append(self.turn)
        time.sleep(READ_TAKES_S)

    def broke(self, error: OSError) -> None:
        self.errors.append(error)

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            pollers.NativePoller, marks=pytest.mark.skipif(not native.available, reason="it was not built")
        ),
        pollers.Poller,
    ],
)
def test_the_loop_has_its_turn_while_a_connection_is_flooded(kind: type) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        for end, option in ((ours, socket.SO_RCVBUF), (theirs, socket.SO_SNDBUF)):
            end.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        theirs.setblocking(False)
        sent = 0
        try:
            while sent < 3 << 20:
                sent += theirs.send(bytes(65_536))
        except BlockingIOError:
            pass
        source = Slow(ours)
        poller = kind()
        poller.add(ours.fileno(), source)
        deadline = time.monotonic() + 10
        while len(source.takes) < 6 and time.monotonic() < deadline:
            source.turn += 1
            gevent.sleep(0.001)
        poller.remove(ours.fileno())
    assert not source.errors
    assert len(source.takes) >= 6, f"{sent} bytes were not enough"
    # The poller ends a turn of the gevent hub after 50 ms, which is room for three reads of 20 ms. Without this
    # limit, one turn would make all reads.
    assert max(source.takes.count(turn) for turn in source.takes) <= 4
