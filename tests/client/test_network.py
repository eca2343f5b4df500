"""Test the steps DNS, TCP and TLS of `loadgen probe`, which come before the service's own protocol, on the loopback."""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from loadgen.client import network as module
from loadgen.client.network import PROXY_ADVICE, Network
from loadgen.client.steps import StepError
from loadgen.transport.dialing import Dialer
from tests.authority import trusted
from tests.listening import accepting


def network(*urls: str) -> Network:
    return Network([urlsplit(url) for url in urls], Dialer(allow_remote=True))


def greet(peer: socket.socket) -> None:
    """Handle an accepted connection: wait until the client sends a byte or hangs up."""
    with peer, suppress(OSError):
        peer.recv(1)


def free_port() -> int:
    """Return a port on which nothing listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_hosts_are_resolved_once_each() -> None:
    steps = network("http://127.0.0.1:1/event", "ws://127.0.0.1:2/event", "ws://localhost/event")
    first, second = steps.dns().split("; ")
    assert first == "127.0.0.1 is 127.0.0.1"
    assert second.startswith("localhost is ")


def test_a_host_without_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(
        StepError, match=r"api\.example has no address \(Name or service not known\)"
    ) as error:
        network("https://api.example/event").dns()
    assert "typing errors" in error.value.advice


def test_a_port_that_accepts_is_connected_to_and_one_that_refuses_is_named() -> None:
    with accepting(greet) as listener:
        port = listener.getsockname()[1]
        assert network(f"ws://127.0.0.1:{port}/", f"http://127.0.0.1:{port}/").tcp() == (
            f"connected to 127.0.0.1:{port}"
        )
    port = free_port()
    refused = rf"^127\.0\.0\.1:{port} does not take connections \((?!127)"
    with pytest.raises(StepError, match=refused) as error:
        network(f"ws://127.0.0.1:{port}/").tcp()
    assert "firewalls" in error.value.advice


def test_a_target_behind_a_proxy_is_left_to_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with accepting(greet) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        steps = network("https://api.example/event", "wss://api.example/event")
        left = f"https://api.example:443 and wss://api.example:443 through the proxy 127.0.0.1:{port}"
        assert steps.dns() == f"127.0.0.1 is 127.0.0.1; {left} (HTTPS_PROXY)"
        assert steps.tcp() == f"connected to 127.0.0.1:{port}; {left} (HTTPS_PROXY)"


def test_a_proxys_refusal_has_advice_about_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with accepting(forbid) as listener:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(StepError, match="403") as error:
            network("https://api.example/event").tls()
    assert error.value.advice == PROXY_ADVICE


def test_tls_is_tried_only_with_encrypted_urls() -> None:
    assert network("ws://127.0.0.1:1/", "http://127.0.0.1:1/").tls() == "none: the target is not encrypted"


def test_the_version_and_the_certificates_days_are_reported(tmp_path: Path) -> None:
    with trusted(tmp_path) as context, accepting(serving(context)) as listener:
        found = network(f"wss://127.0.0.1:{listener.getsockname()[1]}/").tls()
    assert found.startswith("127.0.0.1 TLSv1.")
    days = int(found.partition("certificate good for ")[2].split()[0])
    assert days > 0
    assert found.endswith("(soon!)") == (days < module.EXPIRY_WARNING_DAYS)


def test_an_unknown_authority_is_no_trouble_of_the_port(tmp_path: Path) -> None:
    with trusted(tmp_path) as context:
        serve = serving(context)
    with accepting(serve) as listener, pytest.raises(StepError, match="certificate is not trusted") as error:
        network(f"https://127.0.0.1:{listener.getsockname()[1]}/").tls()
    assert "SSL_CERT_FILE" in error.value.advice


def test_a_server_without_tls_is_named() -> None:
    def plain(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            peer.recv(4096)

    with accepting(plain) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(StepError, match=f"127.0.0.1:{port} does not speak TLS") as error:
            network(f"https://127.0.0.1:{port}/").tls()
    assert "scheme and port" in error.value.advice


def serving(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """Return a function that does the server's part of a TLS handshake, then waits until the client sends or closes."""

    def serve(peer: socket.socket) -> None:
        with peer, suppress(OSError), context.wrap_socket(peer, server_side=True) as wrapped:
            wrapped.recv(1)

    return serve
