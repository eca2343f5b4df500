"""One keep-alive HTTP/1.1 connection, run by the gevent hub: a request is one send, and its answer calls a callback.

An answer that arrives in one read and declares its length is parsed here. All others are parsed by llhttp, through
geventhttpclient, within the limits of `bounds`.
"""

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any, Protocol

import gevent
from gevent.monkey import get_original
from geventhttpclient.response import HTTPParseError, HTTPResponse

from loadgen.transport import bounds, isolation
from loadgen.transport.errors import TransportError, UnreadableError, describe
from loadgen.transport.isolation import OurFailureError

_poll = get_original("select", "poll")
_READ, _WRITE = 1, 2
_READ_BYTES = 64 * 1024
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR

#: Called with (status, body, None) for an answer, or (0, b"", error) if there is none. Called from the gevent hub, so
#: it must not block. An error that it raises affects only its request, not the connection.
OnResponse = Callable[[int, bytes, TransportError | None], None]


class Owner(Protocol):
    """The HTTP client that a connection belongs to."""

    #: The target's name in error messages.
    name: str

    def answered(self, connection: "HttpConnection", reusable: bool) -> None:
        """Take back a connection whose request is answered. Called before the request's callback."""

    def lost(self, connection: "HttpConnection") -> None:
        """Forget a connection that has ended, whether or not a request was waiting for its answer."""

    def tell(self, on_response: OnResponse, status: int, body: bytes, error: TransportError | None) -> None:
        """Call a request's callback; never raises."""

    def on_failed(self, error: BaseException) -> None:
        """Report an error of the harness; never raises."""


class TlsStream:
    """A TLS client over memory buffers; the constructor does the handshake and blocks the greenlet."""

    def __init__(self, context: ssl.SSLContext, host: str, sock: Any) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        ready = False
        while not ready:
            try:
                self._object.do_handshake()
                ready = True
            except ssl.SSLWantReadError:
                pass
            finally:
                # Send what TLS has written, even after a failure: the server must get the alert.
                if said := self._outgoing.read():
                    sock.sendall(said)
            if not ready:
                data = sock.recv(_READ_BYTES)
                if not data:
                    raise OSError("the connection was closed in the TLS handshake")
                self._incoming.write(data)

    def encrypt(self, data: bytes) -> bytes:
        """Return the ciphertext to send for ``data``."""
        self._object.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> tuple[bytes, bool]:
        """Return (plaintext, True if the server has ended TLS); raises ssl.SSLError."""
        self._incoming.write(data)
        parts = []
        try:
            while part := self._object.read(_READ_BYTES):
                parts.append(part)
        except ssl.SSLWantReadError:
            return b"".join(parts), False
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(parts), True


class HttpConnection:
    """One connection with at most one pending request."""

    def __init__(
        self, owner: Owner, sock: socket.socket, tls: TlsStream | None, remote_address: str | None = None
    ) -> None:
        sock.setblocking(False)
        self._owner = owner
        #: Remote `address:port`, or None if not known.
        self.remote_address = remote_address
        self._socket: socket.socket | None = sock
        self._tls = tls
        self._on_response: OnResponse | None = None
        self.deadline_s = 0.0
        #: Parser of the current answer, or None while `whole_answer` may still parse it.
        self._parser: HTTPResponse | None = None
        #: Bytes of the answer that were fed to the parser.
        self._parsed_bytes = 0
        self._unsent = b""
        # A poll object for `is_good`, which checks the connection before each use; `select` cannot handle descriptors
        # above 1023.
        self._poller = _poll()
        self._poller.register(sock.fileno(), _READABLE)
        loop = gevent.get_hub().loop
        self._reader: Any = loop.io(sock.fileno(), _READ)
        self._reader.start(isolation.run, self, self._on_readable)
        self._writer: Any = None

    def is_good(self) -> bool:
        """Return True if an idle connection can be used again; end it if it has received anything but TLS messages."""
        if self._socket is not None and self._poller.poll(0):
            # Read the waiting data: if it is only a TLS message, such as a session ticket, the connection stays good.
            self._on_readable()
        return self._socket is not None

    def send(self, request: bytes, on_response: OnResponse, deadline_s: float) -> None:
        """Send a request; the HTTP client fails it when ``deadline_s`` (`time.monotonic`) has passed."""
        self._on_response, self.deadline_s = on_response, deadline_s
        if self._tls is not None:
            try:
                request = self._tls.encrypt(request)
            except ssl.SSLError as error:
                self.fail(TransportError(describe(error, self._owner.name)))
                return
        self._transmit(request)

    def fail(self, error: TransportError) -> None:
        """End the connection and fail its pending request, if any, with ``error``."""
        if self._socket is None:
            return
        self.dispose()
        on_response, self._on_response = self._on_response, None
        self._owner.lost(self)
        if on_response is not None:
            self._owner.tell(on_response, 0, b"", error)

    def failed(self, error: BaseException) -> None:
        """End the connection after one of its callbacks raised an error; see `isolation`."""
        try:
            self._owner.on_failed(error)
        finally:
            self.fail(OurFailureError(error))

    def dispose(self) -> None:
        """Close the socket and its watchers; call neither the owner nor the callback of a pending request."""
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reader = self._writer = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _on_readable(self) -> None:
        sock = self._socket
        if sock is None:
            return
        try:
            data = sock.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionResetError as error:
            if self._parser is None:
                self._broke_off("HTTPConnectionClosed")
            else:
                self.fail(TransportError(describe(error, self._owner.name)))
            return
        except OSError as error:
            self.fail(TransportError(describe(error, self._owner.name)))
            return
        ended = not data
        if self._tls is not None and data:
            try:
                data, ended = self._tls.decrypt(data)
            except ssl.SSLError as error:
                self.fail(TransportError(describe(error, self._owner.name)))
                return
        if data:
            self._received(data)
        if ended and self._socket is not None:
            self._end_of_stream()

    def _received(self, data: bytes) -> None:
        if self._on_response is None:
            self._broke_off("an answer without a request")
            return
        parser = self._parser
        if parser is None:
            whole = whole_answer(data)
            if whole is not None:
                self._answer(*whole, reusable=not self._unsent)
                return
            parser = self._parser = HTTPResponse("POST")
            self._parsed_bytes = 0
        self._parsed_bytes += len(data)
        try:
            parser.feed(data)
            beyond = _beyond(parser, self._parsed_bytes)
        except (HTTPParseError, ValueError) as error:
            # Catch ValueError, because it includes UnicodeDecodeError: a header's name or value may not be text.
            self._cannot_be_read(error)
            return
        if beyond is not None:
            self.fail(
                UnreadableError(f"{self._owner.name}: the answer has {beyond}: the connection is ended")
            )
            return
        self._parsed(parser)

    def _parsed(self, parser: HTTPResponse) -> bool:
        """Complete the request if its answer is complete; return True if it was."""
        if not parser.message_complete or parser.status_code < 200:
            return False
        self._parser = None
        self._answer(
            parser.status_code,
            bytes(parser._body_buffer),
            reusable=not (parser.should_close() or self._unsent),
        )
        return True

    def _answer(self, status: int, body: bytes, reusable: bool) -> None:
        on_response, self._on_response = self._on_response, None
        try:
            # Return the connection to its owner before calling `on_response`, which may send the next request.
            self._owner.answered(self, reusable)
        finally:
            if on_response is not None:
                self._owner.tell(on_response, status, body, None)

    def _end_of_stream(self) -> None:
        parser = self._parser
        if parser is None:
            self._broke_off("HTTPConnectionClosed")
            return
        with contextlib.suppress(HTTPParseError, ValueError):
            # An answer without a declared length ends when the connection ends.
            parser.feed(b"")
        if not self._parsed(parser):
            self._broke_off("HTTPParseError")

    def _cannot_be_read(self, error: Exception) -> None:
        self.fail(UnreadableError(f"{self._owner.name}: the connection broke off: {type(error).__name__}"))

    def _broke_off(self, how: str) -> None:
        self.fail(TransportError(f"{self._owner.name}: the connection broke off: {how}"))

    def _transmit(self, data: bytes) -> None:
        sock = self._socket
        if sock is None:
            return
        try:
            sent = sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            # Not a failure yet: the server may have answered, for example with a refusal, and closed before it read the
            # whole request. The next read finds the answer or the close.
            return
        except OSError as error:
            self.fail(TransportError(describe(error, self._owner.name)))
            return
        self._unsent = data[sent:]
        if self._unsent:
            if self._writer is None:
                self._writer = gevent.get_hub().loop.io(sock.fileno(), _WRITE)
            self._writer.start(isolation.run, self, self._on_writable)

    def _on_writable(self) -> None:
        self._writer.stop()
        self._transmit(self._unsent)


def whole_answer(data: bytes) -> tuple[int, bytes] | None:
    """Return (status, body) if ``data`` is one complete answer with a declared length and keep-alive, else None."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or not data.startswith(b"HTTP/1.1 "):
        return None
    head = data[:end].lower()
    status, place = head[9:12], head.find(b"\r\ncontent-length:")
    if place < 0 or head.find(b"\r\ncontent-length:", place + 2) >= 0 or b"\r\ntransfer-encoding:" in head:
        return None
    if not status.isdigit() or status in _BODILESS or status[0] == 0x31 or head[12:13] not in (b" ", b"\r"):
        return None
    length = head[place + 17 :].split(b"\r\n", 1)[0].strip()
    if not length.isdigit() or len(length) > _DIGITS_MAX or int(length) != len(data) - end - 4:
        return None
    place = head.find(b"\r\nconnection:")
    if place >= 0 and head[place + 13 :].split(b"\r\n", 1)[0].strip() != b"keep-alive":
        return None
    return int(status), data[end + 4 :]


def _beyond(parser: HTTPResponse, size: int) -> str | None:
    """Return the bound that an answer exceeds after ``size`` bytes, as a phrase, or None if it exceeds none."""
    if not parser.headers_complete:
        return _SAYS_HEAD if size > bounds.HTTP_HEAD_BYTES else None
    if len(parser._body_buffer) > bounds.HTTP_BODY_BYTES:
        return _SAYS_BODY
    if (parser.content_length or 0) > bounds.HTTP_BODY_BYTES:
        return f"a declared length of {parser.content_length:,} bytes, and we take {bounds.HTTP_BODY_BYTES:,}"
    if size > bounds.HTTP_ANSWER_BYTES:
        return f"more than {bounds.HTTP_ANSWER_BYTES:,} bytes around a body of {len(parser._body_buffer):,}"
    return None


_SAYS_HEAD = f"more than {bounds.HTTP_HEAD_BYTES:,} bytes of headers"
_SAYS_BODY = f"a body of more than {bounds.HTTP_BODY_BYTES:,} bytes"
_BODILESS = (b"204", b"304")
#: Maximum number of digits of a Content-Length that is parsed here: `int` raises ValueError for thousands of digits.
_DIGITS_MAX = 18
