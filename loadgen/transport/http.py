"""Publishing over HTTP.

A keep-alive connection stays on the hub's watcher list from its first request on, as a WebSocket does: a request is one
send, and its answer a callback from the hub (`http_connection`). There is no greenlet and no library object a request,
which is what geventhttpclient spends most of its time on. httpx stays selectable where its behaviour is what is to be
measured, and is what control and probing use.
"""

import os
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import gevent
import gevent.socket
import httpx
from gevent.event import AsyncResult
from gevent.monkey import get_original

from loadgen.transport import bounds, isolation, sources
from loadgen.transport.errors import TransportError, UnreadableError, describe
from loadgen.transport.http_connection import HttpConnection, OnResponse, TlsStream
from loadgen.transport.isolation import OnFailed, OurFailureError
from loadgen.transport.names import connect_host

_RawSocket = get_original("socket", "socket")
#: RFC 9110, 5.1 and 5.5: what a header may hold, so that none can smuggle in another.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class HttpClient(Protocol):
    """Sends bodies to the target, by POST if nothing else is said; one of these a publishing client."""

    def send(
        self,
        body: bytes,
        headers: Mapping[str, str],
        on_response: OnResponse,
        method: str = "POST",
        resource: str | None = None,
    ) -> None:
        """Send without waiting; ``on_response`` is called once, now or later. ``resource`` None: that of the URL."""

    def post(
        self, body: bytes, headers: Mapping[str, str], method: str = "POST", resource: str | None = None
    ) -> tuple[int, bytes]:
        """Return (status, body) of the answer; raises TransportError where there is none."""

    def close(self) -> None:
        """Close the connections."""


class GeventHttpClient:
    """HTTP/1.1 keep-alive connections on the gevent hub, at most ``connections`` at once; others wait for one.

    A POST is never sent twice: whether the first was taken, nobody knows. An error of the harness ends one connection
    or one request at most, and is told to ``on_failed``.
    """

    def __init__(
        self,
        url: str,
        connections: int,
        timeout_s: float = 10.0,
        on_failed: OnFailed | None = None,
        asked: str = "publish",
    ) -> None:
        """``timeout_s`` is for the whole of an answer; ``asked`` is what errors call a request."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self.name = parts.netloc
        self.timeout_s = timeout_s
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if secure else 80)
        self._tls = _tls_context() if secure else None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._request_line = f"POST {path} HTTP/1.1\r\n".encode("latin-1")
        self._host_line = f"host: {_host_header(self._host, parts.port, secure)}\r\n"
        self._headers: Mapping[str, str] | None = None
        self._head = b""
        self._most = connections
        self._count = 0
        self._idle: list[HttpConnection] = []
        self._busy: set[HttpConnection] = set()
        self._waiting: deque[tuple[bytes, OnResponse]] = deque()
        self._closed = False
        self._timer: Any = None
        self._on_failed = on_failed
        self._asked = asked

    def send(
        self,
        body: bytes,
        headers: Mapping[str, str],
        on_response: OnResponse,
        method: str = "POST",
        resource: str | None = None,
    ) -> None:
        """Send without waiting; ``on_response`` is called once, now or later."""
        if headers != self._headers:
            self._head = self._rendered(headers)
            self._headers = dict(headers)
        line = (
            self._request_line if resource is None else f"{method} {resource} HTTP/1.1\r\n".encode("latin-1")
        )
        request = b"%b%bcontent-length: %d\r\n\r\n%b" % (line, self._head, len(body), body)
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.is_good():
                self._begin(connection, request, on_response)
                return
        if self._count < self._most:
            self._count += 1
            gevent.spawn(self._connect, request, on_response)
        else:
            self._waiting.append((request, on_response))

    def post(
        self, body: bytes, headers: Mapping[str, str], method: str = "POST", resource: str | None = None
    ) -> tuple[int, bytes]:
        """Return (status, body) of the answer; raises TransportError where there is none."""
        answered: AsyncResult = AsyncResult()

        def on_response(status: int, answer: bytes, error: TransportError | None) -> None:
            if error is None:
                answered.set((status, answer))
            else:
                answered.set_exception(error)

        self.send(body, headers, on_response, method, resource)
        result: tuple[int, bytes] = answered.get()
        return result

    def close(self) -> None:
        """Close the connections; one that is awaiting an answer, when that has come."""
        self._closed = True
        for connection in self._idle:
            connection.dispose()
        self._idle.clear()

    def abort(self) -> None:
        """Close the connections at once; a request that awaits its answer fails."""
        self.close()
        for connection in list(self._busy):
            connection.fail(TransportError(f"{self.name}: given up"))
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    # What a connection tells.

    def answered(self, connection: HttpConnection, reusable: bool) -> None:
        """The connection's request is answered."""
        self._busy.discard(connection)
        if not reusable or self._closed:
            connection.dispose()
            self._freed()
        elif self._waiting:
            self._begin(connection, *self._waiting.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: HttpConnection) -> None:
        """The connection is gone, with or without a request."""
        if connection in self._busy:
            self._busy.discard(connection)
        elif connection in self._idle:
            self._idle.remove(connection)
        self._freed()

    def tell(self, on_response: OnResponse, status: int, body: bytes, error: TransportError | None) -> None:
        """Tell the answer to who has asked; an error there is of that request alone."""
        try:
            on_response(status, body, error)
        except Exception as raised:
            self.on_failed(raised)

    def on_failed(self, error: BaseException) -> None:
        """The harness has failed."""
        if isinstance(error, isolation.OF_THE_PROCESS):
            return
        if self._on_failed is not None:
            self._on_failed(error)
        else:
            gevent.get_hub().handle_error(self, type(error), error, error.__traceback__)

    def failed(self, error: BaseException) -> None:
        """A timer of this client has raised an error; see `isolation`."""
        self.on_failed(error)

    # Inside.

    def _rendered(self, headers: Mapping[str, str]) -> bytes:
        lines = [self._host_line, "user-agent: loadgen\r\n"]
        for name, value in headers.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                # Without its value: that may be a secret.
                raise ValueError(f"no HTTP header can be named or hold this: {name!r}")
            lines.append(f"{name}: {value}\r\n")
        return "".join(lines).encode("latin-1")

    def _begin(self, connection: HttpConnection, request: bytes, on_response: OnResponse) -> None:
        self._busy.add(connection)
        if self._timer is None:
            self._timer = gevent.get_hub().loop.timer(self.timeout_s)
            self._timer.start(isolation.run, self, self._on_timer)
        connection.send(request, on_response, time.monotonic() + self.timeout_s)

    def _freed(self) -> None:
        self._count -= 1
        if self._waiting:
            self._count += 1
            gevent.spawn(self._connect, *self._waiting.popleft())

    def _on_timer(self) -> None:
        """Give up what has waited too long; fires once in a timeout's time, however many requests there are."""
        self._timer.close()
        self._timer = None
        now_s = time.monotonic()
        for connection in list(self._busy):
            if connection.deadline_s <= now_s:
                connection.fail(TransportError(f"{self.name}: no answer to the {self._asked} in time"))
        if self._busy:
            earliest_s = min(connection.deadline_s for connection in self._busy)
            self._timer = gevent.get_hub().loop.timer(max(0.001, earliest_s - now_s))
            self._timer.start(isolation.run, self, self._on_timer)

    def _connect(self, request: bytes, on_response: OnResponse) -> None:
        try:
            # All of it: a server may answer a byte of the TLS handshake now and then, for ever.
            with gevent.Timeout(self.timeout_s):
                connection = self._connected()
        except (TransportError, gevent.Timeout) as error:
            self._freed()
            late = TransportError(f"{self.name}: no answer to the {self._asked} in time")
            self.tell(on_response, 0, b"", error if isinstance(error, TransportError) else late)
            return
        except Exception as error:
            self._freed()
            self.on_failed(error)
            self.tell(on_response, 0, b"", OurFailureError(error))
            return
        self._begin(connection, request, on_response)

    def _connected(self) -> HttpConnection:
        failure: OSError | None = None
        try:
            found = gevent.socket.getaddrinfo(
                connect_host(self._host), self._port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
            for family, kind, proto, _name, address in found:
                sock = gevent.socket.socket(family, kind, proto)
                try:
                    sock.settimeout(self.timeout_s)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sources.bind(sock)
                    sock.connect(address)
                    tls = TlsStream(self._tls, self._host, sock) if self._tls is not None else None
                except OSError as error:
                    sock.close()
                    failure = error
                    continue
                except BaseException:
                    sock.close()
                    raise
                return HttpConnection(self, _RawSocket(fileno=sock.detach()), tls)
        except (OSError, gevent.Timeout) as error:
            failure = error if isinstance(error, OSError) else TimeoutError()
        except UnicodeError:
            raise TransportError(
                f"{self.name}: the host's name cannot be written as one of the DNS"
            ) from None
        if isinstance(failure, TimeoutError):
            raise TransportError(f"{self.name}: no answer to the {self._asked} in time") from None
        raise TransportError(describe(failure or OSError("no address"), self.name)) from None


def _host_header(host: str, port: int | None, secure: bool) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if port in (None, 443 if secure else 80) else f"{bracketed}:{port}"


def _tls_context() -> ssl.SSLContext:
    """Return the one context of all clients: each of its own would be hundreds of certificates in memory."""
    return _tls_context_of(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=4)
def _tls_context_of(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    return ssl.create_default_context()


class HttpxClient:
    """The same by httpx."""

    def __init__(self, url: str, connections: int, timeout_s: float = 10.0) -> None:
        self._url = url
        self._name = urlsplit(url).netloc
        self._timeout_s = timeout_s
        self._client = httpx.Client(limits=httpx.Limits(max_connections=connections), timeout=timeout_s)
        self._client.headers["accept-encoding"] = "identity"

    def send(
        self,
        body: bytes,
        headers: Mapping[str, str],
        on_response: OnResponse,
        method: str = "POST",
        resource: str | None = None,
    ) -> None:
        """Send in a greenlet of its own."""

        def post() -> None:
            try:
                status, answer = self.post(body, headers, method, resource)
            except TransportError as error:
                on_response(0, b"", error)
            except Exception as error:
                on_response(0, b"", OurFailureError(error))
            else:
                on_response(status, answer, None)

        gevent.spawn(post)

    def post(
        self, body: bytes, headers: Mapping[str, str], method: str = "POST", resource: str | None = None
    ) -> tuple[int, bytes]:
        """Return (status, body) of the answer; raises TransportError where there is none."""
        url = self._url if resource is None else urljoin(self._url, resource)
        late = TransportError(f"{self._name}: no answer to the publish in time")
        deadline_s = time.monotonic() + self._timeout_s
        answer = bytearray()
        # Its own timeout is for each read. gevent's ends the whole, where gevent waits for the socket (under Locust).
        with gevent.Timeout(self._timeout_s, late):
            try:
                with self._client.stream(method, url, content=body, headers=dict(headers)) as response:
                    # Raw: 64 KB of gzip may be 64 MB.
                    for part in response.iter_raw(64 * 1024):
                        answer += part
                        if len(answer) > bounds.HTTP_BODY_BYTES:
                            raise UnreadableError(
                                f"{self._name}: the answer has a body of more than {bounds.HTTP_BODY_BYTES:,} bytes"
                            )
                        if time.monotonic() > deadline_s:
                            raise late
            except (httpx.HTTPError, UnicodeError) as error:
                # Whatever the server sent that is no answer.
                raise TransportError(f"{self._name}: {error or type(error).__name__}") from None
        return response.status_code, bytes(answer)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
