"""One HTTP request outside a load: bounded in size and in time as a whole.

It is sent by the client that publishes (`GeventHttpClient`), and so takes the same way to the service. An answer is
taken as it is sent: no encoding is asked for and none is undone.
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
    """Send a request and return (status, body); no redirect is followed.

    ``timeout_s`` is for the whole of it, from resolving the name to the answer's last byte. ``dialer`` opens the
    socket; without one it may go anywhere.

    Raises:
        TransportError: there is no answer in time, or one that is beyond `bounds` or cannot be read.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"the scheme is {parts.scheme!a}")
        client = GeventHttpClient(
            url, 1, timeout_s, asked="request", dialer=dialer or Dialer(allow_remote=True)
        )
    except ValueError as error:
        raise TransportError(f"{url!a} is no URL of HTTP: {error}") from None
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # Timeouts count from when the event loop last ran, which may be long ago outside a load.
    gevent.get_hub().loop.update_now()
    try:
        return client.post(body, headers or {}, method, resource)
    except UnicodeError:
        raise TransportError(f"{url!a} is no URL of HTTP: it has characters that are not of ASCII") from None
    finally:
        client.abort()
