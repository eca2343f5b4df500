import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import httpx
import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.sync.server import ServerConnection, serve

from loadgen.measure.clock import now_ns
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.base import HttpRequest, PublishAnswer, TlsOptions
from loadgen.server.process import Announcement
from loadgen.transport.address import Address
from loadgen.transport.errors import HandshakeRefusedError, TransportError
from loadgen.transport.http import GeventHttpClient
from loadgen.transport.websocket import WebSocket
from tests.listening import accepting
from tests.protocol.recording import Recording
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("inlet_kind")


def service_of(server: Announcement) -> AppSyncEvents:
    return AppSyncEvents(Endpoints.from_url(server.http_url), ApiKey(server.api_key))


def converse(service: AppSyncEvents) -> tuple[WebSocket, Any, Recording, list[tuple[int | None, str]]]:
    handler, closed = Recording(), []
    session = service.session(handler)
    handshake = service.handshake()
    connection = WebSocket(
        Address(service.connect_url),
        subprotocols=handshake.subprotocols,
        headers=handshake.headers,
        on_text=session.receive,
        on_closed=lambda code, reason: closed.append((code, reason)),
    )
    connection.open(10)
    for message in session.opening():
        connection.send(message)
    wait_for(lambda: handler.named("on_connected"))
    return connection, session, handler, closed


def subscribe_publish_receive(server: Announcement) -> None:
    service = service_of(server)
    connection, session, handler, closed = converse(service)
    connection.send(session.subscribe("s1", "/default/a/*"))
    wait_for(lambda: handler.named("on_subscribed"))
    before_ns = now_ns()
    connection.send(session.publish("p1", "/default/a/b", ['{"n":1}', '{"n":2}']))
    wait_for(lambda: len(handler.named("on_event")) == 2 and handler.named("on_published"))
    after_ns = now_ns()
    events = handler.named("on_event")
    assert [event[:2] for event in events] == [("s1", '{"n":1}'), ("s1", '{"n":2}')]
    for _, _, arrival_ns, read_ns in events:
        assert before_ns < arrival_ns <= read_ns < after_ns
    assert handler.named("on_published")[0][:2] == ("p1", PublishAnswer())
    assert connection.kernel_timestamps is sys.platform.startswith("linux")
    connection.close()
    wait_for(lambda: closed)
    assert closed[0][0] == 1000


def test_a_conversation_over_plain_tcp(plain_server: Announcement) -> None:
    subscribe_publish_receive(plain_server)


def test_the_same_conversation_over_tls_with_kernel_timestamps(trusted: Announcement) -> None:
    subscribe_publish_receive(trusted)


@pytest.mark.parametrize("resumption", [False, True])
def test_a_later_connection_resumes_the_session_if_that_is_asked_for(
    trusted: Announcement, resumption: bool
) -> None:
    service = service_of(trusted)
    address = Address(service.connect_url, TlsOptions(resumption=resumption))
    handshake = service.handshake()
    resumed = []
    for _ in range(3):
        connection = WebSocket(
            address,
            subprotocols=handshake.subprotocols,
            headers=handshake.headers,
            on_text=lambda *_: None,
            on_closed=lambda *_: None,
        )
        connection.open(10)
        resumed.append(connection.tls_resumed)
        connection.abort()
    assert resumed == [False, resumption, resumption]


def test_the_receive_stamp_is_the_kernels_and_not_the_time_of_the_read(
    plain_server: Announcement, inlet_kind: str
) -> None:
    service = service_of(plain_server)
    connection, session, handler, _ = converse(service)
    connection.send(session.subscribe("s1", "/default/stamp"))
    wait_for(lambda: handler.named("on_subscribed"))
    connection.send(session.publish("p1", "/default/stamp", ["1"]))
    gevent.sleep(0)  # let the frame be sent, then keep the hub from reading the answer
    time.sleep(0.2)
    awake_ns = now_ns()
    wait_for(lambda: handler.named("on_event"))
    ((_, _, arrival_ns, read_ns),) = handler.named("on_event")
    if inlet_kind == "native":
        # The blocked event loop does not matter here: the native path reads in a thread of its own.
        assert arrival_ns <= read_ns < awake_ns
    else:
        assert read_ns - arrival_ns > 150_000_000
    connection.abort()


def test_a_certificate_that_nobody_vouches_for_is_a_sentence(
    tls_server: tuple[Announcement, Any],
) -> None:
    with pytest.raises(TransportError, match=r"TLS failed: .*CERTIFICATE_VERIFY_FAILED"):
        converse(service_of(tls_server[0]))


def test_a_port_without_a_server_is_a_sentence() -> None:
    # The port is bound but not listened on, so that no parallel test can listen there.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        connection = WebSocket(
            Address(f"ws://127.0.0.1:{port}/event/realtime"),
            subprotocols=(),
            headers={},
            on_text=lambda *_: None,
            on_closed=lambda *_: None,
        )
        with pytest.raises(TransportError, match=rf"127\.0\.0\.1:{port}: Connection refused"):
            connection.open(5)


def test_a_server_that_says_no_to_the_upgrade_is_a_refusal(plain_server: Announcement) -> None:
    wrong = plain_server.ws_url.replace("/event/realtime", "/nowhere")
    connection = WebSocket(
        Address(wrong), subprotocols=(), headers={}, on_text=lambda *_: None, on_closed=lambda *_: None
    )
    with pytest.raises(HandshakeRefusedError, match="HTTP 404"):
        connection.open(5)


def test_a_server_that_never_answers_the_upgrade_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        connection = WebSocket(
            Address(f"ws://127.0.0.1:{silent.getsockname()[1]}/"),
            subprotocols=(),
            headers={},
            on_text=lambda *_: None,
            on_closed=lambda *_: None,
        )
        with pytest.raises(TransportError, match=r"no answer to the WebSocket handshake within 0\.3 s"):
            connection.open(0.3)


@pytest.fixture
def echo_url() -> Any:
    """Yield the URL of an echo server (from the `websockets` library) that fragments, pings or closes when told to."""

    def handle(connection: ServerConnection) -> None:
        for message in connection:
            if message == "fragments":
                connection.send(["one ", "two ", "three"])
            elif message == "ping":
                connection.ping(b"are you there?").wait(5)
                connection.send("pong came")
            elif message == "large":
                connection.send("x" * 3_000_000)
            elif message == "leave":
                connection.close(4321, "enough")
                return

    server = serve(handle, "127.0.0.1", 0, compression=None)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
    server.shutdown()
    thread.join()


def test_fragments_pings_large_messages_and_a_close_code(echo_url: str) -> None:
    texts: list[bytes] = []
    closed: list[tuple[int | None, str]] = []
    connection = WebSocket(
        Address(echo_url),
        subprotocols=(),
        headers={},
        on_text=lambda text, *_: texts.append(bytes(text)),
        on_closed=lambda code, reason: closed.append((code, reason)),
    )
    connection.open(5)
    for request in (b"fragments", b"ping", b"large", b"leave"):
        connection.send(request)
    wait_for(lambda: closed)
    assert texts == [b"one two three", b"pong came", b"x" * 3_000_000]
    assert closed == [(4321, "enough")]
    with pytest.raises(TransportError):
        connection.send(b"too late")


def test_what_the_socket_does_not_take_at_once_is_sent_later_and_in_order(echo_url: str) -> None:
    texts: list[bytes] = []
    connection = WebSocket(
        Address(echo_url),
        subprotocols=(),
        headers={},
        on_text=lambda text, *_: texts.append(bytes(text)),
        on_closed=lambda *_: None,
    )
    connection.open(5)
    for _ in range(40):
        connection.send(b"y" * 500_000)  # the server reads these messages and does nothing with them
    connection.send(b"fragments")
    wait_for(lambda: texts)
    assert texts == [b"one two three"]
    connection.abort()


def by_ours(url: str, request: HttpRequest) -> tuple[int, bytes]:
    client = GeventHttpClient(url, 2)
    answer = client.post(request.body, request.headers)
    client.close()
    return answer


def by_httpx(url: str, request: HttpRequest) -> tuple[int, bytes]:
    answer = httpx.post(url, content=request.body, headers=dict(request.headers))
    return answer.status_code, answer.content


@pytest.mark.parametrize("post", [by_ours, by_httpx])
def test_http_publish_by_either_library(
    plain_server: Announcement, post: Callable[[str, HttpRequest], tuple[int, bytes]]
) -> None:
    service = service_of(plain_server)
    answer = post(service.http_url, service.http_publish("/default/a", ["1", "2"]))
    assert service.http_answer(*answer) == PublishAnswer()
    answer = post(service.http_url, service.http_publish("/default/a", ["1"] * 6))
    assert service.http_answer(*answer).error == "BadRequestException: Input exceeded 5 event limit"


def test_pooled_connections_are_kept_when_descriptors_are_past_the_reach_of_select(
    plain_server: Announcement,
) -> None:
    accepted = []

    def answer(peer: socket.socket) -> None:
        accepted.append(peer)
        while peer.recv(65536):
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with accepting(answer) as listener:
        many = [socket.socket() for _ in range(1100)]
        client = GeventHttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}/event", 1)
        for _ in range(5):
            assert client.post(b"{}", {}) == (200, b"{}")
        client.close()
        for opened in many:
            opened.close()
        assert len(accepted) == 1


@pytest.mark.parametrize("how", ["apart", "together", "torn"])
def test_frames_that_come_along_with_the_upgrade_are_not_lost(how: str) -> None:
    """If the answer to the upgrade arrives in parts, the library reads it, and also all frames after it."""
    messages = [b'{"n":1}', b"[2]" * 100, b"3"]
    stream = b"".join(Frame(Opcode.TEXT, message).serialize(mask=False) for message in messages)

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        protocol = ServerProtocol()
        while not (events := protocol.events_received()):
            protocol.receive_data(connection.recv(65536))
        (request,) = events
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        upgrade = b"".join(protocol.data_to_send())
        parts = {
            "apart": [upgrade, stream[:12], stream[12:]],
            "together": [upgrade + stream[:12], stream[12:]],
            "torn": [upgrade[:50], upgrade[50:] + stream[:12], stream[12:]],
        }
        for part in parts[how]:
            connection.sendall(part)
            time.sleep(0.1)
        connection.close()

    received: list[bytes] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        connection = WebSocket(
            Address(f"ws://127.0.0.1:{listener.getsockname()[1]}/"),
            subprotocols=(),
            headers={},
            on_text=lambda message, *_: received.append(bytes(message)),
            on_closed=lambda *_: None,
        )
        connection.open(10)
        wait_for(lambda: len(received) == 3)
        # If the answer to the upgrade arrived in pieces, the websockets library reads the frames; otherwise our own
        # parser does.
        assert (connection._frames is None) is (how == "torn")
        connection.abort()
        thread.join()
    assert received == messages
