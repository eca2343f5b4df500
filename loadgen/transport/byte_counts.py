"""Find out when bytes arrived that wait unread in a socket, by the kernel's count of received bytes.

The kernel merges the data that waits in a socket and keeps only the last segment's stamp. So a connection that is read
slowly, and whose socket is hardly ever empty, would have no useful lower bound on its arrivals. But the kernel also
counts the bytes that have arrived in order, read or not (`tcp_info.received_bytes`). One greenlet per process asks for
the counts of all such connections every few milliseconds. A message that ends at a certain byte arrived between the
last time at which the count was lower and the first time at which it was not.
"""

import os
import socket
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

import gevent

from loadgen.measure.clock import now_ns
from loadgen.transport.hubs import of_hub
from loadgen.transport.tcp_info import received_bytes, unread_bytes

#: Shortest time (s) between two queries of the same connection.
_PERIOD_S: Final = 0.002
#: Most queries per second in a process, about half a per cent of a core. More connections are each asked less often.
_QUERIES_PER_S: Final = 2_000
#: Most counts that are kept for a connection. Beyond that, every other one is dropped, which widens the bounds.
_COUNTS_MAX: Final = 4_096
#: Attempts to find a moment at which nothing arrives between two queries.
_ATTEMPTS: Final = 10


def read_bytes(sock: socket.socket) -> int | None:
    """Return how many bytes have been read from a TCP socket, or None if it cannot tell."""
    for _ in range(_ATTEMPTS):
        received = received_bytes(sock)
        if received is None:
            return None
        unread = unread_bytes(sock)
        if received_bytes(sock) == received:
            return received - unread
    return None


class ByteCounts:
    """The counts of received bytes of one connection, each with the first and the last time at which it was seen.

    Times are ns since the epoch.
    """

    __slots__ = ("_first_ns", "_last_ns", "_numbers")

    def __init__(self) -> None:
        # Parallel lists, in ascending order: a count, the time after the first query that returned it, and the time
        # before the last query that returned it.
        self._numbers: list[int] = []
        self._first_ns: list[int] = []
        self._last_ns: list[int] = []

    def add(self, before_ns: int, count: int, after_ns: int) -> None:
        """Add the result of a query made between two times. A count is never lower than the one before."""
        if self._numbers and self._numbers[-1] == count:
            self._last_ns[-1] = before_ns
            return
        if len(self._numbers) >= _COUNTS_MAX:
            for each in (self._numbers, self._first_ns, self._last_ns):
                del each[1::2]
        self._numbers.append(count)
        self._first_ns.append(after_ns)
        self._last_ns.append(before_ns)

    def arrived(self, last_byte: int) -> tuple[int | None, int | None]:
        """Return bounds on the arrival of the byte that is the ``last_byte``-th of the connection; None if unknown.

        It arrived later than the first bound, and not later than the second.
        """
        place = bisect_left(self._numbers, last_byte)
        not_before_ns = self._last_ns[place - 1] if place else None
        not_after_ns = self._first_ns[place] if place < len(self._numbers) else None
        return not_before_ns, not_after_ns

    def next(self, read: int) -> int | None:
        """Return the lowest count above ``read``, or None: bytes up to it have the same bounds as the next byte."""
        place = bisect_right(self._numbers, read)
        return self._numbers[place] if place < len(self._numbers) else None

    def forget(self, read: int) -> None:
        """Drop the counts that are useless once ``read`` bytes have been read."""
        useless = bisect_right(self._numbers, read) - 1
        if useless > 0:
            for each in (self._numbers, self._first_ns, self._last_ns):
                del each[:useless]


class CountWatch:
    """Asks the connections of one hub for their counts; tests replace the clock and the sleep (in seconds)."""

    def __init__(
        self, clock_ns: Callable[[], int] = now_ns, sleep: Callable[[float], Any] = gevent.sleep
    ) -> None:
        self.process = os.getpid()
        self._clock_ns, self._sleep = clock_ns, sleep
        self._asked: dict[ByteCounts, socket.socket] = {}
        self._asking: gevent.Greenlet | None = None

    def add(self, counts: ByteCounts, sock: socket.socket) -> None:
        """Fill ``counts`` from now on, until `remove` is called or the socket is closed."""
        self._asked[counts] = sock
        if self._asking is None or self._asking.dead:
            self._asking = gevent.spawn(self.ask)

    def remove(self, counts: ByteCounts) -> None:
        """Ask for these counts no more."""
        self._asked.pop(counts, None)

    def ask(self) -> None:
        """Ask for all counts again and again; returns when no connection is left."""
        while self._asked:
            for counts, sock in list(self._asked.items()):
                before_ns = self._clock_ns()
                count = received_bytes(sock)
                if count is None:
                    self.remove(counts)
                else:
                    counts.add(before_ns, count, self._clock_ns())
            self._sleep(max(_PERIOD_S, len(self._asked) / _QUERIES_PER_S))


_watches: "WeakKeyDictionary[Any, CountWatch]" = WeakKeyDictionary()


def count_watch() -> CountWatch:
    """Return the `CountWatch` of the calling thread's event loop; a forked process gets a new one."""
    return of_hub(_watches, CountWatch)
