"""A connection on the gevent hub below its protocol: the socket, TLS, and what is yet to be sent.

The process's `Poller` reads the socket, and so the kernel's receive timestamp comes along; TLS is done over memory
buffers, so that the raw socket stays ours. There is no greenlet a connection. What the bytes mean is for the
subclasses: `WebSocket` takes them for messages, `ByteStream` as they come.
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

#: Called once when an opened connection ends, with the close code (None: no close frame) and the reason.
OnClosed = Callable[[int | None, str], None]


class SocketStream:
    """A client connection; `open` is done when `_secured` of the subclass has led to `_opening` being set.

    Callbacks are called from the hub and must not block. An error that one raises ends this connection, as a failure of
    the harness: ``on_failed`` is told of it before ``on_closed`` is.
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

    #: What `open` waits for, as people read it.
    _handshake: ClassVar[str] = "TLS handshake"
    #: How a connection ends that nobody has closed in good order.
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
        #: Whether more waits for the server than may.
        self._stuck = False
        self._tls: ssl.SSLObject | None = None
        self._tls_ready = False
        self._opening: AsyncResult | None = None
        self._silence: Silence | None = None
        #: What went wrong after the handshake and before `open` had its turn again.
        self._early: TransportError | None = None
        #: See `poller.Source`.
        self.whole: OnText | None = None
        self.since_ns = self.stamp_ns = 0
        self.kernel_timestamps = False
        #: IP address and port that it is connected to, or that was tried last; None: not known.
        self.remote_address: str | None = None
        #: What the server has sent that broke the protocol of the connection, and so ended it.
        self.violation: UnreadableError | None = None

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return self._address.secure

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done and neither side has begun to close."""
        return self._socket is not None and self._opening is None

    def open(self, timeout_s: float = 10.0) -> None:
        """Connect and do the handshakes; blocks the calling greenlet.

        Raises:
            TransportError: nobody answers, or TLS fails.
            HandshakeRefusedError: the server does not let us in.
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
        """Send a message; what the socket does not take at once is sent when it does.

        Raises:
            TransportError: the connection is not open.
        """
        raise NotImplementedError

    def ping(self) -> None:
        """Send what the other side must answer below the protocol; nothing where there is no such thing."""

    def close(self) -> None:
        """Begin to close in good order; ``on_closed`` follows when the other side has agreed."""
        raise NotImplementedError

    def abort(self) -> None:
        """Drop the connection without ceremony; ``on_closed`` is called before this returns."""
        self._ended()

    def use_fast_path(self, fast_path: FastPath | None) -> None:
        """Let a fast path of `loadgen.native` take what it knows; None: no more."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Leave what comes in the kernel's buffer until :meth:`resume_reading`; costs the other connections nothing."""
        if self._poller is not None:
            self.since_ns = self._poller.remove(self._descriptor)
            self._poller = None

    def resume_reading(self) -> None:
        """Read again, by :attr:`recvmsg_into`; nothing happens where the connection has ended meanwhile."""
        if self._socket is not None and self._poller is None:
            self._poller = python_poller()
            self._poller.add(self._descriptor, self)

    def watch_silence(self, timeout_ns: int, on_silent: OnSilent) -> None:
        """Call ``on_silent`` once with when data last came (wall clock, ns) if none comes for so long.

        The service's silence is meant: see `silence`. Ends with the connection.
        """
        if self._socket is not None:
            self._unwatch_silence()
            self._silence = silence_watch().add(self, timeout_ns, on_silent)

    def quiet_ns(self) -> int:
        """Return for how long nothing has come."""
        known_ns = last_data_ns(self._socket) if self._socket is not None else 0
        # Without the kernel's word (macOS): since what the Python poller has read last.
        return max(0, now_ns() - max(self.since_ns, self.stamp_ns)) if known_ns is None else known_ns

    def has_unread(self) -> bool:
        """Whether something has come that is not read yet."""
        return self._socket is not None and unread_bytes(self._socket) > 0

    # For the subclass.

    def _unanswered(self, timeout_s: float) -> str:
        """Return what to say where `open` has waited in vain."""
        return f"no answer to the {self._handshake} within {timeout_s:g} s"

    def _secured(self) -> None:
        """The socket is connected, and TLS is done where there is TLS."""
        raise NotImplementedError

    def _step(
        self, data: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Take what came, decrypted; the bytes are only there until this returns. Times as in `poller.Source`."""
        raise NotImplementedError

    # The receive path, from `Poller`.

    def take(
        self, data: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Take what was read."""
        if not data:
            self._end_of_stream()
        elif self._tls is not None:
            self._records.follow(data)
            self._incoming.write(data)
            self._on_ciphertext(self._tls, arrival_ns, read_ns, within_ns, end_ns)
        else:
            self._step(data, arrival_ns, read_ns, within_ns, end_ns)

    def take_plaintext(self, data: bytes, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        """Take what the poller has decrypted."""
        if data:
            self._step(data, arrival_ns, read_ns, within_ns, end_ns)
        else:
            self._end_of_stream()

    def tls_stopped(
        self, error: Exception, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """The poller found nothing more to decrypt, or TLS has failed."""
        if isinstance(error, ssl.SSLWantReadError):
            if self._outgoing.pending:
                self._transmit(self._outgoing.read())
        elif not isinstance(error, ssl.SSLError):
            raise error
        else:
            self._fail(TransportError(f"{self._address.name}: TLS failed: {error}"))

    def broke(self, error: OSError) -> None:
        """The socket cannot be read any more."""
        self._fail(TransportError(describe(error, self._address.name)))

    def failed(self, error: BaseException) -> None:
        """End, since a callback of this connection has raised an error; see `isolation`."""
        try:
            if self._on_failed is not None:
                self._on_failed(error)
        finally:
            self._fail(OurFailureError(error))

    # TLS over memory buffers: the raw socket stays ours, and so does the kernel's timestamp.

    def _on_ciphertext(
        self, tls: ssl.SSLObject, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        incoming = self._incoming
        if not self._records.reached:
            # The read ends within a record, of which nothing is known yet.
            end_ns = within_ns
        try:
            if not self._tls_ready:
                self._tls_handshake()
                if not self._tls_ready:
                    return
            while True:
                # Into a buffer that is there: asked for bytes, the object would make 64 KB each time.
                size = cast(int, tls.read(len(_PLAINTEXT), _PLAINTEXT))
                if not size:
                    self._end_of_stream()
                    return
                more = incoming.pending or tls.pending()
                ends_ns = within_ns if more else end_ns
                self._step(_PLAINTEXT_VIEW[:size], arrival_ns, read_ns, within_ns, ends_ns)
                if not more:
                    # To read again would raise SSLWantReadError, which costs as much as all the rest.
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
                # The other side has closed: the reader will see the same and say it.
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
            # The reader will see the same and say it; saying it twice helps nobody.
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
            # In place: a copy each time would be the square of what waits.
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
        """End in the hub's next turn, and not under the hands of who sends; what is sent until then goes nowhere."""
        if self._stuck:
            return
        self._stuck = True
        waiting = len(self._unsent or b"")
        error = TransportError(
            f"{self._address.name}: the server does not read what it is sent: {waiting:,} bytes wait,"
            f" and {bounds.UNSENT_BYTES:,} may"
        )
        gevent.get_hub().loop.run_callback(isolation.run, self, self._fail, error)

    # The end.

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
