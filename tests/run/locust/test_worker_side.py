"""Test the worker's side of a run: how the worker begins, which messages it accepts, how it and its process end."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from gevent.event import Event
from locust.stats import RequestStats

from loadgen.credentials.allowed import NOTHING
from loadgen.exits import ExitCode, RunError
from loadgen.measure.failures import USER_CODE
from loadgen.planning import limits
from loadgen.run import agent as agents
from loadgen.run.account import Account
from loadgen.run.locust import worker_side
from loadgen.run.locust.worker_side import LEAVE_PATIENCE_S, WorkerSide
from loadgen.run.locust_stats import WorkerStatistics
from loadgen.run.master_messages import Finish, Go, Grant, Pong, Ramp, Refuse, SpoolWritten, StandBy
from loadgen.run.messages import Message
from loadgen.run.runners import SILENCE_S
from loadgen.run.worker_messages import Interrupted
from loadgen.transport.sources import SourceError, Sources
from tests.run.locust.made_up import EndedError, EnoughError, Time, Workers, begin, this_process

BEGIN = begin(worker=3)
#: One of each kind of message that the master sends to a worker's agent.
FOR_AGENTS: tuple[Message, ...] = (
    Grant(request=1, granted={"subscriber": [4]}),
    Ramp(ramp_ns=1),
    Go(warmup_ns=1, measure_ns=2, measure_end_ns=3, drain_end_ns=4),
    Finish(drain_ns=5),
    SpoolWritten(name="deliveries-0003.arrows", have=6, again=False),
    Pong(
        sent_ns=1,
        bound_ns=None,
        master_bound_ns=None,
        sent_raw_ns=None,
        master_received_ns=2,
        master_sent_ns=3,
        master_raw_ns=None,
    ),
)


class Agent:
    """Stands in for a worker's agent: has no clients and notes the calls that it gets."""

    def __init__(self, *given: Any) -> None:
        self.given = given
        self.finished = Event()
        self.told: list[Any] = []
        self.dialer = SimpleNamespace(sources=Sources())
        self.service = SimpleNamespace(connect_url="ws://127.0.0.1:9/", http_url=None)
        account = Account()
        self.failures, self.checks = account.failures, account.checks

    def leave(self, why: str, patience_s: float) -> None:
        self.told.append((why, patience_s))
        self.finished.set()

    def abandon(self) -> None:
        self.told.append("abandoned")

    def receive(self, message: Message) -> None:
        self.told.append(message)


class Site:
    """A worker whose parts are simulated."""

    def __init__(self, *, separate: bool = True, forked: bool = False) -> None:
        self.environment = SimpleNamespace(process_exit_code=None, stats=RequestStats())
        self.link, self.early, self.time = Workers(), Account(), Time()
        self.error: Exception | None = None
        self.spawned: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        environment: Any = self.environment
        self.side = WorkerSide(
            environment,
            self.link,
            "worker-3",
            NOTHING,
            "the master",
            this_process(),
            self.early,
            separate=separate,
            forked=forked,
            agent_of=self.agent_of,
            spawn=lambda function, *arguments: self.spawned.append((function, arguments)),
            sleep=self.time.sleep,
            now_s=self.time.now_s,
        )

    def agent_of(self, *given: Any) -> Any:
        if self.error is not None:
            raise self.error
        return Agent(*given)

    def begun(self) -> "Site":
        self.side.take(BEGIN)
        return self

    @property
    def agent(self) -> Any:
        return self.side.agent


@pytest.fixture(autouse=True)
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each check of the machine's limits is appended as it is made."""
    found: list[str] = []
    monkeypatch.setattr(limits, "check_open_files", lambda *_: found.append("files"))
    monkeypatch.setattr(limits, "check_local_ports", lambda *_: found.append("ports"))
    return found


# The beginning.


def test_a_part_begins_with_the_users_failures_and_checks_from_before(looked: list[str]) -> None:
    site = Site()
    site.early.failures.add(USER_CODE, "a listener", ValueError("no"))
    site.begun()
    statistics, *rest = site.agent.given
    assert isinstance(statistics, WorkerStatistics)
    # The master is another process, so data rows arrive as messages.
    assert rest == [site.link, "worker-3", BEGIN, NOTHING, "the master", None]
    assert BEGIN.worker == 3
    assert len(site.agent.failures.to_list()) == 1
    assert site.environment.loadgen_run is site.agent
    assert site.side.current is site.agent
    assert looked == ["files", "ports"]
    assert site.link.sent == []


def test_a_process_that_is_master_too_checked_its_ports_before(looked: list[str]) -> None:
    Site(separate=False).begun()
    assert looked == ["files"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunError("the run folder cannot be written", ExitCode.INCONCLUSIVE), ExitCode.INCONCLUSIVE),
        (SourceError("LOADGEN_SOURCE_ADDRESSES holds no address"), ExitCode.USAGE),
    ],
)
def test_a_part_that_cannot_begin_is_told_to_the_master(error: Exception, code: ExitCode) -> None:
    site = Site()
    site.error = error
    site.begun()
    ((status, _),) = site.link.sent
    assert status == agents.failed_status(str(error), code)
    assert site.side.agent is None


def test_a_machine_with_too_few_ports_is_told_to_the_master(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_few(*_: Any) -> None:
        raise RunError("too few local ports", ExitCode.INCONCLUSIVE)

    monkeypatch.setattr(limits, "check_local_ports", too_few)
    site = Site().begun()
    ((status, _),) = site.link.sent
    assert status == agents.failed_status("too few local ports", ExitCode.INCONCLUSIVE)


# Messages.


def test_the_masters_messages_reach_the_agent() -> None:
    site = Site()
    for message in FOR_AGENTS:
        # Too early.
        site.side.take(message)
    site.begun()
    assert site.agent.told == []
    for message in FOR_AGENTS:
        site.side.take(message)
    assert site.agent.told == list(FOR_AGENTS)


def test_a_refused_worker_says_why_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EndedError) as ended:
        Site().side.take(Refuse(reason="another version"))
    assert ended.value.code is ExitCode.USAGE
    assert "another version" in capsys.readouterr().err


def test_a_worker_that_stands_by_says_so_and_stays(capsys: pytest.CaptureFixture[str]) -> None:
    Site().side.take(StandBy(reason="the run had begun"))
    assert "the run had begun" in capsys.readouterr().err


# The following tests are about a lost master.


def test_a_silent_master_ends_the_worker_with_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    site = Site().begun()
    with pytest.raises(EndedError) as ended:
        site.side.watch_master(lambda: 2.0)
    assert ended.value.code is ExitCode.INCONCLUSIVE
    assert site.agent.told == [("the master is gone", 0.0)]
    assert SILENCE_S < site.time.at_s - 2.0 <= SILENCE_S + 0.5
    assert "the master is gone" in capsys.readouterr().err


def test_a_silent_master_ends_a_worker_without_a_run() -> None:
    site = Site()
    with pytest.raises(EndedError) as ended:
        site.side.watch_master(lambda: 0.0)
    assert ended.value.code is ExitCode.INCONCLUSIVE


def test_a_worker_whose_part_is_done_has_passed() -> None:
    site = Site().begun()
    site.agent.finished.set()
    with pytest.raises(EndedError) as ended:
        site.side.watch_master(lambda: 0.0)
    assert ended.value.code is ExitCode.PASSED
    assert site.agent.told == []


def test_a_master_that_speaks_or_has_not_spoken_yet_is_not_gone() -> None:
    site = Site()
    for heard_s in (site.time.now_s, lambda: None):
        site.time.at_s, site.time.most_s = 0.0, 100.0
        with pytest.raises(EnoughError):
            site.side.watch_master(heard_s)


def test_an_orphan_writes_what_it_has() -> None:
    site = Site(forked=True).begun()
    with pytest.raises(EndedError) as ended:
        site.side.abandon()
    assert ended.value.code is ExitCode.INCONCLUSIVE
    assert site.agent.told == ["abandoned"]
    with pytest.raises(EndedError):
        Site(forked=True).side.abandon()


def test_a_worker_whose_starter_is_gone_already_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_side, "LOADED_BY", -1)
    with pytest.raises(EndedError) as ended:
        Site(forked=True).side.watch_starter()
    assert ended.value.code is ExitCode.INCONCLUSIVE


# Signals.


def test_a_worker_that_is_told_to_end_hands_over_its_record_first() -> None:
    site = Site().begun()
    site.side.on_interrupt()
    site.side.on_interrupt()
    ((leave, arguments),) = site.spawned
    with pytest.raises(EndedError) as ended:
        leave(*arguments)
    assert ended.value.code is ExitCode.INTERRUPTED
    assert site.agent.told == [("it was told to end", LEAVE_PATIENCE_S)]


def test_the_third_signal_ends_it_at_once() -> None:
    site = Site().begun()
    site.side.on_interrupt()
    site.side.on_interrupt()
    with pytest.raises(EndedError) as ended:
        site.side.on_interrupt()
    assert ended.value.code is ExitCode.INTERRUPTED
    assert site.agent.told == []


def test_a_worker_without_a_run_ends_at_once() -> None:
    with pytest.raises(EndedError) as ended:
        Site().side.on_interrupt()
    assert ended.value.code is ExitCode.INTERRUPTED


def test_a_worker_that_has_handed_over_has_passed() -> None:
    site = Site().begun()
    site.agent.finished.set()
    with pytest.raises(EndedError) as ended:
        site.side.on_interrupt()
    assert ended.value.code is ExitCode.PASSED


def test_a_forked_worker_leaves_the_end_to_the_master() -> None:
    site = Site(forked=True)
    site.side.on_interrupt()
    assert site.link.sent == [(Interrupted(), None)]
    assert site.spawned == []


# Locust quits.


def test_a_worker_that_quits_after_its_part_has_passed() -> None:
    site = Site()
    site.side.close()
    assert site.environment.process_exit_code == ExitCode.PASSED
    site.begun()
    site.agent.finished.set()
    site.side.close()
    assert site.environment.process_exit_code == ExitCode.PASSED
    assert site.agent.told == []


def test_a_worker_that_quits_within_its_part_hands_over_its_record() -> None:
    site = Site().begun()
    site.side.close()
    assert site.environment.process_exit_code == ExitCode.INTERRUPTED
    assert site.agent.told == [("it was told to end", LEAVE_PATIENCE_S)]
