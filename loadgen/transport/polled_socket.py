"""A connected socket that the process's poller reads: it can pause reading, and tell how long nothing has arrived."""

import socket

from loadgen.measure.clock import now_ns
from loadgen.transport import kernel_time
from loadgen.transport.address import Address
from loadgen.transport.dialing import DialError, remote_of
from loadgen.transport.framing import OnText
from loadgen.transport.polled_source import Source
from loadgen.transport.poller import NativePoller, Poller, poller, python_poller
from loadgen.transport.silence import OnSilent, Silence, silence_watch
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.tcp_info import last_data_ns, unread_bytes


class PolledSocket(Source):
    """The base of `SocketStream`, with the socket that the poller reads; the subclass processes the bytes."""

    __slots__ = (
        "__weakref__",
        "_address",
        "_descriptor",
        "_poller",
        "_silence",
        "_slow",
        "_socket",
        "kernel_timestamps",
        "remote_address",
    )

    def __init__(self, address: Address, slow: SlowReading | None = None) -> None:
        """``slow`` limits how fast the connection is read once it is open; without it, there is no limit."""
        self._address = address
        self._slow = slow
        self._socket: socket.socket | None = None
        self._poller: Poller | NativePoller | None = None
        self._descriptor = -1
        self._silence: Silence | None = None
        self.whole: OnText | None = None
        self.since_ns = self.stamp_ns = 0
        self.kernel_timestamps = False
        #: IP address and port of the server, or of the last address that was tried; None if not known.
        self.remote_address: str | None = None

    @property
    def secure(self) -> bool:
        """True if the connection uses TLS."""
        return self._address.secure

    def pause_reading(self) -> None:
        """Leave received bytes in the kernel until :meth:`resume_reading`; other connections are not affected.

        Call this only for a connection of the Python poller, since the native poller may have read ahead.
        """
        if self._poller is not None:
            assert isinstance(self._poller, Poller)
            self.since_ns = self._poller.remove(self._descriptor)
            self._poller = None

    def resume_reading(self) -> None:
        """Undo :meth:`pause_reading`: add the socket to the Python poller again, unless the connection has ended."""
        if self._socket is not None and self._poller is None:
            self._poller = python_poller()
            self._poller.add(self._descriptor, self)

    def read_at_full_speed(self) -> None:
        """Lift any limit on reading, so that the server's answer to an orderly close is read soon."""
        if self._slow is not None:
            self._slow.end(self)

    def watch_silence(self, timeout_ns: int, on_silent: OnSilent) -> None:
        """Call ``on_silent`` once if the service sends nothing for ``timeout_ns``.

        Its argument is the time when data last arrived (wall clock, ns). Time in which the harness itself stood still
        does not count: see `silence`. The watch ends with the connection.
        """
        if self._socket is not None:
            self._unwatch_silence()
            self._silence = silence_watch().add(self, timeout_ns, on_silent)

    def quiet_ns(self) -> int:
        """Return the time since data last arrived (ns)."""
        known_ns = last_data_ns(self._socket) if self._socket is not None else 0
        # If the kernel does not report when data arrived (macOS), use the time of the Python poller's last read.
        return max(0, now_ns() - max(self.since_ns, self.stamp_ns)) if known_ns is None else known_ns

    def has_unread(self) -> bool:
        """Return True if received bytes wait in the kernel, or were read and wait for Python."""
        if self._socket is None:
            return False
        return unread_bytes(self._socket) > 0 or (
            self._poller is not None and self._poller.has_waiting(self._descriptor)
        )

    def _connect(self, timeout_s: float) -> None:
        """Connect and begin to read; blocks the calling greenlet.

        Raises:
            TransportError: no server answers.
        """
        self.since_ns = self.stamp_ns = now_ns()
        try:
            self._socket = self._address.connect(timeout_s)
        except DialError as error:
            self.remote_address = error.remote
            raise
        self.remote_address = remote_of(self._socket)
        self.kernel_timestamps = kernel_time.enable(self._socket)
        self._descriptor = self._socket.fileno()
        if self._slow is None:
            self.recvmsg_into = self._socket.recvmsg_into
            self._poller = poller()
        else:
            self.recvmsg_into = self._slow.reading(self, self._socket.recvmsg_into)
            self._poller = python_poller()
        self._poller.add(self._descriptor, self)

    def _unwatch_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _dispose(self) -> None:
        """Close the socket and stop reading it, without calling a callback."""
        self.whole = None
        self._unwatch_silence()
        if self._socket is not None:
            if self._poller is not None:
                self._poller.remove(self._descriptor)
                self._poller = None
            if self._slow is not None:
                self._slow.forget()
            self._socket.close()
            self._socket = None
