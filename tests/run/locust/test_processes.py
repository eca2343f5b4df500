"""The three kinds of process: whom their messages reach, and where failures of the user's code belong."""

from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from loadgen.credentials.allowed import NOTHING
from loadgen.exits import ExitCode
from loadgen.run import messages
from loadgen.run.locust.base import Settings
from loadgen.run.locust.local import LocalProcess
from loadgen.run.locust.master import MasterProcess
from loadgen.run.locust.worker import WorkerProcess
from loadgen.run.runners import Faults
from tests.run.locust.made_up import EndedError, Time, this_process


class Runner:
    """In place of Locust's: connects to nothing."""

    client_id = "worker-1"

    def __init__(self) -> None:
        self.faults = Faults()
        self.sent: list[tuple[Any, ...]] = []
        self.clients: dict[str, Any] = {}
        self.last_heartbeat_timestamp = None

    def send_message(self, *parts: Any) -> None:
        self.sent.append(parts)

    def refused(self) -> None:
        return None


def settings(**options: Any) -> Settings:
    plain = {"processes": None, "expect_workers": 2, "headless": True, "workers_timeout": 5.0, **options}
    environment: Any = SimpleNamespace(web_ui=None, process_exit_code=None, user_classes=[])
    return Settings(environment, SimpleNamespace(**plain), {}, NOTHING)


def message(kind: str, data: Any = None, sender: str = "w") -> Any:
    return SimpleNamespace(type=kind, data=data, node_id=sender, address="10.0.0.1")


def of_master(**options: Any) -> tuple[Any, Runner]:
    runner: Any = Runner()
    return MasterProcess(settings(**options), this_process(), runner), runner


def test_a_message_that_cannot_be_handled_is_a_fault_and_no_exception() -> None:
    process, runner = of_master()
    process.on_message(None, message(messages.INTERRUPTED))
    process.on_message(None, message(messages.HELLO))  # without an introduction
    assert len(runner.faults.counts) == 2
    assert any(
        "only a worker that this process has forked may end the run" in said for said in runner.faults.counts
    )
    worker: Any = Runner()
    side = WorkerProcess(settings(), this_process(), worker)
    environment: Any = None
    side.on_message(environment, message(messages.REFUSE))  # without a reason
    assert [said.startswith("the master sent a ") for said in worker.faults.counts] == [True]


def test_a_forked_worker_may_end_the_run_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    process, runner = of_master(processes=2)
    with pytest.raises(EndedError) as ended:
        process.take("w", messages.INTERRUPTED, None)
    assert ended.value.code is ExitCode.INTERRUPTED
    assert not runner.faults.counts


def test_faults_name_a_worker_as_the_registry_does() -> None:
    faults = Faults()
    faults.add("abc", "stats", "no")
    faults.call("abc", "worker 2 on host")
    faults.add("abc", "stats", "no")
    assert list(faults.counts) == [
        "worker abc sent a stats that is not taken: no",
        "worker 2 on host sent a stats that is not taken: no",
    ]


def test_workers_that_do_not_come_end_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process, _ = of_master(master_bind_port=5557)
    time = Time()
    monkeypatch.setattr(gevent, "sleep", time.sleep)
    with pytest.raises(EndedError) as ended:
        process._watch_for_workers()
    assert ended.value.code is ExitCode.INCONCLUSIVE
    assert "0 of 2 workers came within 5 s" in capsys.readouterr().err
    assert time.at_s == 5.0


def test_a_worker_is_in_reach_as_long_as_locust_hears_it() -> None:
    process, runner = of_master()
    assert not process.in_reach("w")
    runner.clients["w"] = SimpleNamespace(state="running")
    assert process.in_reach("w")
    runner.clients["w"].state = "missing"
    assert not process.in_reach("w")


def test_messages_go_over_locust_only_between_processes() -> None:
    process, runner = of_master()
    process.begin_worker("w", {"a": 1})
    process.to_agents(messages.FINISH, {})
    assert runner.sent == [(messages.BEGIN, {"a": 1}, "w"), (messages.FINISH, {}, None)]
    with pytest.raises(NotImplementedError):
        process.to_coordinator(messages.STATUS, {})
    other: Any = Runner()
    worker = WorkerProcess(settings(), this_process(), other)
    worker.to_coordinator(messages.STATUS, {})
    assert other.sent == [(messages.STATUS, {})]
    with pytest.raises(NotImplementedError):
        worker.to_agents(messages.FINISH, {})


def test_within_a_process_a_receiver_never_runs_in_the_senders_greenlet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process: Any = LocalProcess(settings(), this_process())
    heard: list[Any] = []
    monkeypatch.setattr(process._worker, "take", lambda *parts: heard.append(parts))
    process.to_agents(messages.GO, {"x": 1})
    process.to_agents(messages.FINISH, {})
    assert heard == []
    gevent.sleep(0.01)
    assert heard == [(messages.GO, {"x": 1}), (messages.FINISH, {})]


def test_failures_belong_to_the_agent_then_to_the_run_then_to_the_next() -> None:
    process: Any = LocalProcess(settings(), this_process())
    early = process.account
    assert not process.past
    finished = gevent.event.Event()
    process._worker.agent = agent = SimpleNamespace(finished=finished)
    assert process.account is agent
    finished.set()
    process._master.run = run = SimpleNamespace(
        over=False, past=True, coordinator=SimpleNamespace(account="the run's")
    )
    assert process.account == "the run's"
    assert process.past
    run.over = True
    assert process.account is early


def test_a_workers_record_is_closed_when_it_is_handed_over() -> None:
    runner: Any = Runner()
    process: Any = WorkerProcess(settings(), this_process(), runner)
    early = process.account
    assert not process.past
    process._worker.agent = agent = SimpleNamespace(finished=gevent.event.Event())
    assert process.account is agent
    agent.finished.set()
    assert process.past
    assert process.account is early
