"""The keepalive messages of one connection."""

from loadgen.protocol.base import PING, Session
from loadgen.transport import isolation
from loadgen.transport.stream import SocketStream
from loadgen.transport.waiting import after


class KeepAlive:
    """Sends the session's keepalive message at its interval until :meth:`stop`."""

    __slots__ = ("_session", "_socket", "_timer")

    def __init__(self, session: Session, socket: SocketStream, every_ns: int) -> None:
        self._session, self._socket = session, socket
        every_s = every_ns / 1e9
        self._timer = after(every_s, isolation.run, socket, self._send, again_s=every_s)

    def stop(self) -> None:
        """Stop sending keepalive messages."""
        self._timer.stop()
        self._timer.close()

    def _send(self) -> None:
        if not self._socket.is_open:
            return
        message = self._session.keepalive()
        if message is PING:
            self._socket.ping()
        else:
            self._socket.send(message)
