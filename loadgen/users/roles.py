"""The Locust user classes.

A user takes its identity from the run's plan: which client of the scenario it is, to what it subscribes, what it
publishes and when. So the same scenario gives the same clients, however many processes share them.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import gevent
from gevent import Greenlet
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

from loadgen.measure.failures import HARNESS
from loadgen.scenario import ClientPlan
from loadgen.transport.errors import HandshakeRefusedError, TransportError
from loadgen.transport.http import GeventHttpClient
from loadgen.users.behaving import CLOSE_TIMEOUT_S, doings
from loadgen.users.connection import ClientConnection
from loadgen.users.publishing import ConnectionSender, HttpSender, OpenLoopPublisher, Sender
from loadgen.users.reconnect import Returning
from loadgen.users.worker import WorkerRun

CONNECT_TIMEOUT_S = 15.0

_RUN = "loadgen_run"


def attach(environment: Environment, run: WorkerRun) -> None:
    """Make the run known to the users that Locust will start in this environment."""
    setattr(environment, _RUN, run)


class LoadUser(User):
    """What the three roles share; not for direct use."""

    abstract = True
    #: Which clients of the scenario this class plays.
    role: ClassVar[str]

    run_of_worker: WorkerRun
    client_plan: ClientPlan

    def on_start(self) -> None:
        """Take an identity from the plan and wait for its turn to connect."""
        run: WorkerRun | None = getattr(self.environment, _RUN, None)
        if run is None:
            raise StopUser("no scenario is running: start Locust with --scenario NAME")
        client = run.claim(self.role)
        if client is None:
            raise StopUser
        self.run_of_worker, self.client_plan = run, client
        self._doings: list[Greenlet] = []
        self._connecting: Greenlet | None = None
        self._connection: ClientConnection | None = None
        if not run.wait_for_ramp(client):
            raise StopUser
        if client.subscriptions or (client.publish is not None and client.publish.via == "websocket"):
            deliver = type(self).on_delivery is not LoadUser.on_delivery
            self._connection = ClientConnection(run, client, self.on_delivery if deliver else None)
            self._returning = Returning(client.behaviour)
            self._connection.on_ended = self._come_back
            self._connecting = gevent.spawn(self._connect, self._connection)
            self._doings.extend(map(gevent.spawn, doings(run, client, self._connection)))

    def on_delivery(self, channel: str, event: str) -> None:
        """Override to look at each delivery after it was recorded; costs CPU on the receive path, must not block.

        ``channel`` is what was subscribed to, ``event`` the event's JSON text.
        """

    def payload(self) -> Mapping[str, Any] | None:
        """Override to give events members of your own; None: only padding up to the scenario's payload size."""
        return None

    @task
    def live(self) -> None:
        """Play the role until the run is over."""
        publisher: OpenLoopPublisher | None = None
        self.run_of_worker.joined()
        try:
            if self.client_plan.publish is not None:
                publisher = self._publisher()
                timeline = self.run_of_worker.wait_for_timeline()
                if timeline is not None:
                    if self.client_plan.publish.via == "websocket" and self._connection is not None:
                        publisher.limit(self._connection.most_unanswered)
                    publisher.publish_all(timeline)
            self.run_of_worker.wait_for_end()
        finally:
            if publisher is not None:
                publisher.give_up()
            self._hang_up()
            self.run_of_worker.left()
        raise StopUser

    def _publisher(self) -> OpenLoopPublisher:
        client, run = self.client_plan, self.run_of_worker
        assert client.publish is not None
        sender: Sender
        if client.publish.via == "websocket":
            assert self._connection is not None
            sender, in_flight = ConnectionSender(self._connection), 0
        else:
            in_flight = client.publish.in_flight or 1
            assert run.service.http_url is not None
            client_of_http = GeventHttpClient(
                run.service.http_url,
                in_flight,
                on_failed=partial(run.failures.add, HARNESS, "publishing over HTTP"),
            )
            sender = HttpSender(run.service, client_of_http, run.recorder.undecodable)
        return OpenLoopPublisher(run, client, sender, in_flight, self.payload)

    # There is a greenlet for connecting only while it is needed: each costs some 8 KB, its stack and Python's.

    def _connect(self, connection: ClientConnection) -> None:
        """Connect, by the client's policy as often as it takes; return once it is or is not to be connected."""
        run = self.run_of_worker
        while not run.stopping:
            try:
                connection.open(CONNECT_TIMEOUT_S)
            except HandshakeRefusedError as error:
                run.complain(str(error), fatal=True)
            except TransportError as error:
                run.complain(str(error), fatal=False)
            else:
                self._returning.connected()
                return
            if not self._wait_to_return(None):
                return

    def _come_back(self) -> None:
        """The connection has ended; from the hub."""
        connection, run = self._connection, self.run_of_worker
        assert connection is not None
        intent = connection.intent

        def again() -> None:
            if self._wait_to_return(intent):
                self._connect(connection)

        if not run.stopping:
            self._connecting = gevent.spawn(again)

    def _wait_to_return(self, intent: str | None) -> bool:
        """Wait as the policy has it; false: the client is not to come back."""
        wait_s = self._returning.wait_s(intent)
        if wait_s is None:
            return False
        gevent.sleep(wait_s)
        return True

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            if not self._connection.ended.wait(CLOSE_TIMEOUT_S):
                self._connection.abort()
        gevent.killall([each for each in (self._connecting, *self._doings) if each is not None], block=False)


class Subscriber(LoadUser):
    """Subscribes over one connection to one or many channels."""

    role = "subscriber"


class Publisher(LoadUser):
    """Publishes on an open-loop schedule, over HTTP or WebSocket."""

    role = "publisher"


class Participant(LoadUser):
    """Subscribes and publishes over the same connection, as the members of a room do."""

    role = "participant"
