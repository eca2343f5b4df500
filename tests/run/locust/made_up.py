"""Simulated process, run and workers: nothing here exits, connects, waits or measures."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from gevent.event import Event

from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.account import Account
from loadgen.run.ending import Analysis
from loadgen.run.locust.this_process import ThisProcess
from loadgen.run.master_messages import Begin
from loadgen.run.messages import Message
from loadgen.run.target import Target
from loadgen.run.worker_info import LOCAL, WorkerInfo

_RUN = resolve(load("comments")).for_worker()


class EndedError(Exception):
    """Raised by `end`, which replaces the function that ends the process with an exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = ExitCode(code)


class EnoughError(Exception):
    """Raised when a test has run long enough."""


def begin(worker: int = 0, folder: str = "nowhere") -> Begin:
    """Return the master's message BEGIN, with which a worker begins its part of a run."""
    return Begin(
        run=_RUN,
        target=Target("http://127.0.0.1:9/event").to_payload(),
        token=1,
        folder=folder,
        worker=worker,
        sockets=5,
        websockets=4,
        workers=1,
        echo_ns=None,
        boot_id=None,
        live=False,
    )


def end(code: int) -> NoReturn:
    raise EndedError(code)


class Child:
    """A child process, which can only be killed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.killed = False

    def kill(self) -> None:
        self.killed = True


def this_process(*children: Any) -> ThisProcess:
    return ThisProcess(exit_now=end, children=lambda: children)


class Server:
    """A stand-in for the embedded server; `stopped` becomes True when it is stopped."""

    pid = 77

    def __init__(self) -> None:
        self.code: int | None = None
        self.stopped = False

    def poll(self) -> int | None:
        return self.code

    def stop(self) -> None:
        self.stopped = True


class Time:
    """A simulated clock. Its time passes only while the tested code sleeps, and planned actions then run in order."""

    def __init__(self, most_s: float = 1_000.0) -> None:
        self.at_s = 0.0
        self.most_s = most_s
        self.planned: list[tuple[float, Callable[[], object]]] = []

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        self.planned.append((self.at_s + seconds, action))

    def now_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds
        for planned in [each for each in self.planned if each[0] <= self.at_s]:
            self.planned.remove(planned)
            planned[1]()
        if self.at_s > self.most_s:
            raise EnoughError


class Coordinator:
    """A stand-in for the coordinator: its `run` calls `plan`, which the test sets, and it records the calls it gets."""

    def __init__(self, folder: Path, **given: Any) -> None:
        self.given = given
        self.folder = SimpleNamespace(path=folder, leave_rows_in_storage=lambda: self.where)
        #: The sentence on where the run's rows are, or None.
        self.where: str | None = None
        self.manifest = SimpleNamespace(reason=None)
        self.phase = "measure"
        self.exit_code = ExitCode.PASSED
        self.unwritten: str | None = None
        self.done = Event()
        self.account = Account()
        self.workers = {info.worker_id: None for info in given.get("workers", ())}
        self.interrupts = 0
        self.errors: list[RunError] = []
        self.reach: dict[str, bool] = {}
        self.heard: list[tuple[str, Message]] = []
        self.roles: dict[str, dict[str, int]] = {}
        self.plan: Callable[[], object] = lambda: None

    def run(self) -> None:
        self.plan()
        self.done.set()

    def interrupt(self) -> None:
        self.interrupts += 1

    def end(self, error: RunError) -> None:
        self.errors.append(error)

    def worker_here(self, worker_id: str, here: bool) -> None:
        self.reach[worker_id] = here

    def begin(self, worker_id: str) -> Begin:
        return begin(folder=f"for {worker_id}")

    def receive(self, worker_id: str, message: Message) -> None:
        self.heard.append((worker_id, message))

    def counts(self, worker_id: str) -> dict[str, int]:
        return self.roles[worker_id]


class Display:
    """A progress line that shows nothing."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def start(self) -> None:
        self.events.append("start")

    def stop(self) -> None:
        self.events.append("stop")


class Live:
    """Live displays that show nothing."""

    wanted = True

    def __init__(self) -> None:
        self.events: list[str] = []

    def begin(self, _: Any) -> None:
        self.events.append("begin")

    def end(self) -> None:
        self.events.append("end")

    def conclude(self, _: Any, code: ExitCode) -> None:
        self.events.append(f"conclude {code.name}")

    def close(self) -> None:
        self.events.append("close")


class Workers:
    """The workers of a master; all can be reached, except those that a test puts into `away`."""

    def __init__(self, *names: str) -> None:
        self.infos = [WorkerInfo(name, number) for number, name in enumerate(names or (LOCAL,))]
        self.sent: list[tuple[Message, str | None]] = []
        self.begun: list[tuple[str, Begin]] = []
        self.away: set[str] = set()
        self.refusal: RunError | None = None

    def to_coordinator(self, message: Message) -> None:
        self.sent.append((message, None))

    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        self.sent.append((message, worker_id))

    def admitted(self, *, embedded: bool) -> list[WorkerInfo]:
        assert embedded
        if self.refusal is not None:
            raise self.refusal
        return self.infos

    def begin_worker(self, worker_id: str, begin: Begin, tables: Tables) -> None:
        self.begun.append((worker_id, begin))

    def in_reach(self, worker_id: str) -> bool:
        return worker_id not in self.away

    def refused(self) -> dict[str, Any] | None:
        return None


def analysed(
    returncode: int | None = 0, verdict: ExitCode | None = ExitCode.PASSED
) -> Callable[..., Analysis]:
    """Return a function that replaces the analysis of a run and returns the given result at once."""
    return lambda *_, **__: Analysis(returncode, verdict)
