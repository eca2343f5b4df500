"""One WebSocket connection on the gevent hub.

Messages go to ``on_text``: plain frames of the kind that is sent directly (see `framing`), all else by way of the
`websockets` Sans-I/O protocol. Of the library's objects there is only one while it has something to remember.
Compression is never offered: it would spend the generator's CPU on what is not being measured.
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
from loadgen.transport.stream import OnClosed, SocketStream
from loadgen.transport.upgrade import Upgrade

_HEAD_END = b"\r\n\r\n"
_TEXT, _BINARY, _CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
#: First bytes of what the library sends.
_CLOSE_FRAME, _PONG_FRAME = 0x80 | Opcode.CLOSE, 0x80 | Opcode.PONG


class WebSocket(SocketStream):
    """A client connection; see the module's docstring for how it reads.

    ``on_text``, ``on_closed`` and ``on_failed`` are called from the hub: see `SocketStream`.
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
    ) -> None:
        """``binary`` says how messages are sent; of those that come either kind goes to ``on_text``.

        ``resource`` is the path and query to ask for, where they are not the address's.
        """
        super().__init__(address, on_closed, on_failed)
        self._subprotocols = subprotocols
        self._headers = headers
        self._resource = resource
        self._on_text = on_text
        self._opcode = _BINARY if binary else _TEXT
        #: The request to upgrade that is not answered yet.
        self._upgrade: Upgrade | None = None
        #: What has come of an answer that is not the usual one.
        self._answer: handshake.Answer | None = None
        #: Ends the wait for the rest of a refusal, or for a server that has said goodbye to go.
        self._patience: Any = None
        #: The answer to the last ping, while it cannot be sent yet, and whether that is to be tried in this turn.
        self._pong: bytes | None = None
        self._pong_due = False
        #: The library's part, while it has something to remember.
        self._protocol: Protocol | None = None
        self._fast_path: FastPath | None = None
        self._fragments: bytearray | None = None
        self._max_message_bytes = max_message_bytes
        #: Takes over from the library once the upgrade is done.
        self._frames: TextFrames | None = None
        #: Whether the poller decrypts.
        self._tls_direct = False

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done and neither side has begun to close."""
        return (
            self._socket is not None
            and self._opening is None
            and (self._protocol is None or self._protocol.state is OPEN)
        )

    def send(self, message: bytes) -> None:
        """Send a message; what the socket does not take at once is sent when it does.

        Raises:
            TransportError: the connection is not open.
        """
        if not self.is_open:
            raise TransportError(f"{self._address.name}: the connection is closed")
        self._write(Frame(self._opcode, message).serialize(mask=True))

    def ping(self) -> None:
        """Send an empty ping frame; the answer is read like all that comes, and told to nobody."""
        if self.is_open:
            self._write(Frame(Opcode.PING, b"").serialize(mask=True))

    def close(self) -> None:
        """Begin the closing handshake; ``on_closed`` follows."""
        if self.is_open:
            protocol = self._library()
            protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._write_pending(protocol)

    def use_fast_path(self, fast_path: FastPath | None) -> None:
        """Let a fast path of `loadgen.native` take what it knows, past ``on_text``; None: no more."""
        if fast_path is not self._fast_path:
            self._fast_path = fast_path
            if self._frames is not None:
                self._frames.fast_path = fast_path
            self._route()

    def resume_reading(self) -> None:
        """Read again, by `recvmsg_into`; nothing happens where the connection has ended meanwhile."""
        if self._socket is not None and self._poller is None:
            super().resume_reading()
            self._tls_direct = False
            self._route()

    # The receive path, from `Poller`.

    def _route(self) -> None:
        if self._poller is None:
            return
        if self._tls is None:
            # Of a stream that is in the midst of a frame every byte is to be seen.
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
        """Take what was read, where it is not just one whole text frame."""
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
        """Take what the poller has decrypted."""
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
            # Not a view: the answer to the upgrade comes once, and it is searched.
            if not (length := upgrade.accepted(bytes(data))):
                # Anything but the usual yes: the library says what it is, and reads the connection to its end where it
                # may have taken in a part of a frame.
                self._protocol = upgrade.library(self._max_message_bytes)
                self._answer = handshake.Answer()
            else:
                frames = self._take_over()
                if self._opening is not None:
                    self._opening.set(None)
                # A server may speak first.
                if length < len(data):
                    frames.feed(data[length:], arrival_ns, read_ns, within_ns, end_ns)
                return
        connecting = self._protocol is not None and self._protocol.state is CONNECTING
        if connecting and self._answer is not None:
            self._answer.add(data)
            if (said := self._answer.no_http()) is not None:
                self._refuse(HandshakeRefusedError(f"{self._address.name} {said}"))
                return
        # The library says what frames there are, and not where they end.
        self._step_library(data, arrival(arrival_ns, within_ns), read_ns)
        if connecting and self._library().state is OPEN and _is_all_head(data):
            # Accepted in unusual words, and nothing behind them.
            self._take_over()
        if connecting:
            self._judge_answer()

    def _take_over(self) -> TextFrames:
        """Take frames past the library from here on: a frame begins."""
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
        """Return the library's state of the connection; made when it is needed."""
        if self._protocol is None:
            self._protocol = Protocol(Side.CLIENT, state=OPEN, max_size=self._max_message_bytes)
        return self._protocol

    def _step_library(self, data: bytes | memoryview, arrival_ns: int, read_ns: int) -> bool:
        """Step the protocol; returns whether the next plain frame may be taken past it."""
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
            # A ping, a close, a protocol error or the upgrade: the protocol may have something to say.
            self._write_pending(protocol)
        broken = protocol.parser_exc
        if broken is not None and not isinstance(broken, EOFError):
            # It is told why, and there is nothing more to wait for: the library reads nothing after that.
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
        """End the connection if a frame's header is not of the protocol; returns whether that is so."""
        if self._protocol is not None and self._protocol.close_rcvd is not None:
            # What follows a close frame is discarded, whatever it is.
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
        """Say what is wrong with the answer to the handshake, as soon as that is known."""
        protocol, answer = self._protocol, self._answer
        if protocol is None or protocol.state is not CONNECTING or answer is None:
            self._answer = None
        elif protocol.handshake_exc is not None:
            self._refuse(refused.by_library(self._address.name, protocol.handshake_exc))
        elif self._patience is None and (head := answer.refused()) is not None:
            # The library waits for the body, of which there may be no end.
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
        # Credentials and all: asked for anew for the next connection.
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
        """Answer the last ping of this turn of the hub, or of all that come while the server does not read.

        RFC 6455, 5.5.3: to answer the most recent one is enough. So pings cannot make what is unsent grow.
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

    # The end.

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
    """Whether the end of an HTTP head is the end of the data."""
    return bytes(data).find(_HEAD_END) == len(data) - len(_HEAD_END)


def _innermost(tls: ssl.SSLObject) -> ssl.SSLObject:
    """Return the C object that the `ssl` module's Python object hands every call to, where it still has one."""
    inner: ssl.SSLObject = getattr(tls, "_sslobj", tls)
    return inner
