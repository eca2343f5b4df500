"""Test that data violating the WebSocket protocol is reported at once, with either poller."""

import time
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from loadgen.transport import bounds, violations
from loadgen.transport.address import Address
from loadgen.transport.errors import HandshakeRefusedError, TransportError, UnreadableError
from loadgen.transport.websocket import WebSocket
from tests.transport.hostile import Say, frame, served, yes

MOST_BYTES = 4 * 1024 * 1024
BEGUN = frame(0x01, b"begun")

#: Data sent after the upgrade. The server keeps the connection open, so only the data shows the violation.
WRONG: dict[str, tuple[bytes, str]] = {
    "reserved bit": (frame(0xC1, b"abc"), r"a text frame with reserved bits \(0x40\)"),
    "reserved bit, of a frame that is never whole": (frame(0xA1, b"", 50), r"reserved bits \(0x20\)"),
    "reserved opcode": (frame(0x83, b"x"), "the reserved opcode 0x3"),
    "reserved opcode of a control frame": (frame(0x8B, b"", 9), "the reserved opcode 0xB"),
    "masked": (bytes([0x81, 0x83, 1, 2, 3, 4]) + b"abc", "a masked text frame, and a server must not mask"),
    "masked, longer": (bytes([0x82, 0xFE, 1, 2]), "a masked binary frame"),
    "giant": (frame(0x81, b"", 1 << 62), "a message of 4,611,686,018,427,387,904 bytes"),
    "giant, with the highest bit": (frame(0x81, b"", (1 << 64) - 1), "18,446,744,073,709,551,615 bytes"),
    "fragments that grow too long": (
        frame(0x01, b"a" * 60_000) + frame(0x00, b"a" * 60_000) * 80,
        "a message of 4,200,000 bytes or more, and we take 4,194,304",
    ),
    "fragmented control frame": (frame(0x09, b"x"), "a fragmented ping frame"),
    "long control frame": (frame(0x8A, b"x" * 126), "a pong frame of 126 bytes"),
    "giant control frame": (frame(0x89, b"", 1 << 40), "a ping frame of 1,099,511,627,776 bytes"),
    "close code": (frame(0x88, b"\x03\xed"), "a close frame with a code that may not be sent"),
    "close of one byte": (frame(0x88, b"\x03"), "a close frame of one byte"),
    "close reason": (frame(0x88, b"\x03\xe8\xff"), "a close frame whose reason is not UTF-8"),
    "continuation": (frame(0x80, b"x"), "a continuation frame of a message that has not begun"),
    "continuation that is never whole": (frame(0x80, b"", 70_000), "that has not begun"),
    "text within a message": (
        BEGUN + frame(0x81, b"b"),
        "a text frame in the middle of a fragmented message",
    ),
    "text within a message, never whole": (BEGUN + frame(0x81, b"", 999), "in the middle of a fragmented"),
    "close within a message": (
        BEGUN + frame(0x88, b"\x03\xe8"),
        "a close frame in the middle of a fragmented",
    ),
}


class Client:
    """A connection, the messages that it received, and how it ended."""

    def __init__(self, port: int) -> None:
        self.texts: list[bytes] = []
        self.ends: list[tuple[int | None, str]] = []
        self.socket = WebSocket(
            Address(f"ws://127.0.0.1:{port}/"),
            subprotocols=("known",),
            headers={},
            on_text=lambda text, *_: self.texts.append(bytes(text)),
            on_closed=lambda code, reason: self.ends.append((code, reason)),
        )

    def ended(self, timeout_s: float = 4) -> tuple[int | None, str]:
        deadline = time.monotonic() + timeout_s
        while not self.ends:
            assert time.monotonic() < deadline, "the connection did not end"
            gevent.sleep(0.005)
        return self.ends[0]


@pytest.mark.parametrize("kind", WRONG)
def test_each_kind_is_named_while_the_server_keeps_the_connection_open(inlet_kind: str, kind: str) -> None:
    sent, said = WRONG[kind]
    with served([frame(0x81, b"good"), sent]) as port:
        client = Client(port)
        client.socket.open(5)
        _, reason = client.ended()
    assert "the server broke the WebSocket protocol: " in reason
    assert isinstance(client.socket.violation, UnreadableError)
    assert str(client.socket.violation) == reason
    with pytest.raises(UnreadableError, match=said):
        raise client.socket.violation
    # Valid messages before the violation are received.
    assert client.texts == [b"good"]
    assert "closed the connection" not in reason


def test_the_server_is_told_why() -> None:
    heard: list[bytes] = []
    with served([frame(0x83, b"x")], heard=heard) as port:
        client = Client(port)
        client.socket.open(5)
        client.ended()
        deadline = time.monotonic() + 4
        while not b"".join(heard) and time.monotonic() < deadline:
            gevent.sleep(0.01)
    said = b"".join(heard)
    # The client sent a masked close frame: two header bytes, four mask bytes, then the code.
    assert said[:2] == b"\x88\x82"
    code = bytes(byte ^ mask for byte, mask in zip(said[6:8], said[2:6], strict=False))
    assert int.from_bytes(code, "big") == CloseCode.PROTOCOL_ERROR


def test_good_frames_of_every_kind_are_no_violation(inlet_kind: str) -> None:
    parts = [
        frame(0x81, b"one"),
        frame(0x01, b"t") + frame(0x89, b"ping") + frame(0x00, b"w"),
        frame(0x80, b"o"),
    ]
    with served(
        [*parts, frame(0x82, b"three"), frame(0x8A, b""), frame(0x88, b"\x0f\xa0bye")], stay_s=0.1
    ) as port:
        client = Client(port)
        client.socket.open(5)
        assert client.ended() == (4000, "bye")
    assert client.texts == [b"one", b"two", b"three"]
    assert client.socket.violation is None


# --- The following tests are about the answer to the upgrade. ---


def _with(header: bytes) -> Say:
    return lambda asked: yes(asked).replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n\r\n")


#: Invalid answers to the upgrade, each with the error that it must cause. The server keeps the connection open.
ANSWERS: dict[str, tuple[Say, str]] = {
    "HTTP/2": (lambda _: b"\0\0\x12\x04\0\0\0\0\0" + b"\0" * 18, "with HTTP/2, and the handshake is one of"),
    "TLS alert": (lambda _: b"\x15\x03\x01\0\x02\x02\x46", "a TLS alert .the port wants TLS: a URL of wss"),
    "text": (lambda _: b"hello\x1b[2J\n", r"something that is not HTTP: hello\\x1b\[2J"),
    "four bytes": (lambda _: b"-ERR", "something that is not HTTP: -ERR"),
    "SSH": (lambda _: b"SSH-2.0-OpenSSH\r\n", "the greeting of an SSH server"),
    "a frame": (lambda _: frame(0x81, b"hi"), r"not HTTP: \\x81\\x02hi"),
    "a page": (
        lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        r"refused .* HTTP 200 \(OK\), an ordinary answer and no upgrade",
    ),
    "a page without length": (
        lambda _: b"HTTP/1.1 200 OK\r\n\r\n<html>",
        "HTTP/1.1 200 OK, an ordinary answer",
    ),
    "a page that is not whole": (
        lambda _: b"HTTP/1.1 403 No\r\ncontent-length: 99\r\n\r\n<",
        "refused the WebSocket handshake: HTTP/1.1 403 No",
    ),
    "a redirect": (
        lambda _: (
            b"HTTP/1.1 301 Moved\r\nlocation: https://else/\x1bwhere\r\ncontent-length: 0\r\n\r\n".replace(
                b"\x1b", b"\xe9"
            )
        ),
        r"HTTP 301 \(Moved Permanently\), which sends us to https://else/\\xc3\\xa9where: redirects are not followed",
    ),
    "a redirect that is not whole": (
        lambda _: b"HTTP/1.1 302 Found\r\nLocation: /there\r\ncontent-length: 9\r\n\r\n",
        "302 Found, which sends us to /there: redirects are not followed",
    ),
    "the wrong key": (
        lambda asked: yes(asked).replace(b"accept: ", b"accept: xx"),
        "broke the WebSocket protocol in its answer to the handshake: invalid Sec-WebSocket-Accept header",
    ),
    "a subprotocol that nobody asked for": (
        _with(b"sec-websocket-protocol: other"),
        "unsupported subprotocol: other",
    ),
    "an extension that nobody asked for": (
        _with(b"sec-websocket-extensions: permessage-deflate"),
        "in its answer to the handshake: no extensions supported",
    ),
    "no number": (lambda _: b"HTTP/1.1 xx yes\r\n\r\n", "broke HTTP in its answer .*: invalid status code"),
    "HTTP/1.0": (lambda _: b"HTTP/1.0 101 yes\r\n\r\n", "unsupported protocol"),
    "a name that is none": (
        lambda _: b"HTTP/1.1 101 yes\r\n\x1b: x\r\n\r\n",
        r"invalid HTTP header name: \\x1b",
    ),
    "headers without end": (
        lambda _: b"HTTP/1.1 101 yes\r\n" + b"a: b\r\n" * 5000,
        "broke HTTP in its answer",
    ),
    "a header without end": (
        lambda _: b"HTTP/1.1 101 yes\r\na: " + b"b" * 50_000,
        "broke HTTP in its answer",
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_that_is_no_yes_is_named_at_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "REFUSAL_BODY_S", 0.2)
    answer, said = ANSWERS[kind]
    with served(answer=answer) as port:
        began = time.monotonic()
        with pytest.raises(HandshakeRefusedError, match=said) as caught:
            Client(port).socket.open(10)
        assert time.monotonic() - began < bounds.REFUSAL_BODY_S + 2
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "part", [b"H", b"HTTP/1.1 101 Swit", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: web"]
)
def test_an_answer_that_breaks_off_is_called_that_and_may_be_tried_again(part: bytes) -> None:
    with served(answer=lambda _: part, stay_s=0) as port:
        with pytest.raises(
            TransportError, match="in the middle of its answer to the WebSocket handshake"
        ) as caught:
            Client(port).socket.open(5)
        assert not isinstance(caught.value, HandshakeRefusedError)


def test_an_answer_that_drips_is_called_that() -> None:
    drip = [b"x: y\r\n"] * 200
    with served(drip, answer=lambda _: b"HTTP/1.1 101 Switching Protocols\r\n") as port:
        with pytest.raises(
            TransportError, match=r"was not whole within 0.3 s: HTTP/1.1 101 Switching"
        ) as caught:
            Client(port).socket.open(0.3)
        assert not isinstance(caught.value, HandshakeRefusedError)


# --- The following tests compare our parser with `websockets`, which finds the same violations, but later. ---

SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65_535, 65_536, 70_000, 100_001]))
LIMIT = 100_000


# Make the strategies once, because Hypothesis spends time on examining each new one.
_OPCODES = st.sampled_from(
    [Opcode.TEXT] * 6 + [Opcode.BINARY] + [Opcode.CONT] * 3 + [Opcode.PING, Opcode.PONG]
)
_CONTROL_SIZES, _BYTES = st.integers(0, 127), st.integers(0, 255)
_CLOSES = st.sampled_from([b"", b"\x03\xe8", b"\x03\xe8bye", b"\x03", b"\x03\xed", b"\x03\xe8\xff"])
_THREE, _NINE, _TWENTY, _THIRTY = (st.integers(0, most) for most in (3, 9, 20, 30))


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    opcode = draw(_OPCODES)
    control = opcode in (Opcode.PING, Opcode.PONG)
    size = draw(_CONTROL_SIZES if control else SIZES)
    first = opcode | (0x80 if draw(_NINE if control else _THREE) else 0)
    if draw(_TWENTY) == 0:
        first = draw(_BYTES)
    data = frame(first, b"x" * size)
    if draw(_THIRTY) == 0:
        data = Frame(Opcode.TEXT, b"x" * size).serialize(mask=True)
    if draw(_TWENTY) == 0:
        data = frame(0x88, draw(_CLOSES))
    return data


def by_the_library(stream: bytes) -> tuple[list[bytes], bool]:
    """Return the messages that the `websockets` library finds in a stream, and whether it finds a violation."""
    protocol = ClientProtocol(parse_uri("ws://x/"), max_size=LIMIT)
    protocol.state = OPEN
    protocol.parser = protocol.parse()
    next(protocol.parser)
    protocol.receive_data(stream)
    messages, begun = [], b""
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            begun += bytes(event.data)
            if event.fin:
                messages.append(begun)
                begun = b""
    return messages, protocol.parser_exc is not None


@settings(max_examples=300, deadline=None)
@given(st.lists(frames(), max_size=10), st.data())
def test_the_same_is_wrong_for_us_and_for_the_library(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10).map(sorted))
    texts: list[bytes] = []
    socket = WebSocket(
        Address("ws://x/"),
        subprotocols=(),
        headers={},
        on_text=lambda text, *_: texts.append(bytes(text)),
        on_closed=lambda *_: None,
        max_message_bytes=LIMIT,
    )
    reader: Any = socket._take_over()
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(memoryview(stream)[begin:end], 1, 2)
    socket._wait_no_longer()
    assert (texts, socket.violation is not None) == by_the_library(stream)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 1 << 64), st.none() | st.integers(0, LIMIT))
def test_a_header_is_good_or_one_sentence(first: int, second: int, length: int, begun: int | None) -> None:
    found = violations.of_header(first, second, length, LIMIT, begun)
    opcode = first & 0x0F
    good = (
        not first & 0x70
        and not second & 0x80
        and opcode in (0, 1, 2, 8, 9, 10)
        and ((first & 0x80 and length <= 125) if opcode >= 8 else length + (begun or 0) <= LIMIT)
        and (opcode >= 8 or (opcode == 0) == (begun is not None))
    )
    assert (found is None) == bool(good)
    if found is not None:
        assert found[0] in (CloseCode.PROTOCOL_ERROR, CloseCode.MESSAGE_TOO_BIG)
        assert found[1].isprintable()
