"""Test that the amount of a server's data kept in memory is bounded, and that the error names the bound."""

import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.transport import bounded, bounds
from loadgen.transport.address import Address
from loadgen.transport.byte_stream import ByteStream
from loadgen.transport.errors import TransportError, UnreadableError
from loadgen.transport.http import GeventHttpClient
from loadgen.transport.websocket import WebSocket
from tests.transport.hostile import frame, served
from tests.transport.test_http import Answer
from tests.transport.test_http import served as served_to_the_end

pytestmark = pytest.mark.long

HEAD = b"HTTP/1.1 200 OK\r\n"


def http_served(answer: Answer) -> Any:
    """Run the server of `test_http.served`, but allow the client to close the connection during an answer."""

    def tolerant(peer: Any, number: int) -> bool:
        try:
            return answer(peer, number)
        except OSError:
            return False

    return served_to_the_end(tolerant)


CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
CHUNK = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"

#: Cases by name: the beginning of an answer, the bytes that follow it again and again, and the resulting error.
ENDLESS: dict[str, tuple[bytes, bytes, str]] = {
    "chunks": (CHUNKED, CHUNK, "a body of more than 1,048,576 bytes"),
    "declared length": (
        HEAD + b"content-length: 10000000000\r\n\r\n",
        b"x" * 65536,
        "length of 10,000,000,000 bytes",
    ),
    "no length": (HEAD + b"\r\n", b"x" * 65536, "a body of more than 1,048,576 bytes"),
    "headers": (HEAD, b"x-y: z\r\n" * 1000, "more than 65,536 bytes of headers"),
    "one header": (HEAD + b"x: ", b"y" * 65536, "more than 65,536 bytes of headers"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "more than .* bytes"),
    "chunk extensions": (CHUNKED, b"1;" + b"e" * 4000 + b"\r\nx\r\n", "more than .* bytes around a body"),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"x-y: z\r\n" * 1000, "more than .* bytes|broke off"),
}


def _sending(sent: list[int], head: bytes, block: bytes) -> Any:
    def answer(peer: Any, _number: int) -> bool:
        peer.settimeout(60)
        peer.sendall(head)
        for _ in range((64 << 20) // len(block)):
            peer.sendall(block)
            sent[0] += len(block)
        return True

    return answer


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_answer_without_end_is_cut_off_and_the_next_request_has_a_connection(kind: str) -> None:
    head, block, said = ENDLESS[kind]
    sent = [0]
    endless = _sending(sent, head, block)
    asked: list[bool] = []

    def answer(peer: Any, number: int) -> bool:
        asked.append(True)
        if len(asked) == 1:
            return bool(endless(peer, number))
        peer.sendall(HEAD + b"content-length: 2\r\n\r\n{}")
        return True

    with http_served(answer) as (url, _):
        # The timeout is long enough for a busy machine to send and read up to the bound.
        client = GeventHttpClient(url, 1, timeout_s=60)
        with pytest.raises(UnreadableError, match=said):
            client.post(b"{}", {})
        assert client.post(b"{}", {}) == (200, b"{}")
        client.close()
    # The server could send no more than the bound plus the kernel's buffers on both sides, far less than 64
    # MB.
    assert sent[0] < 32 << 20


def answering(answer: bytes, peer: Any, _: int) -> bool:
    peer.sendall(answer)
    return True


@pytest.mark.parametrize("size", [0, 1, bounds.HTTP_BODY_BYTES])
def test_an_answer_up_to_the_bound_is_taken(size: int) -> None:
    body = b"x" * size
    for answer in (
        HEAD + b"content-length: %d\r\n\r\n" % size + body,
        CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in _parts(body)) + b"0\r\n\r\n",
    ):
        with http_served(partial(answering, answer)) as (url, _):
            assert GeventHttpClient(url, 1, timeout_s=60).post(b"{}", {}) == (200, body)


def _parts(body: bytes) -> Iterator[bytes]:
    for begin in range(0, len(body), 50_000):
        yield body[begin : begin + 50_000]


@pytest.mark.parametrize("drip", [HEAD + b"x: ", CHUNKED, HEAD + b"content-length: 999\r\n\r\n", b""])
def test_a_drip_is_given_up_when_the_whole_has_taken_too_long(drip: bytes) -> None:
    def answer(peer: Any, _number: int) -> bool:
        peer.sendall(drip)
        for _ in range(100):
            peer.sendall(b"1\r\ny\r\n" if drip == CHUNKED else b"y")
            time.sleep(0.05)
        return False

    with http_served(answer) as (url, _):
        began = time.monotonic()
        with pytest.raises(TransportError):
            bounded.ask("OPTIONS", url, timeout_s=0.5)
        assert time.monotonic() - began < 3


def test_a_tls_handshake_that_drips_is_given_up_too() -> None:
    def answer(peer: Any, _number: int) -> bool:
        # Send the header of a record of 16 KB, and then one byte at a time for a minute.
        peer.sendall(b"\x16\x03\x03\x40\x00")
        for _ in range(1_200):
            peer.sendall(b"\0")
            time.sleep(0.05)
        return False

    with http_served(answer) as (url, _):
        began = time.monotonic()
        with pytest.raises(TransportError, match="no answer to the request in time"):
            bounded.ask("OPTIONS", url.replace("http:", "https:"), timeout_s=0.5)
        assert time.monotonic() - began < 30


def test_one_request_outside_a_load_goes_as_it_is_asked_for() -> None:
    def answer(peer: Any, _number: int) -> bool:
        peer.sendall(HEAD + b"content-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x8b\x08")
        return True

    with http_served(answer) as (url, accepted):
        # The body is returned as it was sent, without being unpacked.
        assert bounded.ask("OPTIONS", url + "?q=1", timeout_s=5) == (200, b"\x1f\x8b\x08")
        assert len(accepted) == 1
    for wrong in ("ftp://x/", "http://x:99999999/", "x"):
        with pytest.raises(TransportError, match="is not an HTTP URL"):
            bounded.ask("GET", wrong, timeout_s=1)


# --- The following tests are about a server that does not read. ---


def _client(port: int) -> tuple[WebSocket, list[tuple[int | None, str]]]:
    ends: list[tuple[int | None, str]] = []
    socket = WebSocket(
        Address(f"ws://127.0.0.1:{port}/"),
        subprotocols=(),
        headers={},
        on_text=lambda *_: None,
        on_closed=lambda code, reason: ends.append((code, reason)),
    )
    socket.open(5)
    return socket, ends


def test_pings_of_a_server_that_does_not_read_leave_one_pong() -> None:
    pings = [frame(0x89, b"%07d" % number + b"x" * 118) * 400 for number in range(200)]
    with served(pings, stay_s=20) as port:
        socket, ends = _client(port)
        most = 0
        deadline = time.monotonic() + 3.5
        while time.monotonic() < deadline:
            gevent.sleep(0.005)
            most = max(most, len(socket._unsent or b""))
        assert not ends
        # 80,000 pings would need 10 MB of pongs, but only the last ping in each turn of the hub is answered.
        assert most < 64 * 1024
        socket.abort()


def test_the_last_ping_is_answered_when_the_server_reads_again() -> None:
    heard: list[bytes] = []
    with served([frame(0x89, b"one") + frame(0x89, b"two") + frame(0x89, b"three")], heard=heard) as port:
        socket, _ = _client(port)
        deadline = time.monotonic() + 4
        while not b"".join(heard) and time.monotonic() < deadline:
            gevent.sleep(0.01)
        gevent.sleep(0.1)
        socket.abort()
    said = b"".join(heard)
    # There is one masked pong.
    assert said[:2] == b"\x8a\x85"
    assert len(said) == 11
    assert bytes(byte ^ said[2 + place % 4] for place, byte in enumerate(said[6:])) == b"three"


def test_no_pong_follows_a_close_frame() -> None:
    heard: list[bytes] = []
    with served([frame(0x89, b"one") + frame(0x88, b"\x03\xe8")], heard=heard, stay_s=0.5) as port:
        _, ends = _client(port)
        deadline = time.monotonic() + 4
        while not ends and time.monotonic() < deadline:
            gevent.sleep(0.01)
    assert ends[0][0] == 1000
    said = b"".join(heard)
    assert said[0] == 0x88
    assert len(said) == 8


def test_what_waits_for_a_server_that_does_not_read_is_bounded() -> None:
    with served(stay_s=20) as port:
        socket, ends = _client(port)
        message = b"x" * 1_000_000
        for _ in range(60):
            if not socket.is_open:
                break
            socket.send(message)
            assert len(socket._unsent or b"") <= bounds.UNSENT_BYTES
            # The connection ends in the hub's next turn, not within the call that sends.
            assert not ends or not socket.is_open
            if len(socket._unsent or b"") > bounds.UNSENT_BYTES - 1_000_100:
                gevent.sleep(0.05)
        assert "the server does not read what it is sent" in ends[0][1]
        assert "33,554,432 may" in ends[0][1]
        with pytest.raises(TransportError):
            socket.send(b"more")


def test_a_byte_stream_is_bounded_too() -> None:
    ends: list[tuple[int | None, str]] = []
    with served(answer=lambda _: b"", stay_s=20) as port:
        socket = ByteStream(
            Address(f"tcp://127.0.0.1:{port}"),
            on_bytes=lambda *_: None,
            on_closed=lambda code, reason: ends.append((code, reason)),
        )
        socket.open(5)
        for _ in range(60):
            if socket.is_open:
                socket.send(b"x" * 1_000_000)
                gevent.sleep(0)
    assert "the server does not read what it is sent" in ends[0][1]


def test_a_server_that_says_goodbye_and_stays_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "CLOSING_S", 0.2)
    with served([frame(0x88, b"\x0f\xa1bye"), *[frame(0x81, b"late" * 10_000)] * 5], stay_s=20) as port:
        socket, ends = _client(port)
        deadline = time.monotonic() + 4
        while not ends and time.monotonic() < deadline:
            gevent.sleep(0.01)
    assert ends == [(4001, "bye")]
    assert socket._socket is None


@given(st.binary(max_size=300))
def test_the_sentence_for_an_answer_is_printable_and_short(said: bytes) -> None:
    from loadgen.transport.handshake import Answer

    answer = Answer()
    answer.add(said)
    head = answer.refused()
    for sentence in (answer.no_http(), None if head is None else head[1], answer.broken_off()):
        assert sentence is None or (sentence.isprintable() and len(sentence) < 600)


def test_an_answer_keeps_no_more_than_a_head() -> None:
    from loadgen.transport.handshake import Answer

    answer = Answer()
    for block in islice(iter(lambda: b"HTTP/" + b"x" * 60_000, None), 10):
        answer.add(block)
    assert len(answer._said) == bounds.HTTP_HEAD_BYTES
