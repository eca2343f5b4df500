"""Test slow reading: within the given rate, without effect on other connections, and without loss."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from loadgen.transport.address import Address
from loadgen.transport.poller import FILLED
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.websocket import WebSocket
from tests.waiting import wait_for

MESSAGES, MESSAGE = 200, "x" * 1_000
RATE = 40_000.0


@pytest.fixture
def server() -> Iterator[str]:
    def send_all(connection: ServerConnection) -> None:
        connection.recv()
        for _ in range(MESSAGES):
            connection.send(MESSAGE)
        # Wait until the other side has closed.
        for _ in connection:
            pass

    with serve(send_all, "127.0.0.1", 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{running.socket.getsockname()[1]}"
        running.shutdown()


def opened(url: str, bytes_per_s: float | None = None) -> tuple[WebSocket, list[int], list[int | None]]:
    lengths: list[int] = []
    closed: list[int | None] = []
    socket = WebSocket(
        Address(url),
        subprotocols=(),
        headers={},
        on_text=lambda text, arrival_ns, read_ns: lengths.append(len(text)),
        on_closed=lambda code, reason: closed.append(code),
        slow=None if bytes_per_s is None else SlowReading(bytes_per_s),
    )
    socket.open(10)
    return socket, lengths, closed


def test_a_slow_connection_reads_at_its_rate_and_the_one_beside_it_at_once(server: str) -> None:
    slow, slow_lengths, slow_closed = opened(server, RATE)
    fast, fast_lengths, _ = opened(server)
    begun_s = time.monotonic()
    slow.send(b"go")
    fast.send(b"go")
    wait_for(lambda: len(fast_lengths) == MESSAGES)
    wait_for(lambda: len(slow_lengths) >= 20)
    took_s = time.monotonic() - begun_s
    # At most the bytes of one turn (a tenth of a second) are read in advance.
    assert sum(slow_lengths) <= RATE * (took_s + 0.1)
    assert len(slow_lengths) < MESSAGES
    assert set(fast_lengths) == {len(MESSAGE)}
    # The slow connection now reads the rest at full speed, and no message is missing or damaged.
    slow.read_at_full_speed()
    wait_for(lambda: len(slow_lengths) == MESSAGES)
    assert set(slow_lengths) == {len(MESSAGE)}
    slow.close()
    fast.abort()
    wait_for(lambda: slow_closed == [1000])


def test_a_connection_that_ends_between_its_turns_is_not_read_again(server: str) -> None:
    slow, lengths, closed = opened(server, 1_000.0)
    slow.send(b"go")
    # The bytes of two frames have been read, and a pause of at least half a second has begun.
    wait_for(lambda: slow._poller is None)
    slow.abort()
    assert closed == [None]
    before = len(lengths)
    other, other_lengths, _ = opened(server)  # The new socket may get the descriptor of the aborted one.
    other.send(b"go")
    wait_for(lambda: len(other_lengths) == MESSAGES)
    gevent.sleep(0.6)
    assert len(lengths) == before
    other.abort()


def test_a_handshake_is_read_at_full_speed_since_a_service_gives_it_little_time() -> None:
    def add_long_header(connection: ServerConnection, request: Request, response: Response) -> None:
        response.headers["X-Long"] = "x" * 4_000

    def idle(connection: ServerConnection) -> None:
        for _ in connection:
            pass

    with serve(idle, "127.0.0.1", 0, process_response=add_long_header) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        # At this rate, the rest of the answer would be read after 512 s.
        slow, _, _ = opened(f"ws://127.0.0.1:{running.socket.getsockname()[1]}", 1.0)
        slow.abort()
        running.shutdown()


class Stream:
    """A stream that records when its reading pauses."""

    def __init__(self) -> None:
        self.reads = True
        self.resumed = 0

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True
        self.resumed += 1

    def failed(self, error: BaseException) -> None:
        raise error


def test_a_limit_holds_from_its_begin_to_its_end_and_pauses_after_each_read() -> None:
    stream, slow, buffer = Stream(), SlowReading(10_000.0), bytearray(65_536)
    lengths: list[int] = []

    def recvmsg_into(buffers: tuple[memoryview], control_bytes: int) -> tuple[int, list[Any], int, None]:
        lengths.append(len(buffers[0]))
        return len(buffers[0]), [], 0, None

    read = slow.reading(stream, recvmsg_into)
    assert read((buffer,), 64) == (65_536, [], 0, None)
    assert stream.reads
    slow.begin()
    assert read((buffer,), 64) == (1_000, [], FILLED, None)
    assert not stream.reads
    wait_for(lambda: stream.reads)
    read((buffer,), 64)
    slow.end(stream)
    assert stream.reads
    slow.end(stream)
    gevent.sleep(0.15)
    assert stream.resumed == 2, "the pause that was cut short does not resume a second time"
    read((buffer,), 64)
    assert lengths == [65_536, 1_000, 1_000, 65_536]


def test_the_end_of_the_stream_is_no_read_to_pause_after() -> None:
    stream, slow = Stream(), SlowReading(10_000.0)
    slow.begin()
    assert slow.reading(stream, lambda buffers, control_bytes: (0, [], 0, None))((bytearray(64),), 64)[0] == 0
    assert stream.reads
