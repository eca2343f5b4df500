"""Send one HTTP request that is not part of a load, with limits on the answer's size and on the total time.

It uses the client that publishes (`GeventHttpClient`), and so the same route to the service. It requests no content
encoding and decodes none.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

import gevent

from loadgen.transport.dialing import Dialer
from loadgen.transport.errors import TransportError
from loadgen.transport.http import GeventHttpClient


def ask(
    method: str,
    url: str,
    *,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    dialer: Dialer | None = None,
) -> tuple[int, bytes]:
    """Send a request and return (status, body); redirects are not followed.

    ``timeout_s`` covers everything from resolving the name to the last byte of the answer. ``dialer`` opens the socket;
    the default one may connect to any host.

    Raises:
        TransportError: the URL is not valid, no answer arrived in time, or the answer exceeds `bounds` or is not HTTP.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"the scheme is {parts.scheme!a}")
        client = GeventHttpClient(
            url, 1, timeout_s, asked="request", dialer=dialer or Dialer(allow_remote=True)
        )
    except ValueError as error:
        raise TransportError(f"{url!a} is not an HTTP URL: {error}") from None
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # gevent counts a timeout from the event loop's time. An idle loop does not update this time, so update it here.
    gevent.get_hub().loop.update_now()
    try:
        return client.post(body, headers or {}, method, resource)
    except UnicodeError:
        raise TransportError(f"{url!a} is not an HTTP URL: it has characters that are not ASCII") from None
    finally:
        client.abort()
