"""Where to connect."""

import errno
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import gevent
import gevent.socket
from gevent.monkey import get_original
from websockets.uri import WebSocketURI, parse_uri

from loadgen.protocol.base import TlsOptions
from loadgen.transport import proxy, sources
from loadgen.transport.errors import TransportError, describe
from loadgen.transport.local_ports import LocalAddressError
from loadgen.transport.names import connect_host

_RawSocket = get_original("socket", "socket")
#: libev's EV_WRITE.
_WRITE = 2
#: Schemes of plain byte streams, and whether they are encrypted; all others are WebSocket.
_STREAMS: Final = {"tcp": False, "tls": True}


class Address:
    """Where to connect: resolved once, so that thousands of connects do not ask the resolver thousands of times.

    ``url`` is one of `Service.connect_url`'s kinds, and that of a byte stream names its port.

    Raises:
        TransportError: the client's certificate or its key cannot be used.
        ProxySettingError: the environment names a proxy that cannot be used.
    """

    def __init__(self, url: str, tls: TlsOptions | None = None) -> None:
        self.url = url
        scheme, _, _ = url.partition("://")
        #: What the WebSocket handshake asks for; None: a plain byte stream.
        self.uri: WebSocketURI | None = None
        if scheme in _STREAMS:
            parts = urlsplit(url)
            self.host, self.port, self.secure = parts.hostname or "", parts.port or 0, _STREAMS[scheme]
        else:
            self.uri = parse_uri(url)
            self.host, self.port, self.secure = self.uri.host, self.uri.port, self.uri.secure
        #: The proxy that connections go through; None: they go directly.
        self.proxy = proxy.route(url)
        self.name = proxy.named(f"{self.host}:{self.port}", self.proxy)
        self.ssl_context = _context(tls or TlsOptions()) if self.secure else None
        self._resolved: list[tuple[Any, ...]] | None = None

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connected, non-blocking socket; raises TransportError."""
        return proxy.connected(self.proxy, self._dial, self.host, self.port, timeout_s)

    def _dial(self, host: str, port: int, timeout_s: float) -> socket.socket:
        if self._resolved is None:
            self._resolved = resolved(host, port)
        return dial(self._resolved, f"{host}:{port}", timeout_s)


def resolved(host: str, port: int) -> list[tuple[Any, ...]]:
    """Return what `getaddrinfo` says of a host; raises TransportError."""
    try:
        return list(gevent.socket.getaddrinfo(connect_host(host), port, type=socket.SOCK_STREAM))
    except OSError as error:
        raise TransportError(
            f"the host name {host} cannot be resolved: {describe(error, f'{host}:{port}')}"
        ) from None
    except UnicodeError:
        raise TransportError(f"{host}: the host's name cannot be written as one of the DNS") from None


def dial(addresses: Sequence[tuple[Any, ...]], name: str, timeout_s: float) -> socket.socket:
    """Return a non-blocking socket that is connected to the first of the addresses that answers.

    Raises:
        LocalAddressError: this machine has no port or address left to connect from.
        TransportError: none answers.
    """
    failure: OSError | None = None
    for family, kind, proto, _name, address in addresses:
        raw: socket.socket = _RawSocket(family, kind, proto)
        raw.setblocking(False)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sources.bind(raw)
            _connect(raw, address, timeout_s)
        except BaseException as error:
            raw.close()
            if not isinstance(error, OSError):
                raise
            failure = error
            continue
        return raw
    if failure is not None and failure.errno == errno.EADDRNOTAVAIL:
        raise LocalAddressError(name) from None
    raise TransportError(describe(failure or OSError("no address"), name)) from None


def _connect(raw: socket.socket, address: Any, timeout_s: float) -> None:
    """Connect a non-blocking socket; gevent's own sockets would take twice the time, of which there are thousands."""
    code = raw.connect_ex(address)
    if code == errno.EINPROGRESS:
        hub = gevent.get_hub()
        watcher = hub.loop.io(raw.fileno(), _WRITE)
        try:
            with gevent.Timeout(timeout_s, TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))):
                hub.wait(watcher)
        finally:
            watcher.close()
        code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _context(tls: TlsOptions) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if tls.certificate is not None:
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise TransportError(
                f"the client certificate {tls.certificate!a} or its key cannot be used: {reason}"
            ) from None
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    return context
