"""Counts and records one life of a client's connection.

A life lasts from a connect to the end of that connection; a reconnect begins the next one.
"""

from loadgen.measure.failures import HARNESS
from loadgen.resolve import ClientPlan
from loadgen.transport import isolation
from loadgen.transport.stream import SocketStream
from loadgen.users.life import Life
from loadgen.users.reconnect import HARNESS_FAILURE
from loadgen.users.subscriptions import Subscriptions
from loadgen.users.worker import WorkerRun


class LifeRecord:
    """Updates the worker's counts and records a life's rows, when it is accepted and when it ends."""

    __slots__ = ("_client", "_life", "_run")

    def __init__(self, run: WorkerRun, client: ClientPlan, life: Life) -> None:
        self._run, self._client, self._life = run, client, life

    def accepted(self, socket: SocketStream) -> None:
        """Record that the service has accepted the connection.

        The row is written now in case this process is killed; the row at the end replaces it.
        """
        self._run.progress.connected += 1
        self._row(socket, None, None)

    def ended(
        self, socket: SocketStream, subscriptions: Subscriptions, code: int | None, reason: str, at_ns: int
    ) -> None:
        """Record the end of a connection that the transport had opened.

        ``code`` is the close code, or None if there was no close frame.
        """
        life, progress = self._life, self._run.progress
        if (violation := socket.violation) is not None:
            self._run.recorder.undecodable.add(violation.kind, lambda: str(violation))
        progress.lost_connections += life.ended(socket, code, reason)
        progress.connected -= life.connected_ns is not None
        subscriptions.end(at_ns, life.intent)
        if not life.established:
            self._unasked(subscriptions, at_ns)
        self._row(socket, code, at_ns)

    def never_opened(self, socket: SocketStream, subscriptions: Subscriptions, at_ns: int) -> None:
        """Record a failed attempt to connect: the transport could not open the connection."""
        self._row(socket, None, at_ns)
        self._unasked(subscriptions, at_ns)

    def failed(self, error: BaseException) -> None:
        """Count a failure of the harness on this connection, and set the life's intent to it."""
        if not isinstance(error, isolation.OF_THE_PROCESS):
            self._run.failures.add(HARNESS, "serving a connection", error)
        self._life.harness_failed()

    def _unasked(self, subscriptions: Subscriptions, at_ns: int) -> None:
        """If the harness has failed, also record the subscriptions that were never requested."""
        if self._life.intent == HARNESS_FAILURE:
            subscriptions.record_unasked(at_ns, self._life.intent)

    def _row(self, socket: SocketStream, code: int | None, closed_ns: int | None) -> None:
        row = self._life.row(self._client, socket, close_code=code, closed_ns=closed_ns)
        self._run.recorder.connection(row)
