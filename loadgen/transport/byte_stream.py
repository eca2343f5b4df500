"""A plain byte stream on the gevent hub, over TCP or TLS, for protocols that frame their messages themselves."""

import socket
from contextlib import suppress

from loadgen.measure.arrival import of_bytes
from loadgen.native import FastPath
from loadgen.transport.address import Address
from loadgen.transport.errors import TransportError
from loadgen.transport.framing import OnText
from loadgen.transport.isolation import OnFailed
from loadgen.transport.native_tls import Data, NativeTls
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.stream import OnClosed, SocketStream


class ByteStream(SocketStream):
    """A client connection; ``on_bytes`` gets the bytes of each read, which may begin and end within a message.

    The second argument of ``on_bytes`` is the time of arrival, or, if that is not known exactly, an interval (an
    `Arrival`). A message that ends with the last byte of the read arrived at the interval's `end`. All earlier messages
    of the read arrived somewhere within the interval.
    """

    __slots__ = ("_closing", "_on_bytes")

    def __init__(
        self,
        address: Address,
        *,
        on_bytes: OnText,
        on_closed: OnClosed,
        on_failed: OnFailed | None = None,
        slow: SlowReading | None = None,
    ) -> None:
        super().__init__(address, on_closed, on_failed, slow)
        self._on_bytes = on_bytes
        self._closing = False

    @property
    def is_open(self) -> bool:
        """True if the handshake is done and this side has not begun to close."""
        return self._socket is not None and self._opening is None and not self._closing

    def send(self, message: bytes) -> None:
        """Send bytes; those that the socket does not accept at once are buffered and sent later.

        Raises:
            TransportError: the connection is not open.
        """
        if not self.is_open:
            raise TransportError(f"{self._address.name}: the connection is closed")
        self._write(message)

    def close(self) -> None:
        """Send the buffered bytes and shut down sending; ``on_closed`` is called when the server has closed too."""
        if not self.is_open:
            return
        self._closing = True
        if self._tls is not None:
            self._tls.end()
            self._transmit(self._tls.to_send())
        self._shut_down()

    def use_fast_path(self, fast_path: FastPath | None) -> None:
        """Let a fast path process the messages that it recognises, as `SocketStream.use_fast_path` says.

        If only the beginning of a message has reached the session, the session must pause the fast path by `Lane.hold`.
        Otherwise the fast path could take the rest of that message.
        """
        super().use_fast_path(fast_path)

    def _route_plain(self, tls: NativeTls | None, changed: bool) -> None:
        if changed and self._poller is not None:
            self._poller.route(self._descriptor, None, self._fast_path, tls)

    def _secured(self) -> None:
        assert self._opening is not None
        self._opening.set()

    def _step(self, data: Data, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        if self._fast_path is not None:
            data = data[self._fast_path.take_frames(data, arrival_ns, read_ns, within_ns, end_ns) :]
            if not data:
                return
        self._on_bytes(bytes(data), of_bytes(arrival_ns, within_ns, end_ns), read_ns)

    def _all_sent(self) -> None:
        super()._all_sent()
        if self._closing:
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None and self._unsent is None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
