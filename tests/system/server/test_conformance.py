"""Test the Event API and the stand-in for GraphQL with the cases of `tests.websocket.cases`, on real sockets.

A server answers each message that is not an operation with one error, so the number of answers shows how many
messages it accepted. Events that are delivered back show that the content is unchanged.
"""

import base64
import json
import os
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from loadgen.protocol.appsync.auth import SUBPROTOCOL, encode_header_subprotocol
from loadgen.protocol.appsync_graphql.messages import SUBPROTOCOL as GRAPHQL
from loadgen.server.process import Announcement, ServerProcess
from tests.websocket.cases import (
    CASES,
    CLOSE,
    PING,
    PONG,
    TEXT,
    VALID,
    Case,
    Frame,
    fragments,
    frames_in,
    stream,
)

PATIENCE_S = 20.0
#: Violations that aiohttp accepts: frames without a mask, and a message that begins before another one has ended, if
#: that one's first fragment was empty.
LET_PASS = {
    *(f"{name} with the wrong masking" for name in ("text", "binary", "ping", "close")),
    *(
        f"opcode {second} within {first} that began with 0 bytes"
        for first in ("text", "binary")
        for second in (1, 2)
    ),
}
_END = b"are you there?"


class Peer:
    """A client that sends the frames of a case."""

    def __init__(self, server: Announcement, subprotocol: str = SUBPROTOCOL) -> None:
        parts = urlsplit(server.ws_url)
        header = encode_header_subprotocol({"host": parts.netloc, "x-api-key": server.api_key})
        self.socket = socket.create_connection((parts.hostname, parts.port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = (
            f"GET {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            f"sec-websocket-key: {base64.b64encode(os.urandom(16)).decode()}\r\nsec-websocket-version: 13\r\n"
            f"sec-websocket-protocol: {subprotocol}, {header}\r\n\r\n"
        )
        self.socket.sendall(request.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        self.heard = b""
        self.ended = False

    def send(self, parts: list[bytes]) -> None:
        try:
            for part in parts:
                self.socket.sendall(part)
        except OSError:
            # The server ended the connection because of a violation, before it had read everything.
            return

    def hear_until(self, opcode: int, payload: bytes | None = None) -> None:
        """Read until a frame with this opcode has arrived, or the connection has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(kind == opcode and payload in (None, said) for kind, said in frames_in(self.heard)):
            assert time.monotonic() < deadline
            self.socket.settimeout(PATIENCE_S)
            try:
                data = self.socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                self.ended = True
                return
            self.heard += data

    def frames(self) -> list[tuple[int, bytes]]:
        return list(frames_in(self.heard))


@pytest.fixture(scope="module", params=["AppSync Events", "AppSync GraphQL"])
def kind(request: pytest.FixtureRequest, server: Announcement) -> Iterator[tuple[Announcement, str]]:
    if request.param == "AppSync Events":
        yield server, SUBPROTOCOL
        return
    with ServerProcess(("--service", "appsync-graphql"), module="loadgen.stand_ins") as process:
        yield process.announcement, GRAPHQL


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name not in LET_PASS], ids=lambda case: case.name
)
def test_the_server_does_what_the_standard_says(kind: tuple[Announcement, str], case: Case) -> None:
    peer = Peer(*kind)
    with peer.socket:
        peer.send(stream(case, masked=True))
        if case.closes is None:
            peer.send([Frame(PING, _END).bytes(masked=True)])
            peer.hear_until(PONG, _END)
        else:
            peer.hear_until(CLOSE)
            if case.fails:
                # After a violation the server closes the connection (RFC 6455, 7.1.7); answer its close frame.
                peer.send([Frame(CLOSE, b"\x03\xe8").bytes(masked=True)])
            peer.hear_until(-1)
            assert peer.ended
    said = peer.frames()
    assert len([payload for opcode, payload in said if opcode == TEXT]) == len(case.messages)
    closes = [payload for opcode, payload in said if opcode == CLOSE]
    if case.closes is None:
        assert closes == []
        if case.pong is not None:
            assert (PONG, case.pong) in said
    else:
        assert len(closes) == 1, said
        assert (int.from_bytes(closes[0][:2], "big") if closes[0] else 1005) in case.closes


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name in LET_PASS], ids=lambda case: case.name
)
def test_what_aiohttp_lets_pass_harms_no_later_message(server: Announcement, case: Case) -> None:
    """A failure means that aiohttp now rejects the frames: then remove the case from `LET_PASS`."""
    peer = Peer(server)
    with peer.socket:
        peer.send(stream(case, masked=True))
        if case.frames[0].opcode == CLOSE:
            peer.hear_until(-1)
            assert peer.ended
        else:
            peer.send([Frame(PING, _END).bytes(masked=True)])
            peer.hear_until(PONG, _END)
            assert not peer.ended


def test_the_cases_that_pass_are_in_the_table() -> None:
    assert {case.name for case in CASES} > LET_PASS


@pytest.mark.parametrize("name", VALID)
def test_a_text_comes_back_as_it_was_sent(server: Announcement, name: str) -> None:
    text = VALID[name].decode()
    key = {"x-api-key": server.api_key, "host": urlsplit(server.ws_url).netloc}
    event = json.dumps({"text": text}, ensure_ascii=False)
    publish = {"type": "publish", "id": "p", "channel": "/default/a", "events": [event], "authorization": key}
    subscribe = {"type": "subscribe", "id": "s", "channel": "/default/a", "authorization": key}
    written = json.dumps(publish, ensure_ascii=False).encode()
    peer = Peer(server)
    with peer.socket:
        peer.send([Frame(TEXT, json.dumps(subscribe).encode()).bytes(masked=True)])
        # Send each byte in its own frame, so characters of several bytes are split between frames.
        pieces = [written[at : at + 1] for at in range(len(written))]
        peer.send([frame.bytes(masked=True) for frame in fragments(TEXT, pieces)])
        peer.send([Frame(PING, _END).bytes(masked=True)])
        peer.hear_until(PONG, _END)
    messages = [json.loads(payload) for opcode, payload in peer.frames() if opcode == TEXT]
    assert [each["type"] for each in messages].count("publish_success") == 1
    (delivered,) = [each for each in messages if each["type"] == "data"]
    assert delivered["event"] == event
