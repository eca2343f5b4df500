"""Where to connect."""

import socket
import ssl
from typing import Any

import gevent.socket
from gevent.monkey import get_original
from websockets.uri import WebSocketURI, parse_uri

from loadgen.transport.errors import TransportError, describe
from loadgen.transport.names import connect_host

_RawSocket = get_original("socket", "socket")


class Address:
    """Where to connect: resolved once, so that thousands of connects do not ask the resolver thousands of times."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.uri: WebSocketURI = parse_uri(url)
        self.name = f"{self.uri.host}:{self.uri.port}"
        self.ssl_context = ssl.create_default_context() if self.uri.secure else None
        self._resolved: list[tuple[Any, ...]] | None = None

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connected, non-blocking socket; raises TransportError."""
        try:
            if self._resolved is None:
                self._resolved = gevent.socket.getaddrinfo(
                    connect_host(self.uri.host), self.uri.port, type=socket.SOCK_STREAM
                )
        except OSError as error:
            raise TransportError(
                f"the host name {self.uri.host} cannot be resolved: {describe(error, self.name)}"
            ) from None
        failure: OSError | None = None
        for family, kind, proto, _name, address in self._resolved:
            sock = gevent.socket.socket(family, kind, proto)
            sock.settimeout(timeout_s)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
                continue
            raw: socket.socket = _RawSocket(fileno=sock.detach())
            raw.setblocking(False)
            return raw
        raise TransportError(describe(failure or OSError("no address"), self.name)) from None
