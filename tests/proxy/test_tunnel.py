"""Test tunnels on real sockets, through a proxy that sends arbitrary answers to CONNECT."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from loadgen.transport import tunnel
from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer, ForbiddenAddressError
from loadgen.transport.errors import TransportError
from loadgen.transport.http import GeventHttpClient
from loadgen.transport.proxy import Proxy, ProxyError
from tests.listening import accepting

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
SECRET = "Basic aHVudGVyMg=="

Says = Callable[[socket.socket, bytes], None]


@contextmanager
def proxied(says: Says, login: str | None = None) -> Iterator[tuple[Proxy, list[bytes]]]:
    """Run a proxy that reads each request's head and answers with ``says``; yield the proxy and the list of heads."""
    heads: list[bytes] = []

    def answer(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += peer.recv(4096)
            heads.append(head)
            says(peer, head)

    with accepting(answer) as listener:
        yield Proxy("127.0.0.1", listener.getsockname()[1], "HTTPS_PROXY", login), heads


def saying(*parts: bytes) -> Says:
    def says(peer: socket.socket, _head: bytes) -> None:
        for part in parts:
            peer.sendall(part)
            time.sleep(0.01)
        time.sleep(0.2)

    return says


def connect(through: Proxy, timeout_s: float = 5.0) -> socket.socket:
    return tunnel.connected(
        through,
        Dialer(allow_remote=True).connect,
        "api.example.com",
        443,
        timeout_s,
    )


@pytest.mark.parametrize(
    "parts",
    [
        (ESTABLISHED,),
        (ESTABLISHED[:10], ESTABLISHED[10:-1], ESTABLISHED[-1:]),
        (b"HTTP/1.0 200\r\n\r\n",),
        (b"HTTP/1.1 299 Fine\r\nvia: x\r\n\r\n",),
        (b"HTTP/1.1 200 OK\n\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n", ESTABLISHED),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ESTABLISHED,),
        # RFC 9110, 9.3.6: Content-Length in a successful answer to CONNECT is ignored.
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",),
    ],
)
def test_the_socket_behind_an_agreement_is_the_targets(parts: tuple[bytes, ...]) -> None:
    def says(peer: socket.socket, head: bytes) -> None:
        saying(*parts)(peer, head)
        peer.sendall(b"back: " + peer.recv(100))

    with proxied(says, SECRET) as (through, heads):
        sock = connect(through)
        sock.setblocking(True)
        sock.sendall(b"hello")
        assert sock.recv(100) == b"back: hello"
        sock.close()
    assert heads == [
        b"CONNECT api.example.com:443 HTTP/1.1\r\nhost: api.example.com:443\r\nuser-agent: loadgen\r\n"
        b"proxy-authorization: " + SECRET.encode() + b"\r\n\r\n"
    ]


@pytest.mark.parametrize(
    ("parts", "login", "said"),
    [
        (
            (b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 5\r\n\r\nlogin",),
            None,
            "wants a login (407 Proxy Authentication Required): write it into HTTPS_PROXY as http://NAME:PASSWORD@",
        ),
        ((b"HTTP/1.0 401 Unauthorized\r\n\r\n",), SECRET, "does not accept the login in HTTPS_PROXY (401 Un"),
        (
            (b"HTTP/1.0 401 Unauthorized\r\n\r\n",),
            None,
            "does not allow connections to api.example.com:443 (401 Un",
        ),
        ((b"HTTP/1.1 500 No route\r\n\r\n",), None, "cannot connect to api.example.com:443 (500 No route)"),
        ((b"HTTP/1.1 407 No\r\n\r\n",), SECRET, "does not accept the login in HTTPS_PROXY (407 No)"),
        (
            (b"HTTP/1.0 403 Filtered\r\n\r\n",),
            None,
            "does not allow connections to api.example.com:443 (403 Fil",
        ),
        (
            (b"HTTP/1.1 502 Bad\x1b[2JGateway\r\n\r\n",),
            None,
            "cannot connect to api.example.com:443 (502 Bad\\x1b[2J",
        ),
        (
            (b"HTTP/1.1 301 Moved\r\nlocation: http://x\r\n\r\n",),
            None,
            "refused to connect to api.example.com:443 (301",
        ),
        ((b"SSH-2.0-OpenSSH\r\n",), None, "answered with something that is not HTTP/1.1: 'SSH-2.0-OpenSSH"),
        (
            (b"\x05\x00",),
            None,
            "something that is not HTTP/1.1: '\\x05\\x00'; check that HTTPS_PROXY names an HTTP",
        ),
        ((b"HTTP/1.1 2000 x\r\n\r\n",), None, "something that is not HTTP/1.1: 'HTTP/1.1 2000 x"),
        ((b"HTTP/1.1 200 OK\r\n\r\n<html>",), None, "and then sent something of its own: is it a login page"),
        ((b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 9000,), None, "answered with more than 16 KB of headers"),
        ((b"HTTP/1.1 100 Go\r\n\r\n" * 3000,), None, "answered with more than 16 KB of headers"),
    ],
)
def test_what_the_proxy_answers_is_told_as_the_proxys(
    parts: tuple[bytes, ...], login: str | None, said: str
) -> None:
    with proxied(saying(*parts), login) as (through, _), pytest.raises(ProxyError) as refused:
        connect(through)
    sentence = str(refused.value)
    assert sentence.startswith(f"the proxy {through.name} ")
    assert said in sentence
    assert sentence.isprintable()
    assert len(sentence) < 400
    assert SECRET not in sentence


def test_a_proxy_that_closes_or_is_not_there_is_named() -> None:
    with proxied(lambda peer, head: None) as (through, _):
        with pytest.raises(ProxyError, match="closed the connection before it had answered"):
            connect(through)
        port = through.port
    with pytest.raises(
        ProxyError, match=f"HTTPS_PROXY names cannot be reached: 127.0.0.1:{port}: Connection refused"
    ):
        connect(through)


@pytest.mark.parametrize("drip", [b"", b"x: y\r\n"])
def test_silence_and_a_drip_end_with_the_time_of_the_whole(drip: bytes) -> None:
    def says(peer: socket.socket, _head: bytes) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n" if drip else b"")
        for _ in range(60):
            peer.sendall(drip)
            time.sleep(0.05)

    began = time.monotonic()
    with (
        proxied(says) as (through, _),
        pytest.raises(ProxyError, match="did not answer in time when asked to connect"),
    ):
        connect(through, 0.4)
    assert time.monotonic() - began < 2.5


def test_a_refusal_leaves_no_socket_open() -> None:
    seen: list[bytes] = []

    def says(peer: socket.socket, _head: bytes) -> None:
        peer.sendall(b"HTTP/1.1 403 No\r\n\r\n")
        peer.settimeout(3)
        seen.append(peer.recv(1))

    with proxied(says) as (through, _):
        with pytest.raises(ProxyError):
            connect(through)
        time.sleep(0.2)
    assert seen == [b""]


def test_connections_and_publishes_take_the_same_way_by_connect_even_unencrypted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request through a tunnel has no absolute URL and no login of the proxy, like a direct one."""
    inside: list[bytes] = []

    def says(peer: socket.socket, _head: bytes) -> None:
        peer.sendall(ESTABLISHED)
        inside.append(peer.recv(4096))
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        peer.recv(1)

    with proxied(says) as (through, heads):
        monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter2@{through.name}")
        client = GeventHttpClient("http://192.0.2.7:81/event", 1, dialer=Dialer(allow_remote=True))
        assert client.post(b"{}", {}) == (200, b"{}")
        client.close()
        sock = Address("ws://192.0.2.7:81/event/realtime", dialer=Dialer(allow_remote=True)).connect(5.0)
        sock.close()
    assert [head.split(b"\r\n")[0] for head in heads] == [b"CONNECT 192.0.2.7:81 HTTP/1.1"] * 2
    assert inside[0].startswith(b"POST /event HTTP/1.1\r\nhost: 192.0.2.7:81\r\n")
    assert b"proxy-authorization" not in inside[0]


def test_errors_after_the_tunnel_say_that_there_is_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    def says(peer: socket.socket, _head: bytes) -> None:
        peer.sendall(ESTABLISHED)
        peer.recv(4096)

    with proxied(says) as (through, _):
        monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter2@{through.name}")
        client = GeventHttpClient("http://192.0.2.7:81/event", 1, dialer=Dialer(allow_remote=True))
        with pytest.raises(TransportError) as broken:
            client.post(b"{}", {})
    assert str(broken.value).startswith(
        f"192.0.2.7:81 (through the proxy {through.name}): the connection broke off"
    )


def connect_forbidden() -> None:
    Address("ws://192.0.2.7:81/event/realtime", dialer=Dialer()).connect(5.0)


def post_forbidden() -> None:
    GeventHttpClient("http://192.0.2.7:81/event", 1, dialer=Dialer()).post(b"{}", {})


@pytest.mark.parametrize("reach", [connect_forbidden, post_forbidden])
def test_a_proxy_on_this_machine_makes_no_target_local(
    reach: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(peer: socket.socket, _head: bytes) -> None:
        peer.sendall(ESTABLISHED)

    with proxied(says) as (through, heads):
        monkeypatch.setenv("HTTP_PROXY", f"http://{through.name}")
        with pytest.raises(ForbiddenAddressError, match=r"192\.0\.2\.7 is reached through the proxy"):
            reach()
    # The error is raised before any request is sent, even to the proxy.
    assert heads == []
