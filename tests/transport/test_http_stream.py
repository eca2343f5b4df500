"""Test streams in an HTTP answer over real sockets: what is accepted, what is refused, and how streams end."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from loadgen.measure.arrival import Arrival, end_of
from loadgen.protocol.base import Handshake
from loadgen.protocol.refusals import Kind
from loadgen.transport import bounds
from loadgen.transport.address import Address
from loadgen.transport.connection import connection
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError, UnreadableError
from loadgen.transport.http_stream import HttpStream
from tests.authority import trusted
from tests.transport.hostile import served

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
PLAIN = HEAD + b"\r\n"


class Reader:
    """A stream, and what was received from it."""

    def __init__(self, port: int, url: str = "http://127.0.0.1:{}/sub/a?b=c", **headers: str) -> None:
        self.parts: list[bytes] = []
        self.arrivals: list[int] = []
        self.reads: list[int] = []
        self.ends: list[tuple[int | None, str]] = []
        handshake = Handshake(headers={name.replace("_", "-"): value for name, value in headers.items()})
        socket = connection(
            Address(url.format(port)), handshake, self._on_bytes, lambda *why: self.ends.append(why)
        )
        assert isinstance(socket, HttpStream)
        self.socket = socket

    def _on_bytes(self, data: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        self.parts.append(bytes(data))
        self.arrivals.append(arrival_ns)
        self.reads.append(read_ns)

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def until(self, body: bytes, timeout_s: float = 5) -> None:
        deadline = time.monotonic() + timeout_s
        while self.body != body:
            assert time.monotonic() < deadline, self.body
            gevent.sleep(0.005)

    def ended(self, timeout_s: float = 5) -> str:
        deadline = time.monotonic() + timeout_s
        while not self.ends:
            assert time.monotonic() < deadline, "the connection did not end"
            gevent.sleep(0.005)
        return self.ends[0][1]


def test_the_request_asks_for_an_event_stream() -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return PLAIN

    with served(answer=answer) as port:
        reader = Reader(port, authorization="Bearer x", last_event_id="41")
        reader.socket.open(5)
        assert reader.socket.is_open
        assert reader.socket.kernel_timestamps
        reader.socket.close()
        assert reader.ends == [(None, "")]
    head, _, rest = asked[0].decode().partition("\r\n\r\n")
    line, *headers = head.split("\r\n")
    assert (line, rest) == ("GET /sub/a?b=c HTTP/1.1", "")
    assert dict(each.split(": ", 1) for each in headers) == {
        "host": f"127.0.0.1:{port}",
        "accept": "text/event-stream",
        "cache-control": "no-store",
        "accept-encoding": "identity",
        "authorization": "Bearer x",
        "last-event-id": "41",
    }


BODY = b": hi\n\nid: 1\ndata: {}\n\n"
WIRE = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:8], BODY[8:]))


@pytest.mark.parametrize("cut", range(0, len(WIRE), 3))
def test_chunks_may_be_divided_anywhere(inlet_kind: str, cut: int) -> None:
    with served([WIRE[:cut], WIRE[cut:]], answer=lambda _: CHUNKED) as port:
        reader = Reader(port)
        reader.socket.open(5)
        reader.until(BODY)
        assert not reader.ends


@pytest.mark.parametrize("cut", [1, 9, 16, len(HEAD) + 1, len(CHUNKED) - 1, len(CHUNKED), len(CHUNKED) + 4])
def test_the_head_may_be_divided_anywhere_and_the_body_may_follow_at_once(inlet_kind: str, cut: int) -> None:
    whole = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + CHUNKED + WIRE
    with served([whole[cut:]], answer=lambda _: whole[:cut]) as port:
        reader = Reader(port)
        reader.socket.open(5)
        reader.until(BODY)


def test_a_body_without_chunks_may_end_with_the_connection(inlet_kind: str) -> None:
    with served([BODY, BODY], answer=lambda _: PLAIN, stay_s=0) as port:
        reader = Reader(port)
        reader.socket.open(5)
        assert reader.ended().endswith("the server closed the connection")
        assert reader.body == BODY * 2
        assert reader.socket.violation is None


def test_arrivals_are_the_kernels_and_those_of_the_end_of_a_read(inlet_kind: str) -> None:
    with served([BODY] * 5, answer=lambda _: PLAIN) as port:
        reader = Reader(port)
        reader.socket.open(5)
        reader.until(BODY * 5)
    for arrival_ns, read_ns in zip(reader.arrivals, reader.reads, strict=True):
        assert 0 <= read_ns - arrival_ns < 2_000_000_000
        # An uncertain arrival is an `Arrival`. If the read ends with a whole TCP segment, an event that ends there
        # arrived at an exactly known time.
        if isinstance(arrival_ns, Arrival):
            assert not isinstance(end_of(arrival_ns), Arrival)


ENDS = {
    "the last chunk": ([WIRE, b"0\r\n\r\n"], "the server ended the event stream", False),
    "a connection that ends in a chunk": (
        [b"ff\r\n" + BODY],
        "the server closed the connection in the middle of a chunk",
        False,
    ),
    "a connection that ends between chunks": (
        [WIRE],
        "the server closed the connection in the middle of a chunk",
        False,
    ),
    "no chunk": ([WIRE, b"data: x\n\n"], "the server broke HTTP: it sent a chunk without a size", True),
    "a chunk that is too long": (
        [b"2\r\nabc"],
        "the server broke HTTP: it sent a chunk that is longer than its size says",
        True,
    ),
    "an endless size": (
        [b"1;" + b"x" * 9000],
        "the server broke HTTP: it sent a line of more than 4,096 bytes",
        True,
    ),
}


@pytest.mark.parametrize("kind", ENDS)
def test_each_way_to_end_is_named(inlet_kind: str, kind: str) -> None:
    parts, said, broken = ENDS[kind]
    with served(parts, answer=lambda _: CHUNKED, stay_s=0) as port:
        reader = Reader(port)
        reader.socket.open(5)
        assert said in reader.ended()
        assert isinstance(reader.socket.violation, UnreadableError) is broken
        assert not reader.socket.is_open


def refusing(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


AGAIN = "does not accept the request for the event stream now: HTTP "
NEVER = "refused the request for the event stream: HTTP "
REFUSALS: dict[str, tuple[bytes, str, Kind]] = {
    "204": (
        refusing("204 No Content"),
        NEVER + "204 (No Content), by which a service tells its clients not to come back",
        Kind.UNSUITABLE,
    ),
    "401": (refusing("401 Unauthorized"), NEVER + "401 (Unauthorized)", Kind.DENIED),
    "403": (
        refusing("403 Forbidden", body=b'{"errorType": "AccessDeniedException"}'),
        NEVER + "403 (Forbidden), AccessDeniedException",
        Kind.DENIED,
    ),
    "404": (refusing("404 Not Found"), NEVER + "404 (Not Found)", Kind.UNSUITABLE),
    "429": (refusing("429 Too Many Requests", "retry-after: 7"), AGAIN + "429", Kind.THROTTLED),
    "503": (refusing("503 Service Unavailable"), AGAIN + "503", Kind.THROTTLED),
    "500": (
        refusing("500 Oops", "transfer-encoding: chunked", body=b"1\r\nx\r\n0\r\n\r\n"),
        AGAIN + "500",
        Kind.FAILING,
    ),
    "a body that never ends": (refusing("502 Bad", "content-length: 99", body=b"x"), AGAIN + "502", Kind.FAILING),
    "a redirect": (
        refusing("307 Temporary Redirect", "location: https://other/x"),
        NEVER + "307 (Temporary Redirect), which sends us to https://other/x: redirects are not followed, so give that",
        Kind.UNSUITABLE,
    ),
    "another success": (
        refusing("201 Created"),
        NEVER + "201 (Created), and an event stream begins with 200",
        Kind.UNSUITABLE,
    ),
    "a page": (
        refusing("200 OK", "content-type: text/html; charset=utf-8", body=b"<html>"),
        NEVER + "200, an answer of the type text/html; charset=utf-8 and no text/event-stream",
        Kind.UNSUITABLE,
    ),
    "no type": (refusing("200 OK"), NEVER + "200, an answer without a content type", Kind.UNSUITABLE),
    "compressed": (
        refusing("200 OK", "content-type: text/event-stream", "content-encoding: gzip"),
        NEVER + "200, compressed (gzip), which we have not asked for",
        Kind.UNSUITABLE,
    ),
    "another coding": (
        refusing("200 OK", "content-type: text/event-stream", "transfer-encoding: gzip, chunked"),
        NEVER + "200, with the transfer coding gzip, chunked, and only chunked is known",
        Kind.UNSUITABLE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSALS)
def test_each_refusal_is_named_and_classified(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "REFUSAL_BODY_S", 0.2)
    answer, said, refusal = REFUSALS[kind]
    with served(answer=lambda _: answer) as port:
        began = time.monotonic()
        with pytest.raises(NotNowError if said.startswith(AGAIN) else HandshakeRefusedError) as caught:
            Reader(port).socket.open(10)
        assert time.monotonic() - began < bounds.REFUSAL_BODY_S + 2
    assert said in str(caught.value)
    assert caught.value.refusal is not None
    assert caught.value.refusal.kind is refusal
    assert caught.value.refusal.retry_after_s == (7 if kind == "429" else None)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-x\r\n", "with something that is not HTTP/1.1: SSH-2.0-x"),
        (b"\x15\x03\x01\0\x02\x02\x46", "with something that is not HTTP/1.1"),
        (b"HTTP/2 200\r\n\r\n", "with something that is not HTTP/1.1: HTTP/2 200"),
        (b"HTTP/1.1 xx\r\n\r\n", "broke HTTP in its answer"),
        (b"HTTP/1.1 200 OK\r\n\x1b: x\r\n\r\n", "broke HTTP in its answer"),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000, "more than 65,536 bytes of headers"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 12_000 + b"\r\n", "more than 65,536 bytes of headers"),
    ],
)
def test_an_answer_that_is_no_http_is_named_at_once(answer: bytes, said: str) -> None:
    with (
        served(answer=lambda _: answer[:60_000], parts=[answer[60_000:]]) as port,
        pytest.raises(HandshakeRefusedError, match=said) as caught,
    ):
        Reader(port).socket.open(5)
    assert str(caught.value).isprintable()


def test_an_answer_that_breaks_off_or_never_comes_may_be_tried_again() -> None:
    with (
        served(answer=lambda _: b"HTTP/1.1 200 OK\r\ncont", stay_s=0) as port,
        pytest.raises(TransportError, match="in the middle of its answer") as broken,
    ):
        Reader(port).socket.open(5)
    with (
        served(answer=lambda _: b"HTTP/1.1 200 OK\r\ncont") as port,
        pytest.raises(TransportError, match=r"was not whole within 0.3 s: HTTP/1.1 200 OK") as late,
    ):
        Reader(port).socket.open(0.3)
    for caught in (broken, late):
        assert not isinstance(caught.value, HandshakeRefusedError | NotNowError)


def test_it_only_receives() -> None:
    with served(answer=lambda _: PLAIN) as port:
        reader = Reader(port)
        reader.socket.open(5)
        with pytest.raises(TransportError, match="only receives"):
            reader.socket.send(b"x")
    with pytest.raises(ValueError, match="a value that an HTTP header cannot hold"):
        Reader(1, x="a\r\nb: c")


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[int]:
    with trusted(tmp_path) as context, socket.create_server(("127.0.0.1", 0)) as listener:

        def converse() -> None:
            peer, _ = listener.accept()
            with context.wrap_socket(peer, server_side=True) as wrapped:
                wrapped.recv(65536)
                wrapped.sendall(CHUNKED + WIRE[:9])
                wrapped.sendall(WIRE[9:])
                time.sleep(0.3)

        thread = threading.Thread(target=converse, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


def test_a_stream_over_tls(inlet_kind: str, secure: int) -> None:
    reader = Reader(secure, "https://127.0.0.1:{}/x")
    reader.socket.open(5)
    reader.until(BODY)
    assert reader.socket.secure


def test_a_stream_goes_through_the_proxy_of_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://plain:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:3128")
    for url, name, port in (("http://192.0.2.1/x", "plain", 80), ("https://192.0.2.1/x", "secure", 443)):
        address = Address(url)
        assert address.proxy is not None
        assert (address.proxy.host, address.port, address.secure) == (name, port, name == "secure")
