"""Reading one connection no faster than stated, as a client does that is busy or on a bad line.

In place of the socket's `recvmsg_into` stands one that takes less at a time and then leaves the set of sockets that are
read until its turn comes again. The loop that reads knows nothing of it, and between turns it is not there.
"""

from typing import Any

import gevent

from loadgen.transport import isolation
from loadgen.transport.poller import FILLED
from loadgen.transport.stream import SocketStream

#: Turns a second: each takes this part of a second's bytes, and at least so many that a small frame fits.
_TURNS_PER_S = 10
_LEAST_BYTES = 512
_MOST_BYTES = 64 * 1024


class SlowReading:
    """Slows one open connection down; of bytes as they are on the wire, TLS and framing included."""

    def __init__(self, socket: SocketStream, bytes_per_s: float) -> None:
        self._socket = socket
        self._bytes_per_s = bytes_per_s
        self._turn_bytes = max(_LEAST_BYTES, min(_MOST_BYTES, int(bytes_per_s / _TURNS_PER_S)))
        self._recvmsg_into = socket.recvmsg_into
        self._waiting: Any = None
        read: Any = self._read
        socket.recvmsg_into = read
        # The native poller reads by itself: over to the one that reads by what is there now.
        socket.pause_reading()
        socket.resume_reading()

    def stop(self) -> None:
        """Read as fast as it comes from now on."""
        self._socket.recvmsg_into = self._recvmsg_into
        if self._waiting is not None:
            self._waiting.kill(block=False)
            self._waiting = None
            self._socket.resume_reading()

    def _read(
        self, buffers: Any, control_bytes: int, *more: Any
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        buffer = memoryview(buffers[0])[: self._turn_bytes]
        size, control, flags, address = self._recvmsg_into((buffer,), control_bytes, *more)
        if size:
            self._socket.pause_reading()
            self._waiting = gevent.spawn_later(
                size / self._bytes_per_s, isolation.run, self._socket, self._again
            )
        # The loop does not know how small the buffer was.
        return size, control, flags | FILLED if size == len(buffer) else flags, address

    def _again(self) -> None:
        self._waiting = None
        self._socket.resume_reading()
