"""Test the commands' messages for a service that does not speak its protocol."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from loadgen.client.event_client import EventClient, ServiceRefusedError
from loadgen.client.http import HttpPublisher
from loadgen.client.publish import Publication, PublishError
from loadgen.credentials.errors import CredentialError
from loadgen.credentials.sources import from_client_credentials
from loadgen.exits import ExitCode, RunError
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.run.target import Target
from loadgen.run.target_check import check
from loadgen.transport import bounds
from loadgen.transport.errors import TransportError
from tests.listening import accepting
from tests.transport.hostile import frame, yes

ACK = frame(0x81, b'{"type":"connection_ack","connectionTimeoutMs":300000}')
KEY = "da2-" + "x" * 26
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ENDLESS = [CHUNKED, *[b"4000\r\n" + b"x" * 0x4000 + b"\r\n"] * 2000]


@contextmanager
def service(http: list[bytes], after_ack: bytes = b"") -> Iterator[str]:
    """Serve an Event API that accepts connections and answers other requests with the bytes in ``http``."""

    def converse(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            asked = peer.recv(65536)
            if b"websocket" in asked.lower():
                protocol = b"\r\nsec-websocket-protocol: aws-appsync-event-ws\r\n\r\n"
                peer.sendall(yes(asked).replace(b"\r\n\r\n", protocol))
                peer.recv(65536)
                peer.sendall(ACK + after_ack)
                # Read until the client's close frame.
                while (said := peer.recv(65536)) and said[0] & 0x0F != 8:
                    pass
                return
            for part in http:
                peer.sendall(part)
            peer.recv(65536)

    with accepting(converse) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/event"


def api(url: str) -> AppSyncEvents:
    return AppSyncEvents(Endpoints.from_url(url), ApiKey(KEY))


def test_the_check_before_a_run_ends_an_answer_without_end() -> None:
    with (
        service(ENDLESS) as url,
        pytest.raises(RunError, match=r"cannot be read: .* a body of more than") as told,
    ):
        check(Target(url, api_key=KEY))
    assert told.value.code == ExitCode.TARGET


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
        # The body is not gzip, which does not matter because the client never decompresses it.
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nxx",
    ],
)
def test_any_answer_that_is_one_will_do_for_the_check(answer: bytes) -> None:
    with service([answer]) as url:
        check(Target(url, api_key=KEY))


def test_the_publisher_of_the_commands_is_bounded() -> None:
    with service(ENDLESS) as url:
        with HttpPublisher(api(url)) as publisher, pytest.raises(TransportError, match="a body of more than"):
            publisher.post("/default/a", ["1"])
        with pytest.raises(PublishError, match="a body of more than"):
            Publication(api(url), "/default/a", ["1"]).send()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ENDLESS, "cannot be reached: .*a body of more than"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]"], "no access_token"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff{}"], "no access_token"),
        (
            [b'HTTP/1.1 200 OK\r\ncontent-length: 35\r\n\r\n{"access_token":1,"expires_in":"x"}'],
            "no access_token",
        ),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"[" * 100_000], "no access_token"),
        ([b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n"], "HTTP 302"),
    ],
)
def test_a_token_endpoint_that_answers_anything_is_a_sentence(answer: list[bytes], said: str) -> None:
    with service(answer) as url, pytest.raises(CredentialError, match=said) as told:
        from_client_credentials(url, "me", "hush", None)
    assert "hush" not in str(told.value)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (frame(0xC1, b"x"), "broke the WebSocket protocol: a text frame with reserved bits"),
        (frame(0x88, b"\x03\xe8bye"), "closed the connection with code 1000 (bye)"),
    ],
)
def test_why_a_connection_has_ended_is_what_the_service_did(
    sent: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "CLOSING_S", 0.2)
    with service([], after_ack=sent) as url:
        client = EventClient(api(url))
        client.open(5)
        with suppress(ServiceRefusedError, TransportError):
            client.login(5)
        assert client.ended.wait(60)
        assert said in client.why
        assert ("closed the connection" in client.why) is ("closed the connection" in said)
