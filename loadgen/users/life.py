"""One life of a client's connection: when it began, how far it came, why it ended, and the row that says so."""

from dataclasses import dataclass, field

from loadgen.measure.clock import now_ns
from loadgen.measure.rows import ConnectionRow
from loadgen.protocol.refusals import Refusal
from loadgen.resolve import ClientPlan
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError
from loadgen.transport.stream import SocketStream


@dataclass(slots=True)
class Life:
    """What is known of one life; ``number`` is its place among the client's, from 0 (before the first: -1)."""

    number: int = -1
    started_ns: int = field(default_factory=now_ns)
    #: When the transport's handshake was done.
    opened_ns: int | None = None
    #: When the service accepted the connection.
    connected_ns: int | None = None
    #: Whether everything was asked for that the client asks for when it connects.
    established: bool = False
    #: Why the client has ended it itself (see `reconnect`); None: it has not.
    intent: str | None = None
    error: str | None = None
    #: Whether the service itself said no, and what that means, where it or its answer says so.
    refused: bool = False
    refusal: Refusal | None = None
    #: When the service was last heard, of a connection that has fallen silent.
    silent_since_ns: int | None = None

    def next(self) -> "Life":
        """Return the client's next life, which begins now and knows nothing of this one."""
        return Life(self.number + 1)

    def failure(self) -> TransportError:
        """Return what to raise for a connection that was not accepted."""
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
        on_purpose: bool = False,
    ) -> ConnectionRow:
        """Return its row; ``on_purpose``: the client has closed it, so that no error has ended it."""
        return ConnectionRow(
            connection=client.number,
            life=self.number,
            group=client.group,
            started_ns=self.started_ns,
            opened_ns=self.opened_ns,
            acknowledged_ns=self.connected_ns,
            closed_ns=closed_ns,
            close_code=close_code,
            error=None if on_purpose or self.intent is not None else self.error,
            kernel_timestamps=socket.kernel_timestamps,
            tls=socket.secure,
            intent=self.intent,
            slow=client.behaviour.read_bytes_per_s is not None,
            remote_address=socket.remote_address,
            silent_since_ns=self.silent_since_ns,
            refusal=self.refusal.kind.value if self.refusal is not None else None,
        )
