"""Whether a read has brought one segment: then its kernel stamp is that of everything in it.

Linux counts the segments and bytes of a connection (`struct tcp_info`, linux/tcp.h). Each read that empties a socket
brings one segment at least; where no more segments came than there were reads, each read brought one. That nothing has
come since the read, which would be counted too, is known from the bytes. The same is in `loadgen/native/poller.c`.
"""

import socket
import struct
import sys

#: tcpi_bytes_received (64 bits) at byte 128 and tcpi_data_segs_in (32 bits) at byte 152.
_COUNTS = struct.Struct("=128xQ16xI")
_MODULUS = 1 << 32
#: How often the kernel is asked, and how many times at once: that costs more than a read.
_ASK_NS = 200_000
_ASKS_AT_ONCE = 64
#: In a count of reads and bytes together: one read.
ONE_READ = 1 << 48


class Segments:
    """Asks for the sockets of one loop, and not too often."""

    def __init__(self) -> None:
        self._next_ns = 0

    def may_ask(self, now_ns: int) -> bool:
        """Whether the kernel may be asked now; counts as asking."""
        if self._next_ns > now_ns or not sys.platform.startswith("linux"):
            return False
        self._next_ns = max(self._next_ns, now_ns - _ASKS_AT_ONCE * _ASK_NS) + _ASK_NS
        return True


class Count:
    """What is known of one socket's segments."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        #: Reads, and segments that had come, when the kernel was last asked and nothing had come since.
        self._known: tuple[int, int] | None = None

    def forget(self) -> None:
        """A read has left something: a segment may be in that one and the next."""
        self._known = None

    def is_one(self, sock: socket.socket, taken: int) -> bool:
        """Whether what was read last, which emptied the socket, came in one segment.

        ``taken``: bytes read since the connection began, and `ONE_READ` for each read.
        """
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _COUNTS.size)
        except OSError:
            return False
        if len(info) < _COUNTS.size:
            return False
        received, segments = _COUNTS.unpack(info)
        reads, taken_bytes = divmod(taken, ONE_READ)
        known, self._known = self._known, (reads, segments) if received == taken_bytes else None
        if known is None or self._known is None:
            return False
        return bool((segments - known[1]) % _MODULUS == reads - known[0])
