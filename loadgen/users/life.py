"""One life of a client's connection: its progress, the reason for its end, and its row in the run's record.

A life lasts from a connect to the end of that connection; a reconnect begins the next one.
"""

from dataclasses import dataclass

from loadgen.measure.rows import ConnectionRow
from loadgen.protocol.refusals import Refusal
from loadgen.resolve import ClientPlan
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError
from loadgen.transport.stream import SocketStream
from loadgen.users.reconnect import HARNESS_FAILURE


@dataclass(slots=True)
class Life:
    """The state of one life of a client's connection; ``number`` counts the lives from 0 and is -1 before the first."""

    number: int = -1
    started_ns: int = 0
    #: Time at which the transport's handshake was complete.
    opened_ns: int | None = None
    #: Time at which the service accepted the connection.
    connected_ns: int | None = None
    #: True once the client has requested all subscriptions that it makes right after connecting.
    established: bool = False
    #: True once the client has begun to close the connection for good.
    closing: bool = False
    #: Why the client itself ended the connection (see `reconnect`), or None if it did not.
    intent: str | None = None
    error: str | None = None
    #: True if the service answered and refused the connection.
    refused: bool = False
    #: Meaning of the refusal, or None if there was none or it is unknown.
    refusal: Refusal | None = None
    #: Time of the last data received, if the client closed the connection because the service was silent for too long.
    silent_since_ns: int | None = None
    #: State of the session that the client keeps over reconnects, such as `resumed` or `lost` (see
    #: `SessionHandler.on_session`), or None if the client keeps no session.
    session: str | None = None

    def next(self, at_ns: int) -> "Life":
        """Return the state of the client's next connection, which it begins to open at ``at_ns``."""
        return Life(self.number + 1, at_ns)

    def harness_failed(self) -> None:
        """Note a failure of the harness: later deliveries, which it cannot observe, do not count as lost."""
        if self.intent is None and not self.closing:
            self.intent = HARNESS_FAILURE

    def fell_silent(self, timeout_ns: int, heard_ns: int) -> None:
        """Note that no data arrived for ``timeout_ns``; the last data arrived at ``heard_ns``."""
        self.error = (
            f"silent for {timeout_ns / 1e9:g} s: nothing at all came, and the service must be heard within that"
            " time"
        )
        self.silent_since_ns = heard_ns

    def ended(self, socket: SocketStream, code: int | None, reason: str) -> bool:
        """Note why the connection has ended; return True if it was lost after the service had accepted it.

        ``code`` is the close code, or None if there was no close frame.
        """
        if self.intent == HARNESS_FAILURE:
            self.error = reason
        elif not self.closing and self.intent is None:
            why = f"closed with code {code}" if code is not None else socket.abrupt
            said = f"{why}: {reason}" if reason else why
            self.error = self.error or (said if socket.violation is None else str(socket.violation))
            return self.connected_ns is not None
        return False

    def failure(self) -> TransportError:
        """Return the error to raise for a connection that was not accepted."""
        kind: type[TransportError] = HandshakeRefusedError if self.refused else TransportError
        if self.refusal is not None and self.refusal.again:
            kind = NotNowError
        return kind(self.error or "the connection was closed at once", self.refusal)

    def row(
        self,
        client: ClientPlan,
        socket: SocketStream,
        *,
        close_code: int | None = None,
        closed_ns: int | None = None,
    ) -> ConnectionRow:
        """Return this life's row for the run's record; its error is None if the client itself ended the connection."""
        return ConnectionRow(
            connection=client.number,
            life=self.number,
            group=client.group,
            started_ns=self.started_ns,
            opened_ns=self.opened_ns,
            acknowledged_ns=self.connected_ns,
            closed_ns=closed_ns,
            close_code=close_code,
            error=None if self.closing or self.intent is not None else self.error,
            kernel_timestamps=socket.kernel_timestamps,
            tls=socket.secure,
            intent=self.intent,
            slow=client.behaviour.read_bytes_per_s is not None,
            remote_address=socket.remote_address,
            silent_since_ns=self.silent_since_ns,
            refusal=self.refusal.kind.value if self.refusal is not None else None,
            session=self.session,
        )
