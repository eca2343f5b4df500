"""Test a connection of the gateway with given bytes; the transport is a list of what is written."""

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from loadgen.protocol.api_gateway.limits import FRAME_MAX_BYTES, MESSAGE_MAX_BYTES
from loadgen.stand_ins.api_gateway.connection import Connection, frames, new_id
from loadgen.stand_ins.api_gateway.throttle import Throttle


class Transport:
    """Keeps the data written to it."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_write_buffer_size(self) -> int:
        return len(self.written)


def with_connection(test: Callable[[Connection, Transport, list[str]], None]) -> None:
    async def run() -> None:
        transport, messages = Transport(), list[str]()
        arguments: Any = {
            "idle_s": 600,
            "lifetime_s": 7_200,
            "pings_count": False,
            "subject": None,
            "source_ip": "127.0.0.1",
            "user_agent": "",
            "connection_id": new_id(),
        }
        connection = Connection(
            transport,  # type: ignore[arg-type]
            lambda _, text: messages.append(text),
            **arguments,
        )
        try:
            test(connection, transport, messages)
        finally:
            connection.feed_eof()

    asyncio.run(run())


def sent(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


@given(st.integers(0, 3 * FRAME_MAX_BYTES), st.sampled_from([1_000, FRAME_MAX_BYTES]))
def test_a_client_puts_the_frames_together_again(size: int, most: int) -> None:
    message = (b"0123456789" * (size // 10 + 1))[:size]
    client = Protocol(Side.CLIENT, state=OPEN, max_size=None)
    client.receive_data(frames(message, most))
    found: list[Frame] = client.events_received()  # type: ignore[assignment]
    assert b"".join(bytes(frame.data) for frame in found) == message
    assert [frame.opcode for frame in found] == [Opcode.TEXT] + [Opcode.CONT] * (len(found) - 1)
    assert [frame.fin for frame in found] == [False] * (len(found) - 1) + [True]
    assert max(len(frame.data) for frame in found) <= most


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=50), max_size=5), st.integers(1, 40))
def test_messages_in_fragments_and_in_pieces_arrive_whole(texts: list[str], piece: int) -> None:
    def test(connection: Connection, transport: Transport, messages: list[str]) -> None:
        stream = b""
        for text in texts:
            data = text.encode()
            half = len(data) // 2
            stream += sent(Opcode.TEXT, data[:half], fin=False) + sent(Opcode.PING, b"")
            stream += sent(Opcode.CONT, data[half:])
        for begin in range(0, len(stream), piece):
            assert connection.feed_data(stream[begin : begin + piece]) == (False, b"")
        assert messages == texts
        assert transport.written.count(b"\x8a\x00") == len(texts), "a pong for each ping"

    with_connection(test)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_a_connection_fail(data: bytes) -> None:
    def test(connection: Connection, transport: Transport, messages: list[str]) -> None:
        connection.feed_data(data)
        connection.send(b"after")
        connection.close(1001)

    with_connection(test)


def test_limits_close_with_their_codes() -> None:
    cases = [
        (sent(Opcode.TEXT, bytes(FRAME_MAX_BYTES + 1)), 1009),
        (
            sent(Opcode.TEXT, bytes(FRAME_MAX_BYTES), fin=False)
            + sent(Opcode.CONT, bytes(MESSAGE_MAX_BYTES)),
            1009,
        ),
        (sent(Opcode.BINARY, b"x"), 1003),
        (sent(Opcode.TEXT, b"\xff"), 1007),
        (Frame(Opcode.TEXT, b"x").serialize(mask=False), 1002),
    ]

    for data, code in cases:

        def test(
            connection: Connection,
            transport: Transport,
            messages: list[str],
            data: bytes = data,
            code: int = code,
        ) -> None:
            connection.feed_data(data)
            assert connection.closed_with == code
            assert not connection.is_open
            assert messages == []
            assert transport.written[0] == 0x88
            assert int.from_bytes(transport.written[2:4], "big") == code

        with_connection(test)


def test_the_largest_message_and_frame_are_taken() -> None:
    def test(connection: Connection, transport: Transport, messages: list[str]) -> None:
        whole = b"x" * MESSAGE_MAX_BYTES
        parts = [whole[begin : begin + FRAME_MAX_BYTES] for begin in range(0, len(whole), FRAME_MAX_BYTES)]
        for number, part in enumerate(parts):
            opcode = Opcode.CONT if number else Opcode.TEXT
            connection.feed_data(sent(opcode, part, fin=number == len(parts) - 1))
        assert messages == [whole.decode()]
        assert connection.is_open

    with_connection(test)


def test_a_throttle_allows_its_burst_and_then_its_rate() -> None:
    now_s = 0.0
    throttle = Throttle(2.0, 3.0, lambda: now_s)
    assert [throttle.take() for _ in range(4)] == [True, True, True, False]
    now_s = 0.5
    assert [throttle.take() for _ in range(2)] == [True, False]
    now_s = 100.0
    assert [throttle.take() for _ in range(4)] == [True, True, True, False]
    unlimited = Throttle(0.0, 1.0, lambda: 0.0)
    assert all(unlimited.take() for _ in range(100))
