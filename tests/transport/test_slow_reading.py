"""A connection that is read slowly: no faster than stated, at no cost to another, and whole in the end."""

import threading
import time
from collections.abc import Iterator

import gevent
import pytest
from websockets.sync.server import ServerConnection, serve

from loadgen.transport.address import Address
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
        # Until the other side has gone.
        for _ in connection:
            pass

    with serve(send_all, "127.0.0.1", 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{running.socket.getsockname()[1]}"
        running.shutdown()


def opened(url: str) -> tuple[WebSocket, list[int], list[int | None]]:
    lengths: list[int] = []
    closed: list[int | None] = []
    socket = WebSocket(
        Address(url),
        subprotocols=(),
        headers={},
        on_text=lambda text, arrival_ns, read_ns: lengths.append(len(text)),
        on_closed=lambda code, reason: closed.append(code),
    )
    socket.open(10)
    return socket, lengths, closed


def test_a_slow_connection_reads_at_its_rate_and_the_one_beside_it_at_once(server: str) -> None:
    slow, slow_lengths, slow_closed = opened(server)
    fast, fast_lengths, _ = opened(server)
    reading = SlowReading(slow, RATE)
    begun_s = time.monotonic()
    slow.send(b"go")
    fast.send(b"go")
    wait_for(lambda: len(fast_lengths) == MESSAGES)
    wait_for(lambda: len(slow_lengths) >= 20)
    took_s = time.monotonic() - begun_s
    # One turn's bytes (a tenth of a second's) may be ahead of the rate.
    assert sum(slow_lengths) <= RATE * (took_s + 0.1)
    assert len(slow_lengths) < MESSAGES
    assert set(fast_lengths) == {len(MESSAGE)}
    # Told to, it reads what is left, and nothing is missing or torn.
    reading.stop()
    wait_for(lambda: len(slow_lengths) == MESSAGES)
    assert set(slow_lengths) == {len(MESSAGE)}
    slow.close()
    fast.abort()
    wait_for(lambda: slow_closed == [1000])


def test_a_connection_that_ends_between_its_turns_is_not_read_again(server: str) -> None:
    slow, lengths, closed = opened(server)
    SlowReading(slow, 1_000.0)
    slow.send(b"go")
    # Two frames' bytes are read by now and a pause of half a second and more has begun.
    wait_for(lambda: slow._poller is None)
    slow.abort()
    assert closed == [None]
    before = len(lengths)
    other, other_lengths, _ = opened(server)  # may well get the same descriptor
    other.send(b"go")
    wait_for(lambda: len(other_lengths) == MESSAGES)
    gevent.sleep(0.6)
    assert len(lengths) == before
    other.abort()
