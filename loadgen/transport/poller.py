"""Read all connections of a process: the innermost loop of the receive path.

The sockets are in an epoll set of our own. Each readable one is read once per round with `recvmsg`, which also returns
the kernel's receive timestamp. Data left in a socket makes it readable again in the next round.

An error that a source raises ends that source only (see `isolation`).

There are two implementations, which make the same record and the same calls:

- `NativePoller` reads in a thread of `loadgen.native`, which needs no interpreter lock. So a read is never delayed by
  Python code. The gevent hub watches the thread's queue.
- `Poller` reads in the hub, for systems on which the extension was not built and for connections that are read slowly
  on purpose. The hub watches the descriptor of the epoll set, which is readable while one of the sockets is, and makes
  one callback for all readable sockets instead of one for each.

Arrival times: a read has only one kernel stamp, that of its last segment, and the kernel merges segments that wait in a
socket. So the stamp is exact only for a message that ends with the read, if the read emptied the socket. Every other
message of the read arrived before the stamp, and after the latest of these times:

- the start of the last read that emptied the socket, less `SETTLE_NS`,
- the start of a later poll that did not report the socket as readable, less `SETTLE_NS`,
- the stamp of the last read that emptied the socket.

For messages that end within the read, `within_ns` is the time from the latest of these times to the stamp. For the
message that ends with the read, `end_ns` is that same time, or 0 if its stamp is exact. `NativePoller` also asks the
kernel how many segments have arrived: if the read was one segment, the stamp is exact for all its messages (see
`is_one_segment` in times.c).
"""

import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gevent.monkey import get_original

from loadgen import native
from loadgen.measure.clock import now_ns
from loadgen.transport import kernel_time
from loadgen.transport.framing import OnText
from loadgen.transport.hubs import existing, of_hub
from loadgen.transport.isolation import contain, pass_on
from loadgen.transport.polled_source import Source

_READ = 1
_EPOLLIN = 1
#: Size of the read buffer: the longest frame with a two-byte length field, header included. No read is longer, since
#: ``_LONGER_TEXT`` recognises only frames with such a field.
_BUFFER_BYTES = 4 + 65_535
#: Used to recognise a read that is exactly one final, unmasked text frame (RFC 6455, 5.2), which begins with 0x81. For
#: a text of up to 125 bytes, the second byte is the length. For a longer text, 0x7E and a two-byte length follow. As a
#: big-endian number, these first four bytes are ``_LONGER_TEXT + size``, where ``size`` is the number of bytes read,
#: including the four bytes of the header.
_TEXT = 0x81
_HEADER = struct.Struct("!I")
_LONGER_TEXT = 0x817E0000 - 4
#: Maximum number of reads processed in one turn of the gevent hub, so that the hub's other callbacks run in between.
_MOST_A_TURN = 256
#: Time (ns) after which a turn of the gevent hub ends, so that timers and other callbacks run; processing.c uses the
#: same value.
_TURN_NS = 50_000_000
#: Longest delay in the kernel (softirq) from a segment's stamp until the socket is readable; times.c has the same
#: value.
SETTLE_NS = 50_000
#: Flag that a source's ``recvmsg_into`` returns if the read filled its buffer, so that the socket may hold more data.
FILLED = socket.MSG_TRUNC


#: Two functions of a TLS object: one writes ciphertext into it, the other reads plaintext from it.
TlsEnds = tuple[Callable[[bytes], Any], Callable[[int, bytearray], int]]


class NativePoller:
    """Reads the sockets of one gevent hub through `loadgen.native`, in a thread that needs no interpreter lock.

    The thread reads sockets and records arrival times even while Python is busy. Data that no fast path (native code)
    processes waits in a queue for the hub.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self._poller = native.Poller(contain)
        self._sockets = 0
        self._watcher = gevent.get_hub().loop.io(self._poller.fileno(), _READ)

    def add(self, descriptor: int, source: Source) -> None:
        """Read the socket from now on."""
        self._poller.add(descriptor, source, source.since_ns)
        self._sockets += 1
        if not self._watcher.active:
            self._watcher.start(self._poller.process, _MOST_A_TURN)

    def remove(self, descriptor: int) -> int:
        """Stop reading the socket; call this before the socket is closed.

        Returns the socket's `since_ns` (see `polled_source.Source`). Bytes that were read but not processed yet are
        dropped.
        """
        since_ns = self._poller.remove(descriptor)
        self._sockets -= 1
        if not self._sockets:
            self._watcher.stop()
        return since_ns

    def route(
        self,
        descriptor: int,
        whole: OnText | None,
        fast_path: native.FastPath | None,
        tls: TlsEnds | native.Tls | None = None,
    ) -> None:
        """Set the callback for whole text frames, and the fast path (native code), which gets the data before it.

        With ``tls`` the poller decrypts the data first. See `route` in `_native.pyi`.
        """
        if isinstance(tls, tuple):
            self._poller.route(descriptor, whole, fast_path, *tls)
        else:
            self._poller.route(descriptor, whole, fast_path, tls)

    def has_waiting(self, descriptor: int) -> bool:
        """Return True if bytes were read from the socket that have not been processed yet."""
        return self._poller.waiting(descriptor) > 0

    def priority(self) -> native.Priority | None:
        """Return how the system schedules the receive thread, or None if it has not begun."""
        return self._poller.priority()

    def cpu_ns(self) -> int | None:
        """Return the CPU time of the receive thread (ns), or None if it has not begun or has ended."""
        return self._poller.cpu_ns()


class Poller:
    """Reads the sockets of one gevent hub in Python."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._sources: dict[int, Source] = {}
        #: Sockets whose last read may have left data, or that were not read yet. A poll that does not report such a
        #: socket does not prove that it is empty.
        self._filled: set[int] = set()
        #: Start (ns) of the last poll after which all reported sockets were read.
        self._polled_ns = 0
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._loop = gevent.get_hub().loop
        # Without epoll (macOS) each socket has a watcher of the gevent hub.
        self._watchers: dict[int, Any] = {}
        # gevent removes epoll from the patched module because it can block; with a timeout of zero it does not.
        self._epoll = get_original("select", "epoll")() if sys.platform.startswith("linux") else None
        if self._epoll is not None:
            self._watcher = self._loop.io(self._epoll.fileno(), _READ)

    def add(self, descriptor: int, source: Source) -> None:
        """Read the socket from now on."""
        self._sources[descriptor] = source
        self._filled.add(descriptor)
        if self._epoll is None:
            self._watchers[descriptor] = watcher = self._loop.io(descriptor, _READ)
            watcher.start(self._read_now, ((descriptor, _READ),))
            return
        self._epoll.register(descriptor, _EPOLLIN)
        if not self._watcher.active:
            self._watcher.start(self._on_readable)

    def remove(self, descriptor: int) -> int:
        """Stop reading the socket and return its `since_ns` (see `Source`); call this before the socket is closed."""
        source = self._sources.pop(descriptor)
        since_ns = source.since_ns
        if self._epoll is None:
            watcher = self._watchers.pop(descriptor)
            watcher.stop()
            watcher.close()
            return since_ns
        self._epoll.unregister(descriptor)
        if not self._sources:
            self._watcher.stop()
        return since_ns

    def route(
        self,
        descriptor: int,
        whole: OnText | None,
        fast_path: native.FastPath | None,
        tls: TlsEnds | native.Tls | None = None,
    ) -> None:
        """Do nothing: this poller uses no native code, and it looks up the source's callback ``whole`` at each read."""

    def has_waiting(self, descriptor: int) -> bool:
        """Return False: this poller processes all bytes right after it has read them."""
        return False

    def _on_readable(self) -> None:
        assert self._epoll is not None
        poll, now, left = self._epoll.poll, now_ns, _MOST_A_TURN
        try:
            begun_ns = polled_ns = now()
            readable = poll(0, left)
            while readable:
                self._read(readable, polled_ns)
                left -= len(readable)
                if left <= 0:
                    return
                # All sockets that this poll reported have been read.
                self._polled_ns = polled_ns
                # Poll again in this callback: returning to the gevent hub for the next poll costs several times as
                # much.
                polled_ns = now()
                if polled_ns - begun_ns > _TURN_NS:
                    return
                readable = poll(0, left)
            self._polled_ns = polled_ns
        except OSError as error:
            # The poll failed, so no socket can be read any more: end every source.
            for source in list(self._sources.values()):
                contain(source, error)
        except BaseException as error:
            pass_on(error)

    def _read_now(self, readable: Iterable[tuple[int, int]]) -> None:
        self._read(readable, now_ns())

    def _read(self, readable: Iterable[tuple[int, int]], before_ns: int) -> None:
        """Read each socket once, then process the messages. ``before_ns`` is a time before the first read.

        Reading and processing are separate loops. In a single loop, the code of the kernel and of this process would
        evict each other from the CPU caches with every frame, and processing would take twice as long.
        """
        find, buffer, view, buffers = self._sources.get, self._buffer, self._view, (self._buffer,)
        control_bytes, unpack_time = kernel_time.CONTROL_BYTES, kernel_time.TIMESPEC.unpack_from
        unpack_header, now, filled = _HEADER.unpack_from, now_ns, self._filled
        texts: list[tuple[Source, OnText, bytearray, bytes, int]] = []
        add = texts.append
        for descriptor, _ in readable:
            source = find(descriptor)
            if source is None:
                # This socket was closed after it had become readable, while another socket's data was processed.
                continue
            try:
                try:
                    size, control, flags, _ = source.recvmsg_into(buffers, control_bytes)
                    read_ns = now()
                except BlockingIOError:
                    continue
                except InterruptedError:
                    filled.add(descriptor)
                    continue
                except OSError as error:
                    source.broke(error)
                    continue
                whole = source.whole
                if whole is not None and control and size < _BUFFER_BYTES and not flags:
                    # This is a shortcut past the general code below, since nearly every read of a fan-out is one whole
                    # text frame with an exact stamp.
                    text = None
                    if unpack_header(buffer)[0] == _LONGER_TEXT + size and size >= 4:
                        text = buffer[4:size]
                    elif buffer[0] == _TEXT and buffer[1] == size - 2 < 126:
                        text = buffer[2:size]
                    if text is not None:
                        add((source, whole, text, control[0][2], read_ns))
                        source.since_ns = before_ns
                        before_ns = read_ns
                        if filled:
                            filled.discard(descriptor)
                        continue
                emptied = size < _BUFFER_BYTES and not flags & FILLED
                times = self._times_of(descriptor, source, control, before_ns, read_ns, emptied)
                before_ns = read_ns
                source.take(view[:size], *times)
            except BaseException as error:
                contain(source, error)
        for source, whole, text, stamp, read_ns in texts:
            try:
                seconds, nanoseconds = unpack_time(stamp)
                whole(text, seconds * 1_000_000_000 + nanoseconds, read_ns)
            except BaseException as error:
                contain(source, error)

    def _times_of(
        self,
        descriptor: int,
        source: Source,
        control: list[tuple[int, int, bytes]],
        before_ns: int,
        read_ns: int,
        emptied: bool,
    ) -> tuple[int, int, int, int]:
        """Return a read's (arrival, read, within, end) in ns; see the module's docstring and `times_of` in times.c."""
        arrival_ns = read_ns
        if control:
            seconds, nanoseconds = kernel_time.TIMESPEC.unpack_from(control[0][2])
            arrival_ns = seconds * 1_000_000_000 + nanoseconds
        since_ns = source.since_ns
        if descriptor not in self._filled and self._polled_ns > since_ns:
            since_ns = self._polled_ns
        earliest_ns = since_ns - SETTLE_NS
        if earliest_ns < source.stamp_ns or earliest_ns >= arrival_ns:
            earliest_ns = source.stamp_ns
        within_ns = max(0, arrival_ns - earliest_ns)
        if emptied:
            self._filled.discard(descriptor)
            source.since_ns = before_ns
            if control:
                source.stamp_ns = arrival_ns
        else:
            self._filled.add(descriptor)
            source.since_ns = since_ns
        return arrival_ns, read_ns, within_ns, 0 if emptied and control else within_ns


_pollers: "WeakKeyDictionary[Any, NativePoller]" = WeakKeyDictionary()
_python_inlets: "WeakKeyDictionary[Any, Poller]" = WeakKeyDictionary()


def is_native() -> bool:
    """Return True if the native poller is used: it is built, and it reads the same clock as this process."""
    return native.available and _same_clock()


@cache
def _same_clock() -> bool:
    """Return True if the native clock agrees with `now_ns`; they differ if a test has replaced `now_ns`."""
    before_ns = now_ns()
    between_ns = native.now_ns()
    return before_ns <= between_ns <= now_ns()


def poller() -> Poller | NativePoller:
    """Return the poller of the calling thread's hub; a forked process gets a new one."""
    return of_hub(_pollers, NativePoller) if is_native() else python_poller()


def thread_priority() -> native.Priority | None:
    """Return how the system schedules the native receive thread, or None if the calling thread's hub has none."""
    found = _native_here()
    return None if found is None else found.priority()


def thread_cpu_ns() -> int | None:
    """Return the CPU time (ns) of the native receive thread, or None if the calling thread's hub has none."""
    found = _native_here()
    return None if found is None else found.cpu_ns()


def _native_here() -> NativePoller | None:
    """Return the native poller of the calling thread's hub, if there is one already."""
    return existing(_pollers) if is_native() else None


def python_poller() -> Poller:
    """Return the gevent hub's Python poller, which reads by the method ``recvmsg_into`` of each source."""
    return of_hub(_python_inlets, Poller)
