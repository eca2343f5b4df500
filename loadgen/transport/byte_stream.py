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

    Unless the arrival is exact, the second argument of ``on_bytes`` is an `Arrival`: its value is the arrival of the
    messages that end before the last byte, and its `end` is that of the message that ends with the last byte.
    """

    __slots__ = ("_closing", "_on_bytes", "_tls_direct")

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
        #: True if the native poller decrypts what this connection receives by Python's TLS; False if `Tls` does.
        self._tls_direct = False

    @property
    def is_open(self) -> bool:
        """True if the handshake is done and we have not begun to close."""
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
        """Let a fast path of `loadgen.native` take what it recognises; None removes the fast path.

        It must hold itself back (`Lane.hold`) while the session holds the beginning of a message.
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

    def _route(self, changed: bool = False) -> None:
        """Update the poller's routing: the fast path, and who decrypts; ``changed`` if the fast path has changed."""
        if self._poller is None:
            return
        fast_path, tls = self._fast_path, self._tls
        if tls is None or isinstance(tls, NativeTls):
            if changed and self._plain:
                self._poller.route(self._descriptor, None, fast_path, tls)
            return
        direct = fast_path is not None and tls.is_between_records()
        if direct is not self._tls_direct or changed:
            self._tls_direct = direct
            self._poller.route(
                self._descriptor, None, fast_path if direct else None, tls.ends() if direct else None
            )

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
