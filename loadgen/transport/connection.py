"""Choose the kind of connection for a service's URL."""

from loadgen.protocol.base import Handshake
from loadgen.transport.address import Address
from loadgen.transport.byte_stream import ByteStream
from loadgen.transport.framing import OnText
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
    """Return an unopened WebSocket or byte stream, depending on the address's scheme.

    ``on_message`` gets (bytes, kernel arrival, time of the read; ns): one whole message of a WebSocket, or the bytes
    of one read of a byte stream. ``on_closed`` is called once when an opened connection ends. Both are called from the
    hub and must not block. An error that they raise ends this connection alone, and is reported to ``on_failed`` as a
    failure of the harness. ``slow`` limits how fast the opened connection is read.
    """
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
