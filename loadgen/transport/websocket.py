"""One WebSocket connection on the gevent hub: the receive path.

A hub I/O watcher calls :meth:`WebSocket._on_readable`, which reads once with `recvmsg_into` (so that the kernel's
receive timestamp comes along), decrypts where the connection is TLS, and hands each text message to ``on_text``: plain
frames directly (see `framing`), all else by way of the `websockets` Sans-I/O protocol. There is no greenlet a
connection. Compression is never offered: it would spend the generator's CPU on what is not being measured.
"""

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gevent
import gevent.socket
from gevent.event import AsyncResult
from gevent.monkey import get_original
from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import CONNECTING, OPEN
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri

from loadgen.measure.clock import now_ns
from loadgen.transport import kernel_time
from loadgen.transport.errors import HandshakeRefusedError, TransportError, describe
from loadgen.transport.framing import OnText, TextFrames
from loadgen.transport.names import connect_host

_RawSocket = get_original("socket", "socket")
_READ, _WRITE = 1, 2
_BUFFER = bytearray(256 * 1024)
_BUFFERS = [_BUFFER]
_VIEW = memoryview(_BUFFER)
_CONTROL_BYTES = kernel_time.CONTROL_BYTES
_unpack_timespec = kernel_time.TIMESPEC.unpack_from
_TEXT, _BINARY, _CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
_TLS_CHUNK = 64 * 1024

#: Called once when an opened connection ends, with the close code (None: no close frame) and the reason.
OnClosed = Callable[[int | None, str], None]


class Address:
    """Where to connect: resolved once, so that thousands of connects do not ask the resolver thousands of times."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.uri: WebSocketURI = parse_uri(url)
        self.name = f"{self.uri.host}:{self.uri.port}"
        self.ssl_context = ssl.create_default_context() if self.uri.secure else None
        self._resolved: list[tuple[Any, ...]] | None = None

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connected, non-blocking socket; raises TransportError."""
        try:
            if self._resolved is None:
                self._resolved = gevent.socket.getaddrinfo(
                    connect_host(self.uri.host), self.uri.port, type=socket.SOCK_STREAM
                )
        except OSError as error:
            raise TransportError(
                f"the host name {self.uri.host} cannot be resolved: {describe(error, self.name)}"
            ) from None
        failure: OSError | None = None
        for family, kind, proto, _name, address in self._resolved:
            sock = gevent.socket.socket(family, kind, proto)
            sock.settimeout(timeout_s)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
                continue
            raw: socket.socket = _RawSocket(fileno=sock.detach())
            raw.setblocking(False)
            return raw
        raise TransportError(describe(failure or OSError("no address"), self.name)) from None


class WebSocket:
    """A client connection; see the module's docstring for how it reads.

    ``on_text`` and ``on_closed`` are called from the hub: they must not block and must not raise.
    """

    def __init__(
        self,
        address: Address,
        *,
        subprotocols: Sequence[str],
        headers: Mapping[str, str],
        on_text: OnText,
        on_closed: OnClosed,
        max_message_bytes: int | None = 4 * 1024 * 1024,
    ) -> None:
        self._address = address
        self._headers = headers
        self._on_text = on_text
        self._on_closed = on_closed
        self._protocol = ClientProtocol(
            address.uri,
            subprotocols=[Subprotocol(s) for s in subprotocols] or None,
            max_size=max_message_bytes,
        )
        self._socket: socket.socket | None = None
        self._reader: Any = None
        self._writer: Any = None
        self._unsent = bytearray()
        self._fragments: bytearray | None = None
        self._max_message_bytes = max_message_bytes
        #: Takes over from the library once the upgrade is done.
        self._frames: TextFrames | None = None
        self._tls: ssl.SSLObject | None = None
        self._tls_ready = False
        self._opening: AsyncResult | None = None
        #: When the last bytes came in; what a keep-alive timeout is measured from.
        self.heard_ns = 0
        self.kernel_timestamps = False

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return self._address.uri.secure

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done and neither side has begun to close."""
        return self._socket is not None and self._opening is None and self._protocol.state is OPEN

    def open(self, timeout_s: float = 10.0) -> None:
        """Connect and do the TLS and WebSocket handshakes; blocks the calling greenlet.

        Raises:
            TransportError: nobody answers, or TLS fails.
            HandshakeRefusedError: the server answers with something other than 101.
        """
        self._socket = self._address.connect(timeout_s)
        self.kernel_timestamps = kernel_time.enable(self._socket)
        self._opening = AsyncResult()
        loop = gevent.get_hub().loop
        self._recvmsg_into = self._socket.recvmsg_into
        self._reader = loop.io(self._socket.fileno(), _READ)
        self._reader.start(self._on_readable)
        try:
            if self._address.ssl_context is not None:
                self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                self._tls = self._address.ssl_context.wrap_bio(
                    self._incoming, self._outgoing, server_hostname=self._address.uri.host
                )
                self._tls_handshake()
            else:
                self._request_upgrade()
            self._opening.get(timeout=timeout_s)
            self._opening = None
        except BaseException as error:
            self._dispose()
            if isinstance(error, gevent.Timeout):
                raise TransportError(
                    f"{self._address.name}: no answer to the WebSocket handshake within {timeout_s:g} s"
                ) from None
            if isinstance(error, ssl.SSLError):
                raise TransportError(f"{self._address.name}: TLS failed: {error}") from None
            if isinstance(error, OSError):
                raise TransportError(describe(error, self._address.name)) from None
            raise

    def send(self, message: bytes) -> None:
        """Send a text message; what the socket does not take at once is sent when it does.

        Raises:
            TransportError: the connection is not open.
        """
        if self._protocol.state is not OPEN:
            raise TransportError(f"{self._address.name}: the connection is closed")
        self._protocol.send_text(message)
        self._send_pending()

    def close(self) -> None:
        """Begin the closing handshake; ``on_closed`` follows."""
        if self._socket is None:
            return
        if self._protocol.state is OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._send_pending()

    def abort(self) -> None:
        """Drop the connection without ceremony; ``on_closed`` is called before this returns."""
        self._ended()

    # The receive path.

    def _on_readable(self) -> None:
        try:
            size, control, _flags, _address = self._recvmsg_into(_BUFFERS, _CONTROL_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(TransportError(describe(error, self._address.name)))
            return
        read_ns = now_ns()
        if not size:
            self._end_of_stream()
            return
        self.heard_ns = read_ns
        if control:
            seconds, nanoseconds = _unpack_timespec(control[0][2])
            arrival_ns = seconds * 1_000_000_000 + nanoseconds
        else:
            arrival_ns = read_ns
        if self._tls is None:
            self._step(_VIEW[:size], arrival_ns, read_ns)
        else:
            self._incoming.write(_VIEW[:size])
            self._on_ciphertext(arrival_ns, read_ns)

    def _step(self, data: bytes | memoryview, arrival_ns: int, read_ns: int) -> None:
        if self._frames is not None:
            self._frames.feed(data, arrival_ns, read_ns)
        else:
            self._step_library(data, arrival_ns, read_ns)
            if self._protocol.state is OPEN and _ends_with_headers(data):
                self._frames = TextFrames(self._on_text, self._step_library, self._max_message_bytes)

    def _step_library(self, data: bytes | memoryview, arrival_ns: int, read_ns: int) -> bool:
        """Step the protocol; returns whether the next plain text frame may be taken past it."""
        protocol = self._protocol
        protocol.receive_data(data)  # type: ignore[arg-type]  # appended to a bytearray, so any buffer does
        frames = protocol.events_received()
        plain = bool(frames)
        on_text = self._on_text
        for frame in frames:
            if isinstance(frame, Frame):
                if frame.opcode is _TEXT and frame.fin:
                    on_text(frame.data, arrival_ns, read_ns)  # type: ignore[arg-type]
                    continue
                self._on_other_frame(frame, arrival_ns, read_ns)
            elif isinstance(frame, Response):
                self._on_upgrade_answer()
            plain = False
        if not plain:
            # A ping, a close, a protocol error or the upgrade: the protocol may have something to say.
            self._send_pending()
        return self._fragments is None and protocol.close_rcvd is None and protocol.parser_exc is None

    def _on_other_frame(self, frame: Frame, arrival_ns: int, read_ns: int) -> None:
        if frame.opcode in (_TEXT, _BINARY):
            if frame.fin:
                self._on_text(bytes(frame.data), arrival_ns, read_ns)
            else:
                self._fragments = bytearray(frame.data)
        elif frame.opcode is _CONT and self._fragments is not None:
            self._fragments += frame.data
            if frame.fin:
                message, self._fragments = self._fragments, None
                self._on_text(message, arrival_ns, read_ns)

    def _on_upgrade_answer(self) -> None:
        if self._opening is None:
            return
        error = self._protocol.handshake_exc
        if error is None:
            self._opening.set(None)
        else:
            self._opening.set_exception(
                HandshakeRefusedError(f"{self._address.name} refused the WebSocket handshake: {error}")
            )

    # TLS over memory buffers: the raw socket stays ours, and so does the kernel's timestamp.

    def _on_ciphertext(self, arrival_ns: int, read_ns: int) -> None:
        tls = self._tls
        assert tls is not None
        try:
            if not self._tls_ready:
                self._tls_handshake()
                if not self._tls_ready:
                    return
            while True:
                data = tls.read(_TLS_CHUNK)
                if not data:
                    self._end_of_stream()
                    return
                self._step(data, arrival_ns, read_ns)
        except ssl.SSLWantReadError:
            if self._outgoing.pending:
                self._transmit(self._outgoing.read())
        except ssl.SSLError as error:
            self._fail(TransportError(f"{self._address.name}: TLS failed: {error}"))

    def _tls_handshake(self) -> None:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._transmit(self._outgoing.read())
            return
        self._tls_ready = True
        self._transmit(self._outgoing.read())
        self._request_upgrade()

    # Sending.

    def _request_upgrade(self) -> None:
        request = self._protocol.connect()
        for name, value in self._headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        self._send_pending()

    def _send_pending(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if not data:
            return
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self._transmit(data)

    def _transmit(self, data: bytes) -> None:
        if self._socket is None or not data:
            return
        if self._unsent:
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
            self._unsent += memoryview(data)[sent:]
            if self._writer is None:
                self._writer = gevent.get_hub().loop.io(self._socket.fileno(), _WRITE)
            self._writer.start(self._on_writable)

    def _on_writable(self) -> None:
        data, self._unsent = bytes(self._unsent), bytearray()
        self._writer.stop()
        self._transmit(data)

    # The end.

    def _end_of_stream(self) -> None:
        try:
            self._protocol.receive_eof()
            self._protocol.data_to_send()
        except (EOFError, WebSocketException):
            pass
        self._fail(TransportError(f"{self._address.name}: the server closed the connection"))

    def _fail(self, error: TransportError) -> None:
        if self._opening is not None:
            if not self._opening.ready():
                self._opening.set_exception(error)
            return
        self._ended(str(error))

    def _ended(self, why: str = "") -> None:
        if self._socket is None:
            return
        state = self._protocol.state
        received = self._protocol.close_rcvd
        self._dispose()
        if state is CONNECTING:
            return
        self._on_closed(received.code if received else None, (received.reason if received else "") or why)

    def _dispose(self) -> None:
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reader = self._writer = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _ends_with_headers(data: bytes | memoryview) -> bool:
    """Whether the headers' end is that of the data, so that the next byte begins a frame.

    Where it is not, as a server sent frames along with its answer to the upgrade, the library reads the connection to
    its end: it may have taken in a part of one.
    """
    text = bytes(data)
    return text.endswith(b"\r\n\r\n") and text.count(b"\r\n\r\n") == 1
