"""Publishing over HTTP.

A keep-alive connection stays on the hub's watcher list from its first request on, as a WebSocket does: a request is one
send, and its answer a callback from the hub. There is no greenlet and no library object a request, which is what
geventhttpclient spends most of its time on; its parser (llhttp) reads every answer that is not one whole message of
known length. httpx stays selectable where its behaviour is what is to be measured, and is what control and probing use.
"""

import contextlib
import os
import re
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

import gevent
import gevent.socket
import httpx
from gevent.event import AsyncResult
from gevent.monkey import get_original
from geventhttpclient.response import HTTPParseError, HTTPResponse

from loadgen.transport.errors import TransportError, describe
from loadgen.transport.names import connect_host

_poll = get_original("select", "poll")
_RawSocket = get_original("socket", "socket")
_READ, _WRITE = 1, 2
_READ_BYTES = 64 * 1024
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
#: RFC 9110, 5.1 and 5.5: what a header may hold, so that none can smuggle in another.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

#: Told (status, body, None) of the answer, or (0, nothing, why there is none); from the hub, so it must not block.
OnResponse = Callable[[int, bytes, TransportError | None], None]


class HttpClient(Protocol):
    """POSTs a body to the target; one of these a publishing client."""

    def send(self, body: bytes, headers: Mapping[str, str], on_response: OnResponse) -> None:
        """POST without waiting; ``on_response`` is called once, now or later."""

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return (status, body) of the answer; raises TransportError where there is none."""

    def close(self) -> None:
        """Close the connections."""


class GeventHttpClient:
    """HTTP/1.1 keep-alive connections on the gevent hub, at most ``connections`` at once; others wait for one.

    A POST is never sent twice: whether the first was taken, nobody knows.
    """

    def __init__(self, url: str, connections: int, timeout_s: float = 10.0) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self.name = parts.netloc
        self.timeout_s = timeout_s
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if secure else 80)
        self._tls = _tls_context() if secure else None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._request_line = (
            f"POST {path} HTTP/1.1\r\nhost: {_host_header(self._host, parts.port, secure)}\r\n"
        )
        self._headers: Mapping[str, str] | None = None
        self._head = b""
        self._most = connections
        self._count = 0
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._waiting: deque[tuple[bytes, OnResponse]] = deque()
        self._closed = False
        self._timer: Any = None

    def send(self, body: bytes, headers: Mapping[str, str], on_response: OnResponse) -> None:
        """POST without waiting; ``on_response`` is called once, now or later."""
        if headers != self._headers:
            self._head = self._rendered(headers)
            self._headers = dict(headers)
        request = b"%bcontent-length: %d\r\n\r\n%b" % (self._head, len(body), body)
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

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return (status, body) of the answer; raises TransportError where there is none."""
        answered: AsyncResult = AsyncResult()

        def on_response(status: int, answer: bytes, error: TransportError | None) -> None:
            if error is None:
                answered.set((status, answer))
            else:
                answered.set_exception(error)

        self.send(body, headers, on_response)
        result: tuple[int, bytes] = answered.get()
        return result

    def close(self) -> None:
        """Close the connections; one that is awaiting an answer, when that has come."""
        self._closed = True
        for connection in self._idle:
            connection.dispose()
        self._idle.clear()

    # What a connection tells.

    def answered(self, connection: "_Connection", reusable: bool) -> None:
        """The connection's request is answered."""
        self._busy.discard(connection)
        if not reusable or self._closed:
            connection.dispose()
            self._freed()
        elif self._waiting:
            self._begin(connection, *self._waiting.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: "_Connection") -> None:
        """The connection is gone, with or without a request."""
        if connection in self._busy:
            self._busy.discard(connection)
        elif connection in self._idle:
            self._idle.remove(connection)
        self._freed()

    # Inside.

    def _rendered(self, headers: Mapping[str, str]) -> bytes:
        lines = [self._request_line, "user-agent: loadgen\r\n"]
        for name, value in headers.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                # Without its value: that may be a secret.
                raise ValueError(f"no HTTP header can be named or hold this: {name!r}")
            lines.append(f"{name}: {value}\r\n")
        return "".join(lines).encode("latin-1")

    def _begin(self, connection: "_Connection", request: bytes, on_response: OnResponse) -> None:
        self._busy.add(connection)
        if self._timer is None:
            self._timer = gevent.get_hub().loop.timer(self.timeout_s)
            self._timer.start(self._on_timer)
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
                connection.fail(TransportError(f"{self.name}: no answer to the publish in time"))
        if self._busy:
            earliest_s = min(connection.deadline_s for connection in self._busy)
            self._timer = gevent.get_hub().loop.timer(max(0.001, earliest_s - now_s))
            self._timer.start(self._on_timer)

    def _connect(self, request: bytes, on_response: OnResponse) -> None:
        try:
            connection = self._connected()
        except TransportError as error:
            self._freed()
            on_response(0, b"", error)
            return
        self._begin(connection, request, on_response)

    def _connected(self) -> "_Connection":
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
                    sock.connect(address)
                    tls = _Tls(self._tls, self._host, sock) if self._tls is not None else None
                except OSError as error:
                    sock.close()
                    failure = error
                    continue
                except BaseException:
                    sock.close()
                    raise
                return _Connection(self, _RawSocket(fileno=sock.detach()), tls)
        except (OSError, gevent.Timeout) as error:
            failure = error if isinstance(error, OSError) else TimeoutError()
        if isinstance(failure, TimeoutError):
            raise TransportError(f"{self.name}: no answer to the publish in time") from None
        raise TransportError(describe(failure or OSError("no address"), self.name)) from None


class _Tls:
    """TLS over memory buffers; the handshake blocks the greenlet."""

    def __init__(self, context: ssl.SSLContext, host: str, sock: Any) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        ready = False
        while not ready:
            try:
                self._object.do_handshake()
                ready = True
            except ssl.SSLWantReadError:
                pass
            finally:
                # What there is to say, be it only why we refuse.
                if said := self._outgoing.read():
                    sock.sendall(said)
            if not ready:
                data = sock.recv(_READ_BYTES)
                if not data:
                    raise OSError("the connection was closed in the TLS handshake")
                self._incoming.write(data)

    def encrypt(self, data: bytes) -> bytes:
        """Return what to send."""
        self._object.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> tuple[bytes, bool]:
        """Return (what was said, whether that was the last); raises ssl.SSLError."""
        self._incoming.write(data)
        parts = []
        try:
            while part := self._object.read(_READ_BYTES):
                parts.append(part)
        except ssl.SSLWantReadError:
            return b"".join(parts), False
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(parts), True


class _Connection:
    """One connection with at most one request under way."""

    def __init__(self, client: GeventHttpClient, sock: socket.socket, tls: _Tls | None) -> None:
        sock.setblocking(False)
        self._client = client
        self._socket: socket.socket | None = sock
        self._tls = tls
        self._on_response: OnResponse | None = None
        self.deadline_s = 0.0
        #: Reads an answer that came in parts or is otherwise not plain.
        self._parser: HTTPResponse | None = None
        self._unsent = b""
        # Asked before each use: `select` could not see a descriptor past 1023.
        self._poller = _poll()
        self._poller.register(sock.fileno(), _READABLE)
        loop = gevent.get_hub().loop
        self._reader: Any = loop.io(sock.fileno(), _READ)
        self._reader.start(self._on_readable)
        self._writer: Any = None

    def is_good(self) -> bool:
        """Whether an idle connection can be used again: whatever it has to say without being asked is its end."""
        if self._socket is not None and self._poller.poll(0):
            # TLS may have something of its own to tell.
            self._on_readable()
        return self._socket is not None

    def send(self, request: bytes, on_response: OnResponse, deadline_s: float) -> None:
        """Send a request."""
        self._on_response, self.deadline_s = on_response, deadline_s
        self._transmit(request if self._tls is None else self._tls.encrypt(request))

    def fail(self, error: TransportError) -> None:
        """End, and tell whoever waits for an answer why."""
        if self._socket is None:
            return
        self.dispose()
        on_response, self._on_response = self._on_response, None
        self._client.lost(self)
        if on_response is not None:
            on_response(0, b"", error)

    def dispose(self) -> None:
        """Close."""
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reader = self._writer = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _on_readable(self) -> None:
        sock = self._socket
        if sock is None:
            return
        try:
            data = sock.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionResetError as error:
            if self._parser is None:
                self._broke_off("HTTPConnectionClosed")
            else:
                self.fail(TransportError(describe(error, self._client.name)))
            return
        except OSError as error:
            self.fail(TransportError(describe(error, self._client.name)))
            return
        ended = not data
        if self._tls is not None and data:
            try:
                data, ended = self._tls.decrypt(data)
            except ssl.SSLError as error:
                self.fail(TransportError(describe(error, self._client.name)))
                return
        if data:
            self._received(data)
        if ended and self._socket is not None:
            self._end_of_stream()

    def _received(self, data: bytes) -> None:
        if self._on_response is None:
            self._broke_off("an answer without a request")
            return
        parser = self._parser
        if parser is None:
            whole = _whole_answer(data)
            if whole is not None:
                self._answer(*whole, reusable=not self._unsent)
                return
            parser = self._parser = HTTPResponse("POST")
        try:
            parser.feed(data)
        except HTTPParseError:
            self._broke_off("HTTPParseError")
            return
        self._parsed(parser)

    def _parsed(self, parser: HTTPResponse) -> bool:
        """Tell the answer if it is there."""
        if not parser.message_complete or parser.status_code < 200:
            return False
        self._parser = None
        self._answer(
            parser.status_code,
            bytes(parser._body_buffer),
            reusable=not (parser.should_close() or self._unsent),
        )
        return True

    def _answer(self, status: int, body: bytes, reusable: bool) -> None:
        on_response, self._on_response = self._on_response, None
        # Free before it is told: the next request may be sent from there.
        self._client.answered(self, reusable)
        if on_response is not None:
            on_response(status, body, None)

    def _end_of_stream(self) -> None:
        parser = self._parser
        if parser is None:
            self._broke_off("HTTPConnectionClosed")
            return
        with contextlib.suppress(HTTPParseError):
            # An answer of no stated length ends with the connection.
            parser.feed(b"")
        if not self._parsed(parser):
            self._broke_off("HTTPParseError")

    def _broke_off(self, how: str) -> None:
        self.fail(TransportError(f"{self._client.name}: the connection broke off: {how}"))

    def _transmit(self, data: bytes) -> None:
        sock = self._socket
        if sock is None:
            return
        try:
            sent = sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            # The answer may be there already, such as a refusal before the body was read: the reader will see.
            return
        except OSError as error:
            self.fail(TransportError(describe(error, self._client.name)))
            return
        self._unsent = data[sent:]
        if self._unsent:
            if self._writer is None:
                self._writer = gevent.get_hub().loop.io(sock.fileno(), _WRITE)
            self._writer.start(self._on_writable)

    def _on_writable(self) -> None:
        self._writer.stop()
        self._transmit(self._unsent)


def _whole_answer(data: bytes) -> tuple[int, bytes] | None:
    """Return (status, body) where the data is one whole answer of known length and the connection stays; else None."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or not data.startswith(b"HTTP/1.1 "):
        return None
    head = data[:end].lower()
    status, place = head[9:12], head.find(b"\r\ncontent-length:")
    if place < 0 or head.find(b"\r\ncontent-length:", place + 2) >= 0 or b"\r\ntransfer-encoding:" in head:
        return None
    if not status.isdigit() or status in _BODILESS or status[0] == 0x31 or head[12:13] not in (b" ", b"\r"):
        return None
    length = head[place + 17 :].split(b"\r\n", 1)[0].strip()
    if not length.isdigit() or int(length) != len(data) - end - 4:
        return None
    place = head.find(b"\r\nconnection:")
    if place >= 0 and head[place + 13 :].split(b"\r\n", 1)[0].strip() != b"keep-alive":
        return None
    return int(status), data[end + 4 :]


_BODILESS = (b"204", b"304")


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
        self._client = httpx.Client(limits=httpx.Limits(max_connections=connections), timeout=timeout_s)

    def send(self, body: bytes, headers: Mapping[str, str], on_response: OnResponse) -> None:
        """POST in a greenlet of its own."""

        def post() -> None:
            try:
                status, answer = self.post(body, headers)
            except TransportError as error:
                on_response(0, b"", error)
            else:
                on_response(status, answer, None)

        gevent.spawn(post)

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return (status, body) of the answer; raises TransportError where there is none."""
        try:
            response = self._client.post(self._url, content=body, headers=dict(headers))
        except httpx.TransportError as error:
            raise TransportError(f"{self._name}: {error or type(error).__name__}") from None
        return response.status_code, response.content

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
