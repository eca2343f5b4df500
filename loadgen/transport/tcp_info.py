"""What the kernel tells about the data that a TCP socket has received: `struct tcp_info` (linux/tcp.h) and FIONREAD."""

import _socket  # the base class of sockets, patched by gevent or not
import array
import fcntl
import socket
import struct
import termios
from typing import Final

_MS: Final = 1_000_000
#: tcpi_last_data_recv (milliseconds), and what is before it.
_LAST_DATA: Final = struct.Struct("=52xI")
#: tcpi_bytes_received (RFC 4898, tcpEStatsAppHCThruOctetsReceived), and what is before it.
_BYTES_RECEIVED: Final = struct.Struct("=128xQ")


def last_data_ns(sock: _socket.socket) -> int | None:
    """Return the time (ns, to a millisecond) since a TCP socket last received data, or None if it is unknown."""
    found = _told(sock, _LAST_DATA)
    return None if found is None else found * _MS


def received_bytes(sock: _socket.socket) -> int | None:
    """Return how many bytes a TCP socket has received in order, read or not; None if it is closed or cannot tell."""
    return _told(sock, _BYTES_RECEIVED)


def unread_bytes(sock: _socket.socket) -> int:
    """Return how many received bytes the kernel holds for a socket."""
    found = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.FIONREAD, found)
    return found[0]


def _told(sock: _socket.socket, field: struct.Struct) -> int | None:
    """Return a number of `struct tcp_info`, or None if the socket or the kernel does not have it."""
    if not hasattr(socket, "TCP_INFO"):
        return None
    try:
        return int(field.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, field.size))[0])
    except (OSError, struct.error):
        return None
