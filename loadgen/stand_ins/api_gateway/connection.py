"""One WebSocket of the gateway: frames, limits, and the timers that close it."""

import asyncio
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Final

from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from loadgen.protocol.api_gateway.limits import FRAME_MAX_BYTES, MESSAGE_MAX_BYTES

GOING_AWAY: Final = CloseCode.GOING_AWAY
#: Seconds that a client has to answer the stand-in's close frame.
_CLOSING_S: Final = 5.0
_DATA: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


def new_id() -> str:
    """Return a connection id in the form of the service's, such as `L0SM9cOFvHcCIhw=`."""
    return urlsafe_b64encode(secrets.token_bytes(11)).decode()


def frames(message: bytes, most_bytes: int = FRAME_MAX_BYTES) -> bytes:
    """Return the frames of a text, each with at most ``most_bytes`` (RFC 6455, 5.4)."""
    if len(message) <= most_bytes:
        return _frame(0x80 | Opcode.TEXT, message)
    parts = [message[begin : begin + most_bytes] for begin in range(0, len(message), most_bytes)]
    last = len(parts) - 1
    return b"".join(
        _frame((0x80 if number == last else 0) | (Opcode.CONT if number else Opcode.TEXT), part)
        for number, part in enumerate(parts)
    )


def _frame(first: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big") + payload
    return bytes((first, 127)) + length.to_bytes(8, "big") + payload


class Connection:
    """A client's connection; aiohttp gives it the bytes that arrive (see `RequestHandler.set_parser`).

    ``on_message`` is called with each text. ``ended`` is done when the connection has ended, for whatever reason.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        on_message: Callable[["Connection", str], None],
        *,
        idle_s: float,
        lifetime_s: float,
        pings_count: bool,
        subject: str | None,
        source_ip: str,
        user_agent: str,
        connection_id: str,
    ) -> None:
        self.id = connection_id
        self.subject, self.source_ip, self.user_agent = subject, source_ip, user_agent
        self.connected_s = time.time()
        self._transport = transport
        self._on_message = on_message
        self._idle_s, self._pings_count = idle_s, pings_count
        self._protocol = Protocol(Side.SERVER, state=OPEN, max_size=MESSAGE_MAX_BYTES)
        self._message: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._active_s = self._loop.time()
        self._idle = self._loop.call_later(idle_s, self._look)
        self._lifetime = self._loop.call_later(lifetime_s, self.close, GOING_AWAY, "lifetime")
        self._patience: asyncio.TimerHandle | None = None
        #: Code of the close frame that ended the connection, no matter who sent it; None if there was no close frame.
        self.closed_with: int | None = None

    @property
    def is_open(self) -> bool:
        """True until either side begins to close."""
        return not self.ended.done() and self._protocol.state is OPEN

    @property
    def active_s(self) -> float:
        """Wall-clock time of the last message, in seconds since the epoch."""
        return time.time() - (self._loop.time() - self._active_s)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not accepted yet."""
        return self._transport.get_write_buffer_size()

    def send(self, message: bytes) -> None:
        """Send a text in UTF-8; do nothing if the connection is closing."""
        if self.is_open:
            self._active_s = self._loop.time()
            self._transport.write(frames(message))

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake."""
        if self.is_open:
            self._protocol.send_close(code, reason)
            self.closed_with = int(code)
            self._flush()

    def cut(self) -> None:
        """Cut the connection, without a close frame."""
        if not self.ended.done():
            self._transport.abort()
            self.feed_eof()

    # aiohttp calls the following methods: after the upgrade this object takes the place of aiohttp's HTTP parser.

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Process received bytes; never fails, whatever they are."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._on_frame(event)
        self._flush()
        return False, b""

    def feed_eof(self) -> None:
        """Process the end of the connection."""
        for timer in (self._idle, self._lifetime, self._patience):
            if timer is not None:
                timer.cancel()
        if not self.ended.done():
            self.ended.set_result(None)

    # The following methods are internal.

    def _on_frame(self, frame: Frame) -> None:
        if self._protocol.state is not OPEN:
            return
        if frame.opcode is Opcode.PING and self._pings_count:
            self._active_s = self._loop.time()
        if frame.opcode not in _DATA:
            return
        self._active_s = self._loop.time()
        if len(frame.data) > FRAME_MAX_BYTES:
            # AWS documents the code 1009 for a frame that is too large, and not only for a message.
            self._fail(CloseCode.MESSAGE_TOO_BIG, "a frame may have 32 KB")
        elif frame.opcode is Opcode.BINARY:
            self._fail(CloseCode.UNSUPPORTED_DATA, "binary messages are not supported")
        else:
            self._message.append(bytes(frame.data))
            if frame.fin:
                whole, self._message = b"".join(self._message), []
                try:
                    text = whole.decode()
                except UnicodeDecodeError:
                    self._fail(CloseCode.INVALID_DATA, "not UTF-8")
                    return
                self._on_message(self, text)

    def _fail(self, code: CloseCode, reason: str) -> None:
        self._protocol.fail(code, reason)
        self.closed_with = int(code)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()
        received: Close | None = self._protocol.close_rcvd
        if received is not None and self.closed_with is None:
            self.closed_with = int(received.code)
        if self._protocol.parser_exc is not None and self.closed_with is None:
            sent = self._protocol.close_sent
            self.closed_with = None if sent is None else int(sent.code)
        if self._protocol.state is not OPEN and self._patience is None and not self.ended.done():
            self._patience = self._loop.call_later(_CLOSING_S, self.cut)

    def _look(self) -> None:
        """Close the connection if it was idle for too long, else check again when the idle timeout may next expire."""
        left_s = self._active_s + self._idle_s - self._loop.time()
        if left_s <= 0:
            self.close(GOING_AWAY, "idle")
        else:
            self._idle = self._loop.call_later(left_s, self._look)
