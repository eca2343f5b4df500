"""The HTTP client that publishes.

:class:`GeventHttpClient` watches each keep-alive connection on the gevent hub, like a WebSocket: a request is one send,
and its answer a callback from the hub (see `http_connection`). It needs no greenlet and no library object per request;
geventhttpclient spends most of its time on these.
"""

import os
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

import gevent
import gevent.socket
from gevent.event import AsyncResult
from gevent.monkey import get_original

from loadgen.measure.clock import now_ns
from loadgen.protocol.base import HttpRequest
from loadgen.transport import isolation, proxy
from loadgen.transport.dialing import Dialer, remote_of
from loadgen.transport.errors import TransportError, describe
from loadgen.transport.http_connection import HttpConnection, OnResponse, TlsStream
from loadgen.transport.http_request import Requests
from loadgen.transport.isolation import OnFailed, OurFailureError
from loadgen.transport.slices import in_slices
from loadgen.transport.waiting import after

_RawSocket = get_original("socket", "socket")
#: Makes a request when an open connection is ready to send it. Called with the current time (ns) and the remote
#: address, or None if that is not known.
MakeRequest = Callable[[int, str | None], HttpRequest]
_MakeBytes = Callable[[int, str | None], bytes]


class HttpClient(Protocol):
    """Sends requests to the target; each publishing client has its own HttpClient."""

    def submit(self, make: MakeRequest, on_response: OnResponse) -> None:
        """Send a request without waiting, over an open connection or the next one that opens.

        ``make`` is called when the connection is ready, or never if none can be opened. ``on_response`` is called
        exactly once, possibly before this returns.
        """

    def post(
        self, body: bytes, headers: Mapping[str, str], method: str = "POST", resource: str | None = None
    ) -> tuple[int, bytes]:
        """Send a request and return (status, body) of the answer; raises TransportError if there is none."""

    def close(self) -> None:
        """Close the connections."""


class GeventHttpClient:
    """An HTTP/1.1 client with at most ``connections`` keep-alive connections on the gevent hub.

    Further requests wait for a connection. A request is made, and stamped, when an open connection is ready, so that
    opening one does not count as the service's latency.

    A POST that got no answer is never repeated, since the service may have accepted it. An error of the harness ends at
    most one connection or one request and is reported to ``on_failed``.
    """

    def __init__(
        self,
        url: str,
        connections: int,
        timeout_s: float = 10.0,
        on_failed: OnFailed | None = None,
        dialer: Dialer | None = None,
        asked: str = "publish",
    ) -> None:
        """Make the client; connections open when requests need them.

        ``timeout_s`` limits the time to a complete answer. ``asked`` is the word for a request in error messages.
        ``dialer`` opens the sockets; the default one connects to loopback only.
        """
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        #: Proxy for the connections, or None if they go directly.
        self._proxy = proxy.route(url)
        self.name = proxy.named(parts.netloc, self._proxy)
        self.timeout_s = timeout_s
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if secure else 80)
        self._tls = _tls_context() if secure else None
        self._dialer = dialer or Dialer()
        self._rendered = Requests(parts).rendered
        self._most = connections
        #: Number of connections that are open or being opened, and number of those being opened.
        self._count = self._opening = 0
        self._idle: list[HttpConnection] = []
        self._busy: set[HttpConnection] = set()
        self._waiting: deque[tuple[_MakeBytes, OnResponse]] = deque()
        self._closed = False
        self._timer: Any = None
        self._on_failed = on_failed
        self._asked = asked

    def submit(self, make: MakeRequest, on_response: OnResponse) -> None:
        """Send a request without waiting, over an open connection or the next one that opens."""
        self._take(
            lambda sent_ns, remote: self._rendered(make(sent_ns, remote)),
            on_response,
        )

    def send(
        self,
        body: bytes,
        headers: Mapping[str, str],
        on_response: OnResponse,
        method: str = "POST",
        resource: str | None = None,
    ) -> None:
        """Send a request without waiting; ``resource`` defaults to the path and query of the client's URL.

        Raises:
            ValueError: a header's name or value is not allowed in HTTP.
        """
        request = self._rendered(HttpRequest(body, headers, method, resource))
        self._take(lambda _sent_ns, _remote: request, on_response)

    def _take(self, make: _MakeBytes, on_response: OnResponse) -> None:
        if self._closed:
            self.tell(on_response, 0, b"", TransportError(f"{self.name}: the client is closed"))
            return
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.is_good():
                self._begin(connection, make, on_response)
                return
        self._waiting.append((make, on_response))
        self._open_more()

    def post(
        self, body: bytes, headers: Mapping[str, str], method: str = "POST", resource: str | None = None
    ) -> tuple[int, bytes]:
        """Send a request and return (status, body) of the answer; raises TransportError if there is none."""
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
        """Fail the waiting requests and close the connections, each busy one after its answer."""
        self._closed = True
        waiting = list(self._waiting)
        self._waiting.clear()
        for _, on_response in in_slices(waiting):
            self.tell(
                on_response, 0, b"", TransportError(f"{self.name}: no connection could be opened in time")
            )
        for connection in self._idle:
            connection.dispose()
        self._idle.clear()

    def abort(self) -> None:
        """Close all connections at once, which fails every pending request."""
        self.close()
        for connection in list(self._busy):
            connection.fail(TransportError(f"{self.name}: given up"))
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    # The connections call the following methods: see `http_connection.Owner`.

    def answered(self, connection: HttpConnection, reusable: bool) -> None:
        """Take back a connection whose request is answered: reuse it, or close it if it is not reusable."""
        self._busy.discard(connection)
        if not reusable or self._closed:
            connection.dispose()
            self._count -= 1
            self._open_more()
        else:
            self._use(connection)

    def lost(self, connection: HttpConnection) -> None:
        """Forget a connection that has ended, with or without a pending request."""
        if connection in self._busy:
            self._busy.discard(connection)
        elif connection in self._idle:
            self._idle.remove(connection)
        self._count -= 1
        self._open_more()

    def tell(self, on_response: OnResponse, status: int, body: bytes, error: TransportError | None) -> None:
        """Call a request's callback; an error that it raises is reported and affects no other request."""
        try:
            on_response(status, body, error)
        except Exception as raised:
            self.on_failed(raised)

    def on_failed(self, error: BaseException) -> None:
        """Report an error of the harness; does nothing for an interrupt or exit of the process."""
        if isinstance(error, isolation.OF_THE_PROCESS):
            return
        if self._on_failed is not None:
            self._on_failed(error)
        else:
            gevent.get_hub().handle_error(self, type(error), error, error.__traceback__)

    def failed(self, error: BaseException) -> None:
        """Report an error raised by a timer of this client, without closing any connection."""
        self.on_failed(error)

    # The following methods are internal.

    def _use(self, connection: HttpConnection) -> None:
        """Give an open connection to the request that has waited longest, or keep it idle."""
        if self._waiting:
            self._begin(connection, *self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _begin(self, connection: HttpConnection, make: _MakeBytes, on_response: OnResponse) -> None:
        try:
            request = make(now_ns(), connection.remote_address)
        except Exception as error:
            # Making the request failed before anything was sent, so the connection can be used for another request.
            self._use(connection)
            self.on_failed(error)
            self.tell(on_response, 0, b"", OurFailureError(error))
            return
        self._busy.add(connection)
        if self._timer is None:
            self._timer = after(self.timeout_s, isolation.run, self, self._on_timer)
        connection.send(request, on_response, time.monotonic() + self.timeout_s)

    def _open_more(self) -> None:
        """Open a connection for each waiting request, up to the limit."""
        while self._count < self._most and self._opening < len(self._waiting):
            self._count += 1
            self._opening += 1
            gevent.spawn(self._open)

    def _on_timer(self) -> None:
        """Fail the requests whose deadline has passed; one timer for all requests calls this about once per timeout."""
        self._timer.close()
        self._timer = None
        now_s = time.monotonic()
        for connection in list(self._busy):
            if connection.deadline_s <= now_s:
                connection.fail(TransportError(f"{self.name}: no answer to the {self._asked} in time"))
        if self._busy:
            earliest_s = min(connection.deadline_s for connection in self._busy)
            self._timer = after(max(0.001, earliest_s - now_s), isolation.run, self, self._on_timer)

    def _open(self) -> None:
        try:
            # Use one timeout for all steps together: a server may send the TLS handshake a byte at a time, for ever.
            with gevent.Timeout(self.timeout_s):
                connection = self._connected()
        except TransportError as error:
            self._not_opened(error)
        except gevent.Timeout:
            self._not_opened(TransportError(f"{self.name}: no answer to the {self._asked} in time"))
        except Exception as error:
            self.on_failed(error)
            self._not_opened(OurFailureError(error))
        else:
            self._opening -= 1
            if self._closed:
                connection.dispose()
                self._count -= 1
                return
            self._use(connection)

    def _not_opened(self, error: TransportError) -> None:
        """Fail the longest-waiting request, if any, because no connection opened; open one for the other requests."""
        self._opening -= 1
        self._count -= 1
        waiting = self._waiting.popleft() if self._waiting else None
        self._open_more()
        if waiting is not None:
            self.tell(waiting[1], 0, b"", error)

    def _connected(self) -> HttpConnection:
        raw = self._dialer.connect(self._host, self._port, self.timeout_s, self._proxy)
        remote = remote_of(raw)
        if self._tls is None:
            return HttpConnection(self, raw, None, remote)
        sock = gevent.socket.socket(raw.family, raw.type, raw.proto, fileno=raw.detach())
        try:
            with gevent.Timeout(self.timeout_s, TimeoutError("no answer to the TLS handshake in time")):
                tls = TlsStream(self._tls, self._host, sock)
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError):
                raise TransportError(describe(error, self.name)) from None
            raise
        return HttpConnection(self, _RawSocket(fileno=sock.detach()), tls, remote)


def _tls_context() -> ssl.SSLContext:
    """Return the TLS context that all clients share: each context holds hundreds of certificates in memory."""
    return _tls_context_of(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=4)
def _tls_context_of(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    return ssl.create_default_context()
