"""Notices connections on which nothing at all comes any more.

A service that says "I am heard within 300 s" and then is not has gone, or the network has. TCP does not tell: a peer
whose packets are dropped looks like one that has nothing to say, for many minutes.

A connection is looked at when its time would be up if nothing had come, and not once a message: the kernel keeps when
data last came (`tcpi_last_data_recv`, tcp(7)), so receiving costs nothing more. One greenlet a process does it.

The generator must not take its own sleep for the service's silence. What the kernel says is no matter of when we read.
But a peer can't send into a full receive window, which our own standing still may fill. So what the kernel holds unread
is looked at, and time in which the event loop stood still does not count.
"""

import array
import fcntl
import heapq
import os
import socket
import struct
import termios
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import gevent

from loadgen.measure.clock import now_ns
from loadgen.transport import isolation

#: Told when data last came, by the wall clock (ns).
OnSilent = Callable[[int], None]

_MS: Final = 1_000_000
#: Between two looks at the clock, while any connection is watched: how far the event loop has stood still shows then.
_TICK_NS: Final = 250 * _MS
#: The event loop was late by so much: it stood still.
_STALL_NS: Final = 50 * _MS
#: What is not to be judged yet is looked at again after this.
_AGAIN_NS: Final = 100 * _MS
#: Connections looked at in one turn of the event loop.
_AT_ONCE: Final = 200
#: Where struct tcp_info has tcpi_last_data_recv (linux/tcp.h), and the milliseconds there.
_LAST_DATA_AT: Final = 52
_MILLISECONDS: Final = struct.Struct("=I")


class Watched(isolation.Contained, Protocol):
    """A connection that may fall silent."""

    def quiet_ns(self) -> int:
        """Return for how long nothing has come."""

    def has_unread(self) -> bool:
        """Whether something has come that is not read yet."""


class Silence:
    """A connection that is watched until it is cancelled."""

    __slots__ = ("_on_silent", "_source", "timeout_ns")

    def __init__(self, source: Watched, timeout_ns: int, on_silent: OnSilent) -> None:
        self._source: Watched | None = source
        self._on_silent: OnSilent | None = on_silent
        self.timeout_ns = timeout_ns

    def cancel(self) -> None:
        """Watch it no more."""
        # It waits in the heap until its time: nothing of the connection must wait with it.
        self._source = self._on_silent = None

    def look(self, stood_still_ns: Callable[[int], int]) -> int | None:
        """Tell that it is silent, if it is; return when to look again (ns from now), None: never. Never raises."""
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
    """Looks after the connections of one hub. The clock and the sleep (in seconds) are for tests."""

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], Any] = gevent.sleep,
    ) -> None:
        self.process = os.getpid()
        self._monotonic_ns, self._sleep = monotonic_ns, sleep
        self._due: list[tuple[int, int, Silence]] = []
        self._numbers = count()
        #: When the event loop stood still up to when, and for how long.
        self._stalls: deque[tuple[int, int]] = deque()
        self._longest_ns = 0
        self._watching: gevent.Greenlet | None = None

    def add(self, source: Watched, timeout_ns: int, on_silent: OnSilent) -> Silence:
        """Watch a connection: ``on_silent`` is called once, from a greenlet, and must not block."""
        silence = Silence(source, timeout_ns, on_silent)
        self._longest_ns = max(self._longest_ns, timeout_ns)
        self._push(self._monotonic_ns() + timeout_ns, silence)
        if self._watching is None or self._watching.dead:
            self._watching = gevent.spawn(self.watch)
        return silence

    def watch(self) -> None:
        """Look at each connection when its time comes; returns when there is none."""
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
        """Return for how long of the last so many nanoseconds the event loop stood still."""
        since_ns = self._monotonic_ns() - within_ns
        return sum(min(lasted_ns, at_ns - since_ns) for at_ns, lasted_ns in self._stalls if at_ns > since_ns)


def last_data_ns(sock: socket.socket) -> int | None:
    """Return how long ago the kernel last received data on a TCP socket (to a millisecond); None: it does not tell."""
    if not hasattr(socket, "TCP_INFO"):
        return None
    try:
        said = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_AT + _MILLISECONDS.size)
        return int(_MILLISECONDS.unpack_from(said, _LAST_DATA_AT)[0]) * _MS
    except (OSError, struct.error):
        return None


def unread_bytes(sock: socket.socket) -> int:
    """Return how many received bytes the kernel holds for a socket."""
    found = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.FIONREAD, found)
    return found[0]


_watches: "WeakKeyDictionary[Any, SilenceWatch]" = WeakKeyDictionary()


def silence_watch() -> SilenceWatch:
    """Return the one of the calling thread's hub; a forked process gets its own."""
    hub = gevent.get_hub()
    found = _watches.get(hub)
    if found is None or found.process != os.getpid():
        found = _watches[hub] = SilenceWatch()
    return found
