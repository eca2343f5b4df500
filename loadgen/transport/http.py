"""Publishing over HTTP.

geventhttpclient carries the load: per CPU-second it sends several times what httpx can (see docs of the design's
measured facts). httpx stays selectable where its behaviour is what is to be measured, and is what control and probing
use.
"""

import select
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import gevent
import httpx
from gevent.monkey import get_original
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError

from loadgen.transport.errors import TransportError, describe
from loadgen.transport.names import connect_host

_poll = get_original("select", "poll")


class HttpClient(Protocol):
    """POSTs a body to the target; one of these a publishing client."""

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return (status, body) of the answer; raises TransportError where there is none."""

    def close(self) -> None:
        """Close the connections."""


def _is_idle(sock: Any) -> bool:
    """Whether a pooled connection is still good: an idle one must not be readable.

    geventhttpclient asks `select`, which cannot see descriptors past 1023: in a process with a thousand subscribers
    it took every pooled connection for dead and connected anew for every publish.
    """
    try:
        poller = _poll()
        poller.register(sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poller.poll(0)
    except (OSError, ValueError):
        return False


class GeventHttpClient:
    """HTTP/1.1 keep-alive connections, at most ``connections`` at once.

    A POST is never sent twice: geventhttpclient repeats only idempotent requests.
    """

    def __init__(self, url: str, connections: int, timeout_s: float = 10.0) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._name = parts.netloc
        self._path = parts.path or "/"
        options: dict[str, Any] = {"ssl_context_factory": ssl.create_default_context} if secure else {}
        self._client = HTTPClient(
            parts.hostname or "",
            parts.port or (443 if secure else 80),
            ssl=secure,
            concurrency=connections,
            connection_timeout=timeout_s,
            network_timeout=timeout_s,
            **options,
        )
        pool = self._client._connection_pool
        pool._is_socket_alive = _is_idle  # type: ignore[method-assign]
        pool._connection_host = connect_host(pool._connection_host)

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return (status, body) of the answer; raises TransportError where there is none."""
        try:
            response = self._client.request("POST", self._path, body, headers)
            return response.status_code, bytes(response.read())
        except (TimeoutError, gevent.Timeout):
            raise TransportError(f"{self._name}: no answer to the publish in time") from None
        except (HTTPConnectionClosed, HTTPParseError) as error:
            raise TransportError(f"{self._name}: the connection broke off: {type(error).__name__}") from None
        except (OSError, socket.gaierror) as error:
            raise TransportError(describe(error, self._name)) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class HttpxClient:
    """The same by httpx."""

    def __init__(self, url: str, connections: int, timeout_s: float = 10.0) -> None:
        self._url = url
        self._name = urlsplit(url).netloc
        self._client = httpx.Client(limits=httpx.Limits(max_connections=connections), timeout=timeout_s)

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
