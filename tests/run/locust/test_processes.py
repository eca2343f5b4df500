"""Test the three kinds of process: who receives messages, and where failures of user code count."""

from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from loadgen.credentials.allowed import NOTHING
from loadgen.data.tables import Tables
from loadgen.exits import ExitCode
from loadgen.run import messages
from loadgen.run.agent import failed_status
from loadgen.run.locust.base import Settings
from loadgen.run.locust.local import LocalProcess
from loadgen.run.locust.master import MasterProcess
from loadgen.run.locust.worker import WorkerProcess
from loadgen.run.master_messages import Finish, Ramp
from loadgen.run.messages import Message
from loadgen.run.registration import introduction
from loadgen.run.runners import Faults
from loadgen.run.worker_info import LOCAL
from loadgen.run.worker_messages import Interrupted
from tests.run.locust.made_up import EndedError, Time, begin, this_process


class Runner:
    """Stands in for Locust's runner, but connects to nothing."""

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


class Agent:
    """An agent that raises this error for any message."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.finished = gevent.event.Event()

    def receive(self, message: Message) -> None:
        raise self.error


def settings(**options: Any) -> Settings:
    plain = {"processes": None, "expect_workers": 2, "headless": True, "workers_timeout": 5.0, **options}
    environment: Any = SimpleNamespace(web_ui=None, process_exit_code=None, user_classes=[])
    return Settings(environment, SimpleNamespace(**plain), {}, NOTHING)


def envelope(message: Message, sender: str = "w") -> Any:
    """Return Locust's envelope around a decoded message."""
    return SimpleNamespace(type=message.KIND, data=message, node_id=sender, address="10.0.0.1")


def of_master(**options: Any) -> tuple[Any, Runner]:
    runner: Any = Runner()
    return MasterProcess(settings(**options), this_process(), runner), runner


def test_a_message_that_cannot_be_handled_is_a_fault_and_no_exception() -> None:
    process, runner = of_master()
    process.on_message(None, envelope(Interrupted()))
    for _ in range(2):
        process.on_message(None, envelope(introduction("1", None)))
    assert len(runner.faults.counts) == 2
    for reason in (
        "only a worker that this process has forked may end the run",
        "it has introduced itself already",
    ):
        assert any(reason in said for said in runner.faults.counts)
    worker: Any = Runner()
    side: Any = WorkerProcess(settings(), this_process(), worker)
    side._worker.agent = Agent(ValueError("no client 9 is here"))
    side.on_message(None, envelope(Finish(drain_ns=1)))
    assert list(worker.faults.counts) == [
        "the master sent a loadgen.finish that is not taken: no client 9 is here"
    ]
    # An unexpected exception, which is a defect of the code, is recorded as a fault too, with its type.
    side._worker.agent = Agent(KeyError("clients"))
    side.on_message(None, envelope(Finish(drain_ns=1)))
    assert any("KeyError" in said for said in worker.faults.counts)


def test_a_forked_worker_may_end_the_run_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    process, runner = of_master(processes=2)
    with pytest.raises(EndedError) as ended:
        process.take("w", Interrupted(), None)
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
    status = failed_status("x", 3)
    process.begin_worker("w", begin(), Tables())
    process.to_agents(Finish(drain_ns=1))
    assert runner.sent == [
        (messages.BEGIN, messages.plain(begin()), "w"),
        (messages.FINISH, messages.plain(Finish(drain_ns=1)), None),
    ]
    with pytest.raises(NotImplementedError):
        process.to_coordinator(status)
    other: Any = Runner()
    worker = WorkerProcess(settings(), this_process(), other)
    worker.to_coordinator(status)
    assert other.sent == [(messages.STATUS, messages.plain(status), None)]
    with pytest.raises(NotImplementedError):
        worker.to_agents(Finish(drain_ns=1))


def test_within_a_process_a_receiver_never_runs_in_the_senders_greenlet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process: Any = LocalProcess(settings(), this_process())
    heard: list[Any] = []
    monkeypatch.setattr(process._worker, "take", heard.append)
    monkeypatch.setattr(process._master, "take", lambda *parts: heard.append(parts))
    status = failed_status("x", 3)
    process.to_agents(Ramp(ramp_ns=1))
    process.to_agents(Finish(drain_ns=1))
    process.to_coordinator(status)
    assert heard == []
    gevent.sleep(0.01)
    assert heard == [Ramp(ramp_ns=1), Finish(drain_ns=1), (LOCAL, status)]


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
