"""One WebSocket connection on the gevent hub.

Messages go to ``on_text``. Plain frames (see `framing`) bypass the `websockets` library; all others go through its
Sans-I/O protocol. To save memory, a connection holds a protocol object of the library only while that has state to
keep. Compression is never offered, since it would take CPU time of the generator and is not under test.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gevent
from websockets.frames import Opcode

from loadgen.measure.arrival import arrival
from loadgen.native import FastPath
from loadgen.transport import bounds, isolation, refused
from loadgen.transport.address import Address
from loadgen.transport.errors import TransportError, UnreadableError
from loadgen.transport.framing import OnText, TextFrames
from loadgen.transport.isolation import OnFailed
from loadgen.transport.library import Library
from loadgen.transport.masking import fragments, masked
from loadgen.transport.native_tls import Data, NativeTls
from loadgen.transport.opening import OpeningHandshake
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.stream import OnClosed, SocketStream
from loadgen.transport.waiting import after

_HEAD_END = b"\r\n\r\n"


class WebSocket(SocketStream):
    """A WebSocket client connection.

    ``on_text``, ``on_closed`` and ``on_failed`` are called from the gevent hub and must not block: see `SocketStream`.
    """

    __slots__ = ("_frames", "_library", "_most_frame_bytes", "_patience", "_pong_due", "_ready", "_upgrading")

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
        most_frame_bytes: int | None = None,
        slow: SlowReading | None = None,
    ) -> None:
        """Make a connection that is yet to be opened.

        ``binary`` selects binary frames for sent messages; received messages of either kind go to ``on_text``.
        ``resource`` is the path and query to request, in place of those of the address. A received message may have
        at most ``max_message_bytes``, or any size if that is None. A sent message longer than ``most_frame_bytes``
        goes in several frames.
        """
        super().__init__(address, on_closed, on_failed, slow)
        #: The opening handshake, until the server has accepted. It may hold credentials, which are not needed
        #: afterwards.
        self._upgrading: OpeningHandshake | None = OpeningHandshake(
            address.name, address.url, subprotocols, headers, resource, address.accepted
        )
        self._library = Library(on_text, binary, max_message_bytes)
        self._most_frame_bytes = most_frame_bytes
        #: Timer that limits the wait for the body of a refusal, or for the server to disconnect after its close frame.
        self._patience: Any = None
        #: True if sending a pong is scheduled for the gevent hub's next turn.
        self._pong_due = False
        #: Parser of the frames once the upgrade is done; None while the `websockets` library reads everything.
        self._frames: TextFrames | None = None
        #: The value of `TextFrames.ready` for which the poller's callback and fast path were last set.
        self._ready = False

    @property
    def is_open(self) -> bool:
        """True if the handshake is done and neither side has begun to close."""
        return self._socket is not None and self._opening is None and self._library.is_open

    def send(self, message: bytes) -> None:
        """Send a message; bytes that the socket does not accept at once are buffered and sent later.

        Raises:
            TransportError: the connection is not open.
        """
        if not self.is_open:
            raise TransportError(f"{self._address.name}: the connection is closed")
        most = self._most_frame_bytes
        if most is None or len(message) <= most:
            self._write(masked(self._library.opcode, message))
        else:
            self._write(fragments(self._library.opcode, message, most))

    def way_to_send(self) -> int | None:
        """Return the socket's descriptor, -1 if frames must be encrypted or queued, or None: see `SocketStream`."""
        if not self.is_open or self._library.opcode is not Opcode.TEXT:
            return None
        return self._descriptor if self._unsent is None and self._tls is None else -1

    def ping(self) -> None:
        """Send an empty ping frame; the pong is read but not reported."""
        if self.is_open:
            self._write(masked(Opcode.PING, b""))

    def close(self) -> None:
        """Begin the closing handshake; ``on_closed`` is called when the connection has ended."""
        if self.is_open:
            self._library.close()
            self._write_pending()

    def use_fast_path(self, fast_path: FastPath | None) -> None:
        """Let a fast path process messages; see `SocketStream.use_fast_path`."""
        if self._frames is not None:
            self._frames.fast_path = fast_path
        super().use_fast_path(fast_path)

    # The poller calls the following methods, the receive path.

    def _fits_fast_path(self) -> bool:
        return self._frames is not None and self._frames.ready

    def _route_plain(self, tls: NativeTls | None, changed: bool) -> None:
        # Until the stream is at a frame boundary, every byte must pass through `take`. So the poller gets the callback
        # `whole` and the fast path only at a frame boundary.
        if self._poller is not None:
            fast_path = self._fast_path if self._ready else None
            self._poller.route(self._descriptor, self.whole, fast_path, tls)

    def _step(self, data: Data, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        frames = self._frames
        if frames is not None:
            frames.feed(data, arrival_ns, read_ns, within_ns, end_ns)
        else:
            frames = self._step_answer(data, arrival_ns, read_ns, within_ns, end_ns)
            if frames is None:
                return
        if frames.ready is not self._ready and self._plain:
            self.whole, self._ready = frames.whole, frames.ready
            self._route()

    def _step_answer(
        self, data: Data, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> TextFrames | None:
        """Process the bytes of one read while the `websockets` library still reads the connection.

        The bytes are the server's answer to the upgrade request, or frames after it. Return a parser for all later
        bytes if the library is not needed any more, else None.
        """
        upgrading, library = self._upgrading, self._library
        if upgrading is not None:
            if length := upgrading.accepted(data):
                frames = self._take_over()
                self._accepted()
                # A server may send messages right after its answer, in the same read.
                if length < len(data):
                    frames.feed(data[length:], arrival_ns, read_ns, within_ns, end_ns)
                return frames
            # `accepted` did not recognise this answer, so the `websockets` library parses it. If more data follows the
            # answer, the library may hold a part of a frame, and therefore reads all frames of this connection.
            if (error := upgrading.hand_over(data, library)) is not None:
                self._fail(error)
                return None
        events = library.parse(data)
        if upgrading is not None and not library.is_connecting:
            self._accepted()
        # The `websockets` library does not report where a frame ends in the data, so the arrival of each message is
        # uncertain by `within_ns`.
        if library.deliver(events, arrival(arrival_ns, within_ns), read_ns):
            self._on_other()
        if self._upgrading is not None:
            self._judge_answer(self._upgrading)
        elif upgrading is not None and library.is_open and _is_all_head(data):
            # The server accepted the upgrade by an answer of unusual form. The data ends with this answer, so the next
            # byte begins a frame.
            return self._take_over()
        return None

    def _take_over(self) -> TextFrames:
        """From now on pass only unusual frames to `websockets` (see `framing`); call this at a frame boundary."""
        self._frames = self._library.frames(self._on_other)
        self._frames.fast_path = self._fast_path
        return self._frames

    def _on_other(self) -> None:
        """Send the pending frames of `websockets`; end the connection if the server closed it or broke the protocol."""
        self._write_pending()
        if (what := self._library.violation()) is not None:
            name = self._address.name
            if self._frames is not None:
                self._frames.end()
            self._fail(UnreadableError(f"{name}: the server broke the WebSocket protocol: {what}"))
        elif self._patience is None and self._library.close_received is not None:
            self._wait_no_longer_than(bounds.CLOSING_S, self._ended)

    # The following methods perform the opening handshake.

    def _secured(self) -> None:
        if self._upgrading is not None:
            self._write(self._upgrading.request())

    def _unanswered(self, timeout_s: float) -> str:
        begun = None if self._upgrading is None else self._upgrading.begun()
        if begun is None:
            return super()._unanswered(timeout_s)
        return f"the answer to the {self._handshake} was not whole within {timeout_s:g} s: {begun}"

    def _accepted(self) -> None:
        """Let `open` return: the server has accepted the upgrade."""
        self._upgrading = None
        if self._opening is not None:
            self._opening.set()

    def _judge_answer(self, upgrading: OpeningHandshake) -> None:
        """Fail the handshake with a description of the server's answer, once the answer is certain to be a refusal."""
        if (why := self._library.refusal) is not None:
            self._fail(refused.by_library(self._address.name, why))
        elif self._patience is None and (error := upgrading.refused()) is not None:
            # Limit the wait: the `websockets` library waits for the body of a refusal, which may never end.
            self._wait_no_longer_than(bounds.REFUSAL_BODY_S, self._fail, error)

    def _wait_no_longer_than(self, seconds: float, what: Any, *arguments: Any) -> None:
        self._patience = after(seconds, isolation.run, self, what, *arguments)

    def _wait_no_longer(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None:
            patience.stop()
            patience.close()

    # The following methods send.

    def _write_pending(self) -> None:
        for data in self._library.to_send():
            self._write(data)
        if self._library.has_pong and not self._pong_due:
            self._pong_due = True
            gevent.get_hub().loop.run_callback(isolation.run, self, self._send_pong)

    def _send_pong(self) -> None:
        self._pong_due = False
        if self._unsent is None and (pong := self._library.take_pong()) is not None:
            self._write(pong)

    def _all_sent(self) -> None:
        super()._all_sent()
        self._send_pong()

    # The following methods close the connection.

    def _end_of_stream(self) -> None:
        self._library.end_of_stream()
        error = None if self._upgrading is None else self._upgrading.broken_off()
        if error is None:
            super()._end_of_stream()
        else:
            self._fail(error)

    def _dispose(self) -> None:
        if self._frames is not None:
            self._frames.end()
        self._library.end()
        self._wait_no_longer()
        super()._dispose()

    def _ended(self, why: str = "") -> None:
        if self._socket is None:
            return
        received = self._library.close_received
        self._dispose()
        if self._upgrading is None:
            reason = received.reason if received is not None and self.violation is None else ""
            self._on_closed(received.code if received else None, reason or why)


def _is_all_head(data: bytes | memoryview) -> bool:
    """Return True if the first HTTP head in the data ends where the data ends."""
    return bytes(data).find(_HEAD_END) == len(data) - len(_HEAD_END)
