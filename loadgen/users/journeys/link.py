"""The connection of a journey: it is opened when it is needed, and opened again after a loss.

A feed is a subscription of the journey (`feeds`). A life of a connection lasts from a connect to its end; a reconnect
begins the next one.
"""

import time
from typing import Final, NoReturn

import gevent
from gevent import Greenlet
from gevent.lock import RLock
from locust.exception import StopUser

from loadgen.resolve import ClientPlan
from loadgen.transport.errors import HandshakeRefusedError, TransportError
from loadgen.users.behaving import CLOSE_TIMEOUT_S
from loadgen.users.connection import ClientConnection
from loadgen.users.conversation import Listener
from loadgen.users.journeys.errors import NoAnswerError, RefusedError
from loadgen.users.journeys.subscriptions import Feeds
from loadgen.users.reconnect import LEAVE, ReconnectPolicy
from loadgen.users.worker import WorkerRun

CONNECT_S: Final = 15.0


class Link:
    """Opens a journey's connection, and reopens it after a loss; then it requests all subscriptions in ``feeds``."""

    def __init__(self, run: WorkerRun, plan: ClientPlan, feeds: Feeds, listener: Listener) -> None:
        self._run, self._plan, self._feeds = run, plan, feeds
        self.connection: Final = ClientConnection(run, plan, on_ended=self._on_ended, listener=listener)
        self._reconnects = ReconnectPolicy(plan.behaviour)
        #: The reason why the client has no login, or None if it has one.
        self._no_login: str | None = None
        #: Held while a greenlet opens or closes the connection, so that only one greenlet does so at a time.
        self._opening = RLock()
        self._up = False
        self._returning: Greenlet | None = None
        self._closing = False

    @property
    def up(self) -> bool:
        """True while the connection is open and accepted."""
        return self._up

    def log_in(self) -> None:
        """Get the client's own login, if it has one; call once, before anything else."""
        self._no_login = self._run.logins.obtain(self._plan)

    def demand_login(self) -> None:
        """Raise RefusedError if the client's own login could not be obtained, which is already reported."""
        if self._no_login is not None:
            raise RefusedError(self._no_login)

    def check_over(self) -> None:
        """Raise StopUser if the run is over."""
        if self._run.stopping:
            raise StopUser

    def connect(self, deadline_s: float) -> None:
        """Connect, with retries until it succeeds, and request all feeds; do nothing if the connection is open.

        Raises:
            RefusedError: the service refuses the connection for good.
            NoAnswerError: the service could not be reached by ``deadline_s`` (`time.monotonic`), or the reconnect
                policy allows no further attempt.
            StopUser: the run is over.
        """
        if self._up:
            return
        self.demand_login()
        with self._opening:
            error = "no attempt was made"
            while not self._up:
                self.check_over()
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise NoAnswerError(f"a journey could not connect in time: {error}")
                least_s = None
                try:
                    self._open(min(left_s, CONNECT_S))
                    return
                except HandshakeRefusedError as refused:
                    self._refused(refused)
                except TransportError as failed:
                    error = str(failed)
                    self._run.report_error(error, fatal=False)
                    least_s = None if failed.refusal is None else failed.refusal.retry_after_s
                wait_s = self._reconnects.wait_s(None, least_s)
                if wait_s is None:
                    raise NoAnswerError(f"a journey could not connect: {error}")
                gevent.sleep(min(wait_s, max(0.0, deadline_s - time.monotonic())))

    def reconnect(self, deadline_s: float) -> None:
        """Close the connection and open it again; raises the same errors as :meth:`connect`."""
        with self._opening:
            self.leave()
            self.connect(deadline_s)

    def leave(self) -> None:
        """Close the connection, if it is open. `connect` can open it again."""
        with self._opening:
            connection, life = self.connection, self.connection.life
            if connection.cut(LEAVE, with_close_frame=True):
                if not connection.ended.wait(CLOSE_TIMEOUT_S) and connection.life == life:
                    connection.cut(LEAVE, with_close_frame=False)
                connection.ended.wait(CLOSE_TIMEOUT_S)
            self._up = False
            for feed in self._feeds:
                feed.settled.clear()

    def close(self) -> None:
        """Close the connection for good."""
        self._closing = True
        self.connection.close()
        if not self.connection.ended.wait(CLOSE_TIMEOUT_S):
            self.connection.abort()
        if self._returning is not None:
            self._returning.kill(block=False)

    def _open(self, timeout_s: float) -> None:
        self.connection.open(timeout_s)
        # Set `_up` before requesting the feeds, because `_on_ended` clears it if the connection is lost meanwhile.
        self._up = True
        for feed in self._feeds:
            self.connection.subscribe(feed.plan)
        self._reconnects.connected()

    def _refused(self, refused: HandshakeRefusedError) -> NoReturn:
        said = f"{refused}; {refused.refusal.advice}" if refused.refusal else str(refused)
        if self._run.logins.own(self._plan):
            self._run.logins.refused(self._plan, said)
        else:
            self._run.report_error(said, fatal=True)
        raise RefusedError(said) from None

    def _on_ended(self, connection: ClientConnection) -> None:
        """Note that the connection has ended, and arrange a reconnect. Must not block: the gevent hub calls this."""
        self._up = False
        if connection.intent != LEAVE and not self._closing and not self._run.stopping:
            self._returning = gevent.spawn(self._come_back)

    def _come_back(self) -> None:
        """Connect again after a lost connection, as the reconnect policy says; runs in a separate greenlet."""
        wait_s = self._reconnects.wait_s(self.connection.intent, self.connection.retry_s)
        if wait_s is None:
            return
        gevent.sleep(wait_s)
        while not (self._up or self._closing or self._run.stopping):
            try:
                self.connect(time.monotonic() + CONNECT_S)
            except (RefusedError, StopUser):
                return
            except NoAnswerError:
                continue
