"""Choose the kind of connection for a service's URL."""

from urllib.parse import urlsplit

from loadgen.protocol.base import Handshake
from loadgen.transport.address import Address
from loadgen.transport.byte_stream import ByteStream
from loadgen.transport.framing import OnText
from loadgen.transport.http_stream import HttpStream
from loadgen.transport.isolation import OnFailed
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.stream import OnClosed, SocketStream
from loadgen.transport.websocket import WebSocket


def connection(
    address: Address,
    handshake: Handshake,
    on_message: OnText,
    on_closed: OnClosed,
    on_failed: OnFailed | None = None,
    slow: SlowReading | None = None,
) -> SocketStream:
    """Return an unopened WebSocket, byte stream or HTTP stream, depending on the address's scheme.

    ``on_message`` gets (bytes, kernel arrival, time of the read; ns): one whole message of a WebSocket, or the bytes of
    one read of any other stream. ``on_closed`` is called once when an opened connection ends. Both are called from the
    gevent hub and must not block. An error that they raise ends this connection alone, and is reported to ``on_failed``
    as a failure of the harness. ``slow`` limits how fast the opened connection is read.
    """
    if address.is_http:
        return HttpStream(
            address,
            resource=handshake.resource or _resource_of(address.url),
            headers=handshake.headers,
            on_bytes=on_message,
            on_closed=on_closed,
            on_failed=on_failed,
            slow=slow,
        )
    if address.uri is None:
        return ByteStream(address, on_bytes=on_message, on_closed=on_closed, on_failed=on_failed, slow=slow)
    return WebSocket(
        address,
        subprotocols=handshake.subprotocols,
        headers=handshake.headers,
        binary=handshake.binary,
        resource=handshake.resource,
        most_frame_bytes=handshake.most_frame_bytes,
        on_text=on_message,
        on_closed=on_closed,
        on_failed=on_failed,
        slow=slow,
    )


def _resource_of(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
