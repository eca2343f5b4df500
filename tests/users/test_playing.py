"""Test a client's whole time in a run: when it first connects, when it connects again, and how it ends."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest
from gevent.event import Event

from loadgen.protocol.base import Service
from loadgen.protocol.refusals import Refusal
from loadgen.resolve import Behaviour, ClientPlan, ReconnectPlan
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError
from loadgen.users import playing
from loadgen.users.playing import Client
from loadgen.users.worker import NoLogins
from tests.isolation.test_connection import PLANS

PATIENCE_S = 60


class Connection:
    """A stand-in for `ClientConnection`; a test gives the error with which each failing attempt to connect ends."""

    latest: "Connection"

    #: Minimum wait that the service has asked for, in seconds; see `ClientConnection`.
    retry_s: float | None = None

    def __init__(
        self, run: Any, plan: ClientPlan, on_delivery: Any, on_ended: Callable[[Any], None], **_: Any
    ) -> None:
        Connection.latest = self
        self.on_ended = on_ended
        self.attempts = 0
        self.intent: str | None = None
        self.closes = self.aborts = 0
        self.ended = Event()
        self.ended.set()
        self.outcomes: Iterator[Exception | None] = run.outcomes
        self.answers_close = True

    def open(self, timeout_s: float) -> None:
        self.attempts += 1
        self.ended.clear()
        error = next(self.outcomes, None)
        if error is not None:
            self.ended.set()
            raise error

    def end(self, intent: str | None = None) -> None:
        """End an established connection; ``intent`` is the client's reason, or None if it broke by itself."""
        self.intent = intent
        self.ended.set()
        self.on_ended(self)

    def close(self) -> None:
        self.closes += 1
        if self.answers_close:
            self.ended.set()

    def abort(self) -> None:
        self.aborts += 1
        self.ended.set()


class Playing:
    """One client that only subscribes, with the run to which it belongs."""

    def __init__(
        self,
        *outcomes: Exception | None,
        again: bool = True,
        logins: NoLogins | None = None,
        rests: bool = False,
        first_ms: int = 0,
    ) -> None:
        self.log: list[str] = []
        self.told: list[tuple[str, bool]] = []
        self.over = Event()
        self.run: Any = SimpleNamespace(
            outcomes=iter(outcomes),
            stopping=False,
            logins=logins or NoLogins(cast(Service, None)),
            wait_for_ramp=lambda plan: True,
            joined=lambda: self.log.append("joined"),
            left=lambda: self.log.append("left"),
            wait_for_timeline=lambda: None,
            wait_for_end=self.over.wait,
            report_error=lambda reason, fatal: self.told.append((reason, fatal)),
        )
        code: Any = SimpleNamespace(
            start=lambda: self.log.append("start"),
            stop=lambda: self.log.append(f"stop, closes {self.connection.closes}"),
            on_delivery=None,
        )
        wait_ns = first_ms * 1_000_000 or 1
        behaviour = Behaviour(ReconnectPlan(wait_ns, wait_ns, False, again, "s"))
        plan = ClientPlan(1, "g", 1, PLANS, None, 0, behaviour)
        #: A client that plays without a greenlet gives a function to its caller, here the test; calling it ends the
        #: client.
        self.ends: list[Callable[[], None]] = []
        play = Client(self.run, plan, code).play
        self.greenlet = gevent.spawn(play, self._rest) if rests else gevent.spawn(play)
        gevent.sleep(0)

    def _rest(self, end: Callable[[], None]) -> bool:
        self.ends.append(end)
        return True

    @property
    def connection(self) -> Connection:
        return Connection.latest

    def attempts(self, number: int) -> None:
        """Wait until the client has tried to connect this many times."""
        with gevent.Timeout(PATIENCE_S):
            while self.connection.attempts < number:
                gevent.sleep(0.001)
        gevent.sleep(0.01)
        assert self.connection.attempts == number

    def end(self) -> None:
        self.run.stopping = True
        self.over.set()
        self.greenlet.get(timeout=PATIENCE_S)


@pytest.fixture(autouse=True)
def _connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "ClientConnection", Connection)
    monkeypatch.setattr(Connection, "latest", SimpleNamespace(closes=0), raising=False)


def test_a_client_starts_connects_closes_stops_and_leaves_in_this_order() -> None:
    of = Playing()
    of.attempts(1)
    of.end()
    assert of.log == ["joined", "start", "stop, closes 1", "left"]
    assert of.told == []


def test_an_attempt_that_fails_is_made_again_whatever_the_policy_says_of_lost_connections() -> None:
    of = Playing(TransportError("no route"), TransportError("no route"), again=False)
    of.attempts(3)
    assert of.told == [("no route", False)] * 2
    of.end()


def test_a_refusal_for_now_waits_as_long_as_the_service_asks() -> None:
    of = Playing(NotNowError("HTTP 429", replace(Refusal.of(429), retry_after_s=3600.0)))
    of.attempts(1)
    assert of.told == [("HTTP 429", False)]
    of.end()


def test_a_refusal_for_good_ends_the_run_and_says_what_to_do() -> None:
    of = Playing(HandshakeRefusedError("HTTP 403", Refusal.of(403)))
    of.attempts(2)
    ((reason, fatal),) = of.told
    assert fatal
    assert reason.startswith("HTTP 403; ")
    of.end()


class OwnLogins(NoLogins):
    """Each client has a login of its own."""

    def __init__(self, none: str | None = None) -> None:
        super().__init__(cast(Service, None))
        self.none = none
        self.shut_out: list[str] = []
        self.notes: list[str] = []

    def obtain(self, client: ClientPlan) -> str | None:
        return self.none

    def own(self, client: ClientPlan) -> bool:
        return True

    def refused(self, client: ClientPlan, told: str, subscription: int | None = None) -> None:
        self.shut_out.append(told)

    def note(self, client: ClientPlan, told: str) -> None:
        self.notes.append(told)


def test_a_client_whose_own_login_is_refused_stays_away_and_the_run_goes_on() -> None:
    logins = OwnLogins()
    of = Playing(HandshakeRefusedError("HTTP 403", Refusal.of(403)), logins=logins)
    of.attempts(1)
    assert logins.shut_out == ["the service refused the login: HTTP 403"]
    assert of.told == []
    of.end()


def test_an_own_login_that_is_refused_at_a_reconnect_is_tried_again() -> None:
    logins = OwnLogins()
    of = Playing(None, HandshakeRefusedError("HTTP 401", Refusal.of(401)), logins=logins)
    of.attempts(1)
    of.connection.end()
    of.attempts(3)
    assert (logins.shut_out, logins.notes) == ([], ["the service refused the login: HTTP 401"])
    assert of.told == []
    of.end()


def test_a_client_that_gets_no_login_does_not_connect() -> None:
    of = Playing(logins=OwnLogins("there is no login: the token endpoint answered HTTP 500"))
    of.attempts(0)
    of.end()
    assert of.connection.attempts == 0


@pytest.mark.parametrize("again", [True, False])
def test_a_lost_connection_comes_back_if_the_policy_says_so(again: bool) -> None:
    of = Playing(again=again)
    of.attempts(1)
    of.connection.end()
    of.attempts(2 if again else 1)
    of.connection.end("drop 1")
    of.attempts(3 if again else 1)
    of.end()


def test_nothing_comes_back_once_the_run_is_over() -> None:
    of = Playing()
    of.attempts(1)
    of.run.stopping = True
    of.connection.end()
    of.attempts(1)
    of.end()


def test_a_close_that_is_not_answered_in_time_is_followed_by_an_abort(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(playing, "CLOSE_TIMEOUT_S", 0.01)
    of = Playing()
    of.attempts(1)
    of.connection.answers_close = False
    of.end()
    assert (of.connection.closes, of.connection.aborts) == (1, 1)


def test_a_client_whose_user_is_killed_closes_all_the_same() -> None:
    of = Playing()
    of.attempts(1)
    of.greenlet.kill(timeout=PATIENCE_S)
    assert of.connection.closes == 1
    assert of.log[-1] == "left"


def test_a_run_that_ends_in_the_ramp_has_no_such_client() -> None:
    of = Playing.__new__(Playing)
    log: list[str] = []
    run: Any = SimpleNamespace(wait_for_ramp=lambda plan: False, joined=lambda: log.append("joined"))
    plan = ClientPlan(1, "g", 1, PLANS, None, 0)
    Client(run, plan, of).play()  # type: ignore[arg-type]
    assert log == []


def test_a_client_that_rests_needs_no_greenlet_once_it_is_connected() -> None:
    of = Playing(rests=True)
    of.attempts(1)
    of.greenlet.get(timeout=PATIENCE_S)
    assert of.log == ["joined", "start"]
    of.run.stopping = True
    (end,) = of.ends
    end()
    assert of.log == ["joined", "start", "stop, closes 1", "left"]


def test_a_client_that_rests_comes_back_when_its_connection_is_lost() -> None:
    of = Playing(rests=True)
    of.attempts(1)
    of.greenlet.get(timeout=PATIENCE_S)
    of.connection.end()
    of.attempts(2)
    of.ends[0]()
    assert of.log[-1] == "left"


def test_the_end_of_a_client_that_rests_ends_its_attempts_to_connect() -> None:
    of = Playing(*[TransportError("no route")] * 3, rests=True, first_ms=3_600_000)
    of.attempts(1)
    assert not of.greenlet.dead
    of.ends[0]()
    of.greenlet.get(timeout=PATIENCE_S)
    assert (of.connection.attempts, of.log[-1]) == (1, "left")


def test_a_client_that_fails_before_it_rests_leaves_at_once() -> None:
    class Raising(OwnLogins):
        def obtain(self, client: ClientPlan) -> str | None:
            raise RuntimeError("no")

    of = Playing(rests=True, logins=Raising())
    with pytest.raises(RuntimeError, match="no"):
        of.greenlet.get(timeout=PATIENCE_S)
    assert (of.ends, of.log[-1]) == ([], "left")
