"""Senders of publish requests: over HTTP, or over the client's own connection."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from loadgen.measure.clock import now_ns
from loadgen.measure.undecodable import Undecodable
from loadgen.protocol.base import PublishAnswer, Service
from loadgen.protocol.unreadable import ANSWER_UNREADABLE
from loadgen.transport.errors import TransportError, UnreadableError
from loadgen.transport.http import HttpClient
from loadgen.users.connection import ClientConnection
from loadgen.users.unanswered import LOST

#: Takes the answer or None if there was none, its arrival in ns, and the transport's error, if any.
OnOutcome = Callable[[PublishAnswer | None, int, TransportError | None], None]
#: Makes a request's events once a connection is ready to send them. Arguments: the sending time in ns, which goes into
#: each event, and the remote address or None if it is unknown. Events are texts, or `Marked` if stamps travel outside
#: the body.
MakeEvents = Callable[[int, str | None], Sequence[Any]]


class Sender(Protocol):
    """Sends one publish request."""

    def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
        """Send a request without waiting for its answer.

        ``make`` and ``on_outcome`` are called now or later, and must not block. ``make`` is called when an open
        connection is ready to send the events; without a connection it is never called. ``on_outcome`` is called once.
        """

    def close(self) -> None:
        """Free the sender's resources; nothing may be sent afterwards."""


class HttpSender:
    """Sends publish requests over HTTP."""

    def __init__(self, service: Service, client: HttpClient, undecodable: Undecodable) -> None:
        """``undecodable`` counts the service's answers that cannot be read."""
        self._service = service
        self._client = client
        self._undecodable = undecodable

    def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
        """Send a request over the first free connection; see `Sender.send`."""
        service = self._service

        def on_response(status: int, body: bytes, error: TransportError | None) -> None:
            arrival_ns = now_ns()
            if error is None:
                answer = service.http_answer(status, body)
                if answer.unreadable is not None:
                    self._undecodable.add(answer.unreadable, partial(service.shown, body))
                on_outcome(answer, arrival_ns, None)
                return
            if isinstance(error, UnreadableError):
                self._undecodable.add(ANSWER_UNREADABLE, partial(str, error))
            on_outcome(None, arrival_ns, error)

        self._client.submit(
            lambda sent_ns, remote: service.http_publish(channel, make(sent_ns, remote)), on_response
        )

    def close(self) -> None:
        """Close the HTTP client."""
        self._client.close()


class NoSender:
    """Sends nothing, for a client that has no login."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
        """Send nothing and report the reason at once by ``on_outcome``; see `Sender.send`."""
        on_outcome(None, now_ns(), TransportError(self._reason))

    def close(self) -> None:
        """Do nothing."""


class ConnectionSender:
    """Sends publish requests over the client's own connection."""

    def __init__(self, connection: ClientConnection) -> None:
        #: The client's connection, whose direct publishes (see `users.direct`) may be used instead of `send`.
        self.connection = connection

    def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
        """Send a request over the client's connection; see `Sender.send`."""

        def on_answer(answer: PublishAnswer | None, arrival_ns: int) -> None:
            on_outcome(
                answer,
                arrival_ns,
                None if answer else TransportError(LOST),
            )

        connection = self.connection
        if not connection.has_socket:
            on_outcome(None, now_ns(), TransportError("the connection is closed"))
            return
        try:
            connection.publish(publish_id, channel, make(now_ns(), connection.remote_address), on_answer)
        except TransportError as error:
            on_outcome(None, now_ns(), error)

    def close(self) -> None:
        """Do nothing: the client closes its connection itself."""
