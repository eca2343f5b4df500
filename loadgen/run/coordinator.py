"""The coordinator: takes a run through its phases, and ends it well whatever happens."""

import secrets
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gevent.event import Event
from hdrh.histogram import HdrHistogram

from loadgen.live.state import LiveState, View
from loadgen.measure import histograms
from loadgen.measure.clock import boot_id, now_ns
from loadgen.planning.guard import Budget
from loadgen.planning.prices import Prices
from loadgen.run import messages
from loadgen.run.census import Census, numbers_by_role
from loadgen.run.exits import ExitCode, RunError, why
from loadgen.run.live_gates import LiveGates
from loadgen.run.messages import Link, Payload
from loadgen.run.offered import offered
from loadgen.run.record import RunFolder
from loadgen.run.target import Target
from loadgen.run.threads import run_in_thread
from loadgen.scenario import Plan, Scenario
from loadgen.scenario.gates import gate_of
from loadgen.users.worker import Timeline

_LEAD_NS = 500_000_000
_FINISH_TIMEOUT_S = 60.0
_RECENT_SECONDS = 5
_BUDGET_INTERVAL_S = 0.25
_SECOND_NS = 1_000_000_000


@dataclass
class WorkerState:
    """What the coordinator knows of one agent."""

    worker: int
    worker_id: str
    hostname: str = ""
    pid: int = 0
    boot_id: str | None = None
    progress: Counter[str] = field(default_factory=Counter)
    deliveries: int = 0
    complaints: dict[str, int] = field(default_factory=dict)
    #: Why the target refuses us for good.
    fatal: str | None = None
    #: Why this worker cannot do its part, and the exit code that says so.
    broken: str | None = None
    broken_code: int = int(ExitCode.INCONCLUSIVE)
    finished: Payload | None = None
    gone: bool = False


@dataclass(frozen=True)
class Snapshot:
    """What the progress line shows."""

    phase: str
    elapsed_s: float
    left_s: float | None
    clients: int
    connected: int
    subscriptions: int
    ready: int
    sent: int
    accepted: int
    deliveries: int
    recent_p99_ns: int | None
    complaint: str | None


class _Interrupted(Exception):  # noqa: N818  not an error
    """The run was asked to end early."""


class _GateFailedError(Exception):
    """A gate that ends the run has failed; the message says which."""


class _BudgetError(Exception):
    """The run has cost more than it may; the message says how much."""


class Coordinator:
    """One run. ``run`` is the greenlet; everything else is called by messages, signals and the display."""

    def __init__(
        self,
        link: Link,
        scenario: Scenario,
        target: Target,
        results: Path,
        workers: dict[str, int],
        prices: Prices,
        max_usd: float | None = None,
        live: bool = False,
    ) -> None:
        self._link = link
        self.scenario = scenario
        plan = Plan(scenario)
        self.census = Census.of(scenario, plan)
        self._target = target
        self._begun_ns = now_ns()
        token = secrets.randbits(31)
        self.folder = RunFolder.create(results, scenario.resolved(), target.describe(), token, self._begun_ns)
        self.manifest = self.folder.manifest
        self.manifest.late_after_ns = scenario.phases.drain_ns or None
        self.manifest.offered = offered(scenario)
        if target.protocol.priced:
            self.manifest.prices = prices.snapshot()
        self._budget = Budget.of(scenario, plan, prices, max_usd)
        self._connected_s = 0.0
        self._counted_ns = self._begun_ns
        self.workers: dict[str, WorkerState] = {}
        for worker_id, worker in workers.items():
            self.workers[worker_id] = WorkerState(worker, worker_id)
        self._free = numbers_by_role(plan)
        self._ramp_ns = 0
        self._timeline: Timeline | None = None
        self._interrupt = Event()
        self._changed = Event()
        self._recent: deque[tuple[int, HdrHistogram]] = deque()
        self._live_gates = LiveGates([gate_of(written) for written in scenario.gates])
        #: What live displays read; None: there are none.
        self.live = (
            LiveState(self.manifest.run, scenario, plan, target.describe(), workers.values())
            if live
            else None
        )
        self.phase = "starting"
        self._phase_end_ns: int | None = None
        #: Set when the record and the report are complete.
        self.done = Event()
        self.exit_code = ExitCode.PASSED
        #: Why the record could not be completed, if so.
        self.unwritten: str | None = None

    # From outside.

    def interrupt(self) -> None:
        """End the run early and keep what was recorded."""
        self._interrupt.set()
        self._changed.set()

    def worker_gone(self, worker_id: str) -> None:
        """A worker has left or was lost."""
        if worker_id in self.workers:
            self.workers[worker_id].gone = True
            self._changed.set()

    def begin_payload(self) -> Payload:
        """Return what an agent needs to take part."""
        return {
            "scenario": self.scenario.resolved(),
            "target": self._target.to_payload(),
            "token": self.manifest.token,
            "folder": str(self.folder.path),
            "workers": max(1, len(self.workers)),
            "boot_id": boot_id(),
            "live": self.live is not None,
        }

    def on_ping(self, payload: Payload) -> None:
        """Tell an agent what time it is here."""
        received_ns = now_ns()
        self._link.to_agents(
            messages.PONG,
            {"sent_ns": payload["sent_ns"], "master_received_ns": received_ns, "master_sent_ns": now_ns()},
            payload["worker"],
        )

    def on_claim(self, payload: Payload) -> None:
        """Give an agent's users the next clients of their roles."""
        if not self._ramp_ns:
            # The first users are there: the ramp begins, with a little time for the others to arrive.
            self._ramp_ns = now_ns() + _LEAD_NS
        granted = {}
        for role, wanted in payload["wanted"].items():
            free = self._free.get(role, deque())
            granted[role] = [free.popleft() for _ in range(min(wanted, len(free)))]
        self._link.to_agents(
            messages.GRANT,
            {"request": payload["request"], "granted": granted, "ramp_ns": self._ramp_ns},
            payload["worker"],
        )

    def on_status(self, payload: Payload) -> None:
        """Take an agent's counts."""
        state = self.workers[payload["worker"]]
        state.hostname, state.pid, state.boot_id = payload["hostname"], payload["pid"], payload["boot_id"]
        state.progress = Counter(payload["progress"])
        state.deliveries = payload["deliveries"]
        state.complaints = payload["complaints"]
        state.fatal = state.fatal or payload["fatal"]
        if payload["broken"] and state.broken is None:
            state.broken, state.broken_code = payload["broken"], payload["broken_code"]
            # One that never began has no record to wait for.
            state.gone = state.gone or payload["absent"]
        if payload["histogram"]:
            received_ns, histogram = now_ns(), HdrHistogram.decode(payload["histogram"])
            self._recent.append((received_ns, histogram))
            self._live_gates.observe(received_ns, histogram)
        if self.live is not None:
            for report in payload["live"]:
                self.live.observe(state.worker, report, now_ns())
        self._changed.set()

    def on_spool(self, payload: Payload) -> None:
        """Write a piece of a spool file of a worker that cannot write here itself."""
        with (self.folder.spool / Path(payload["name"]).name).open("ab") as file:
            file.write(payload["piece"])
        self._link.to_agents(messages.SPOOL_WRITTEN, {}, payload["worker"])

    def on_finished(self, payload: Payload) -> None:
        """An agent has handed over its record."""
        self.workers[payload["worker"]].finished = payload
        self._changed.set()

    def snapshot(self) -> Snapshot:
        """Return the state for the progress line."""
        total = self._totals()
        at_ns = now_ns()
        while self._recent and self._recent[0][0] < at_ns - _RECENT_SECONDS * _SECOND_NS:
            self._recent.popleft()
        recent = histograms.merge(histogram for _, histogram in self._recent) if self._recent else None
        complaints = self._complaints()
        return Snapshot(
            phase=self.phase,
            elapsed_s=(at_ns - self._begun_ns) / 1e9,
            left_s=None if self._phase_end_ns is None else max(0.0, (self._phase_end_ns - at_ns) / 1e9),
            clients=self.census.websockets,
            connected=total["connected"],
            subscriptions=self.census.subscriptions,
            ready=total["ready"],
            sent=total["sent"],
            accepted=total["accepted"],
            deliveries=sum(state.deliveries for state in self.workers.values()),
            recent_p99_ns=recent.get_value_at_percentile(99) if recent is not None else None,
            complaint=complaints[0][0] if complaints else None,
        )

    def view(self) -> View:
        """Return the state for live displays."""
        at_ns, timeline = now_ns(), self._timeline
        states = self.workers.values()
        return View(
            phase=self.phase,
            elapsed_s=(at_ns - self._begun_ns) / 1e9,
            left_s=None if self._phase_end_ns is None else max(0.0, (self._phase_end_ns - at_ns) / 1e9),
            websockets=self.census.websockets,
            subscriptions=self.census.subscriptions,
            totals=self._totals(),
            complaints=tuple(self._complaints()),
            workers={state.worker: state.hostname for state in states},
            gone=frozenset(state.worker for state in states if state.gone and state.finished is None),
            warmup_ns=None if timeline is None else timeline.warmup_ns,
            measure_ns=None if timeline is None else timeline.measure_ns,
        )

    # The run.

    def run(self) -> None:
        """Go through the phases; always ends with a record, a report and :attr:`done`."""
        manifest = self.manifest
        try:
            self._ramp()
            self._timed_phases()
            manifest.status, self.exit_code = "complete", ExitCode.PASSED
        except _Interrupted:
            manifest.status, self.exit_code = "interrupted", ExitCode.INTERRUPTED
            manifest.reason = f"interrupted in phase {self.phase}"
        except _GateFailedError as error:
            manifest.status, self.exit_code = "aborted", ExitCode.GATE_FAILED
            manifest.reason = str(error)
        except _BudgetError as error:
            manifest.status, self.exit_code = "stopped", ExitCode.INCONCLUSIVE
            manifest.reason = str(error)
        except RunError as error:
            manifest.status, self.exit_code = "failed", error.code
            manifest.reason = str(error)
        except OSError as error:
            manifest.status, self.exit_code = "failed", ExitCode.INCONCLUSIVE
            manifest.reason = f"the record cannot be written: {why(error)}"
        except Exception as error:
            manifest.status, self.exit_code = "failed", ExitCode.INCONCLUSIVE
            manifest.reason = f"the harness failed: {type(error).__name__}: {error}"
            raise
        finally:
            manifest.end_phase(now_ns())
            self._finish()

    def _enter(self, phase: str, at_ns: int, end_ns: int | None) -> None:
        self.phase, self._phase_end_ns = phase, end_ns
        self.manifest.begin_phase(phase, at_ns)
        self.folder.save()

    def _ramp(self) -> None:
        phases = self.scenario.phases
        self._enter("ramp", now_ns(), None)
        self._wait(lambda: self._ramp_ns > 0, 30.0, "no user has started; is a worker connected?")
        patience_s = phases.ready_timeout_ns / 1e9
        ramp_end_ns = self._ramp_ns + self.census.ramp_ns
        self._phase_end_ns = ramp_end_ns
        self._wait(
            lambda: (
                self._totals()["connected"] >= self.census.websockets
                and self._totals()["acknowledged"] >= self.census.subscriptions
            ),
            max(0.0, (ramp_end_ns - now_ns()) / 1e9) + patience_s,
            "not all clients could connect and subscribe",
        )
        self._enter("ready", now_ns(), now_ns() + phases.ready_timeout_ns)
        self._wait(
            lambda: self._totals()["ready"] >= self.census.subscriptions,
            patience_s,
            "not all subscriptions were proven ready",
        )

    def _timed_phases(self) -> None:
        phases = self.scenario.phases
        start_ns = now_ns() + _LEAD_NS
        measure_ns = start_ns + phases.warmup_ns
        measure_end_ns = measure_ns + phases.measure_ns
        drain_end_ns = measure_end_ns + phases.drain_ns
        timeline = self._timeline = Timeline(start_ns, measure_ns, measure_end_ns, drain_end_ns)
        self._link.to_agents(messages.GO, asdict(timeline))
        self._sleep_until(start_ns)
        for name, begin_ns, end_ns in (
            ("warmup", start_ns, measure_ns),
            ("measure", measure_ns, measure_end_ns),
            ("drain", measure_end_ns, drain_end_ns),
        ):
            self._enter(name, begin_ns, end_ns)
            if name == "measure":
                self._live_gates.begin(begin_ns)
            self._sleep_until(end_ns)
            self.manifest.end_phase(end_ns)

    def _wait(self, condition: Any, timeout_s: float, failure: str) -> None:
        """Wait for a condition over the agents' counts; raises RunError where it does not come true."""
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        while not condition():
            self._check()
            left_s = (deadline_ns - now_ns()) / 1e9
            if left_s <= 0:
                raise RunError(self._explain(failure, timeout_s), ExitCode.TARGET)
            self._changed.clear()
            self._changed.wait(min(left_s, 0.5))
        self._check()

    def _sleep_until(self, at_ns: int) -> None:
        while (left_ns := at_ns - now_ns()) > 0:
            self._interrupt.wait(min(left_ns / 1e9, 1.0 if self._budget is None else _BUDGET_INTERVAL_S))
            if self._interrupt.is_set():
                raise _Interrupted
            self._check_workers()
            if self.workers and all(state.gone for state in self.workers.values()):
                raise RunError("all workers are gone: the run cannot go on", ExitCode.INCONCLUSIVE)
            if (failure := self._live_gates.failure(now_ns())) is not None:
                raise _GateFailedError(f"ended early: {failure}")
            self._check_budget()

    def _check_budget(self) -> None:
        """End a run that has cost more than it may."""
        if self._budget is None:
            return
        at_ns, total = now_ns(), self._totals()
        self._connected_s += total["connected"] * (at_ns - self._counted_ns) / 1e9
        self._counted_ns = at_ns
        deliveries = sum(state.deliveries for state in self.workers.values())
        if (sentence := self._budget.exceeded(total, deliveries, self._connected_s)) is not None:
            raise _BudgetError(sentence)

    def _check(self) -> None:
        if self._interrupt.is_set():
            raise _Interrupted
        self._check_budget()
        self._check_workers()
        for state in self.workers.values():
            if state.fatal is not None:
                raise RunError(f"the target refused: {state.fatal}", ExitCode.TARGET)
            if state.gone:
                raise RunError(
                    f"worker {state.worker} ({state.worker_id}) was lost before the measurement began",
                    ExitCode.INCONCLUSIVE,
                )

    def _check_workers(self) -> None:
        """End the run where a worker cannot do its part; one that is merely lost does not end it for the others."""
        for state in self.workers.values():
            if state.broken is not None:
                raise RunError(state.broken, ExitCode(state.broken_code))

    def _explain(self, failure: str, timeout_s: float) -> str:
        total, census = self._totals(), self.census
        complaints = self._complaints()
        seen = f"; most often: {complaints[0][0]} ({complaints[0][1]}×)" if complaints else ""
        return (
            f"{failure} within {timeout_s:.0f} s: {total['connected']} of {census.websockets} connected,"
            f" {total['acknowledged']} of {census.subscriptions} subscribed, {total['ready']} ready{seen}"
        )

    def _totals(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for state in self.workers.values():
            total.update(state.progress)
        return total

    def _complaints(self) -> list[tuple[str, int]]:
        total: Counter[str] = Counter()
        for state in self.workers.values():
            total.update(state.complaints)
        return total.most_common()

    # The end.

    def _finish(self) -> None:
        # Cut short while publishing: what is under way still arrives, so that it does not look lost.
        cut_short = self.phase in ("warmup", "measure")
        drain_ns = self.scenario.phases.drain_ns if cut_short else 0
        self.phase, self._phase_end_ns = "finishing", None
        self._link.to_agents(messages.FINISH, {"drain_ns": drain_ns})
        deadline_ns = now_ns() + int(_FINISH_TIMEOUT_S * 1e9)
        while any(state.finished is None and not state.gone for state in self.workers.values()):
            if now_ns() > deadline_ns:
                break
            self._changed.clear()
            self._changed.wait(0.5)
        for state in self.workers.values():
            counts = {key: value for key, value in (state.finished or {}).items() if key != "worker"}
            self.manifest.workers.append(
                {
                    "worker": state.worker,
                    "id": state.worker_id,
                    "hostname": state.hostname,
                    "pid": state.pid,
                    "boot_id": state.boot_id,
                    "finished": state.finished is not None,
                    **counts,
                }
            )
        lost = [state for state in self.workers.values() if state.finished is None]
        if lost and self.exit_code == ExitCode.PASSED:
            names = ", ".join(f"{state.worker} ({state.hostname}, pid {state.pid})" for state in lost)
            self.manifest.status, self.exit_code = "failed", ExitCode.INCONCLUSIVE
            self.manifest.reason = f"worker {names} was lost: its part of the record breaks off"
        self.manifest.exit_code = int(self.exit_code)
        try:
            run_in_thread(self.folder.complete)
        except RunError as error:
            self.exit_code, self.unwritten = error.code, str(error)
        finally:
            self.done.set()
