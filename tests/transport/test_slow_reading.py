"""Test slow reading: within the given rate, without effect on other connections, and without loss."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from loadgen.measure.clock import now_ns
from loadgen.transport import kernel_time, slow_reading
from loadgen.transport.address import Address
from loadgen.transport.poller import FILLED, SETTLE_NS
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.websocket import WebSocket
from tests.listening import connected as connection
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


def connected(url: str, bytes_per_s: float | None = None) -> tuple[WebSocket, list[int], list[int | None]]:
    lengths: list[int] = []
    closed: list[int | None] = []
    opened = WebSocket(
        Address(url),
        subprotocols=(),
        headers={},
        on_text=lambda text, arrival_ns, read_ns: lengths.append(len(text)),
        on_closed=lambda code, reason: closed.append(code),
        slow=None if bytes_per_s is None else SlowReading(bytes_per_s),
    )
    opened.open(10)
    return opened, lengths, closed


def test_a_slow_connection_reads_at_its_rate_and_the_one_beside_it_at_once(server: str) -> None:
    slow, slow_lengths, slow_closed = connected(server, RATE)
    fast, fast_lengths, _ = connected(server)
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
    slow, lengths, closed = connected(server, 1_000.0)
    slow.send(b"go")
    # The bytes of two frames have been read, and a pause of at least half a second has begun.
    wait_for(lambda: slow._poller is None)
    slow.abort()
    assert closed == [None]
    before = len(lengths)
    other, other_lengths, _ = connected(server)  # The new socket may get the descriptor of the aborted one.
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
        slow, _, _ = connected(f"ws://127.0.0.1:{running.socket.getsockname()[1]}", 1.0)
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


@pytest.fixture
def unconnected() -> Iterator[socket.socket]:
    """A socket for which the kernel counts no bytes."""
    one, other = socket.socketpair()
    with one, other:
        yield one


def test_a_limit_holds_from_its_begin_to_its_end_and_pauses_after_each_read(
    unconnected: socket.socket,
) -> None:
    stream, slow, buffer = Stream(), SlowReading(10_000.0), bytearray(65_536)
    lengths: list[int] = []

    def recvmsg_into(buffers: tuple[memoryview], control_bytes: int) -> tuple[int, list[Any], int, None]:
        lengths.append(len(buffers[0]))
        return len(buffers[0]), [], 0, None

    read = slow.reading(stream, recvmsg_into)
    assert read((buffer,), 64) == (65_536, [], 0, None)
    assert stream.reads
    slow.begin(unconnected)
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


def test_the_end_of_the_stream_is_no_read_to_pause_after(unconnected: socket.socket) -> None:
    stream, slow = Stream(), SlowReading(10_000.0)
    slow.begin(unconnected)
    assert slow.reading(stream, lambda buffers, control_bytes: (0, [], 0, None))((bytearray(64),), 64)[0] == 0
    assert stream.reads


def reads(sock: socket.socket, slow: SlowReading) -> Callable[[], tuple[int, int]]:
    """Return a function that reads from ``sock`` by ``slow`` once, and returns the size and the kernel's stamp."""
    kernel_time.enable(sock)
    read, buffer = slow.reading(Stream(), sock.recvmsg_into), bytearray(65_536)

    def once() -> tuple[int, int]:
        size, control, _, _ = read((buffer,), kernel_time.CONTROL_BYTES)
        seconds, nanoseconds = kernel_time.TIMESPEC.unpack_from(control[0][2])
        return size, seconds * 1_000_000_000 + nanoseconds

    return once


@pytest.mark.skipif(not kernel_time._KNOWN, reason="no kernel stamps")
def test_messages_that_wait_together_have_the_bounds_of_the_kernels_counts() -> None:
    slow = SlowReading(10_000.0)
    with connection() as (client, served):
        read = reads(client, slow)
        begun_ns = now_ns()
        slow.begin(client)

        def wait_for_count(byte: int, bound: int) -> None:
            wait_for(lambda: slow._received is not None and slow._received.arrived(byte)[bound] is not None)

        sent_ns = []
        for before in (0, 1_000, 2_000):
            # The kernel is asked before each message is sent, and again after it has arrived.
            wait_for_count(before + 1, 0)
            before_ns = now_ns()
            served.sendall(b"x" * 1_000)
            wait_for_count(before + 1_000, 1)
            sent_ns.append((before_ns, now_ns()))
        earliest_ns = begun_ns
        for before_ns, after_ns in sent_ns:
            size, stamp_ns = read()
            assert size == 1_000
            # Without the counts, each message may have arrived at any time since the epoch.
            arrival_ns, within_ns, end_ns = slow.times(stamp_ns, stamp_ns, stamp_ns)
            assert within_ns == end_ns
            assert before_ns <= arrival_ns <= after_ns
            assert earliest_ns - SETTLE_NS <= arrival_ns - within_ns <= after_ns
            earliest_ns = before_ns
        # An exact stamp stays exact, and the bounds stay if nothing is known.
        assert slow.times(stamp_ns, stamp_ns, 0)[::2] == (stamp_ns, 0)
        slow.forget()
        assert slow.times(5, 4, 3) == (5, 4, 3)


@pytest.mark.parametrize(
    ("earliest_ns", "after_ns", "expected_ns"),
    [
        (1_000_000, None, 1_000_000),
        (1_000_000, 1_500_000, 550_000),
        (1_000_000, 1_020_000, 1_000_000),
        # The time after which the bytes were counted is later than the latest arrival: the kernel counted late.
        (1_000_000, 2_100_000, 1_000_000),
        # The stamp bounds the arrival later than the count does.
        (2_500_000, None, 0),
    ],
)
def test_the_closer_bound_counts(earliest_ns: int, after_ns: int | None, expected_ns: int) -> None:
    assert slow_reading._closer(earliest_ns, 2_000_000, after_ns) == expected_ns
