"""Receive a stream that a service sends as the endless body of one HTTP/1.1 answer, on the gevent hub.

The request is a GET. The answer's head is parsed by llhttp, through geventhttpclient, and the framing of its body by
`chunked`. The protocol interprets the body's bytes, for example as server-sent events.
"""

from collections.abc import Mapping
from typing import Any, Final

from geventhttpclient.response import HTTPParseError, HTTPResponse

from loadgen.measure.arrival import of_bytes
from loadgen.protocol import refusals
from loadgen.protocol.unreadable import shown
from loadgen.transport import bounds, isolation
from loadgen.transport.address import Address
from loadgen.transport.chunked import Body
from loadgen.transport.errors import (
    BodyUnreadableError,
    HandshakeRefusedError,
    NeverAgainError,
    NotNowError,
    TransportError,
)
from loadgen.transport.framing import OnText
from loadgen.transport.isolation import OnFailed
from loadgen.transport.native_tls import Data, NativeTls
from loadgen.transport.proxy import authority_of
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.stream import OnClosed, SocketStream
from loadgen.transport.waiting import after

_HEAD_END: Final = b"\r\n\r\n"
_STREAM_TYPE: Final = "text/event-stream"
#: Headers of the request unless the protocol file sets them (WHATWG HTML, 9.2.3). `identity` asks for a body without
#: compression, since the harness does not decompress.
_HEADERS: Final = {"accept": _STREAM_TYPE, "cache-control": "no-store", "accept-encoding": "identity"}
#: Number of bytes at the beginning of a refusal's body in which the client searches for an error type.
_REFUSAL_BODY_BYTES: Final = 64 * 1024


class HttpStream(SocketStream):
    """A connection that only receives; ``on_bytes`` gets the body's bytes, with the same arguments as in `ByteStream`.

    `open` returns once the service has answered 200 with the type `text/event-stream`. Redirects are not followed.
    """

    __slots__ = ("_body", "_head", "_on_bytes", "_patience", "_request", "_response")

    _handshake = "request for the event stream"
    abrupt = "closed"

    def __init__(
        self,
        address: Address,
        *,
        resource: str,
        headers: Mapping[str, str],
        on_bytes: OnText,
        on_closed: OnClosed,
        on_failed: OnFailed | None = None,
        slow: SlowReading | None = None,
    ) -> None:
        super().__init__(address, on_closed, on_failed, slow)
        self._on_bytes = on_bytes
        #: The request until it has been sent; it may hold credentials.
        self._request: bytes | None = _request(address, resource, headers)
        #: The head of the answer as far as it has arrived.
        self._head = b""
        #: The answer, if it is a refusal, with its body as far as it has arrived.
        self._response: HTTPResponse | None = None
        self._body: Body | None = None
        #: Timer that limits the wait for the body of a refusal.
        self._patience: Any = None

    def send(self, message: bytes) -> None:
        """Never called with a message: the stream only receives.

        Raises:
            TransportError: always.
        """
        raise TransportError(f"{self._address.name}: an event stream only receives")

    def close(self) -> None:
        """End the connection at once: HTTP has no closing handshake for an endless answer."""
        self._ended()

    # The poller calls the following methods, the receive path.

    def _route_plain(self, tls: NativeTls | None, changed: bool) -> None:
        if changed and self._poller is not None:
            self._poller.route(self._descriptor, None, self._fast_path, tls)

    def _secured(self) -> None:
        assert self._request is not None
        request, self._request = self._request, None
        self._write(request)

    def _step(self, data: Data, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        received, body = bytes(data), self._body
        if body is None:
            rest = self._step_head(received)
            if (body := self._body) is None:
                return
            received = rest
        if body.ended:
            return
        part, is_last = body.feed(received)
        if part:
            ends_ns = end_ns if is_last else within_ns
            self._on_bytes(part, of_bytes(arrival_ns, within_ns, ends_ns), read_ns)
        if self._socket is None:
            return
        if body.error is not None:
            self._fail(
                BodyUnreadableError(f"{self._address.name}: the server broke HTTP: it sent {body.error}")
            )
        elif body.ended:
            self._fail(TransportError(f"{self._address.name}: the server ended the event stream"))

    def _step_head(self, data: bytes) -> bytes:
        """Process the answer up to the end of its head; return the bytes after the head if the server accepted."""
        if self._response is not None:
            self._step_refusal(data)
            return b""
        self._head += data
        while True:
            if (wrong := _no_http(self._head)) is not None:
                self._fail(HandshakeRefusedError(f"{self._address.name} {wrong}"))
                return b""
            end = self._head.find(_HEAD_END)
            if max(end, len(self._head) if end < 0 else 0) > bounds.HTTP_HEAD_BYTES:
                what = f"more than {bounds.HTTP_HEAD_BYTES:,} bytes of headers"
                self._fail(HandshakeRefusedError(f"{self._address.name} answered with {what}"))
                return b""
            if end < 0:
                return b""
            end += len(_HEAD_END)
            head, self._head = self._head[:end], self._head[end:]
            response = HTTPResponse("GET")
            try:
                response.feed(head)
            except (HTTPParseError, ValueError):
                # Catch ValueError, because it includes UnicodeDecodeError: a header's name or value may not be text.
                said = f"broke HTTP in its answer to the {self._handshake}: {shown(head)}"
                self._fail(HandshakeRefusedError(f"{self._address.name} {said}"))
                return b""
            if response.status_code < 200 and response.status_code != 101:
                # This is an interim answer (RFC 9110, 15.2); the final answer follows.
                continue
            rest, self._head = self._head, b""
            self._judge(response, rest)
            return rest

    def _judge(self, response: HTTPResponse, rest: bytes) -> None:
        """Open the stream if the answer's head is that of an event stream, else fail with the server's refusal."""
        status, headers = response.status_code, _headers_of(response)
        if status == 200:
            wrong = _unfit(headers)
            if wrong is not None:
                refusal = refusals.Refusal.of(404)
                self._fail(
                    HandshakeRefusedError(
                        f"{self._address.name} refused the {self._handshake}: HTTP 200, {wrong}", refusal
                    )
                )
                return
            length = headers.get("content-length")
            self._body = Body(
                chunked="transfer-encoding" in headers, length=None if length is None else int(length)
            )
            if self._opening is not None:
                self._opening.set()
            return
        self._response = response
        self._step_refusal(rest)
        if self._patience is None and self._socket is not None and self._waits_for_refusal:
            # Limit the wait for the refusal's body, which may never end.
            self._patience = after(bounds.REFUSAL_BODY_S, isolation.run, self, self._refuse)

    @property
    def _waits_for_refusal(self) -> bool:
        response = self._response
        return (
            response is not None
            and not response.message_complete
            and len(response._body_buffer) < _REFUSAL_BODY_BYTES
        )

    def _step_refusal(self, data: bytes) -> None:
        """Collect the body of a refusal, which may name the error."""
        response = self._response
        assert response is not None
        if response.message_complete:
            self._refuse()
            return
        try:
            if data:
                response.feed(data)
        except (HTTPParseError, ValueError):
            self._refuse()
            return
        if not self._waits_for_refusal:
            self._refuse()

    def _refuse(self) -> None:
        """Fail `open` with an error that describes the server's refusal."""
        response = self._response
        assert response is not None
        status, headers = response.status_code, _headers_of(response)
        said, refusal = refusals.of_answer(status, headers, response._body_buffer)
        name, location = self._address.name, headers.get("location")
        if status == 204:
            said += ", by which a service tells its clients not to come back (WHATWG HTML, 9.2.3)"
        elif status // 100 == 3 and location is not None:
            where = shown(location.encode(errors="replace"))
            said += f", which sends us to {where}: redirects are not followed, so give that address"
        elif status // 100 == 2:
            said += ", and an event stream begins with 200"
        if status == 204:
            self._fail(NeverAgainError(f"{name} refused the {self._handshake}: {said}", refusal))
        elif refusal.again:
            self._fail(NotNowError(f"{name} does not accept the {self._handshake} now: {said}", refusal))
        else:
            self._fail(HandshakeRefusedError(f"{name} refused the {self._handshake}: {said}", refusal))

    # The following methods report failures.

    def _unanswered(self, timeout_s: float) -> str:
        if not self._head:
            return super()._unanswered(timeout_s)
        return (
            f"the answer to the {self._handshake} was not whole within {timeout_s:g} s: {shown(self._head)}"
        )

    def _end_of_stream(self) -> None:
        name = self._address.name
        if self._response is not None:
            self._refuse()
        elif self._body is not None and not self._body.is_whole:
            self._fail(TransportError(f"{name}: the server closed the connection in the middle of a chunk"))
        elif self._head:
            said = f"closed the connection in the middle of its answer to the {self._handshake}"
            self._fail(TransportError(f"{name} {said}: {shown(self._head)}"))
        else:
            super()._end_of_stream()

    def _dispose(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None:
            patience.stop()
            patience.close()
        super()._dispose()


def _request(address: Address, resource: str, headers: Mapping[str, str]) -> bytes:
    own = {name.lower() for name in headers}
    port = None if address.port == (443 if address.secure else 80) else address.port
    host = authority_of(address.host, address.port)
    lines = {} if "host" in own else {"host": host if port else host.rpartition(":")[0]}
    lines |= {name: value for name, value in _HEADERS.items() if name not in own} | dict(headers)
    if any(character < " " or character > "~" for text in (resource, *lines.values()) for character in text):
        raise ValueError("the request for the event stream has a value that an HTTP header cannot hold")
    written = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"GET {resource} HTTP/1.1\r\n{written}\r\n".encode("ascii")


def _headers_of(response: HTTPResponse) -> dict[str, str]:
    """Return the headers by lower-case name; headers with the same name are joined, as RFC 9110, 5.2, allows."""
    found: dict[str, str] = {}
    for name, value in response.items():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def _unfit(headers: Mapping[str, str]) -> str | None:
    """Return why an answer with status 200 is not a readable event stream, or None if it is one."""
    kind = headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != _STREAM_TYPE:
        said = f"of the type {shown(kind.encode(errors='replace'))}" if kind else "without a content type"
        return f"an answer {said} and no {_STREAM_TYPE}: is this the path of the event stream?"
    if (coding := headers.get("content-encoding", "identity").strip().lower()) != "identity":
        return f"compressed ({shown(coding.encode(errors='replace'))}), which we have not asked for"
    if (coding := headers.get("transfer-encoding", "chunked").strip().lower()) != "chunked":
        return f"with the transfer coding {shown(coding.encode(errors='replace'))}, and only chunked is known"
    length = headers.get("content-length")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) <= 18):
        return "with a content-length that is no number"
    return None


def _no_http(head: bytes) -> str | None:
    """Return a phrase for an answer that cannot be HTTP/1.1, or None if it can."""
    begin = b"HTTP/1."
    if head[: len(begin)] == begin[: len(head)]:
        return None
    return f"answered the request for the event stream with something that is not HTTP/1.1: {shown(head)}"
