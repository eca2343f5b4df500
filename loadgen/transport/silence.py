"""Detect connections on which nothing arrives any more.

If a service promises to send something every 300 s and does not, then the service or the network has failed. TCP does
not report that: for many minutes, a peer whose packets are dropped looks like one that has nothing to send.

A connection is checked when its timeout would expire if nothing had arrived, and not at every message. The kernel
records when data last arrived (`tcpi_last_data_recv`, tcp(7)), so receiving costs nothing extra. One greenlet per
process does all checks.

The generator must not mistake a stall of its own for silence of the service. The time that the kernel records does not
depend on when this process reads. But a stalled event loop lets the receive window fill up, and then the service cannot
send. So a connection with unread data is not silent, and time in which the event loop was stalled does not count.
"""

import heapq
import os
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import gevent

from loadgen.measure.clock import now_ns
from loadgen.transport import isolation
from loadgen.transport.hubs import of_hub

#: A callback that gets the wall-clock time (ns since the epoch) at which data last arrived.
OnSilent = Callable[[int], None]

_MS: Final = 1_000_000
#: While connections are watched, the greenlet sleeps at most this long (ns). If it wakes late, the event loop was
#: stalled.
_TICK_NS: Final = 250 * _MS
#: If a wake-up is late by at least this time (ns), the event loop counts as stalled.
_STALL_NS: Final = 50 * _MS
#: Shortest time (ns) until the next check of a connection whose timeout has passed, but whose silence is not certain:
#: it has unread data, or the event loop was stalled.
_AGAIN_NS: Final = 100 * _MS
#: Number of connections checked in one turn of the event loop.
_AT_ONCE: Final = 200


class Watched(isolation.Contained, Protocol):
    """A connection that may fall silent."""

    def quiet_ns(self) -> int:
        """Return the time since data last arrived (ns)."""

    def has_unread(self) -> bool:
        """Return True if received bytes wait in the kernel."""


class Silence:
    """Watches one connection, until it is cancelled or has found the connection silent."""

    __slots__ = ("_on_silent", "_source", "timeout_ns")

    def __init__(self, source: Watched, timeout_ns: int, on_silent: OnSilent) -> None:
        self._source: Watched | None = source
        self._on_silent: OnSilent | None = on_silent
        self.timeout_ns = timeout_ns

    def cancel(self) -> None:
        """Stop watching."""
        # Drop the references: this object stays in the heap until its next check is due, and would keep the connection
        # in memory.
        self._source = self._on_silent = None

    def look(self, stood_still_ns: Callable[[int], int]) -> int | None:
        """Check the connection and call ``on_silent`` if it is silent; never raises.

        ``stood_still_ns`` returns for how long the event loop was stalled within the last given time (ns). Returns the
        time until the next check (ns), or None if there is none.
        """
        source, on_silent = self._source, self._on_silent
        if source is None or on_silent is None:
            return None
        try:
            quiet_ns = source.quiet_ns()
            left_ns = self.timeout_ns - quiet_ns
            if left_ns > 0:
                return left_ns
            left_ns += stood_still_ns(quiet_ns)
            if left_ns > 0 or source.has_unread():
                return max(left_ns, _AGAIN_NS)
            self.cancel()
            on_silent(now_ns() - quiet_ns)
        except Exception as error:
            self.cancel()
            isolation.contain(source, error)
        return None


class SilenceWatch:
    """Watches the connections of one hub; tests replace the clock and the sleep (in seconds)."""

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], Any] = gevent.sleep,
    ) -> None:
        self.process = os.getpid()
        self._monotonic_ns, self._sleep = monotonic_ns, sleep
        self._due: list[tuple[int, int, Silence]] = []
        self._numbers = count()
        #: Stalls of the event loop: when each ended (monotonic ns), and how long it lasted (ns).
        self._stalls: deque[tuple[int, int]] = deque()
        self._longest_ns = 0
        self._watching: gevent.Greenlet | None = None

    def add(self, source: Watched, timeout_ns: int, on_silent: OnSilent) -> Silence:
        """Watch a connection; ``on_silent`` is called at most once, from a greenlet, and must not block."""
        silence = Silence(source, timeout_ns, on_silent)
        self._longest_ns = max(self._longest_ns, timeout_ns)
        self._push(self._monotonic_ns() + timeout_ns, silence)
        if self._watching is None or self._watching.dead:
            self._watching = gevent.spawn(self.watch)
        return silence

    def watch(self) -> None:
        """Check each connection when it is due; returns when no connection is left."""
        before_ns = self._monotonic_ns()
        while self._due:
            wait_ns = min(_TICK_NS, max(0, self._due[0][0] - before_ns))
            self._sleep(wait_ns / 1e9)
            at_ns = self._monotonic_ns()
            if at_ns - before_ns - wait_ns >= _STALL_NS:
                self._stalls.append((at_ns, at_ns - before_ns - wait_ns))
            before_ns = at_ns
            while self._stalls and self._stalls[0][0] < at_ns - 2 * self._longest_ns:
                self._stalls.popleft()
            for _ in range(_AT_ONCE):
                if not self._due or self._due[0][0] > at_ns:
                    break
                silence = heapq.heappop(self._due)[2]
                again_ns = silence.look(self._stood_still_ns)
                if again_ns is not None:
                    self._push(at_ns + again_ns, silence)

    def _push(self, due_ns: int, silence: Silence) -> None:
        heapq.heappush(self._due, (due_ns, next(self._numbers), silence))

    def _stood_still_ns(self, within_ns: int) -> int:
        """Return for how long (ns) the event loop was stalled within the last ``within_ns``."""
        since_ns = self._monotonic_ns() - within_ns
        return sum(min(lasted_ns, at_ns - since_ns) for at_ns, lasted_ns in self._stalls if at_ns > since_ns)


_watches: "WeakKeyDictionary[Any, SilenceWatch]" = WeakKeyDictionary()


def silence_watch() -> SilenceWatch:
    """Return the `SilenceWatch` of the calling thread's event loop; a forked process gets a new one."""
    return of_hub(_watches, SilenceWatch)
