"""The part of a connection that all protocols share: socket, TLS and send buffer, on the gevent hub.

The process's poller reads the raw socket, which gives the kernel's receive timestamp. TLS therefore runs over memory
buffers. No connection needs a greenlet. The subclasses handle the received bytes: `WebSocket` parses messages,
`ByteStream` passes the bytes on.
"""

import ssl
from collections.abc import Callable
from typing import ClassVar

import gevent

from loadgen.native import FastPath
from loadgen.transport import bounds, isolation
from loadgen.transport.address import Address
from loadgen.transport.errors import TransportError, UnreadableError, describe, tls_failure
from loadgen.transport.isolation import OnFailed, OurFailureError
from loadgen.transport.native_tls import Data, NativeTls
from loadgen.transport.polled_socket import PolledSocket
from loadgen.transport.poller import NativePoller
from loadgen.transport.send_buffer import SendBuffer
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.tls import Tls
from loadgen.transport.waiting import Signal

#: Called once when an opened connection ends, with the close code (or None without a close frame) and the reason.
OnClosed = Callable[[int | None, str], None]


class SocketStream(PolledSocket):
    """A client connection, the base of `WebSocket` and `ByteStream`.

    Callbacks are called from the gevent hub and must not block. If a callback raises an error, the connection ends as a
    failure of the harness: ``on_failed`` is called with the error, then ``on_closed``.

    `open` calls `_secured` of the subclass and returns once the subclass has set `_opening`.
    """

    __slots__ = (
        "_early",
        "_fast_path",
        "_on_closed",
        "_on_failed",
        "_opening",
        "_plain",
        "_tls",
        "_tls_direct",
        "_unsent",
        "violation",
    )

    #: Name of the handshake that `open` waits for, in error messages.
    _handshake: ClassVar[str] = "TLS handshake"
    #: Text for a connection that ends without a close code.
    abrupt: ClassVar[str] = "closed"

    def __init__(
        self,
        address: Address,
        on_closed: OnClosed,
        on_failed: OnFailed | None = None,
        slow: SlowReading | None = None,
    ) -> None:
        """``slow`` limits how fast the connection is read once it is open; without it, there is no limit."""
        super().__init__(address, slow)
        self._on_closed = on_closed
        self._on_failed = on_failed
        #: Bytes that the socket does not accept yet, or None if it has accepted all.
        self._unsent: SendBuffer | None = None
        self._tls: Tls | NativeTls | None = None
        #: True if the poller gets plaintext, because there is no TLS or because the poller itself decrypts. Only then
        #: can the poller use the fast path.
        self._plain = not address.secure
        #: True while the native poller decrypts through `loadgen.transport.tls.Tls`; never true with `NativeTls`.
        self._tls_direct = False
        self._fast_path: FastPath | None = None
        self._opening: Signal | None = None
        #: An error that ended the connection after the handshake but before `open` returned, or None.
        self._early: TransportError | None = None
        #: The server's protocol violation that made this client end the connection, or None.
        self.violation: UnreadableError | None = None

    @property
    def is_open(self) -> bool:
        """True if the handshake is done and neither side has begun to close."""
        return self._socket is not None and self._opening is None

    @property
    def tls_resumed(self) -> bool:
        """True if the connection uses TLS and has resumed a session."""
        return self._tls is not None and self._tls.resumed

    def open(self, timeout_s: float = 10.0) -> None:
        """Connect and do the handshakes; blocks the calling greenlet.

        Raises:
            TransportError: no server answers, or TLS fails.
            HandshakeRefusedError: the server refused the WebSocket handshake for good.
            NotNowError: the server refused it for now.
        """
        self._connect(timeout_s)
        self._opening = opening = Signal()
        try:
            if self._address.secure:
                self._tls = self._address.begin_tls()
                self._tls_handshake(self._tls)
            else:
                self._secured()
            if not opening.wait(timeout_s):
                raise TransportError(f"{self._address.name}: {self._unanswered(timeout_s)}")
            self._opening = None
            if self._tls is not None and self._address.sessions is not None:
                self._address.sessions.keep(self._tls)
            if self._slow is not None and self._socket is not None:
                self._slow.begin(self._socket)
            if self._early is not None:
                gevent.get_hub().loop.run_callback(isolation.run, self, self._ended, str(self._early))
        except BaseException as error:
            self._dispose()
            if isinstance(error, ssl.SSLError):
                raise tls_failure(error, self._address.name) from None
            if isinstance(error, OSError):
                raise TransportError(describe(error, self._address.name)) from None
            raise

    def send(self, message: bytes) -> None:
        """Send a message; bytes that the socket does not accept at once are buffered and sent later.

        Raises:
            TransportError: the connection is not open.
        """
        raise NotImplementedError

    def way_to_send(self) -> int | None:
        """Return the descriptor to write a frame to, or -1 if the frame must be sent by :meth:`send_frame`, or None.

        None means that the connection is not open, or does not send text frames. If the descriptor accepts only a part
        of the frame, send the rest by `send_frame`.
        """
        return None

    def send_frame(self, frame: bytes) -> None:
        """Send a whole, masked frame, or the rest of one; see :meth:`way_to_send`."""
        self._write(frame)

    def ping(self) -> None:
        """Send a ping that the server must answer; does nothing if this kind of connection has no pings."""

    def close(self) -> None:
        """Begin an orderly close; ``on_closed`` is called when the server has closed too."""
        raise NotImplementedError

    def abort(self) -> None:
        """Drop the connection without an orderly close; ``on_closed`` is called before this returns."""
        self._ended()

    # Subclasses may override the methods from here to `_route_plain`.

    def _unanswered(self, timeout_s: float) -> str:
        """Return the error text for a handshake that timed out."""
        return f"no answer to the {self._handshake} within {timeout_s:g} s"

    def _secured(self) -> None:
        """Begin the protocol's handshake: the socket is connected, and its TLS handshake, if any, is done."""
        raise NotImplementedError

    def _step(self, data: Data, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        """Process decrypted bytes, valid only until this returns. For the times see `polled_source.Source.take`."""
        raise NotImplementedError

    def _fits_fast_path(self) -> bool:
        """Return True if the next byte begins a message: a fast path may begin only there."""
        return True

    def _route_plain(self, tls: NativeTls | None, changed: bool) -> None:
        """Tell the native poller how to route the plaintext that it reads; ``changed`` if the fast path has changed."""
        raise NotImplementedError

    def _route(self, changed: bool = False) -> None:
        """Tell the poller which fast path to use and whether to decrypt; ``changed`` if the fast path has changed."""
        if self._poller is None:
            return
        fast_path, tls = self._fast_path, self._tls
        if tls is None or isinstance(tls, NativeTls):
            if self._plain:
                self._route_plain(tls, changed)
            return
        direct = fast_path is not None and self._fits_fast_path() and tls.is_between_records()
        if direct is not self._tls_direct or changed:
            self._tls_direct = direct
            ends = tls.ends() if direct else None
            self._poller.route(self._descriptor, None, fast_path if direct else None, ends)

    def _all_sent(self) -> None:
        """Continue sending: the socket has accepted all that was buffered."""
        self._unsent = None

    def use_fast_path(self, fast_path: FastPath | None) -> None:
        """Let a fast path, native code of `loadgen.native`, process the messages that it recognises; None removes it.

        These messages do not reach the callbacks.
        """
        before = self._fast_path
        if fast_path is not before:
            self._fast_path = fast_path
            self._route(changed=True)
            self._send_owed_by(before)

    def resume_reading(self) -> None:
        """Read again, through the Python poller and `recvmsg_into`; does nothing if the connection has ended."""
        if self._socket is not None and self._poller is None:
            super().resume_reading()
            self._tls_direct = False
            self._route()

    # The poller calls the following methods to pass on received bytes.

    def take(self, data: Data, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        """Process the bytes of one read; ``data`` is empty at the end of the stream. See `polled_source.Source`."""
        if self._slow is not None:
            arrival_ns, within_ns, end_ns = self._slow.times(arrival_ns, within_ns, end_ns)
        if not data:
            self._end_of_stream()
        elif self._tls is None:
            self._step(data, arrival_ns, read_ns, within_ns, end_ns)
        else:
            self._take_ciphertext(self._tls, data, arrival_ns, read_ns, within_ns, end_ns)
        if self._fast_path is not None:
            self.send_owed()

    def take_plaintext(self, data: bytes, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        """Process bytes that the native poller has decrypted. See `polled_source.Source`."""
        if data:
            self._step(data, arrival_ns, read_ns, within_ns, end_ns)
            if not self._plain:
                self._route()
            self.send_owed()
        else:
            self._end_of_stream()

    def tls_wrote(self) -> None:
        """Send the bytes that TLS itself produced, such as a key update; called by the native poller."""
        if self._tls is not None:
            self._transmit(self._tls.to_send())

    def tls_stopped(
        self, error: Exception, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Handle the error that ended the native poller's decryption: TLS needs more data, or TLS has failed."""
        if isinstance(error, ssl.SSLWantReadError):
            self.tls_wrote()
        elif not isinstance(error, ssl.SSLError):
            raise error
        else:
            self._fail(tls_failure(error, self._address.name))

    def send_owed(self) -> None:
        """Send the acknowledgements that the fast path owes the service; see `polled_source.Source`."""
        self._send_owed_by(self._fast_path)

    def _send_owed_by(self, fast_path: FastPath | None) -> None:
        if fast_path is not None and (owed := fast_path.take_owed()) and self.is_open:
            self.send(owed)

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

    # The following methods handle TLS.

    def _take_ciphertext(
        self, tls: Tls | NativeTls, data: Data, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        try:
            if not tls.ready:
                self._tls_handshake(tls, data)
                data = b""
            if tls.ready and not tls.decrypt(data, self._step, arrival_ns, read_ns, within_ns, end_ns):
                self._end_of_stream()
                return
        except ssl.SSLError as error:
            self._fail(tls_failure(error, self._address.name))
            return
        if ciphertext := tls.to_send():
            self._transmit(ciphertext)
        if self._fast_path is not None:
            self._route()

    def _tls_handshake(self, tls: Tls | NativeTls, data: Data = b"") -> None:
        tls.handshake(data)
        self._transmit(tls.to_send())
        if tls.ready:
            if isinstance(tls, NativeTls) and isinstance(self._poller, NativePoller):
                self._plain = True
                self._poller.route(self._descriptor, None, None, tls)
            self._secured()

    # The following methods send.

    def _write(self, data: bytes) -> None:
        if self._tls is not None:
            try:
                data = self._tls.encrypt(data)
            except ssl.SSLError:
                # The server has closed the connection. Ignore the error: the next read fails too, and reports that the
                # connection ended.
                return
        self._transmit(data)

    def _transmit(self, data: bytes) -> None:
        if self._socket is None or not data:
            return
        if self._unsent is not None:
            self._buffer(self._unsent, data)
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            # Ignore the error here: the next read of this socket fails with the same error, and `broke` then ends the
            # connection.
            return
        if sent < len(data):
            self._unsent = SendBuffer(self._socket, memoryview(data)[sent:], self, self._all_sent)

    def _buffer(self, unsent: SendBuffer, data: bytes) -> None:
        """Buffer bytes; if too many bytes are buffered, end the connection in the next turn of the event loop."""
        if unsent.overflowed or unsent.add(data):
            return
        error = TransportError(
            f"{self._address.name}: the server does not read what it is sent: {len(unsent):,} bytes wait,"
            f" and {bounds.UNSENT_BYTES:,} may"
        )
        gevent.get_hub().loop.run_callback(isolation.run, self, self._fail, error)

    # The following methods close the connection.

    def _end_of_stream(self) -> None:
        self._fail(TransportError(f"{self._address.name}: the server closed the connection"))

    def _fail(self, error: TransportError) -> None:
        if isinstance(error, UnreadableError):
            self.violation = error
        if self._opening is None:
            self._ended(str(error))
        elif self._opening.is_set():
            self._early = self._early or error
        else:
            self._opening.set_exception(error)

    def _ended(self, why: str = "") -> None:
        if self._socket is not None:
            self._dispose()
            self._on_closed(None, why)

    def _dispose(self) -> None:
        if self._unsent is not None:
            self._unsent.close()
            self._unsent = None
        super()._dispose()
