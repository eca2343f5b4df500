"""Where all of a process's connections are read: the innermost loop of the receive path.

The sockets are in an epoll set of our own, and the hub watches that one descriptor (an epoll set is readable while one
of its sockets is). A turn of the hub then costs one callback for all sockets that are readable instead of one for each,
and the loop below keeps what it needs in local variables. Each socket is read once a turn with `recvmsg_into`, so that
the kernel's receive timestamp comes along; what is left is there again in the next turn.

What a source raises ends at that source (see `isolation`): the others are read on.

There are two that do the same: `NativePoller` by `loadgen.native`, and `Poller` in Python where that was not built.

When a message arrived. One read has one kernel stamp, that of its last segment, and the kernel merges segments that
wait in a socket. So only what ends with a read that emptied the socket has a stamp of its own. All else that a read
brings arrived before its stamp and after the socket was last known to be empty: before the last read that emptied it,
before a later poll that did not show it, and after the stamp of a read before. The native one also asks the kernel, and
where a read has brought one segment all of it is exact (see `is_one_segment` in poller.c). `within_ns` is how long
before the stamp that is, and `end_ns` the same for what ends with the read: 0 where that is exact.
"""

import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import gevent
from gevent.monkey import get_original

from loadgen import native
from loadgen.measure.clock import now_ns
from loadgen.transport import kernel_time
from loadgen.transport.framing import OnText
from loadgen.transport.isolation import contain, pass_on

_READ = 1
_EPOLLIN = 1
#: One frame of the longest kind whose length is in two bytes, so that no read is taken for a longer one.
_BUFFER_BYTES = 4 + 65_535
#: The header of a whole, unmasked text frame (RFC 6455, 5.2): of up to 125 bytes, and of up to 65,535 as one number,
#: which with the read's size added is the header with the frame's length: the four bytes of the header do not count.
_TEXT = 0x81
_HEADER = struct.Struct("!I")
_LONGER_TEXT = 0x817E0000 - 4
#: Sockets a turn; others of the hub's business waits no longer than these take.
_MOST_A_TURN = 256
#: As in poller.c.
_TURN_NS = 50_000_000
#: How long after its stamp a segment may wait in the kernel (softirq) until its socket shows it; as in poller.c.
_SETTLE_NS = 50_000
#: Among the flags of a read: it has filled its buffer, and the socket may hold more.
FILLED = socket.MSG_TRUNC


class Source(Protocol):
    """A connection as it is read."""

    #: `recvmsg_into` of its socket.
    recvmsg_into: Callable[..., tuple[int, list[tuple[int, int, bytes]], int, Any]]
    #: Takes a message where a read may bring just one whole text frame; None: `take` must see every byte.
    whole: OnText | None
    #: What is read next came after this (ns; in truth up to `_SETTLE_NS` before), and is stamped later than that.
    since_ns: int
    stamp_ns: int

    def take(
        self, data: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Take what was read; nothing: the stream is at its end. The bytes are only there until this returns.

        ``within_ns``, ``end_ns``: by how much earlier a message may have arrived that ends within the data, or with it.
        """

    def broke(self, error: OSError) -> None:
        """The socket cannot be read any more."""

    def take_plaintext(self, data: bytes, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        """Take what the native poller has decrypted and its fast path has not taken; nothing: TLS is at its end."""

    def tls_stopped(
        self, error: Exception, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """There was nothing more to decrypt, or TLS has failed."""

    def failed(self, error: BaseException) -> None:
        """Another of these, or ``whole``, has raised this, or there was no memory for what was read: end."""


#: What takes ciphertext, and what gives plaintext.
TlsEnds = tuple[Callable[[bytes], Any], Callable[[int, bytearray], int]]


class NativePoller:
    """Reads the sockets of one hub by way of `loadgen.native`."""

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
            self._watcher.start(self._poller.read, _MOST_A_TURN)

    def remove(self, descriptor: int) -> int:
        """Read the socket no more; call before it is closed. Returns what `since_ns` is then."""
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
        tls: TlsEnds | None = None,
    ) -> None:
        """Tell that the source's ``whole`` has changed, and which fast path takes what it knows before that."""
        self._poller.route(descriptor, whole, fast_path, *(tls or ()))


class Poller:
    """Reads the sockets of one hub."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._sources: dict[int, Source] = {}
        #: Sockets whose last read left something, or that were not read yet: no poll says anything of them.
        self._filled: set[int] = set()
        #: The beginning of the last poll that has shown every readable socket.
        self._polled_ns = 0
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._loop = gevent.get_hub().loop
        # Without epoll (macOS) each socket has a watcher of the hub's.
        self._watchers: dict[int, Any] = {}
        # gevent's patching takes epoll out of the module, since it would block; with a timeout of zero it does not.
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
        """Read the socket no more; call before it is closed. Returns what `since_ns` is then."""
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
        tls: TlsEnds | None = None,
    ) -> None:
        """Do nothing: ``whole`` is asked of the source at each read, and fast paths are the native poller's."""

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
                # Those that it has shown have been read.
                self._polled_ns = polled_ns
                # What came meanwhile: to go through the hub for it costs several times as much as to ask.
                polled_ns = now()
                if polled_ns - begun_ns > _TURN_NS:
                    return
                readable = poll(0, left)
            self._polled_ns = polled_ns
        except OSError as error:
            # None can be read any more, and each is to know.
            for source in list(self._sources.values()):
                contain(source, error)
        except BaseException as error:
            pass_on(error)

    def _read_now(self, readable: Iterable[tuple[int, int]]) -> None:
        self._read(readable, now_ns())

    def _read(self, readable: Iterable[tuple[int, int]], before_ns: int) -> None:
        """Read each socket once, then deal with what was read. ``before_ns``: the clock, read before.

        In two loops, since the kernel's code and ours would otherwise drive each other out of the processor's caches
        with every frame: ours then took twice as long.
        """
        find, buffer, view, buffers = self._sources.get, self._buffer, self._view, (self._buffer,)
        control_bytes, unpack_time = kernel_time.CONTROL_BYTES, kernel_time.TIMESPEC.unpack_from
        unpack_header, now, filled = _HEADER.unpack_from, now_ns, self._filled
        texts: list[tuple[Source, OnText, bytearray, bytes, int]] = []
        add = texts.append
        for descriptor, _ in readable:
            source = find(descriptor)
            if source is None:
                # Ended by what was read before it in this turn.
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
                    # A whole text frame and nothing else, as nearly every read of a fan-out is: its stamp is exact.
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
        """Return (arrival, read, within, end) of a read; see the module's docstring, and `times_of` in poller.c."""
        arrival_ns = read_ns
        if control:
            seconds, nanoseconds = kernel_time.TIMESPEC.unpack_from(control[0][2])
            arrival_ns = seconds * 1_000_000_000 + nanoseconds
        since_ns = source.since_ns
        if descriptor not in self._filled and self._polled_ns > since_ns:
            since_ns = self._polled_ns
        earliest_ns = since_ns - _SETTLE_NS
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


_Kind = TypeVar("_Kind", Poller, NativePoller)
_pollers: "WeakKeyDictionary[Any, NativePoller]" = WeakKeyDictionary()
_python_inlets: "WeakKeyDictionary[Any, Poller]" = WeakKeyDictionary()


def is_native() -> bool:
    """Whether sockets are read natively: where that was built, and stamps reads by the clock that this process has."""
    return native.available and _same_clock()


@cache
def _same_clock() -> bool:
    """Whether the native reads' clock is `now_ns`; not so where that is replaced, as by a test."""
    before_ns = now_ns()
    between_ns = native.now_ns()
    return before_ns <= between_ns <= now_ns()


def poller() -> Poller | NativePoller:
    """Return the one of the calling thread's hub; a forked process gets its own."""
    return _of_hub(_pollers, NativePoller) if is_native() else python_poller()


def python_poller() -> Poller:
    """Return the hub's one in Python: it reads by the source's own ``recvmsg_into``, which may be another's."""
    return _of_hub(_python_inlets, Poller)


def _of_hub(known: "WeakKeyDictionary[Any, _Kind]", kind: type[_Kind]) -> _Kind:
    hub = gevent.get_hub()
    found = known.get(hub)
    if found is None or found.process != os.getpid():
        found = known[hub] = kind()
    return found
