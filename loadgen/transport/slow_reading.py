"""Read one connection at a limited rate, like a client that is busy or on a slow line.

A `SocketStream` that has a `SlowReading` reads its socket by means of that object, with the Python poller. After each
read the stream removes itself from the poller for as long as the rate requires. So the poller needs no code for slow
reading and spends no time on a paused stream.

The socket of such a stream is hardly ever empty, so a read's stamp says little about when its messages arrived. The
kernel's count of received bytes says more: see `byte_counts`.
"""

import socket
from collections.abc import Callable
from typing import Any, Protocol

import gevent

from loadgen.transport import isolation
from loadgen.transport.byte_counts import ByteCounts, count_watch, read_bytes
from loadgen.transport.poller import FILLED, SETTLE_NS

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

    __slots__ = ("_bytes_per_s", "_limited", "_read", "_received", "_size", "_turn_bytes", "_waiting")

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._turn_bytes = max(_LEAST_BYTES, min(_MOST_BYTES, int(bytes_per_s / _TURNS_PER_S)))
        self._limited = False
        #: The greenlet that will resume reading, or None if reading is not paused.
        self._waiting: gevent.Greenlet | None = None
        #: The kernel's counts of received bytes since `begin`, or None if they are not known.
        self._received: ByteCounts | None = None
        #: Number of bytes read from the socket, and by the last read.
        self._read = self._size = 0

    def reading(self, stream: Pausable, recvmsg_into: RecvmsgInto) -> RecvmsgInto:
        """Return a function that reads the stream's socket through ``recvmsg_into`` at the limited rate."""

        def read(
            buffers: Any, control_bytes: int, *more: Any
        ) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
            buffer = memoryview(buffers[0])[: self._most(len(buffers[0]))]
            size, control, flags, address = recvmsg_into((buffer,), control_bytes, *more)
            self._read += size
            self._size = size
            # Tell the poller if the buffer was filled: it does not know that this read used a smaller buffer.
            if 0 < size == len(buffer) < len(buffers[0]):
                flags |= FILLED
            if not self._limited:
                return size, control, flags, address
            if size:
                stream.pause_reading()
                pause_s = size / self._bytes_per_s
                self._waiting = gevent.spawn_later(pause_s, isolation.run, stream, self._again, stream)
            return size, control, flags, address

        return read

    def _most(self, space: int) -> int:
        """Return the most bytes that the next read may bring into a buffer of ``space`` bytes."""
        most = min(self._turn_bytes, space) if self._limited else space
        following = None if self._received is None else self._received.next(self._read)
        # All messages of a read get the same bounds, so do not read past bytes that have the same.
        return most if following is None else min(most, following - self._read)

    def begin(self, sock: socket.socket) -> None:
        """Limit reading of the socket from now on."""
        self._limited = True
        read = read_bytes(sock)
        if read is not None:
            self._read, self._received = read, ByteCounts()
            count_watch().add(self._received, sock)

    def times(self, arrival_ns: int, within_ns: int, end_ns: int) -> tuple[int, int, int]:
        """Return the arrival times of the last read with the closest bounds that the kernel's counts allow.

        For the arguments and results see `polled_source.Source.take`.
        """
        counts = self._received
        if counts is None:
            return arrival_ns, within_ns, end_ns
        # Every message in the read ends later than the read before, and not later than this read.
        within_after_ns, _ = counts.arrived(self._read - self._size + 1)
        end_after_ns, before_ns = counts.arrived(self._read)
        counts.forget(self._read)
        # A stamp that is exact stays as it is.
        latest_ns = arrival_ns if before_ns is None or not end_ns else min(arrival_ns, before_ns)
        return (
            latest_ns,
            _closer(arrival_ns - within_ns, latest_ns, within_after_ns),
            _closer(arrival_ns - end_ns, latest_ns, end_after_ns),
        )

    def end(self, stream: Pausable) -> None:
        """Read at full speed from now on."""
        self._limited = False
        if self._waiting is not None:
            self._waiting.kill(block=False)
            self._again(stream)

    def forget(self) -> None:
        """Ask the kernel for counts no more; call this when the connection has ended."""
        if self._received is not None:
            count_watch().remove(self._received)
            self._received = None

    def _again(self, stream: Pausable) -> None:
        self._waiting = None
        stream.resume_reading()


def _closer(earliest_ns: int, latest_ns: int, after_ns: int | None) -> int:
    """Return how long before ``latest_ns`` a message can have arrived: not before ``earliest_ns`` nor ``after_ns``.

    A segment's stamp may be up to `SETTLE_NS` older than the moment in which its bytes are counted. A bound that the
    latest time contradicts is left out: a segment that arrives out of order is counted once those before it are there.
    """
    if after_ns is not None and earliest_ns < after_ns - SETTLE_NS < latest_ns:
        earliest_ns = after_ns - SETTLE_NS
    return max(0, latest_ns - earliest_ns)
