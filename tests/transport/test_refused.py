"""Test errors of refused upgrades: the server's answer, and whether a retry may help."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from loadgen.protocol.refusals import Kind
from loadgen.transport.address import Address
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError
from loadgen.transport.websocket import WebSocket
from tests.listening import http_server

SECRET = "header-c2VjcmV0LWtleQ"


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as port:
        yield port


def refused(port: int) -> TransportError:
    socket = WebSocket(
        Address(f"ws://127.0.0.1:{port}/event/realtime"),
        subprotocols=("aws-appsync-event-ws", SECRET),
        headers={},
        on_text=lambda *_: None,
        on_closed=lambda *_: None,
    )
    with pytest.raises(TransportError) as caught:
        socket.open(5)
    return caught.value


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, NotNowError, Kind.THROTTLED),
        (503, NotNowError, Kind.THROTTLED),
        (502, NotNowError, Kind.FAILING),
        (401, HandshakeRefusedError, Kind.DENIED),
        (403, HandshakeRefusedError, Kind.DENIED),
        (404, HandshakeRefusedError, Kind.UNSUITABLE),
        (302, HandshakeRefusedError, Kind.UNSUITABLE),
    ],
)
def test_the_status_says_whether_it_helps_to_try_again(
    status: int, error: type[TransportError], kind: Kind
) -> None:
    with answering(status, Location="http://127.0.0.1:9/") as port:
        found = refused(port)
    assert type(found) is error
    assert found.refusal is not None
    assert found.refusal.kind is kind
    assert f"HTTP {status}" in str(found)


def test_the_error_type_of_the_body_is_told_and_goes_before_the_status() -> None:
    body = b'{"errors":[{"errorType":"LimitExceededException","message":"' + SECRET.encode() + b'"}]}'
    with answering(400, body, Retry_After="7") as port:
        found = refused(port)
    assert isinstance(found, NotNowError)
    assert str(found).endswith("HTTP 400 (Bad Request), LimitExceededException")
    assert found.refusal is not None
    assert found.refusal.retry_after_s == 7.0


def test_what_it_repeats_of_our_login_is_not_told() -> None:
    body = b'{"errorType":"' + SECRET.encode() + b'","message":"' + SECRET.encode() + b'"}'
    with answering(403, body, X_Amzn_ErrorType=SECRET) as port:
        found = refused(port)
    assert SECRET not in str(found)
    assert str(found).endswith("HTTP 403 (Forbidden)")
