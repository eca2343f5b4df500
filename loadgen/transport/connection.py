"""What carries a service's connections, by its URL."""

from loadgen.protocol.base import Handshake
from loadgen.transport.address import Address
from loadgen.transport.byte_stream import ByteStream
from loadgen.transport.framing import OnText
from loadgen.transport.stream import OnClosed, SocketStream
from loadgen.transport.websocket import WebSocket


def connection(
    address: Address, handshake: Handshake, on_message: OnText, on_closed: OnClosed
) -> SocketStream:
    """Return a connection that is yet to be opened.

    ``on_message`` gets (bytes, kernel arrival, time of the read; ns): whole messages of a WebSocket, any part of a
    byte stream. ``on_closed`` is called once when an opened connection ends. Both are called from the hub: they must
    not block and must not raise.
    """
    if address.uri is None:
        return ByteStream(address, on_bytes=on_message, on_closed=on_closed)
    return WebSocket(
        address,
        subprotocols=handshake.subprotocols,
        headers=handshake.headers,
        binary=handshake.binary,
        resource=handshake.resource,
        on_text=on_message,
        on_closed=on_closed,
    )
