"""Bytes that a socket does not accept yet, sent as soon as it does."""

import socket
from collections.abc import Callable
from typing import Any

import gevent

from loadgen.transport import bounds, isolation
from loadgen.transport.isolation import Contained

_WRITE = 2


class SendBuffer:
    """Bytes of one connection that its socket has not accepted yet; the object is used until all are sent."""

    __slots__ = ("_data", "_on_sent", "_socket", "_writer", "overflowed")

    def __init__(
        self, sock: socket.socket, data: bytes | memoryview, owner: Contained, on_sent: Callable[[], None]
    ) -> None:
        """Send ``data`` when the socket becomes writable; ``on_sent`` is called from gevent's hub when all is sent.

        ``owner`` is the object that uses the socket. An error that ``on_sent`` raises ends the owner.
        """
        self._socket, self._data, self._on_sent = sock, bytearray(data), on_sent
        #: True once `add` has refused bytes because the buffer would have exceeded its limit.
        self.overflowed = False
        self._writer: Any = gevent.get_hub().loop.io(sock.fileno(), _WRITE)
        self._writer.start(isolation.run, owner, self._on_writable)

    def __len__(self) -> int:
        return len(self._data)

    def add(self, data: bytes) -> bool:
        """Append bytes; return False, without appending them, if the buffer would exceed `bounds.UNSENT_BYTES`."""
        if len(self._data) + len(data) > bounds.UNSENT_BYTES:
            self.overflowed = True
            return False
        self._data += data
        return True

    def close(self) -> None:
        """Stop sending."""
        self._writer.stop()
        self._writer.close()

    def _on_writable(self) -> None:
        try:
            # Delete the sent bytes from the bytearray in place: copying the rest on each send would take quadratic
            # time.
            del self._data[: self._socket.send(self._data)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # Ignore the error here: the connection's next read fails with the same error, and reports it.
            self._data.clear()
        if not self._data:
            self.close()
            self._on_sent()
