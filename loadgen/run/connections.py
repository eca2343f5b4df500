"""The connections at a master's port: which were never let in, and which bring more than they ever finish.

ZeroMQ bounds a frame and how many messages wait, but it keeps the parts of a message until the last has come, however
many there are. So the kernel's count of the bytes of each connection is held against what was read of it.
"""

import _socket  # not the one of gevent: a native thread looks here
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Final

import zmq

#: Bytes that may be on their way between the kernel and the master's own reading: what may wait, and half as much.
MOST_UNREAD: Final = 192 << 20
LOOK_MS: Final = 50
FAILED: Final = frozenset(
    {
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    }
)
#: Distinct addresses that are kept apart.
_MOST_ADDRESSES: Final = 1_000
_MOST_OPEN: Final = 100_000
_UNKNOWN: Final = "an unknown address"
#: Where `tcp_info` of linux/tcp.h has `tcpi_bytes_received`.
_RECEIVED: Final = struct.Struct("=128xQ")


@dataclass(slots=True)
class _Connection:
    peer: tuple[str, int] | None
    #: How many handshakes had succeeded when it was accepted.
    succeeded: int
    read: int = 0


class Connections:
    """Called by the thread that watches the socket, but for :meth:`took`."""

    def __init__(self) -> None:
        #: Connections that were closed before they had proven to be a worker's, by address.
        self.strangers: Counter[str] = Counter()
        #: Connections that were ended because of what they had brought and not finished, by address.
        self.hoards: Counter[str] = Counter()
        self._open: dict[int, _Connection] = {}
        self._succeeded = 0
        self._failed = False

    def see(self, event: int, value: int) -> None:
        """Take an event of the socket's monitor; ``value`` is a file descriptor or a code."""
        if event == zmq.EVENT_ACCEPTED:
            if len(self._open) < _MOST_OPEN:
                self._open[value] = _Connection(_peer_of(value), self._succeeded)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._succeeded += 1
        elif event in FAILED:
            # Of the connection of which it is said next that it has gone.
            self._failed = True
        elif event == zmq.EVENT_DISCONNECTED:
            gone = self._open.pop(value, None)
            failed, self._failed = self._failed, False
            # One that says nothing ZeroMQ understands is closed without a word of a handshake.
            if failed or (gone is not None and gone.succeeded == self._succeeded):
                _count(self.strangers, gone)

    def took(self, descriptor: int, size: int) -> None:
        """A message of so many bytes was read that came by a connection."""
        known = self._open.get(descriptor)
        if known is not None:
            known.read += size

    def look(self) -> None:
        """End the connections that have brought too much of what is not finished."""
        for descriptor, known in list(self._open.items()):
            if known.peer is None:
                continue
            try:
                connection = _socket.socket(fileno=descriptor)
            except OSError:
                continue
            try:
                told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED.size)
                received = _RECEIVED.unpack(told)[0] if len(told) == _RECEIVED.size else 0
                # By now the descriptor may be another connection's.
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
    """Return (address, port) of the other end of a connection of libzmq's, None if it has gone by now."""
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
