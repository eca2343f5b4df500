"""A connection on the gevent hub below its protocol: the socket, TLS and the send buffer.

The process's poller reads the raw socket, which gives the kernel's receive timestamp. TLS therefore runs over memory
buffers. No connection needs a greenlet. The subclasses handle the received bytes: `WebSocket` parses messages,
`ByteStream` passes the bytes on.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Any, ClassVar, cast

import gevent
from gevent.event import AsyncResult

from loadgen.measure.clock import now_ns
from loadgen.native import FastPath
from loadgen.transport import bounds, isolation, kernel_time
from loadgen.transport.address import Address
from loadgen.transport.dialing import DialError, remote_of
from loadgen.transport.errors import TransportError, UnreadableError, describe
from loadgen.transport.framing import OnText
from loadgen.transport.isolation import OnFailed, OurFailureError
from loadgen.transport.poller import NativePoller, Poller, poller, python_poller
from loadgen.transport.records import RecordBoundary
from loadgen.transport.silence import OnSilent, Silence, last_data_ns, silence_watch, unread_bytes

_WRITE = 2
_PLAINTEXT = bytearray(64 * 1024)
_PLAINTEXT_VIEW = memoryview(_PLAINTEXT)

#: Called once when an opened connection ends, with the close code (or None without a close frame) and the reason.
OnClosed = Callable[[int | None, str], None]
#: A socket's `recvmsg_into`: returns (bytes, control messages, flags, address).
RecvmsgInto = Callable[..., tuple[int, list[tuple[int, int, bytes]], int, Any]]


class SocketStream:
    """A client connection, the base of `WebSocket` and `ByteStream`.

    Callbacks are called from the hub and must not block. An error that one raises ends this connection as a failure of
    the harness: ``on_failed`` is called with it, then ``on_closed``.

    `open` calls `_secured` of the subclass and returns once the subclass has set the result of `_opening`.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_descriptor",
        "_early",
        "_incoming",
        "_on_closed",
        "_on_failed",
        "_opening",
        "_outgoing",
        "_poller",
        "_records",
        "_silence",
        "_socket",
        "_stuck",
        "_tls",
        "_tls_ready",
        "_unsent",
        "_writer",
        "kernel_timestamps",
        "recvmsg_into",
        "remote_address",
        "since_ns",
        "stamp_ns",
        "violation",
        "whole",
    )

    #: Name in error messages of the handshake that `open` waits for.
    _handshake: ClassVar[str] = "TLS handshake"
    #: Text for a connection that ends without a close code.
    abrupt: ClassVar[str] = "closed"

    def __init__(self, address: Address, on_closed: OnClosed, on_failed: OnFailed | None = None) -> None:
        self._address = address
        self._on_closed = on_closed
        self._on_failed = on_failed
        self._socket: socket.socket | None = None
        self._poller: Poller | NativePoller | None = None
        self._descriptor = -1
        self._writer: Any = None
        self._unsent: bytearray | None = None
        #: True if the send buffer has exceeded `bounds.UNSENT_BYTES`.
        self._stuck = False
        self._tls: ssl.SSLObject | None = None
        self._tls_ready = False
        self._opening: AsyncResult | None = None
        self._silence: Silence | None = None
        #: Error between the end of the handshake and the return of `open`.
        self._early: TransportError | None = None
        #: See `poller.Source`.
        self.whole: OnText | None = None
        self.since_ns = self.stamp_ns = 0
        self.kernel_timestamps = False
        #: IP address and port of the server, or of the last address that was tried; None if not known.
        self.remote_address: str | None = None
        #: The violation of the protocol by the server that ended the connection, or None.
        self.violation: UnreadableError | None = None

    @property
    def secure(self) -> bool:
        """True if the connection uses TLS."""
        return self._address.secure

    @property
    def is_open(self) -> bool:
        """True if the handshake is done and neither side has begun to close."""
        return self._socket is not None and self._opening is None

    def open(self, timeout_s: float = 10.0) -> None:
        """Connect and do the handshakes; blocks the calling greenlet.

        Raises:
            TransportError: no server answers, or TLS fails.
            HandshakeRefusedError: the server refused the WebSocket handshake for good.
            NotNowError: the server refused it for now.
        """
        self.since_ns = self.stamp_ns = now_ns()
        try:
            self._socket = self._address.connect(timeout_s)
        except DialError as error:
            self.remote_address = error.remote
            raise
        self.remote_address = remote_of(self._socket)
        self.kernel_timestamps = kernel_time.enable(self._socket)
        self._opening = opening = AsyncResult()
        self.recvmsg_into = self._socket.recvmsg_into
        self._descriptor = self._socket.fileno()
        self._poller = poller()
        self._poller.add(self._descriptor, self)
        try:
            if self._address.ssl_context is not None:
                self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                self._records = RecordBoundary()
                self._tls = self._address.ssl_context.wrap_bio(
                    self._incoming, self._outgoing, server_hostname=self._address.host
                )
                self._tls_handshake()
            else:
                self._secured()
            opening.get(timeout=timeout_s)
            self._opening = None
            if self._early is not None:
                gevent.get_hub().loop.run_callback(isolation.run, self, self._ended, str(self._early))
        except BaseException as error:
            self._dispose()
            if isinstance(error, gevent.Timeout):
                raise TransportError(f"{self._address.name}: {self._unanswered(timeout_s)}") from None
            if isinstance(error, ssl.SSLError):
                raise TransportError(f"{self._address.name}: TLS failed: {error}") from None
            if isinstance(error, OSError):
                raise TransportError(describe(error, self._address.name)) from None
            raise

    def send(self, message: bytes) -> None:
        """Send a message; bytes that the socket does not accept at once are buffered and sent later.

        Raises:
            TransportError: the connection is not open.
        """
        raise NotImplementedError

    def ping(self) -> None:
        """Send a ping that the server must answer; does nothing if the connection has no such message."""

    def close(self) -> None:
        """Begin an orderly close; ``on_closed`` is called when the server has closed too."""
        raise NotImplementedError

    def abort(self) -> None:
        """Drop the connection without an orderly close; ``on_closed`` is called before this returns."""
        self._ended()

    def use_fast_path(self, fast_path: FastPath | None) -> None:
        """Let a fast path of `loadgen.native` take the messages that it recognises, or none if it is None."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Leave received bytes in the kernel until :meth:`resume_reading`; other connections are not affected."""
        if self._poller is not None:
            self.since_ns = self._poller.remove(self._descriptor)
            self._poller = None

    def resume_reading(self) -> None:
        """Read again, by the Python poller and :attr:`recvmsg_into`; does nothing if the connection has ended."""
        if self._socket is not None and self._poller is None:
            self._poller = python_poller()
            self._poller.add(self._descriptor, self)

    def read_by(self, recvmsg_into: RecvmsgInto) -> RecvmsgInto:
        """Let the Python poller read by this function from now on, and return the one that it has read by."""
        before, self.recvmsg_into = self.recvmsg_into, recvmsg_into
        return before

    def watch_silence(self, timeout_ns: int, on_silent: OnSilent) -> None:
        """Call ``on_silent`` once if the service sends nothing for ``timeout_ns``.

        Its argument is when data last arrived (wall clock, ns). Time in which the harness itself stood still does not
        count: see `silence`. The watch ends with the connection.
        """
        if self._socket is not None:
            self._unwatch_silence()
            self._silence = silence_watch().add(self, timeout_ns, on_silent)

    def quiet_ns(self) -> int:
        """Return the time since data last arrived (ns)."""
        known_ns = last_data_ns(self._socket) if self._socket is not None else 0
        # If the kernel does not tell (macOS), since the last read of the Python poller.
        return max(0, now_ns() - max(self.since_ns, self.stamp_ns)) if known_ns is None else known_ns

    def has_unread(self) -> bool:
        """Return True if received bytes wait in the kernel."""
        return self._socket is not None and unread_bytes(self._socket) > 0

    # Hooks for the subclasses.

    def _unanswered(self, timeout_s: float) -> str:
        """Return the error text for a handshake that timed out."""
        return f"no answer to the {self._handshake} within {timeout_s:g} s"

    def _secured(self) -> None:
        """Begin the protocol's handshake: the socket is connected, and its TLS handshake, if any, is done."""
        raise NotImplementedError

    def _step(
        self, data: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Process decrypted bytes, which are valid only until this returns. Times are those of `poller.Source`."""
        raise NotImplementedError

    # The receive path: called by the poller.

    def take(
        self, data: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Process the bytes of one read; empty at the end of the stream. See `poller.Source`."""
        if not data:
            self._end_of_stream()
        elif self._tls is not None:
            self._records.follow(data)
            self._incoming.write(data)
            self._on_ciphertext(self._tls, arrival_ns, read_ns, within_ns, end_ns)
        else:
            self._step(data, arrival_ns, read_ns, within_ns, end_ns)

    def take_plaintext(self, data: bytes, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        """Process bytes that the native poller has decrypted. See `poller.Source`."""
        if data:
            self._step(data, arrival_ns, read_ns, within_ns, end_ns)
        else:
            self._end_of_stream()

    def tls_stopped(
        self, error: Exception, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Handle the native poller's read error: nothing more to decrypt, or a failure of TLS."""
        if isinstance(error, ssl.SSLWantReadError):
            if self._outgoing.pending:
                self._transmit(self._outgoing.read())
        elif not isinstance(error, ssl.SSLError):
            raise error
        else:
            self._fail(TransportError(f"{self._address.name}: TLS failed: {error}"))

    def broke(self, error: OSError) -> None:
        """End the connection: its socket cannot be read any more."""
        self._fail(TransportError(describe(error, self._address.name)))

    def failed(self, error: BaseException) -> None:
        """End the connection after one of its callbacks raised an error; see `isolation`."""
        try:
            if self._on_failed is not None:
                self._on_failed(error)
        finally:
            self._fail(OurFailureError(error))

    # TLS over memory buffers: the poller reads the raw socket, with the kernel's timestamp.

    def _on_ciphertext(
        self, tls: ssl.SSLObject, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        incoming = self._incoming
        if not self._records.reached:
            # The read ends within a record that cannot be decrypted yet: no message ends with the read.
            end_ns = within_ns
        try:
            if not self._tls_ready:
                self._tls_handshake()
                if not self._tls_ready:
                    return
            while True:
                # Into one buffer that all connections share: without it, read() would allocate 64 KB on each call.
                size = cast(int, tls.read(len(_PLAINTEXT), _PLAINTEXT))
                if not size:
                    self._end_of_stream()
                    return
                more = incoming.pending or tls.pending()
                ends_ns = within_ns if more else end_ns
                self._step(_PLAINTEXT_VIEW[:size], arrival_ns, read_ns, within_ns, ends_ns)
                if not more:
                    # Reading again would raise SSLWantReadError, which costs as much as all the rest.
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(TransportError(f"{self._address.name}: TLS failed: {error}"))
            return
        if self._outgoing.pending:
            self._transmit(self._outgoing.read())

    def _tls_handshake(self) -> None:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._transmit(self._outgoing.read())
            return
        self._tls_ready = True
        self._transmit(self._outgoing.read())
        self._secured()

    # Sending.

    def _write(self, data: bytes) -> None:
        if self._tls is not None:
            try:
                self._tls.write(data)
            except ssl.SSLError:
                # The server has closed: the reader sees it too and reports it.
                return
            data = self._outgoing.read()
        self._transmit(data)

    def _transmit(self, data: bytes) -> None:
        if self._socket is None or not data:
            return
        if self._unsent is not None:
            if len(self._unsent) + len(data) > bounds.UNSENT_BYTES:
                self._is_not_read()
                return
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            # The reader sees the same error and reports it.
            return
        if sent < len(data):
            self._unsent = bytearray(memoryview(data)[sent:])
            if self._writer is None:
                self._writer = gevent.get_hub().loop.io(self._descriptor, _WRITE)
            self._writer.start(isolation.run, self, self._on_writable)

    def _on_writable(self) -> None:
        unsent = self._unsent
        if self._socket is None or unsent is None:
            return
        try:
            # In place: a copy for each send would cost quadratic time.
            del unsent[: self._socket.send(unsent)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # As in `_transmit`.
            unsent.clear()
        if not unsent:
            self._unsent = None
            self._writer.stop()

    def _is_not_read(self) -> None:
        """End the connection in the hub's next turn, not within the caller's send; further sends are dropped."""
        if self._stuck:
            return
        self._stuck = True
        waiting = len(self._unsent or b"")
        error = TransportError(
            f"{self._address.name}: the server does not read what it is sent: {waiting:,} bytes wait,"
            f" and {bounds.UNSENT_BYTES:,} may"
        )
        gevent.get_hub().loop.run_callback(isolation.run, self, self._fail, error)

    # Closing.

    def _end_of_stream(self) -> None:
        self._fail(TransportError(f"{self._address.name}: the server closed the connection"))

    def _fail(self, error: TransportError) -> None:
        if isinstance(error, UnreadableError):
            self.violation = error
        if self._opening is not None:
            if self._opening.ready():
                self._early = self._early or error
            else:
                self._opening.set_exception(error)
            return
        self._ended(str(error))

    def _ended(self, why: str = "") -> None:
        if self._socket is not None:
            self._dispose()
            self._on_closed(None, why)

    def _unwatch_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _dispose(self) -> None:
        self.whole = None
        self._unwatch_silence()
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
            self._writer = None
        if self._socket is not None:
            if self._poller is not None:
                self._poller.remove(self._descriptor)
                self._poller = None
            self._socket.close()
            self._socket = None
