"""Read one connection at a limited rate, like a client that is busy or on a slow line.

A `SocketStream` that has a `SlowReading` reads its socket by means of that object, with the Python poller. After each
read the stream removes itself from the poller for as long as the rate requires. So the poller needs no code for slow
reading and spends no time on a paused stream.
"""

from collections.abc import Callable
from typing import Any, Protocol

import gevent

from loadgen.transport import isolation
from loadgen.transport.poller import FILLED

#: Number of reads per second to aim at. Each read asks for 1 / `_TURNS_PER_S` of the bytes that the rate allows in a
#: second, but for at least `_LEAST_BYTES` and at most `_MOST_BYTES`.
_TURNS_PER_S = 10
_LEAST_BYTES = 512
_MOST_BYTES = 64 * 1024

#: `recvmsg_into` of a socket, or a function in its place.
RecvmsgInto = Callable[..., tuple[int, list[tuple[int, int, bytes]], int, Any]]


class Pausable(isolation.Contained, Protocol):
    """The methods of a stream that `SlowReading` calls."""

    def pause_reading(self) -> None:
        """Leave received bytes in the kernel."""

    def resume_reading(self) -> None:
        """Read again; does nothing if the connection has ended."""


class SlowReading:
    """Limits how fast one connection is read; the rate counts bytes on the wire, TLS and framing included.

    Reading is unlimited before `begin`, since a service may allow little time for a handshake, and after `end`.
    """

    __slots__ = ("_bytes_per_s", "_limited", "_turn_bytes", "_waiting")

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._turn_bytes = max(_LEAST_BYTES, min(_MOST_BYTES, int(bytes_per_s / _TURNS_PER_S)))
        self._limited = False
        #: The greenlet that will resume reading, or None if reading is not paused.
        self._waiting: gevent.Greenlet | None = None

    def reading(self, stream: Pausable, recvmsg_into: RecvmsgInto) -> RecvmsgInto:
        """Return a function that reads the stream's socket through ``recvmsg_into`` at the limited rate."""

        def read(
            buffers: Any, control_bytes: int, *more: Any
        ) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
            if not self._limited:
                return recvmsg_into(buffers, control_bytes, *more)
            buffer = memoryview(buffers[0])[: self._turn_bytes]
            size, control, flags, address = recvmsg_into((buffer,), control_bytes, *more)
            if size:
                stream.pause_reading()
                pause_s = size / self._bytes_per_s
                self._waiting = gevent.spawn_later(pause_s, isolation.run, stream, self._again, stream)
            # Tell the poller that the buffer was filled: it does not know that this read used a smaller buffer.
            return size, control, flags | FILLED if size == len(buffer) else flags, address

        return read

    def begin(self) -> None:
        """Limit reading from now on."""
        self._limited = True

    def end(self, stream: Pausable) -> None:
        """Read at full speed from now on."""
        self._limited = False
        if self._waiting is not None:
            self._waiting.kill(block=False)
            self._again(stream)

    def _again(self, stream: Pausable) -> None:
        self._waiting = None
        stream.resume_reading()
