"""Read, by the `websockets` library (Sans-I/O), the frames that `TextFrames` does not parse.

To save memory, the library's protocol object of a connection exists only while it has state to keep.
"""

from collections.abc import Callable, Sequence
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import CONNECTING, OPEN, Protocol, Side

from loadgen.protocol.unreadable import is_utf8
from loadgen.transport import violations
from loadgen.transport.framing import OnText, TextFrames

_TEXT, _BINARY, _CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
#: First bytes of frames that the `websockets` library sends.
_CLOSE_FRAME, _PONG_FRAME = 0x80 | Opcode.CLOSE, 0x80 | Opcode.PONG


def _nothing() -> None:
    """The callback ``on_other`` before `Library.frames` and after `Library.end`: do nothing."""


class Library:
    """The `websockets` library's part in one WebSocket: handshakes of unusual form, control frames and fragments."""

    __slots__ = (
        "_fragments",
        "_fragments_text",
        "_on_other",
        "_on_text",
        "_pong",
        "_protocol",
        "_violation",
        "max_message_bytes",
        "opcode",
    )

    def __init__(self, on_text: OnText, binary: bool, max_message_bytes: int | None) -> None:
        """``on_text`` is called with each message; messages of more than ``max_message_bytes`` are violations."""
        self._on_text = on_text
        self._on_other = _nothing
        self.max_message_bytes = max_message_bytes
        #: Opcode (text or binary) of the messages to send, and of most received messages.
        self.opcode = _BINARY if binary else _TEXT
        #: The pong for the latest ping, until it is sent. Earlier pings need no answer (RFC 6455, 5.5.3), so a server
        #: that pings but does not read cannot fill our send buffer.
        self._pong: bytes | None = None
        self._protocol: Protocol | None = None
        #: The server's violation of the protocol that `_judge` has found, as a phrase, or None.
        self._violation: str | None = None
        #: The unfinished fragmented message, or None if there is none.
        self._fragments: bytearray | None = None
        #: True if the unfinished fragmented message is text.
        self._fragments_text = False

    # The following properties describe the connection's state.

    @property
    def is_open(self) -> bool:
        """True if the opening handshake is done and neither side has begun to close."""
        return self._protocol is None or self._protocol.state is OPEN

    @property
    def is_connecting(self) -> bool:
        """True while the `websockets` library reads the answer to the opening handshake."""
        return self._protocol is not None and self._protocol.state is CONNECTING

    @property
    def refusal(self) -> Exception | None:
        """The `websockets` library's error if it has rejected the answer to the opening handshake, or None."""
        return None if self._protocol is None else self._protocol.handshake_exc

    @property
    def close_received(self) -> Close | None:
        """The server's close frame, or None if it has not arrived."""
        return None if self._protocol is None else self._protocol.close_rcvd

    def violation(self) -> str | None:
        """Return how the server broke the WebSocket protocol, as a phrase, or None if it did not.

        After a violation the close frame with the reason must be sent, and nothing more is read.
        """
        if self._violation is not None:
            return self._violation
        broken = None if self._protocol is None else self._protocol.parser_exc
        return None if broken is None or isinstance(broken, EOFError) else violations.of_library(broken)

    # The following methods receive.

    def read_answer(self, protocol: Protocol) -> None:
        """Use ``protocol``, which has sent the opening handshake's request, to read the server's answer."""
        self._protocol = protocol

    def frames(self, on_other: Callable[[], None]) -> TextFrames:
        """Return a parser for the rest of the stream.

        The parser handles ordinary messages itself, and passes fragments, control frames and faulty frames to the
        `websockets` library.

        Call this at a frame boundary. Until :meth:`end`, ``on_other`` is called after each frame that is not a message:
        there may be something to send, or the connection ends.
        """
        self._on_other = on_other
        return TextFrames(
            self._on_text if self.opcode is _BINARY else self._take_text,
            self._step,
            self.max_message_bytes,
            binary=self.opcode is _BINARY,
            judge=self._judge,
        )

    def parse(self, data: bytes | memoryview) -> list[Any]:
        """Parse received bytes; return the frames that they complete, and the answer to the opening handshake."""
        protocol = self._made()
        protocol.receive_data(data)  # type: ignore[arg-type]  # appended to a bytearray, so any buffer does
        return protocol.events_received()

    def end(self) -> None:
        """Forget the callback ``on_other`` that :meth:`frames` was given: call nothing back from now on."""
        self._on_other = _nothing

    def deliver(self, events: Sequence[Any], arrival_ns: int, read_ns: int) -> bool:
        """Pass on the messages among parsed events; return True if there was anything else.

        Other events are a ping, a close, a violation of the protocol, and the answer to the opening handshake.
        """
        plain = bool(events)
        on_text, opcode = self._on_text, self.opcode
        for event in events:
            if isinstance(event, Frame):
                if event.opcode is opcode and event.fin:
                    if opcode is _BINARY or self._demand_utf8(event.data):
                        on_text(event.data, arrival_ns, read_ns)  # type: ignore[arg-type]
                        continue
                    return True
                self._deliver_other(event, arrival_ns, read_ns)
            plain = False
            if self._violation is not None:
                break
        return not plain or self.violation() is not None

    def end_of_stream(self) -> None:
        """Tell the `websockets` library that the stream has ended."""
        if self._protocol is not None:
            try:
                self._protocol.receive_eof()
                self._protocol.data_to_send()
            except (EOFError, WebSocketException):
                pass

    # The following methods send.

    def close(self) -> None:
        """Begin the closing handshake."""
        self._made().send_close(CloseCode.NORMAL_CLOSURE)

    def to_send(self) -> list[bytes]:
        """Return the frames to send, except pongs, which `take_pong` returns."""
        frames = []
        for data in () if self._protocol is None else self._protocol.data_to_send():
            if data and data[0] == _PONG_FRAME:
                self._pong = data
            elif data:
                frames.append(data)
                if data[0] == _CLOSE_FRAME:
                    self._pong = None
        return frames

    @property
    def has_pong(self) -> bool:
        """True if a ping waits for its pong."""
        return self._pong is not None

    def take_pong(self) -> bytes | None:
        """Return the pong frame to send now, or None if no ping waits for one; the pong then counts as sent."""
        pong, self._pong = self._pong, None
        return pong

    # The following methods are internal.

    def _step(self, data: bytes | memoryview, arrival_ns: int, read_ns: int) -> bool:
        """Read frames with `websockets`; return True if the next frame may bypass it: no message is unfinished."""
        if self.deliver(self.parse(data), arrival_ns, read_ns):
            self._on_other()
        protocol = self._protocol
        if self._fragments is not None:
            return False
        if protocol is None:
            return True
        if protocol.state is OPEN:
            # While the connection is open and no frame is incomplete, the `websockets` library's state is not needed.
            self._protocol = None
        return protocol.close_rcvd is None and protocol.parser_exc is None

    def _judge(self, first: int, second: int, length: int) -> bool:
        """Report a frame whose header breaks the protocol; return True if it does."""
        if self.close_received is not None:
            # Discard anything after a close frame.
            return False
        begun_bytes = None if self._fragments is None else len(self._fragments)
        found = violations.of_header(first, second, length, self.max_message_bytes, begun_bytes)
        if found is None:
            return False
        code, self._violation = found
        self._made().fail(code)
        self._on_other()
        return True

    def _take_text(self, message: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        """Pass on a text message if it is valid UTF-8, else report a violation."""
        if message.isascii() or self._demand_utf8(message):
            self._on_text(message, arrival_ns, read_ns)
        else:
            self._on_other()

    def _demand_utf8(self, message: bytes | bytearray | memoryview) -> bool:
        """Return True if a text message is UTF-8, as RFC 6455, 8.1, requires; else note the violation."""
        if is_utf8(message):
            return True
        self._violation = violations.TEXT_NOT_UTF8
        self._made().fail(CloseCode.INVALID_DATA)
        return False

    def _made(self) -> Protocol:
        """Return the `websockets` library's protocol object, and create it if there is none."""
        if self._protocol is None:
            self._protocol = Protocol(Side.CLIENT, state=OPEN, max_size=self.max_message_bytes)
        return self._protocol

    def _deliver_other(self, frame: Frame, arrival_ns: int, read_ns: int) -> None:
        if frame.opcode in (_TEXT, _BINARY):
            if not frame.fin:
                self._fragments, self._fragments_text = bytearray(frame.data), frame.opcode is _TEXT
            elif frame.opcode is _BINARY or self._demand_utf8(frame.data):
                self._on_text(bytes(frame.data), arrival_ns, read_ns)
        elif frame.opcode is _CONT and self._fragments is not None:
            self._fragments += frame.data
            if frame.fin:
                message, self._fragments = self._fragments, None
                if not self._fragments_text or self._demand_utf8(message):
                    self._on_text(message, arrival_ns, read_ns)
