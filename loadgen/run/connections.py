"""Watch the connections at a master's port: count those that never authenticate, and close those that hoard.

A connection hoards if it sends too much of a message without finishing it.

ZeroMQ limits the size of a frame and the number of queued messages, but it buffers the parts of a multipart message
until the last one arrives, however many there are. So the kernel's count of the bytes that each connection has
received is compared with the bytes of the messages read from it.
"""

import _socket  # not patched by gevent, since a native thread calls `look`, the method that uses it
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Final

import zmq

from loadgen.transport.tcp_info import received_bytes

#: A connection hoards if it has received more than this number of bytes beyond the messages read from it. This is 1.5
#: times the 64 messages of 2 MiB that may wait in its queue (see `loadgen.run.wire`).
MOST_UNREAD: Final = 192 << 20
LOOK_MS: Final = 50
FAILED: Final = frozenset(
    {
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    }
)
#: Maximum number of addresses counted separately; further ones are counted together.
_MOST_ADDRESSES: Final = 1_000
_MOST_OPEN: Final = 100_000
_UNKNOWN: Final = "an unknown address"


@dataclass(slots=True)
class _Connection:
    peer: tuple[str, int] | None
    #: Number of successful handshakes on all connections at the time this connection was accepted. While the total is
    #: still the same, this connection has not authenticated.
    succeeded: int
    read: int = 0


class Connections:
    """Track the connections of one ZeroMQ socket.

    All methods but :meth:`took` are called by the thread that watches the socket.
    """

    def __init__(self) -> None:
        #: Number of strangers by address. A stranger is a connection that ended before the peer proved to be a worker.
        self.strangers: Counter[str] = Counter()
        #: Number of hoards by address: connections closed for sending too much of a message without finishing it.
        self.hoards: Counter[str] = Counter()
        self._open: dict[int, _Connection] = {}
        self._succeeded = 0
        self._failed = False

    def see(self, event: int, value: int) -> None:
        """Handle an event of the socket's monitor; ``value`` is a file descriptor or an error code."""
        if event == zmq.EVENT_ACCEPTED:
            if len(self._open) < _MOST_OPEN:
                self._open[value] = _Connection(_peer_of(value), self._succeeded)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._succeeded += 1
        elif event in FAILED:
            # A failed handshake's event does not name its connection; the next EVENT_DISCONNECTED does.
            self._failed = True
        elif event == zmq.EVENT_DISCONNECTED:
            gone = self._open.pop(value, None)
            failed, self._failed = self._failed, False
            # If the peer does not speak ZeroMQ's protocol, ZeroMQ closes the connection without a handshake event. So a
            # connection also counts as a stranger's if no handshake on any connection has succeeded since it was
            # accepted.
            if failed or (gone is not None and gone.succeeded == self._succeeded):
                _count(self.strangers, gone)

    def took(self, descriptor: int, size: int) -> None:
        """Count the ``size`` bytes of a message read from the connection with this file descriptor."""
        known = self._open.get(descriptor)
        if known is not None:
            known.read += size

    def look(self) -> None:
        """Close the connections that have sent more than `MOST_UNREAD` bytes without finishing a message."""
        for descriptor, known in list(self._open.items()):
            if known.peer is None:
                continue
            try:
                connection = _socket.socket(fileno=descriptor)
            except OSError:
                continue
            try:
                received = received_bytes(connection) or 0
                # Compare the peer's address too: the descriptor may meanwhile belong to another connection.
                if received - known.read > MOST_UNREAD and _name(connection.getpeername()) == known.peer:
                    _count(self.hoards, known)
                    connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
            finally:
                connection.detach()


def _count(counter: Counter[str], of: _Connection | None) -> None:
    address = _UNKNOWN if of is None or of.peer is None else of.peer[0]
    if address not in counter and len(counter) >= _MOST_ADDRESSES:
        address = "elsewhere"
    counter[address] += 1


def _peer_of(descriptor: int) -> tuple[str, int] | None:
    """Return (address, port) of the peer of a libzmq connection, or None if it is closed already."""
    try:
        connection = _socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        return _name(connection.getpeername())
    except OSError:
        return None
    finally:
        connection.detach()


def _name(peer: object) -> tuple[str, int] | None:
    if not isinstance(peer, tuple) or len(peer) < 2:
        return None
    host = str(peer[0])
    return (host.removeprefix("::ffff:") if host.count(".") == 3 else host), int(peer[1])
