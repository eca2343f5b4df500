"""Read one connection at a limited rate, like a client that is busy or on a slow line.

`SlowReading` gives the socket a function to read by that reads less at a time. After each read it takes the socket
out of the poller for as long as the rate requires, so the poller needs no code for it and spends no time on it.
"""

from typing import Any

import gevent

from loadgen.transport import isolation
from loadgen.transport.poller import FILLED
from loadgen.transport.stream import SocketStream

#: Reads per second to aim at: each takes that fraction of a second's bytes, within the two limits below.
_TURNS_PER_S = 10
_LEAST_BYTES = 512
_MOST_BYTES = 64 * 1024


class SlowReading:
    """Limits how fast one open connection is read; the rate counts bytes on the wire, TLS and framing included."""

    def __init__(self, socket: SocketStream, bytes_per_s: float) -> None:
        self._socket = socket
        self._bytes_per_s = bytes_per_s
        self._turn_bytes = max(_LEAST_BYTES, min(_MOST_BYTES, int(bytes_per_s / _TURNS_PER_S)))
        self._waiting: Any = None
        self._recvmsg_into = socket.read_by(self._read)
        # Move to the Python poller, which reads by this function; the native one does not.
        socket.pause_reading()
        socket.resume_reading()

    def stop(self) -> None:
        """Remove the limit."""
        self._socket.read_by(self._recvmsg_into)
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
        # The poller cannot see how small this buffer was, so tell it that the buffer was filled.
        return size, control, flags | FILLED if size == len(buffer) else flags, address

    def _again(self) -> None:
        self._waiting = None
        self._socket.resume_reading()
