"""Test invalid HTTP input: a 4xx answer, no traceback, one log line a minute at most, bounded memory."""

import logging
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.server.process import ServerProcess
from loadgen.server.quiet import EveryMinute, OneLineAMinute
from tests.system.harness import STUCK_S

pytestmark = pytest.mark.long

GOOD = b'{"channel":"/default/a","events":["1"]}'
API = """
auth:
  iam: {users: [{access_key_id: AKIAHOSTILE, secret_env: HOSTILE_SECRET}]}
  lambda: {function: "authorizer.py:decide"}
  publish: [API_KEY, AWS_IAM, AWS_LAMBDA]
"""
NOISE = int(os.environ.get("LOADGEN_HOSTILE_NOISE", "100"))
"""Number of randomly damaged requests. They come from a fixed seed, so a larger number only adds requests."""
TOKENS = (b"\xff", b"\r\n", b"\x00", b"9" * 400, b": ", b"\xed\xa0\x80")
UPGRADE = (
    b"GET /event/realtime HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-protocol: aws-appsync-event-ws\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Server:
    """A server in a separate process, and its output."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        url = urlsplit(process.announcement.http_url)
        self.address = (url.hostname or "", url.port or 0)
        self.key = process.announcement.api_key

    def ask(self, request: bytes, timeout_s: float = 60) -> bytes:
        """Return the server's answer, up to the close of the connection or a pause after a complete head."""
        said = b""
        with socket.create_connection(self.address, timeout=timeout_s) as peer, suppress(ConnectionError):
            peer.sendall(request)
            while b"\r\n\r\n" not in said and (part := peer.recv(65536)):
                said += part
        return said

    def request(self, body: bytes = GOOD, headers: bytes = b"", length: int | None = None) -> bytes:
        size = len(body) if length is None else length
        return (
            b"POST /event HTTP/1.1\r\nhost: x\r\nx-api-key: %b\r\n%bcontent-length: %d\r\n\r\n"
            % (self.key.encode(), headers, size)
        ) + body

    def lines(self) -> list[str]:
        assert self.process.stderr_path is not None
        return self.process.stderr_path.read_text(errors="replace").splitlines()

    def still_fine(self) -> None:
        answer = httpx.post(
            self.process.announcement.http_url, content=GOOD, headers={"x-api-key": self.key}, timeout=STUCK_S
        )
        assert answer.status_code == 200
        lines = self.lines()
        assert not [line for line in lines if "Traceback" in line], lines[-20:]
        assert len([line for line in lines if "refused or broke off" in line]) <= 1

    def settled_memory_mb(self) -> float:
        """Wait until the server's memory changes by less than 1 MB in 0.2 s; return it in MB."""
        before_mb = self.memory_mb()
        for _ in range(100):
            time.sleep(0.2)
            after_mb = self.memory_mb()
            if abs(after_mb - before_mb) < 1:
                break
            before_mb = after_mb
        return before_mb

    def memory_mb(self) -> float:
        assert self.process.pid is not None
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    (folder / "authorizer.py").write_text("def decide(event):\n    return {'isAuthorized': False}\n")
    (folder / "api.yaml").write_text(API)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOSTILE_SECRET", "hush")
        with ServerProcess(["--api", str(folder / "api.yaml")]) as process:
            yield Server(process)


@pytest.mark.parametrize(
    "body",
    [
        b'{"channel":"/default/a","events":["\xff"]}',
        b'{"channel":"/default/\xed\xa0\x80","events":["1"]}',
        b'{"channel":"/default/a","events":["\\ud800"]}',
        # The decoder skips unknown members without decoding them.
        b'{"channel":"/default/a","events":["1"],"x\xff":1}',
        b'{"channel":"/default/a","events":["1"],"x":"\xff"}',
        b"\xff\xfe",
        b"\x00" * 1000,
        b"[" * 100_000,
        b"",
    ],
)
def test_a_body_that_is_no_text_is_answered_as_the_service_does(server: Server, body: bytes) -> None:
    answer = httpx.post(
        server.process.announcement.http_url, content=body, headers={"x-api-key": server.key}, timeout=STUCK_S
    )
    assert answer.status_code == 400
    assert answer.json() == {
        "errors": [{"errorType": "BadRequestException", "message": "Invalid request body"}]
    }
    assert answer.headers["x-amzn-errortype"] == "BadRequestException"
    server.still_fine()


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /event HTTP/1.1\r\nhost: x\r\nx-api-key: \xff\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /event HTTP/1.1\r\nhost: x\r\nauthorization: \xff\r\ncontent-length: 39\r\n\r\n" + GOOD,
        b"POST /event HTTP/1.1\r\nhost: x\r\nauthorization: AWS4-HMAC-SHA256 Credential=\xff/20261128/x/appsync/"
        b"aws4_request, SignedHeaders=host, Signature=00\r\nx-amz-date: \xff\r\ncontent-length: 39\r\n\r\n"
        + GOOD,
        b"POST /event HTTP/1.1\r\nhost: x\r\nx-api-key: \xc3\xa9\r\ncontent-length: 39\r\n\r\n" + GOOD,
        b"POST /event HTTP/1.1\r\nhost: x\r\nauthorization: \xc3\xa9\r\ncontent-length: 39\r\n\r\n" + GOOD,
        b"POST /event HTTP/1.1\r\nhost: \xc3\xa9\r\nauthorization: AWS4-HMAC-SHA256 Credential=AKIAHOSTILE/20261128/"
        b"x\xc3\xa9/appsync/aws4_request, SignedHeaders=host;x-amz-date, Signature=\xc3\xa9\r\n"
        b"x-amz-date: 20261128T000000Z\r\ncontent-length: 39\r\n\r\n" + GOOD,
        b"POST /event HTTP/1.1\r\nhost: x\r\nx-\xff: 1\r\n\r\n",
        b"POST /event HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /event HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /event HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000000\r\n\r\n",
        b"GET /event/realtime\xff HTTP/1.1\r\n\r\n",
        UPGRADE.replace(b"dGhlIHNh", b"\xff\xff") + b"\r\n",
        UPGRADE.replace(b"version: 13", b"version: \xff") + b"\r\n",
        UPGRADE.replace(b"upgrade\r\n", b"upgr\xffade\r\n") + b"\r\n",
        b"\xff\xfe\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
        b"GET / HTTP/1.1\r\na: " + b"b" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"b" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(server: Server, request_: bytes) -> None:
    said = server.ask(request_)
    # If the server answers before it has read a large request, the client may get a reset instead of the answer.
    assert said[9:10] == b"4" or (not said and len(request_) > 10_000), said[:200]
    server.still_fine()


def test_packed_bodies_are_not_unpacked(server: Server) -> None:
    import gzip

    bomb = gzip.compress(bytes(50_000_000))
    before_mb = server.memory_mb()
    for encoding in (b"gzip", b"deflate", b"br"):
        said = server.ask(server.request(bomb, b"content-encoding: " + encoding + b"\r\n"))
        assert said.startswith(b"HTTP/1.1 400")
    assert server.memory_mb() - before_mb < 20
    server.still_fine()


def test_three_hundred_bodies_that_break_off_are_one_line(server: Server) -> None:
    for number in range(300):
        with socket.create_connection(server.address) as peer:
            peer.sendall(server.request(b"{" * (number % 50), length=100))
            if number % 2:
                # Reset the connection (RST) instead of closing it normally (FIN).
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.3)
    server.still_fine()


def test_a_body_too_large_is_not_read(server: Server) -> None:
    before_mb = server.memory_mb()
    said = server.ask(server.request(length=1 << 40))
    assert said.startswith(b"HTTP/1.1 413")
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    request = server.request().replace(b"content-length: 39", b"transfer-encoding: chunked")[: -len(GOOD)]
    with socket.create_connection(server.address, timeout=STUCK_S) as peer, suppress(ConnectionError):
        peer.sendall(request)
        for _ in range(1000):
            peer.sendall(chunk)
        assert peer.recv(65536).startswith(b"HTTP/1.1 413")
    assert server.memory_mb() - before_mb < 40
    server.still_fine()


def test_many_bodies_that_are_never_whole_hold_bounded_memory(server: Server) -> None:
    before_mb = server.memory_mb()
    peers = []
    for _ in range(100):
        peer = socket.create_connection(server.address)
        peer.setblocking(False)
        peers.append(peer)
        peer.send(server.request(b"", length=4_000_000))
    begun = server.request(b"", length=4_000_000)
    assert begun
    # Send 3.9 MB on each of 100 connections, until the server has accepted no more for a second.
    left = dict.fromkeys(peers, 3_900_000)
    taken_at = time.monotonic()
    while any(left.values()) and time.monotonic() < taken_at + 1:
        for peer, missing in left.items():
            if missing:
                with suppress(BlockingIOError):
                    left[peer] -= peer.send(b"x" * min(missing, 262_144))
                    taken_at = time.monotonic()
        time.sleep(0.01)
    grown_mb = server.memory_mb() - before_mb
    server.still_fine()
    for peer in peers:
        peer.close()
    # All unfinished bodies together may have 64 MiB (tests/server/test_bodies.py tests this). The bound is
    # twice that, because a growing body is copied. In addition, each connection holds a chunk that waits for
    # room, and data that was read after the chunk. The chunk and the data have up to 384 KiB each: reading
    # pauses at 128 KiB, and one read adds 256 KiB. The factor 1.1 is for the freed memory that the allocator
    # keeps. The whole bound is three fifths of the data that was sent.
    assert grown_mb < 1.1 * (2 * 64 + len(peers) * 2 * 0.375), f"{grown_mb:.0f} MB"


def test_half_open_connections_cost_little_and_end_nothing(server: Server) -> None:
    before_mb = server.settled_memory_mb()
    peers = [socket.create_connection(server.address) for _ in range(300)]
    for number, peer in enumerate(peers):
        peer.sendall((UPGRADE + b"\r\n")[: number % len(UPGRADE)])
    server.still_fine()
    assert server.memory_mb() - before_mb < 60
    for peer in peers:
        peer.close()


def test_noise_is_never_a_failure_of_the_server(server: Server) -> None:
    """Requests and WebSocket frames have bytes changed, added or cut, and connections end at any place."""
    chosen = random.Random(19)
    frames = [
        b"\x81\x85\0\0\0\0hello",
        b"\x01\x81\0\0\0\0a",
        b"\x89\x80\0\0\0\0",
        b"\x88\x82\0\0\0\0\x03\xe8",
        b"\xff" * 20,
    ]
    authorized = UPGRADE + b"x-api-key: " + server.key.encode() + b"\r\n\r\n"
    for _ in range(NOISE):
        request = bytearray(
            chosen.choice([server.request(), server.request(b"\xff" * 40), UPGRADE + b"\r\n", authorized])
        )
        for _ in range(chosen.randrange(4)):
            place = chosen.randrange(len(request))
            match chosen.randrange(3):
                case 0:
                    request[place] = chosen.randrange(256)
                case 1:
                    request[place:place] = chosen.choice(
                        [b"\xff", b"\r\n", b"\x00", b"9" * 400, b": ", b"\xed\xa0\x80"]
                    )
                case _:
                    del request[place : place + chosen.randrange(1, 9)]
        with socket.create_connection(server.address) as peer:
            peer.settimeout(0.02)
            with suppress(OSError):
                peer.sendall(request)
                said = peer.recv(65536)
                assert not said.startswith(b"HTTP/1.1 5"), (bytes(request), said)
                if b" 101 " in said[:20]:
                    for _ in range(3):
                        peer.sendall(chosen.choice(frames)[: chosen.randrange(1, 30)])
    server.still_fine()


# --- the log ---


def _record(error: Exception | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, None)
    return logging.LogRecord(
        "x", logging.ERROR, "x.py", 1, "Error handling request from %s", ("1.2.3.4",), info
    )


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=200))
def test_of_each_kind_one_line_a_minute_and_none_uncounted(steps: list[tuple[float, bool]]) -> None:
    now = [1000.0]
    quiet = OneLineAMinute(lambda: now[0])
    told: dict[bool, list[float]] = {True: [], False: []}
    counted = 0
    for pause_s, clients in steps:
        now[0] += pause_s
        record = _record(ConnectionResetError("secret \x1b") if clients else ValueError("ours"))
        if quiet.filter(record):
            told[clients].append(now[0])
            said = record.getMessage()
            counted += 1 + (int(said.split("; ")[1].split(" more")[0]) if " more since" in said else 0)
            assert "secret" not in said
            assert "1.2.3.4" not in said
            assert (record.exc_info is None) is clients
    for times in told.values():
        assert all(later - earlier >= 60 for earlier, later in pairwise(times))
    untold = sum(quiet._untold.values())
    assert counted + untold == len(steps)


def test_a_line_that_is_kept_back_is_counted() -> None:
    now = [0.0]
    quiet = EveryMinute(lambda: now[0])
    said = []
    for at_s in (1.0, 2.0, 3.0, 62.0, 63.0, 200.0):
        now[0] = at_s
        record = _record()
        if quiet.filter(record):
            said.append(record.getMessage())
    more = "Error handling request from 1.2.3.4; {} more since this was last said"
    assert said == ["Error handling request from 1.2.3.4", more.format(2), more.format(1)]
