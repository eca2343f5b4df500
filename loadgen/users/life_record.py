"""Counts and records one life of a client's connection.

A life lasts from a connect to the end of that connection; a reconnect begins the next one.
"""

from functools import partial

from loadgen.measure.broken import LastMessage
from loadgen.measure.failures import HARNESS
from loadgen.resolve import ClientPlan
from loadgen.transport import isolation
from loadgen.transport.stream import SocketStream
from loadgen.users.last_messages import LastMessages
from loadgen.users.life import Life
from loadgen.users.reconnect import HARNESS_FAILURE
from loadgen.users.subscriptions import Subscriptions
from loadgen.users.worker import WorkerRun


class LifeRecord:
    """Updates the worker's counts and records one life of a connection, when it is accepted and when it ends."""

    __slots__ = ("_client", "_life", "_run", "messages")

    def __init__(self, run: WorkerRun, client: ClientPlan, life: Life) -> None:
        self._run, self._client, self._life = run, client, life
        #: The last messages, to display them if the connection fails; None before the `Conversation` is created.
        self.messages: LastMessages | None = None

    def accepted(self, socket: SocketStream) -> None:
        """Record that the service has accepted the connection.

        The row is already written now, in case this process is killed. A second row, written when the connection ends,
        replaces it.
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
        """Record an attempt to connect that failed before the transport had opened the connection."""
        self._row(socket, None, at_ns)
        self._unasked(subscriptions, at_ns)

    def sent(self, message: bytes, at_ns: int, about: str = "") -> None:
        """Keep a sent message for reports of errors; if it has secrets, keep only its description ``about``.

        See `LastMessages`.
        """
        if self.messages is not None:
            self.messages.sent(message, at_ns, about)

    def failed(self, error: BaseException) -> None:
        """Count an error of the harness on this connection, and note in the life's `intent` that the harness failed."""
        if not isinstance(error, isolation.OF_THE_PROCESS):
            self._run.failures.add(HARNESS, "serving a connection", error)
        self._life.harness_failed()

    def _unasked(self, subscriptions: Subscriptions, at_ns: int) -> None:
        """If the harness has failed, record also the subscriptions that the client had not yet requested."""
        if self._life.intent == HARNESS_FAILURE:
            subscriptions.record_unasked(at_ns, self._life.intent)

    def _row(self, socket: SocketStream, code: int | None, closed_ns: int | None) -> None:
        row = self._life.row(self._client, socket, close_code=code, closed_ns=closed_ns)
        self._run.recorder.connection(row)
        if row.error is not None and closed_ns is not None and self.messages is not None:
            self._run.recorder.broken.add(
                row.error, row.connection, row.life, partial(self._last_messages, self.messages, closed_ns)
            )

    def _last_messages(self, messages: LastMessages, closed_ns: int) -> list[LastMessage]:
        channels = [plan.channel for plan in self._client.subscriptions]
        return messages.shown(channels, closed_ns)
