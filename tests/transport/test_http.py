import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.base import PublishAnswer
from loadgen.server.process import Announcement
from loadgen.transport.errors import TransportError
from loadgen.transport.http import GeventHttpClient
from loadgen.transport.http_connection import whole_answer
from tests.listening import accepting

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Answer = Callable[[socket.socket, int], bool]


@contextmanager
def served(answer: Answer) -> Iterator[tuple[str, list[socket.socket]]]:
    """Run a server; ``answer(peer, number of the request)`` returns whether the connection is kept."""
    accepted: list[socket.socket] = []

    def converse(peer: socket.socket) -> None:
        accepted.append(peer)
        number = 0
        with peer:
            while peer.recv(1 << 20) and answer(peer, number):
                number += 1

    with accepting(converse) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/event", accepted


def says(*parts: bytes, go_on: bool = True, pause_s: float = 0.02) -> Answer:
    def answer(peer: socket.socket, _number: int) -> bool:
        for part in parts:
            peer.sendall(part)
            time.sleep(pause_s)
        return go_on

    return answer


@pytest.mark.parametrize(
    "parts",
    [
        [OK],
        [OK[:20], OK[20:-1], OK[-1:]],
        [OK[:-2], OK[-2:]],
        [b"HTTP/1.1 100 Continue\r\n\r\n", OK],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + OK],
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nconnection: Keep-Alive\r\ncontent-length:2\r\n\r\n{}"],
    ],
)
def test_an_answer_is_read_however_it_comes(parts: list[bytes]) -> None:
    with served(says(*parts)) as (url, accepted):
        client = GeventHttpClient(url, 1)
        for _ in range(3):
            assert client.post(b"{}", {"a": "b"}) == (200, b"{}")
        client.close()
    assert len(accepted) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
def test_a_connection_that_the_server_ends_is_not_used_again(answer: bytes) -> None:
    with served(says(answer, go_on=False)) as (url, accepted):
        client = GeventHttpClient(url, 1)
        for _ in range(3):
            assert client.post(b"{}", {}) == (200, b"{}")
    assert len(accepted) == 3


def test_a_connection_that_was_closed_while_idle_is_replaced_and_not_tried() -> None:
    with served(says(OK, go_on=False, pause_s=0)) as (url, accepted):
        client = GeventHttpClient(url, 1)
        for _ in range(3):
            assert client.post(b"{}", {}) == (200, b"{}")
            # Use `time.sleep`, since with `gevent.sleep` gevent's event loop might notice the close before the next
            # request.
            time.sleep(0.05)
    assert len(accepted) == 3


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}", b"nonsense\r\n\r\n"]
)
def test_an_answer_that_breaks_off_is_an_error_and_the_next_request_has_a_connection(said: bytes) -> None:
    def answer(peer: socket.socket, _number: int) -> bool:
        peer.sendall(OK if broken else said)
        return bool(broken)

    broken: list[bool] = []
    with served(answer) as (url, _):
        client = GeventHttpClient(url, 1)
        with pytest.raises(TransportError, match="the connection broke off"):
            client.post(b"{}", {})
        broken.append(True)
        assert client.post(b"{}", {}) == (200, b"{}")


def test_no_answer_in_time_is_an_error_for_each_that_waited_so_long() -> None:
    with served(lambda peer, number: True) as (url, _):
        client = GeventHttpClient(url, 2, timeout_s=0.3)
        waited_s: list[float] = []
        said: list[str] = []

        def send() -> None:
            began = time.monotonic()

            def on_response(_status: int, _body: bytes, error: TransportError | None) -> None:
                waited_s.append(time.monotonic() - began)
                said.append(str(error))

            client.send(b"{}", {}, on_response)

        send()
        gevent.sleep(0.2)
        send()
        with gevent.Timeout(60):
            while len(said) < 2:
                gevent.sleep(0.01)
    assert [text.partition(": ")[2] for text in said] == ["no answer to the publish in time"] * 2
    # Each request waits for its own timeout: not less, and not for the default of 10 s, however busy the
    # machine.
    assert all(0.25 < each < 8 for each in waited_s), waited_s


def test_more_requests_than_connections_wait_their_turn() -> None:
    with served(says(OK)) as (url, accepted):
        client = GeventHttpClient(url, 2)
        told: list[int] = []
        for _ in range(10):
            client.send(b"{}", {}, lambda status, _body, _error: told.append(status))
        gevent.sleep(1)
        assert told == [200] * 10
    assert len(accepted) == 2


def test_a_large_body_is_sent_whole_to_a_slow_reader() -> None:
    body = b"x" * 4_000_000
    received = 0

    def answer(peer: socket.socket, _number: int) -> bool:
        nonlocal received
        peer.settimeout(0.5)
        try:
            while True:
                received += peer.recv(1 << 16).count(b"x")
                time.sleep(0.001)
        except TimeoutError:
            peer.settimeout(None)
            peer.sendall(OK)
        return True

    with served(answer) as (url, _):
        assert GeventHttpClient(url, 1).post(body, {}) == (200, b"{}")
    # The whole body arrived; `received` lacks only the bytes, up to 1 MiB, that `served` had read before.
    assert len(body) - (1 << 20) <= received <= len(body)


def test_over_tls(trusted: Announcement) -> None:
    service = AppSyncEvents(Endpoints.from_url(trusted.http_url), ApiKey(trusted.api_key))
    client = GeventHttpClient(service.http_url, 2)
    for size in (10, 40_000):
        request = service.http_publish("/default/a", [f'"{"x" * size}"'] * 5)
        for _ in range(3):
            assert service.http_answer(*client.post(request.body, request.headers)) == PublishAnswer()
    client.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server: tuple[Announcement, object]) -> None:
    client = GeventHttpClient(tls_server[0].http_url, 1)
    with pytest.raises(TransportError, match=r"(?i)certificate.verify.failed"):
        client.post(b"{}", {})


@pytest.mark.parametrize("value", ["x\r\nsmuggled: y", "x\n", "\u20ac"])
def test_a_header_cannot_smuggle_in_another(value: str) -> None:
    client = GeventHttpClient("http://127.0.0.1:9/event", 1)
    with pytest.raises(ValueError, match="no HTTP header") as raised:
        client.send(b"{}", {"authorization": value}, lambda *_: None)
    assert "smuggled" not in str(raised.value)


@given(st.binary(max_size=80) | st.binary(max_size=20).map(lambda tail: OK + tail))
def test_whatever_is_not_plainly_one_answer_is_left_to_the_parser(data: bytes) -> None:
    assert whole_answer(data) == ((200, b"{}") if data == OK else None)


def test_connections_that_are_closed_leave_nothing_behind() -> None:
    with served(says(OK)) as (url, _):
        client = GeventHttpClient(url, 1)
        client.post(b"{}", {})
        client.close()
        gc.collect()
        assert not client._idle
        assert not client._busy


def test_a_request_may_have_a_method_and_a_path_of_its_own() -> None:
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                while request := peer.recv(65536):
                    heads.append(request)
                    peer.sendall(OK)

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = GeventHttpClient(url + "/usual?q=1", 1)
        client.post(b"1", {"a": "b"})
        client.post(b"2", {"a": "b"}, "PUT", "/own/x?y=z")
        client.post(b"3", {"a": "b"})
        client.close()
    lines = [head.partition(b"\r\n") for head in heads]
    assert [line for line, _, _ in lines] == [
        b"POST /usual?q=1 HTTP/1.1",
        b"PUT /own/x?y=z HTTP/1.1",
        b"POST /usual?q=1 HTTP/1.1",
    ]
    assert len({rest[:-1] for _, _, rest in lines}) == 1
