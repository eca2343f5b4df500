"""Connecting: the transport's handshakes, then the service's acceptance of the connection.

A life of a connection lasts from a connect to its end; a reconnect begins the next one.
"""

from functools import partial

from loadgen.measure.clock import Clock
from loadgen.protocol.base import Session
from loadgen.protocol.refusals import Refusal
from loadgen.transport.errors import TransportError
from loadgen.transport.resolving import DialingError
from loadgen.transport.stream import SocketStream
from loadgen.transport.waiting import Signal
from loadgen.users.life import Life
from loadgen.users.life_record import LifeRecord
from loadgen.users.reconnect import HARNESS_FAILURE
from loadgen.users.worker import WorkerRun


class Login:
    """Connects a client's socket and waits for the service to accept the connection.

    The service may accept or refuse the connection at any time, even before the login is sent. There is one object for
    each life, the time from one connect of the client to the end of that connection.
    """

    __slots__ = ("_clock", "_heard", "_life", "_record", "_run", "_session", "_socket")

    def __init__(
        self,
        run: WorkerRun,
        life: Life,
        record: LifeRecord,
        session: Session,
        socket: SocketStream,
        clock: Clock,
    ) -> None:
        self._run, self._life, self._record = run, life, record
        self._session, self._clock = session, clock
        #: The connection's socket, or None once the connection has ended.
        self._socket: SocketStream | None = socket
        #: Set once the service has accepted or refused the connection, or the connection has ended.
        self._heard = Signal()

    def dial(self, timeout_s: float) -> None:
        """Connect and complete the transport's handshakes; raises what `SocketStream.open` raises."""
        life, socket = self._life, self._socket
        assert socket is not None
        try:
            socket.open(timeout_s)
        except TransportError as error:
            life.error = str(error)
            if isinstance(error, DialingError):
                # The load generator itself failed, for example because its DNS resolver did. The dialer reports this.
                life.intent = HARNESS_FAILURE
            self._refuse(error.refusal)
            raise
        life.opened_ns = self._clock()
        self._run.progress.opened += 1

    def log_in(self, timeout_s: float) -> None:
        """Send the protocol's opening messages and wait for the service's acceptance.

        Raises:
            TransportError: no answer came in time, or the connection ended first.
            HandshakeRefusedError: the service refused the connection; trying again cannot help.
            NotNowError: the service refused the connection for now.
        """
        life, socket = self._life, self._socket
        assert life.opened_ns is not None
        if socket is None:
            raise life.failure()
        for message in self._session.opening():
            socket.send(message)
            self._record.sent(message, self._clock())
        if not self._run.service.answers_opening:
            self.on_connected(life.opened_ns)
        if not self._heard.wait(timeout_s):
            awaited = self._session.awaits()
            life.error = f"no answer to the login within {timeout_s:g} s" + (
                f"; {awaited}" if awaited else ""
            )
            socket.abort()
        if life.connected_ns is None or self._socket is None:
            if self._socket is not None:
                socket.abort()
            raise life.failure()

    def on_connected(self, arrival_ns: int) -> None:
        """Handle the service's acceptance of the connection."""
        life, socket = self._life, self._socket
        if life.connected_ns is not None or socket is None:
            return
        life.connected_ns = arrival_ns
        self._record.accepted(socket)
        if (timeout_ns := self._session.timeout_ns) is not None:
            socket.watch_silence(timeout_ns, partial(self._on_silent, timeout_ns))
        self._heard.set()

    def on_refused(self, reason: str, refusal: Refusal | None) -> None:
        """Handle the service's refusal of the connection."""
        self._life.error = reason
        self._life.refused = True
        self._refuse(refusal)
        self._heard.set()

    def end(self) -> None:
        """Stop waiting, and ignore a later acceptance, because the connection has ended."""
        self._socket = None
        self._heard.set()

    def _refuse(self, refusal: Refusal | None) -> None:
        self._life.refusal = refusal
        if refusal is not None and refusal.again:
            self._run.progress.throttled += 1

    def _on_silent(self, timeout_ns: int, heard_ns: int) -> None:
        """Close the connection, because no data has come for longer than the service may be silent."""
        if self._socket is not None:
            self._life.fell_silent(timeout_ns, heard_ns)
            self._socket.abort()
