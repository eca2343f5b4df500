"""The two ways in which a client that runs tasks publishes: over HTTP, and over its connection."""

from functools import partial
from typing import Final, Protocol

from loadgen.measure.failures import HARNESS
from loadgen.resolve import ClientPlan
from loadgen.resolve.transport import over_http
from loadgen.transport.http import GeventHttpClient
from loadgen.users.connection import ClientConnection
from loadgen.users.senders import ConnectionSender, HttpSender, Sender
from loadgen.users.worker import WorkerRun

_HTTP_CONNECTIONS: Final = 4


class Link(Protocol):
    """The part of a journey's connection that its publishes use."""

    @property
    def connection(self) -> ClientConnection:
        """The journey's current connection; see `JourneyClient.connect`."""

    def demand_login(self) -> None:
        """Raise a JourneyError if the client has no login."""

    def connect(self, deadline_s: float) -> None:
        """Connect, unless connected; raises a JourneyError."""


class Senders:
    """The senders of one journey's publishes; its HTTP connections are opened with the first request."""

    def __init__(self, run: WorkerRun, plan: ClientPlan, link: Link) -> None:
        self._run, self._plan, self._link = run, plan, link
        self._http: Sender | None = None

    def choose(self, via: str | None, deadline_s: float) -> Sender:
        """Return the sender over `http` or `websocket`; None chooses HTTP if the service accepts publishes over it.

        If the publish goes over the connection, connect first, and give up when `time.monotonic` reaches
        ``deadline_s``.

        Raises:
            JourneyError: the client has no login, or cannot connect.
            ValueError: ``via`` is not one of these values.
        """
        self._link.demand_login()
        service = self._run.logins.service(self._plan)
        if via not in (None, "http", "websocket"):
            raise ValueError(f"via is 'http' or 'websocket', not {via!r}")
        if service.http_url is None or not over_http(via or "http", self._run.rules):
            self._link.connect(deadline_s)
            return ConnectionSender(self._link.connection)
        if self._http is None:
            client = GeventHttpClient(
                service.http_url,
                _HTTP_CONNECTIONS,
                on_failed=partial(self._run.failures.add, HARNESS, "publishing over HTTP"),
                dialer=self._run.dialer,
            )
            self._http = HttpSender(service, client, self._run.recorder.undecodable)
        return self._http

    def close(self) -> None:
        """Close the HTTP connections."""
        if self._http is not None:
            self._http.close()
