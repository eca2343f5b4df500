"""Test a master's decisions: whether a run begins, when it ends, and the exit code of the process."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from loadgen.config.problems import ScenarioError
from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.measure.failures import USER_CODE
from loadgen.run.account import Account
from loadgen.run.agent import failed_status
from loadgen.run.coordinator import FINISHING
from loadgen.run.locust.master_run import MasterRun
from loadgen.run.locust.master_side import MasterSide
from loadgen.run.messages import Message
from loadgen.run.worker_messages import Claim, Finished, Piece, Ping
from loadgen.transport.sources import SourceError
from loadgen.users import Publisher, Subscriber
from tests.run.locust.made_up import (
    Coordinator,
    Display,
    EndedError,
    EnoughError,
    Live,
    Server,
    Time,
    Workers,
    analysed,
    begin,
    this_process,
)


class Site:
    """A master whose parts are simulated; its greenlets run only in :meth:`conduct`."""

    def __init__(self, folder: Path, *names: str, takes_early: bool = True, web: bool = False) -> None:
        self.folder = folder
        self.environment = SimpleNamespace(web_ui=object() if web else None, process_exit_code=None)
        self.workers, self.live, self.display = Workers(*names), Live(), Display()
        self.early, self.time = Account(), Time()
        self.process = this_process()
        self.server: Server | None = None
        self.error: Exception | None = None
        self.spawned: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.coordinators: list[Coordinator] = []
        environment: Any = self.environment
        master: Any = MasterSide(
            environment,
            SimpleNamespace(
                results=str(folder),
                output=None,
                abort_on=[],
                no_report=False,
                summary_json=False,
                quiet=False,
                spool_to=None,
            ),
            self.workers,
            self.process,
            self.early,
            self.prepared,
            takes_early=takes_early,
            coordinator_of=self.coordinator_of,
            display_of=lambda *_: self.display,
            run_of=lambda *parts, **more: MasterRun(*parts, **more, analyse=analysed()),
            spawn=lambda function, *arguments: self.spawned.append((function, arguments)),
            sleep=self.time.sleep,
        )
        self.master: MasterSide = master

    def prepared(self, on_server: Callable[[Any], None]) -> Any:
        if self.server is not None:
            on_server(self.server)
        if self.error is not None:
            raise self.error
        run = SimpleNamespace(totals=SimpleNamespace(clients=6))
        given = SimpleNamespace(run=run, prices={}, budget=None)
        return SimpleNamespace(
            given=given, tables=Tables(), target=SimpleNamespace(embedded=True), live=self.live
        )

    def coordinator_of(self, **given: Any) -> Any:
        self.coordinators.append(Coordinator(self.folder, **given))
        return self.coordinators[-1]

    @property
    def coordinator(self) -> Coordinator:
        return self.coordinators[-1]

    def begun(self) -> "Site":
        self.master.prepare()
        self.master.begin()
        return self

    def conduct(self) -> None:
        """Run the master's greenlet that conducts the run, until the run ends."""
        function, arguments = self.spawned.pop()
        function(*arguments)

    def code(self) -> ExitCode | None:
        """Return the exit code that Locust was given, or None."""
        code = self.environment.process_exit_code
        return None if code is None else ExitCode(code)


# Before a run.


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ScenarioError(["scenario.yaml:3: count must be positive"]), ExitCode.USAGE),
        (SourceError("LOADGEN_SOURCE_ADDRESSES holds no address"), ExitCode.USAGE),
        (RunError("the target cannot be reached", ExitCode.TARGET), ExitCode.TARGET),
    ],
)
def test_a_run_that_cannot_be_prepared_ends_the_process_with_a_sentence(
    error: Exception, code: ExitCode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path)
    site.server, site.error = Server(), error
    with pytest.raises(EndedError) as ended:
        site.master.prepare()
    assert ended.value.code is code
    assert str(error) in capsys.readouterr().err
    # The error came after the embedded server had been started, so the server must be stopped again.
    assert site.server.stopped


def test_a_start_that_the_workers_refuse_ends_the_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path)
    site.workers.refusal = RunError("only 1 of 2 workers can take part", ExitCode.USAGE)
    with pytest.raises(EndedError) as ended:
        site.begun()
    assert ended.value.code is ExitCode.USAGE
    assert "only 1 of 2 workers can take part" in capsys.readouterr().err
    assert site.master.run is None
    assert site.live.events == []


def test_an_interrupt_before_a_run_ends_the_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path)
    site.master.prepare()
    with pytest.raises(EndedError) as ended:
        site.master.on_interrupt()
    assert ended.value.code is ExitCode.INTERRUPTED
    assert "interrupted before anything was measured" in capsys.readouterr().err


def test_an_interrupt_of_an_idle_web_ui_does_what_it_does_in_plain_locust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[type[BaseException]] = []
    hub: Any = SimpleNamespace(handle_system_error=lambda kind, _: raised.append(kind))
    monkeypatch.setattr(gevent, "get_hub", lambda: hub)
    site = Site(tmp_path, web=True)
    site.master.prepare()
    site.master.on_interrupt()
    assert raised == [KeyboardInterrupt]
    assert site.code() is ExitCode.INTERRUPTED
    # An interrupt after a run does not change the run's exit code.
    site.master.begin()
    site.conduct()
    site.master.on_interrupt()
    assert raised == [KeyboardInterrupt] * 2
    assert site.code() is ExitCode.PASSED


def test_an_interrupt_while_the_report_is_made_closes_the_web_ui_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[type[BaseException]] = []
    hub: Any = SimpleNamespace(handle_system_error=lambda kind, _: raised.append(kind))
    site = Site(tmp_path, web=True).begun()

    def plan() -> None:
        site.coordinator.phase = FINISHING
        site.master.on_interrupt()

    conduct, _ = site.spawned.pop()
    site.coordinator.plan = plan
    conduct()
    assert site.code() is ExitCode.PASSED
    assert raised == []
    monkeypatch.setattr(gevent, "get_hub", lambda: hub)
    # Run the greenlet that waits for the end of the run and then closes the web UI.
    site.conduct()
    assert raised == [KeyboardInterrupt]
    # Further interrupts do not change the exit code of the run that is over.
    site.master.on_interrupt()
    site.master.on_interrupt()
    with pytest.raises(EndedError) as ended:
        site.master.on_interrupt()
    assert ended.value.code is ExitCode.PASSED


# A run.


def finished() -> Finished:
    """Return the last message of a worker, here one that has recorded nothing."""
    return Finished(
        receive_path="python",
        deliveries=0,
        events=0,
        foreign=0,
        undecodable=0,
        undecodable_kinds=[],
        unknown_subscription=0,
        probes=0,
        probe_deliveries=0,
        echo=None,
        deviations={},
        asides={},
        failures=[],
        checks={},
        gathered_by="shared folder",
        rows={},
        spool_bytes=0,
        files=None,
        left=None,
        network={},
        proxies=[],
    )


def test_a_run_begins_with_its_workers_its_displays_and_what_was_before(tmp_path: Path) -> None:
    site = Site(tmp_path, "a", "b")
    site.early.failures.add(USER_CODE, "a listener", ValueError("no"))
    site.begun()
    assert [worker for worker, _ in site.workers.begun] == ["a", "b"]
    assert site.workers.begun[1] == ("b", begin(folder="for b"))
    assert site.live.events == ["begin"]
    assert site.display.events == ["start"]
    assert [failure["message"] for failure in site.coordinator.account.failures.to_list()] == [
        "ValueError: no"
    ]
    assert site.early.failures.to_list() == []
    assert site.master.total_users == 6
    assert site.code() is None
    site.conduct()
    assert site.code() is ExitCode.PASSED
    assert site.master.current is None


def test_in_a_single_process_the_agent_takes_what_was_before(tmp_path: Path) -> None:
    site = Site(tmp_path, takes_early=False)
    site.early.checks.count("GET /", True)
    site.begun()
    assert site.coordinator.account.checks.to_dict() == {}
    assert site.early.checks.to_dict() != {}


def test_messages_reach_the_coordinator_of_the_workers_run_only(tmp_path: Path) -> None:
    site = Site(tmp_path, "a")
    status = failed_status("early", 3)
    site.master.take("a", status)
    site.begun()
    said: list[Message] = [
        Claim(request=1, wanted={"subscriber": 2}),
        status,
        Piece(name="deliveries-0000.arrows", at=0, piece=b"x", crc32=1),
        finished(),
        Ping(sent_ns=1, sent_raw_ns=None, bound_ns=None),
    ]
    for message in said:
        site.master.take("a", message)
        site.master.take("stranger", message)
    assert site.coordinator.heard == [("a", message) for message in said]


def test_locust_is_told_the_users_of_each_worker(tmp_path: Path) -> None:
    site = Site(tmp_path, "a", "b").begun()
    site.environment.user_classes = [Subscriber, Publisher]
    site.coordinator.roles = {"a": {"subscriber": 3, "publisher": 0}, "b": {"subscriber": 2, "publisher": 1}}
    assert site.master.users_of_workers() == {
        "a": {"Subscriber": 3, "Publisher": 0},
        "b": {"Subscriber": 2, "Publisher": 1},
    }


def test_a_second_run_is_a_new_one(tmp_path: Path) -> None:
    site = Site(tmp_path, web=True).begun()
    first = site.master.run
    site.master.on_interrupt()
    site.conduct()
    assert site.code() is ExitCode.INTERRUPTED
    site.master.begin()
    assert site.master.run is not first
    assert site.master.current is site.master.run
    site.conduct()
    assert site.code() is ExitCode.PASSED
    assert len(site.coordinators) == 2


# Its end.


def test_the_first_interrupt_ends_the_run_and_the_fourth_the_process(tmp_path: Path) -> None:
    site = Site(tmp_path).begun()
    for number in range(1, 4):
        site.master.on_interrupt()
        assert site.coordinator.interrupts == number
    with pytest.raises(EndedError) as ended:
        site.master.on_interrupt()
    assert ended.value.code is ExitCode.INTERRUPTED
    assert site.coordinator.interrupts == 3


def test_an_interrupt_after_a_run_changes_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path).begun()
    site.conduct()
    site.master.on_interrupt()
    assert site.coordinator.interrupts == 0
    assert site.code() is ExitCode.PASSED


def test_forked_workers_pass_on_a_signal_that_came_to_all_of_them_once(tmp_path: Path) -> None:
    site = Site(tmp_path).begun()
    for _ in range(3):
        site.master.on_workers_interrupt()
    assert site.coordinator.interrupts == 1
    other = Site(tmp_path).begun()
    other.master.on_interrupt()
    other.master.on_workers_interrupt()
    assert other.coordinator.interrupts == 1


def test_a_stop_by_the_web_ui_waits_until_the_exit_code_is_decided(tmp_path: Path) -> None:
    site = Site(tmp_path, "a", "b", web=True).begun()
    site.workers.away = {"b"}
    stopping = gevent.spawn(site.master.end_early)
    gevent.sleep(0)
    # The master checks which workers are reachable before it requests the end, so that it does not wait for lost ones.
    assert site.coordinator.reach == {"a": True, "b": False}
    assert site.coordinator.interrupts == 1
    assert not stopping.dead
    site.coordinator.exit_code = ExitCode.INTERRUPTED
    site.conduct()
    stopping.get(timeout=5)
    assert site.code() is ExitCode.INTERRUPTED


def test_a_stop_without_a_run_does_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.master.prepare()
    site.master.end_early()
    site.master.begin()
    site.conduct()
    site.master.end_early()
    assert site.coordinator.interrupts == 0


def test_closing_stops_displays_and_server(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.server = Server()
    site.begun()
    site.conduct()
    site.master.close()
    assert site.live.events[-1] == "close"
    assert site.server.stopped
    unprepared = Site(tmp_path)
    unprepared.master.close()
    assert unprepared.live.events == []


# The watchers.


def test_a_lost_worker_is_told_to_the_coordinator(tmp_path: Path) -> None:
    site = Site(tmp_path, "a", "b").begun()
    site.time.after(2.0, lambda: site.workers.away.add("b"))
    site.time.most_s = 1.5
    with pytest.raises(EnoughError):
        site.master.watch_workers()
    assert site.coordinator.reach == {"a": True, "b": True}
    site.time.most_s = 3.0
    with pytest.raises(EnoughError):
        site.master.watch_workers()
    assert site.coordinator.reach == {"a": True, "b": False}


def test_a_server_that_dies_ends_the_run_as_inconclusive(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.server = server = Server()
    site.begun()
    site.time.after(1.0, lambda: setattr(server, "code", -9))
    watch, arguments = site.spawned[0]
    watch(*arguments)
    (error,) = site.coordinator.errors
    assert "the embedded server was ended by signal 9" in str(error)
    assert error.code is ExitCode.INCONCLUSIVE
    assert site.coordinator.interrupts == 0


def test_a_server_that_a_signal_ends_was_not_meant_alone(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.server = Server()
    site.begun()
    site.server.code = 0
    watch, arguments = site.spawned[0]
    watch(*arguments)
    assert site.coordinator.interrupts == 1
    assert site.coordinator.errors == []


def test_a_server_that_dies_before_a_run_ends_the_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path)
    site.server = Server()
    site.master.prepare()
    site.server.code = 1
    watch, arguments = site.spawned[0]
    with pytest.raises(EndedError) as ended:
        watch(*arguments)
    assert ended.value.code is ExitCode.INCONCLUSIVE
    assert "the embedded server ended with exit code 1" in capsys.readouterr().err


@pytest.mark.parametrize("when", ["finishing", "over", "stopped"])
def test_a_server_that_is_no_longer_needed_may_end(when: str, tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.server = Server()
    site.begun()
    watch, arguments = site.spawned[0]
    if when == "finishing":
        site.coordinator.phase = FINISHING
    elif when == "over":
        site.conduct()
    else:
        site.process.stop_server()
    site.server.code = 1
    watch(*arguments)
    assert (site.coordinator.errors, site.coordinator.interrupts) == ([], 0)
