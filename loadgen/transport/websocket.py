"""One WebSocket connection on the gevent hub.

Messages go to ``on_text``. Plain frames (see `framing`) bypass the `websockets` library; all others go through its
Sans-I/O protocol. To save memory, a connection holds a protocol object of the library only while that has state to
keep. Compression is never offered, since it would take CPU time of the generator and is not under test.
"""

import ssl
from collections.abc import Mapping, Sequence
from typing import Any, cast

import gevent
from websockets.exceptions import WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import CONNECTING, OPEN, Protocol, Side

from loadgen.measure.arrival import arrival
from loadgen.native import FastPath
from loadgen.transport import bounds, handshake, isolation, refused, violations
from loadgen.transport.address import Address
from loadgen.transport.errors import HandshakeRefusedError, TransportError, UnreadableError
from loadgen.transport.framing import OnText, TextFrames
from loadgen.transport.isolation import OnFailed
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.stream import OnClosed, SocketStream
from loadgen.transport.upgrade import Upgrade

_HEAD_END = b"\r\n\r\n"
_TEXT, _BINARY, _CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
#: First bytes of frames that the library sends.
_CLOSE_FRAME, _PONG_FRAME = 0x80 | Opcode.CLOSE, 0x80 | Opcode.PONG


class WebSocket(SocketStream):
    """A WebSocket client connection.

    ``on_text``, ``on_closed`` and ``on_failed`` are called from the hub and must not block: see `SocketStream`.
    """

    __slots__ = (
        "_answer",
        "_fast_path",
        "_fragments",
        "_frames",
        "_headers",
        "_max_message_bytes",
        "_on_text",
        "_opcode",
        "_patience",
        "_pong",
        "_pong_due",
        "_protocol",
        "_resource",
        "_subprotocols",
        "_tls_direct",
        "_upgrade",
    )

    _handshake = "WebSocket handshake"
    abrupt = "closed without a close frame"

    def __init__(
        self,
        address: Address,
        *,
        subprotocols: Sequence[str],
        headers: Mapping[str, str],
        on_text: OnText,
        on_closed: OnClosed,
        on_failed: OnFailed | None = None,
        binary: bool = False,
        resource: str | None = None,
        max_message_bytes: int | None = 4 * 1024 * 1024,
        slow: SlowReading | None = None,
    ) -> None:
        """Make a connection that is yet to be opened.

        ``binary`` selects binary frames for sent messages; received messages of either kind go to ``on_text``.
        ``resource`` is the path and query to request in place of the address's. A received message may have at most
        ``max_message_bytes``, or any size if that is None.
        """
        super().__init__(address, on_closed, on_failed, slow)
        self._subprotocols = subprotocols
        self._headers = headers
        self._resource = resource
        self._on_text = on_text
        self._opcode = _BINARY if binary else _TEXT
        #: The upgrade request while it is unanswered.
        self._upgrade: Upgrade | None = None
        #: The beginning of an answer that is not an ordinary acceptance, during the handshake.
        self._answer: handshake.Answer | None = None
        #: Timer that limits the wait for the body of a refusal, or for the server to disconnect after its close frame.
        self._patience: Any = None
        #: The pong for the last ping until it is sent; and true if sending it is scheduled for the hub's next turn.
        self._pong: bytes | None = None
        self._pong_due = False
        #: The library's protocol object, while it has state to keep.
        self._protocol: Protocol | None = None
        self._fast_path: FastPath | None = None
        self._fragments: bytearray | None = None
        self._max_message_bytes = max_message_bytes
        #: Parser of the frames once the upgrade is done; None while the library reads everything.
        self._frames: TextFrames | None = None
        #: True if the native poller decrypts.
        self._tls_direct = False

    @property
    def is_open(self) -> bool:
        """True if the handshake is done and neither side has begun to close."""
        return (
            self._socket is not None
            and self._opening is None
            and (self._protocol is None or self._protocol.state is OPEN)
        )

    def send(self, message: bytes) -> None:
        """Send a message; bytes that the socket does not accept at once are buffered and sent later.

        Raises:
            TransportError: the connection is not open.
        """
        if not self.is_open:
            raise TransportError(f"{self._address.name}: the connection is closed")
        self._write(Frame(self._opcode, message).serialize(mask=True))

    def ping(self) -> None:
        """Send an empty ping frame; the pong is read but not reported."""
        if self.is_open:
            self._write(Frame(Opcode.PING, b"").serialize(mask=True))

    def close(self) -> None:
        """Begin the closing handshake; ``on_closed`` is called when the connection has ended."""
        if self.is_open:
            protocol = self._library()
            protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._write_pending(protocol)

    def use_fast_path(self, fast_path: FastPath | None) -> None:
        """Let a fast path of `loadgen.native` take the messages that it recognises, or none if it is None.

        Messages that it takes do not reach ``on_text``.
        """
        if fast_path is not self._fast_path:
            self._fast_path = fast_path
            if self._frames is not None:
                self._frames.fast_path = fast_path
            self._route()

    def resume_reading(self) -> None:
        """Read again, by the Python poller and `recvmsg_into`; does nothing if the connection has ended."""
        if self._socket is not None and self._poller is None:
            super().resume_reading()
            self._tls_direct = False
            self._route()

    # The receive path: called by the poller.

    def _route(self) -> None:
        """Update the poller's routing: the callback for whole frames, the fast path, and who decrypts."""
        if self._poller is None:
            return
        if self._tls is None:
            # Within a frame every byte must reach `take`, so neither the callback nor the fast path may be set.
            self._poller.route(
                self._descriptor, self.whole, self._fast_path if self.whole is not None else None
            )
            return
        direct = (
            self._fast_path is not None
            and self._frames is not None
            and self._frames.whole is not None
            and self._records.reached
            and not self._incoming.pending
            and not self._tls.pending()
        )
        if direct or self._tls_direct:
            self._tls_direct = direct
            ends = (self._incoming.write, cast(Any, _innermost(self._tls).read)) if direct else None
            self._poller.route(self._descriptor, None, self._fast_path if direct else None, ends)

    def take(
        self, data: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Process the bytes of one read, unless it was just one whole text frame; empty at the end of the stream."""
        if not data:
            self._end_of_stream()
        elif self._tls is not None:
            self._records.follow(data)
            self._incoming.write(data)
            self._on_ciphertext(self._tls, arrival_ns, read_ns, within_ns, end_ns)
            if self._fast_path is not None:
                self._route()
        else:
            self._step(data, arrival_ns, read_ns, within_ns, end_ns)
            if self._frames is not None and self._frames.whole is not self.whole:
                self.whole = self._frames.whole
                self._route()

    def take_plaintext(self, data: bytes, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        """Process bytes that the native poller has decrypted; empty at the end of TLS."""
        if data:
            self._step(data, arrival_ns, read_ns, within_ns, end_ns)
            self._route()
        else:
            self._end_of_stream()

    def _step(
        self, data: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        if self._frames is not None:
            self._frames.feed(data, arrival_ns, read_ns, within_ns, end_ns)
            return
        if self._upgrade is not None:
            upgrade, self._upgrade = self._upgrade, None
            # Copied, because a memoryview cannot be searched; there is only one answer per connection.
            if not (length := upgrade.accepted(bytes(data))):
                # Not an ordinary acceptance: the library parses it. If the data continues after the answer, the library
                # may hold part of a frame and then reads all frames of this connection.
                self._protocol = upgrade.library(self._max_message_bytes)
                self._answer = handshake.Answer()
            else:
                frames = self._take_over()
                if self._opening is not None:
                    self._opening.set(None)
                # A server may send messages right after its answer.
                if length < len(data):
                    frames.feed(data[length:], arrival_ns, read_ns, within_ns, end_ns)
                return
        connecting = self._protocol is not None and self._protocol.state is CONNECTING
        if connecting and self._answer is not None:
            self._answer.add(data)
            if (said := self._answer.no_http()) is not None:
                self._refuse(HandshakeRefusedError(f"{self._address.name} {said}"))
                return
        # The library does not tell where in the data a frame ends, so all of them are uncertain by `within_ns`.
        self._step_library(data, arrival(arrival_ns, within_ns), read_ns)
        if connecting and self._library().state is OPEN and _is_all_head(data):
            # Accepted in an unusual form, and no frame follows in the data.
            self._take_over()
        if connecting:
            self._judge_answer()

    def _take_over(self) -> TextFrames:
        """Parse plain frames without the library from here on; must be called at a frame boundary."""
        self._frames = TextFrames(
            self._on_text,
            self._step_library,
            self._max_message_bytes,
            binary=self._opcode is _BINARY,
            judge=self._judge,
        )
        self._frames.fast_path = self._fast_path
        return self._frames

    def _library(self) -> Protocol:
        """Return the library's protocol object, made if there is none."""
        if self._protocol is None:
            self._protocol = Protocol(Side.CLIENT, state=OPEN, max_size=self._max_message_bytes)
        return self._protocol

    def _step_library(self, data: bytes | memoryview, arrival_ns: int, read_ns: int) -> bool:
        """Pass bytes to the library; return True if the next plain frame may bypass it."""
        protocol = self._library()
        protocol.receive_data(data)  # type: ignore[arg-type]  # appended to a bytearray, so any buffer does
        frames = protocol.events_received()
        plain = bool(frames)
        on_text = self._on_text
        for frame in frames:
            if isinstance(frame, Frame):
                if frame.opcode is self._opcode and frame.fin:
                    on_text(frame.data, arrival_ns, read_ns)  # type: ignore[arg-type]
                    continue
                self._on_other_frame(frame, arrival_ns, read_ns)
            elif isinstance(frame, Response):
                self._on_upgrade_answer(protocol)
            plain = False
        if not plain:
            # A ping, a close, a protocol error or the upgrade: the library may have something to send.
            self._write_pending(protocol)
        broken = protocol.parser_exc
        if broken is not None and not isinstance(broken, EOFError):
            # The close frame with the reason is sent already, and the library reads nothing after an error.
            self._broke_the_protocol(violations.of_library(broken))
            return False
        if protocol.close_rcvd is not None and self._patience is None:
            self._wait_no_longer_than(bounds.CLOSING_S, self._ended)
        direct = self._fragments is None and protocol.close_rcvd is None and broken is None
        if direct and self._frames is not None and protocol.state is OPEN:
            self._protocol = None
        return direct

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

    def _judge(self, first: int, second: int, length: int) -> bool:
        """End the connection if a frame's header breaks the protocol; return True if it does."""
        if self._protocol is not None and self._protocol.close_rcvd is not None:
            # Anything after a close frame is discarded.
            return False
        begun_bytes = None if self._fragments is None else len(self._fragments)
        found = violations.of_header(first, second, length, self._max_message_bytes, begun_bytes)
        if found is None:
            return False
        code, what = found
        protocol = self._library()
        protocol.fail(code)
        self._write_pending(protocol)
        self._broke_the_protocol(what)
        return True

    def _broke_the_protocol(self, what: str) -> None:
        name = self._address.name
        self._fail(UnreadableError(f"{name}: the server broke the WebSocket protocol: {what}"))

    def _unanswered(self, timeout_s: float) -> str:
        begun = None if self._answer is None else self._answer.begun()
        if begun is None:
            return super()._unanswered(timeout_s)
        return f"the answer to the {self._handshake} was not whole within {timeout_s:g} s: {begun}"

    def _on_upgrade_answer(self, protocol: Protocol) -> None:
        if self._opening is not None and protocol.handshake_exc is None:
            self._opening.set(None)

    def _judge_answer(self) -> None:
        """Fail the handshake with a description of the server's answer, as soon as that is certain."""
        protocol, answer = self._protocol, self._answer
        if protocol is None or protocol.state is not CONNECTING or answer is None:
            self._answer = None
        elif protocol.handshake_exc is not None:
            self._refuse(refused.by_library(self._address.name, protocol.handshake_exc))
        elif self._patience is None and (head := answer.refused()) is not None:
            # The library waits for the body, which may never end.
            error = refused.by_head(self._address.name, *head)
            self._wait_no_longer_than(bounds.REFUSAL_BODY_S, self._refuse, error)

    def _refuse(self, error: TransportError) -> None:
        self._wait_no_longer()
        if self._opening is not None and not self._opening.ready():
            self._opening.set_exception(error)

    def _wait_no_longer_than(self, seconds: float, what: Any, *arguments: Any) -> None:
        self._patience = gevent.get_hub().loop.timer(seconds)
        self._patience.start(isolation.run, self, what, *arguments)

    def _wait_no_longer(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None:
            patience.stop()
            patience.close()

    # Sending.

    def _secured(self) -> None:
        self._upgrade = Upgrade(self._address.url, self._subprotocols, self._headers, self._resource)
        # They may hold credentials and are used only once.
        self._subprotocols, self._headers, self._resource = (), {}, None
        self._write(self._upgrade.request)

    def _write_pending(self, protocol: Protocol) -> None:
        for data in protocol.data_to_send():
            if not data:
                continue
            if data[0] == _PONG_FRAME:
                self._answer_ping(data)
                continue
            if data[0] == _CLOSE_FRAME:
                self._pong = None
            self._write(data)

    def _answer_ping(self, pong: bytes) -> None:
        """Schedule a pong in place of any that is still unsent.

        It is enough to answer the most recent ping (RFC 6455, 5.5.3). So pings cannot fill the send buffer of a server
        that does not read.
        """
        self._pong = pong
        if not self._pong_due:
            self._pong_due = True
            gevent.get_hub().loop.run_callback(isolation.run, self, self._send_pong)

    def _send_pong(self) -> None:
        self._pong_due = False
        if self._pong is not None and self._unsent is None:
            pong, self._pong = self._pong, None
            self._write(pong)

    def _on_writable(self) -> None:
        super()._on_writable()
        self._send_pong()

    # Closing.

    def _end_of_stream(self) -> None:
        if self._protocol is not None:
            try:
                self._protocol.receive_eof()
                self._protocol.data_to_send()
            except (EOFError, WebSocketException):
                pass
        if self._answer is not None:
            if (head := self._answer.refused()) is not None:
                self._refuse(refused.by_head(self._address.name, *head))
                return
            if (said := self._answer.broken_off()) is not None:
                self._fail(TransportError(f"{self._address.name} {said}"))
                return
        super()._end_of_stream()

    def _dispose(self) -> None:
        if self._frames is not None:
            self._frames.end()
        self._wait_no_longer()
        super()._dispose()

    def _ended(self, why: str = "") -> None:
        if self._socket is None:
            return
        protocol, upgrade = self._protocol, self._upgrade
        self._dispose()
        if upgrade is not None or (protocol is not None and protocol.state is CONNECTING):
            return
        received = protocol.close_rcvd if protocol is not None else None
        reason = received.reason if received is not None and self.violation is None else ""
        self._on_closed(received.code if received else None, reason or why)


def _is_all_head(data: bytes | memoryview) -> bool:
    """Return True if the first HTTP head in the data ends where the data ends."""
    return bytes(data).find(_HEAD_END) == len(data) - len(_HEAD_END)


def _innermost(tls: ssl.SSLObject) -> ssl.SSLObject:
    """Return the C object that an `ssl.SSLObject` delegates to, or the object itself if it has no such attribute."""
    inner: ssl.SSLObject = getattr(tls, "_sslobj", tls)
    return inner
