"""Plays one client of the scenario for one Locust user: its connection, its publisher and the user's code."""

from collections.abc import Callable, Sequence
from functools import partial

import gevent
from gevent import Greenlet

from loadgen.measure.failures import HARNESS
from loadgen.resolve import ClientPlan
from loadgen.transport.errors import HandshakeRefusedError, NeverAgainError, TransportError
from loadgen.transport.http import GeventHttpClient
from loadgen.users.behaving import CLOSE_TIMEOUT_S, tasks
from loadgen.users.code import UserCode
from loadgen.users.connection import ClientConnection
from loadgen.users.numbering import Numbers
from loadgen.users.publishing import OpenLoopPublisher
from loadgen.users.reconnect import ReconnectPolicy
from loadgen.users.responding import MOST_IN_FLIGHT, Responder
from loadgen.users.senders import ConnectionSender, HttpSender, NoSender, Sender
from loadgen.users.worker import WorkerRun

CONNECT_TIMEOUT_S = 15.0

#: A function that arranges for its argument to be called at the end of the run, and returns True. The argument ends the
#: client, so the client's greenlet need not wait for that moment. Returns False to let the greenlet wait.
Rest = Callable[[Callable[[], None]], bool]


class Client:
    """Plays one client, once, from its turn in the ramp to the end of the run."""

    __slots__ = (
        "_code",
        "_connecting",
        "_connection",
        "_no_login",
        "_numbers",
        "_plan",
        "_publisher",
        "_reconnects",
        "_responder",
        "_run",
        "_tasks",
    )

    def __init__(self, run: WorkerRun, plan: ClientPlan, code: UserCode) -> None:
        self._run = run
        self._plan = plan
        self._code = code
        self._reconnects = ReconnectPolicy(plan.behaviour)
        self._tasks: Sequence[Greenlet] = ()
        self._connecting: Greenlet | None = None
        self._connection: ClientConnection | None = None
        self._publisher: OpenLoopPublisher | None = None
        #: The reason why the client has no login, or None if it has one.
        self._no_login: str | None = None
        self._numbers = Numbers()
        self._responder = None if plan.respond is None else Responder(run, plan, plan.respond)

    def play(self, rest: Rest = lambda end: False) -> None:
        """Connect, publish and receive; return when the run is over and everything is recorded.

        A client that only subscribes calls ``rest`` with a function that ends the client. If ``rest`` returns True, it
        has arranged for that function to be called at the end of the run, and this method returns once the client has
        connected.
        """
        run = self._run
        if not run.wait_for_ramp(self._plan):
            return
        run.joined()
        rests = False
        try:
            self._code.start()
            self._no_login = run.logins.obtain(self._plan)
            connection = self._made_connection()
            rests = self._plan.publish is None and rest(self._end)
            if connection is not None and self._no_login is None:
                self._tasks = [gevent.spawn(task) for task in tasks(run, self._plan, connection)]
                if rests:
                    self._connecting = gevent.getcurrent()
                    self._connect(connection)
                    return
                self._connecting = gevent.spawn(self._connect, connection)
            if not rests:
                try:
                    self._publish()
                except Exception as error:
                    # The client goes on receiving. The failure makes the run invalid, because publishes are missing.
                    run.failures.add(HARNESS, "a publisher", error)
                run.wait_for_end()
        finally:
            if not rests:
                self._end()

    def _end(self) -> None:
        """Close the connection and record everything, since the run is over."""
        if self._publisher is not None:
            self._publisher.give_up()
        if self._responder is not None:
            self._responder.give_up()
        self._hang_up()
        self._code.stop()
        self._run.left()

    def _made_connection(self) -> ClientConnection | None:
        """Return the client's connection, which is not open yet, or None if the client needs none."""
        run, plan = self._run, self._plan
        if not plan.subscriptions and (plan.publish is None or plan.publish.over_http):
            return None
        responder = self._responder
        connection = ClientConnection(
            run,
            plan,
            self._code.on_delivery,
            self._come_back,
            on_request=None if responder is None else responder.on_request,
        )
        self._connection = connection
        if responder is not None and plan.respond is not None:
            over_http = plan.respond.over_http
            responder.use(
                self._sender(over_http, MOST_IN_FLIGHT),
                self._numbers,
                lambda: 0 if over_http else connection.most_unanswered,
            )
        return connection

    def _publish(self) -> None:
        """Publish every event of the schedule, if this client publishes."""
        plan = self._plan
        if plan.publish is None:
            return
        publisher = self._publisher = self._made_publisher()
        timeline = self._run.wait_for_timeline()
        if timeline is None:
            return
        if not plan.publish.over_http and self._connection is not None:
            publisher.limit(self._connection.most_unanswered)
        publisher.publish_all(timeline)

    def _made_publisher(self) -> OpenLoopPublisher:
        plan, run = self._plan, self._run
        assert plan.publish is not None
        in_flight = (plan.publish.in_flight or 1) if plan.publish.over_http else 0
        sender = self._sender(plan.publish.over_http, in_flight)
        return OpenLoopPublisher(run, plan, sender, in_flight, self._code, self._numbers)

    def _sender(self, over_http: bool, in_flight: int) -> Sender:
        """Return a sender over HTTP, with at most ``in_flight`` requests at once, or over the client's connection."""
        run = self._run
        if self._no_login is not None:
            return NoSender(self._no_login)
        if not over_http:
            assert self._connection is not None
            return ConnectionSender(self._connection)
        service = run.logins.service(self._plan)
        assert service.http_url is not None
        client = GeventHttpClient(
            service.http_url,
            in_flight,
            on_failed=partial(run.failures.add, HARNESS, "publishing over HTTP"),
            dialer=run.dialer,
        )
        return HttpSender(service, client, run.recorder.undecodable)

    # A greenlet takes some 8 KB for its two stacks, so a client has one for connecting only while it connects. If the
    # client rests (see `resting`), it connects the first time in the greenlet that Locust started for its user.

    def _connect(self, connection: ClientConnection) -> None:
        """Try to connect until a try succeeds, the reconnect policy allows no further try, or the run is over.

        Then drop the reference to the calling greenlet, which would take 2 KB even after its end.
        """
        try:
            self._try_to_connect(connection)
        finally:
            if self._connecting is gevent.getcurrent():
                self._connecting = None

    def _try_to_connect(self, connection: ClientConnection) -> None:
        run = self._run
        while not run.stopping:
            refusal = None
            try:
                connection.open(CONNECT_TIMEOUT_S)
            except HandshakeRefusedError as error:
                if run.logins.own(self._plan):
                    # This login belongs to this client alone, so its refusal does not affect other clients.
                    told = f"the service refused the login: {error}"
                    if not self._reconnects.was_connected:
                        run.logins.refused(self._plan, told)
                        return
                    run.logins.note(self._plan, told)
                    if not self._wait_to_return(None):
                        return
                    continue
                if isinstance(error, NeverAgainError) and self._reconnects.was_connected:
                    run.report_error(str(error), fatal=False)
                    return
                run.report_error(
                    f"{error}; {error.refusal.advice}" if error.refusal else str(error), fatal=True
                )
            except TransportError as error:
                run.report_error(str(error), fatal=False)
                refusal = error.refusal
            else:
                self._reconnects.connected()
                return
            asked = (connection.retry_s, None if refusal is None else refusal.retry_after_s)
            if not self._wait_to_return(
                None, max((each for each in asked if each is not None), default=None)
            ):
                return

    def _come_back(self, connection: ClientConnection) -> None:
        """Connect again after the connection has ended; called from the gevent hub, so it must not block."""
        run, intent = self._run, connection.intent

        def again() -> None:
            if self._wait_to_return(intent, connection.retry_s):
                self._connect(connection)

        if not run.stopping:
            self._connecting = gevent.spawn(again)

    def _wait_to_return(self, intent: str | None, least_s: float | None = None) -> bool:
        """Wait as long as the reconnect policy requires; return False at once if it allows no more attempts.

        ``least_s`` is the minimum wait that the service asked for, or None.
        """
        wait_s = self._reconnects.wait_s(intent, least_s)
        if wait_s is None:
            return False
        gevent.sleep(wait_s)
        return True

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            if not self._connection.ended.wait(CLOSE_TIMEOUT_S):
                self._connection.abort()
        gevent.killall([each for each in (self._connecting, *self._tasks) if each is not None], block=False)
