"""The address of a service, with all settings needed to connect to it."""

import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

from websockets.uri import WebSocketURI, parse_uri

from loadgen.protocol.base import TlsOptions
from loadgen.transport import proxy
from loadgen.transport.dialing import Dialer
from loadgen.transport.errors import TransportError
from loadgen.transport.native_tls import NativeTls, native_context
from loadgen.transport.tls import Tls, TlsSessions
from loadgen.transport.upgrade import LastAccepted

#: URL schemes of connections that are no WebSockets, each with True if it uses TLS. `tcp` and `tls` are byte streams;
#: with `http` and `https`, the stream is the body of an HTTP answer.
_STREAMS: Final = {"tcp": False, "tls": True, "http": False, "https": True}
_HTTP_PORTS: Final = {"http": 80, "https": 443}


class Address:
    """The address to connect to: host, port, scheme, TLS settings and proxy.

    ``url`` has a scheme that `Service.connect_url` allows, and a byte stream's URL includes the port. ``dialer`` opens
    the sockets; the default one connects to loopback only.

    Raises:
        TransportError: the client certificate or its key cannot be used.
        ProxySettingError: the environment names a proxy that cannot be used.
    """

    def __init__(self, url: str, tls: TlsOptions | None = None, dialer: Dialer | None = None) -> None:
        self.url = url
        scheme, _, _ = url.partition("://")
        #: URL of the WebSocket handshake, or None for any other stream.
        self.uri: WebSocketURI | None = None
        #: True if the stream is the body of an HTTP answer.
        self.is_http = scheme in _HTTP_PORTS
        if scheme in _STREAMS:
            parts = urlsplit(url)
            port = parts.port or _HTTP_PORTS.get(scheme, 0)
            self.host, self.port, self.secure = parts.hostname or "", port, _STREAMS[scheme]
        else:
            self.uri = parse_uri(url)
            self.host, self.port, self.secure = self.uri.host, self.uri.port, self.uri.secure
        #: Proxy for the connections, or None if they go directly.
        self.proxy = proxy.route(url)
        self.name = proxy.named(f"{self.host}:{self.port}", self.proxy)
        options = tls or TlsOptions()
        self.ssl_context = _context(options) if self.secure else None
        #: The settings of `ssl_context` in the form that `NativeTls` needs, or None if the connections use Python's
        #: `ssl` module.
        self._native_context = None if self.ssl_context is None else native_context(self.ssl_context, options)
        #: The TLS sessions to resume, or None if each connection makes a full handshake.
        self.sessions = TlsSessions() if self.secure and tls is not None and tls.resumption else None
        #: The server's last answer that accepted a WebSocket. All connections share it, since comparing an answer with
        #: it is faster than parsing the answer.
        self.accepted = LastAccepted()
        self._dialer = dialer or Dialer()

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connected, non-blocking socket; raises the errors of `Dialer.connect`."""
        return self._dialer.connect(self.host, self.port, timeout_s, self.proxy)

    def begin_tls(self) -> Tls | NativeTls:
        """Begin TLS with the service, whose URL must have a scheme with TLS.

        Raises ValueError if the host's name is invalid.
        """
        assert self.ssl_context is not None
        session = None if self.sessions is None else self.sessions.session
        if self._native_context is None:
            # All connections to an address use the same implementation of TLS. Here it is Python's `ssl`, so a session
            # to resume is an `ssl.SSLSession`.
            assert session is None or isinstance(session, ssl.SSLSession)
            return Tls(self.ssl_context, self.host, session)
        return NativeTls(self._native_context, self.host.encode("idna").decode("ascii"), session)


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
