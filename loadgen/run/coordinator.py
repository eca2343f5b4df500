"""The coordinator: takes a run through its phases and always ends it with a record."""

import secrets
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from traceback import format_exception
from typing import Any, Final

from gevent.event import Event
from hdrh.histogram import HdrHistogram

from analysis.record import files
from loadgen.exits import ExitCode, RunError, why
from loadgen.live.state import LiveState
from loadgen.live.view import View
from loadgen.measure import clockbound, histograms
from loadgen.measure.clock import boot_id, now_ns, read_both
from loadgen.measure.failures import message_of, place_of
from loadgen.planning.budget import Budget
from loadgen.protocol.refusals import Refusal
from loadgen.resolve import ResolvedRun
from loadgen.run import echo, messages
from loadgen.run.account import Account
from loadgen.run.kills import KillWatch, killed_here
from loadgen.run.live_gates import LiveGates
from loadgen.run.master_pauses import MasterPauses
from loadgen.run.messages import Link, Payload
from loadgen.run.offered import offered
from loadgen.run.periodic import lead_ns
from loadgen.run.record import RunFolder
from loadgen.run.shares import Share, shares
from loadgen.run.spool_transfer import SpoolReceiver
from loadgen.run.target import Target
from loadgen.run.threads import run_in_thread
from loadgen.run.worker_info import WorkerInfo
from loadgen.run.worker_messages import Claim, Finished, Piece, Ping, Status
from loadgen.users.worker import Timeline

#: Name of the phase in which the record and the report are made.
FINISHING: Final = "finishing"
#: File in the run folder with the traceback of a defect of the harness that ended the run.
DEFECT: Final = "defect.txt"
#: How long to wait for Locust to start further users.
_USERS_TIMEOUT_S = 30.0
_FINISH_TIMEOUT_S = 60.0
_RECENT_SECONDS = 5
_BUDGET_INTERVAL_S = 0.25
_SECOND_NS = 1_000_000_000
#: How many seconds a worker's reports may run ahead of the clock: they arrive in bunches.
_SPARE_SECONDS = 60


@dataclass
class WorkerState:
    """The coordinator's state of one worker."""

    info: WorkerInfo
    share: Share
    progress: Counter[str] = field(default_factory=Counter)
    deliveries: int = 0
    complaints: dict[str, int] = field(default_factory=dict)
    #: Why the target refuses this worker for good, or None.
    fatal: str | None = None
    #: Why this worker cannot do its part, or None; `broken_code` is the matching exit code.
    broken: str | None = None
    broken_code: int = int(ExitCode.INCONCLUSIVE)
    finished: Finished | None = None
    #: Seconds covered by the histograms and live reports received so far.
    seconds: int = 0
    #: True while it is out of reach; a worker may come back.
    gone: bool = False
    #: True if it never began, and so has no record to wait for.
    absent: bool = False
    #: Why it left before the end of the run, or None.
    left: str | None = None
    #: Bytes of its record that it wrote but the master has not received.
    missing_bytes: int = 0

    @property
    def pending(self) -> bool:
        """True if its record is still to come."""
        return self.finished is None and not self.gone and not self.absent

    @property
    def whole(self) -> bool:
        """True if it did its part to the end and the master has its whole record."""
        return self.finished is not None and self.left is None and not self.missing_bytes


@dataclass(frozen=True)
class Snapshot:
    """The run's state for the progress line."""

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
    """A gate that ends the run early has failed; the message names it."""


class _BudgetError(Exception):
    """The run has cost more than its budget; the message says how much."""


class Coordinator:
    """Conduct one run.

    :meth:`run` is its greenlet; messages, signals and displays call the other methods.
    """

    def __init__(
        self,
        link: Link,
        run: ResolvedRun,
        target: Target,
        results: Path,
        workers: Sequence[WorkerInfo],
        prices: dict[str, Any],
        budget: Budget | None = None,
        live: bool = False,
    ) -> None:
        self._link = link
        self._resolved = run
        self._target = target
        self._begun_ns = now_ns()
        token = secrets.randbits(31)
        self.folder = RunFolder.create(results, run.document, target.describe(), token, self._begun_ns)
        self.manifest = self.folder.manifest
        self.manifest.late_after_ns = run.phases.drain_ns or None
        self.manifest.offered = offered(run)
        if target.protocol.priced:
            self.manifest.prices = prices
        #: Failures and checks of this process that belong to no agent.
        self.account = Account()
        self._budget = budget
        self._connected_s = 0.0
        self._counted_ns = self._begun_ns
        self.workers: dict[str, WorkerState] = {}
        dealt = shares(run, [info.weight for info in workers])
        for info, share in zip(workers, dealt, strict=True):
            self.workers[info.worker_id] = WorkerState(info, share)
        self._counts = {worker_id: state.share.counts() for worker_id, state in self.workers.items()}
        self._receiver = SpoolReceiver(self.folder.spool)
        self._progressed_ns = 0
        self._lead_ns = lead_ns(run.totals.clients, elsewhere=not all(info.in_master for info in workers))
        #: Number of clients that users have claimed.
        self._granted = 0
        self._ramp_ns = 0
        self._timeline: Timeline | None = None
        self._interrupt = Event()
        self._kills = KillWatch()
        #: Why the run must end early, unless it is interrupted.
        self._ending: RunError | None = None
        self._changed = Event()
        self._live_gates = LiveGates.of(run)
        self._pauses = MasterPauses()
        self._recent: deque[tuple[int, HdrHistogram]] = deque(maxlen=20 * max(1, len(workers)))
        #: State that live displays read, or None if there are none.
        self.live = (
            LiveState(self.manifest.run, run, target.describe(), [info.worker for info in workers])
            if live
            else None
        )
        self.phase = "starting"
        self._phase_end_ns: int | None = None
        #: Set when the record is complete, or could not be completed.
        self.done = Event()
        self.exit_code = ExitCode.PASSED
        #: Why the record could not be completed, or None.
        self.unwritten: str | None = None
        #: Returns the manifest's `refused`, or None if no one was refused.
        self.refused: Callable[[], dict[str, Any] | None] = lambda: None

    # Called from outside.

    def interrupt(self) -> None:
        """End the run early and keep what was recorded."""
        self._interrupt.set()
        self._changed.set()

    def end(self, error: RunError) -> None:
        """End the run early with an error found elsewhere, and keep what was recorded."""
        self._ending = self._ending or error
        self.interrupt()

    def worker_here(self, worker_id: str, here: bool) -> None:
        """Note if a worker is in reach, as Locust's heartbeats show."""
        state = self.workers.get(worker_id)
        if state is not None and state.gone == here:
            state.gone = not here
            self._changed.set()

    def worker_late(self, info: WorkerInfo) -> None:
        """Record a worker that came after the run had begun and stands by."""
        self.manifest.late_workers.append(
            {
                "worker": info.worker,
                "id": info.worker_id,
                "hostname": info.hostname,
                "address": info.address,
                "pid": info.pid,
                "at_ns": now_ns(),
                "phase": self.phase,
            }
        )

    def counts(self, worker_id: str) -> dict[str, int]:
        """Return the number of clients of each role that a worker plays."""
        return dict(self._counts[worker_id])

    def begin_payload(self, worker_id: str) -> Payload:
        """Return the BEGIN payload: everything an agent needs to take part."""
        return {
            "run": self._resolved.for_worker(),
            "target": self._target.to_payload(),
            "token": self.manifest.token,
            "folder": str(self.folder.path),
            "worker": self.workers[worker_id].info.worker,
            "sockets": self.workers[worker_id].share.sockets,
            "websockets": self.workers[worker_id].share.websockets,
            "workers": len(self.workers),
            "echo_ns": echo.interval_ns(
                self._resolved, (state.info.boot_id for state in self.workers.values())
            ),
            "boot_id": boot_id(),
            "live": self.live is not None,
        }

    def on_ping(self, worker_id: str, ping: Ping) -> None:
        """Answer a worker's ping with this process's time."""
        received_ns, here = now_ns(), read_both()
        self._link.to_agents(
            messages.PONG,
            {
                "sent_ns": ping.sent_ns,
                "bound_ns": ping.bound_ns,
                "master_bound_ns": clockbound.error_ns(),
                "sent_raw_ns": ping.sent_raw_ns,
                "master_received_ns": received_ns,
                "master_sent_ns": here.real_ns,
                "master_raw_ns": here.raw_ns,
            },
            worker_id,
        )

    def on_claim(self, worker_id: str, claim: Claim) -> None:
        """Grant the next clients of the claimed roles to a worker's users."""
        granted = {}
        share = self.workers[worker_id].share
        for role, wanted in claim.wanted.items():
            free = share.free.get(role, deque())
            granted[role] = [free.popleft() for _ in range(min(wanted, len(free)))]
        self._link.to_agents(
            messages.GRANT,
            {"request": claim.request, "granted": granted},
            worker_id,
        )
        self._granted += sum(map(len, granted.values()))
        if self._granted == self._resolved.totals.clients and not self._ramp_ns:
            # Only now: users that are still being spawned would hold up those that already connect.
            self._ramp_ns = now_ns() + self._lead_ns
            self._link.to_agents(messages.RAMP, {"ramp_ns": self._ramp_ns})
        self._changed.set()

    def on_status(self, worker_id: str, status: Status) -> None:
        """Take a worker's counts; raises ValueError if it reports more seconds than have passed."""
        state = self.workers[worker_id]
        state.seconds += max(status.histogram is not None, len(status.live))
        if state.seconds > _SPARE_SECONDS + 1.5 * (now_ns() - self._begun_ns) / _SECOND_NS:
            raise ValueError("it reports more seconds than have passed")
        state.progress = Counter(status.progress)
        state.deliveries = status.deliveries
        state.complaints = status.complaints
        state.fatal = state.fatal or status.fatal
        if status.broken and state.broken is None:
            state.broken, state.broken_code = status.broken, status.broken_code
            state.absent = state.absent or status.absent
        self._changed.set()
        if status.histogram:
            received_ns, histogram = now_ns(), histograms.decoded(status.histogram)
            self._recent.append((received_ns, histogram))
            self._live_gates.observe(received_ns, histogram, status.shortest)
        if self.live is not None:
            for report in status.live:
                self.live.observe(state.info.worker, report.plain(), now_ns())

    def on_spool(self, worker_id: str, piece: Piece) -> None:
        """Write a piece of a spool file of a worker that has no access to the run folder.

        Raises:
            ValueError: the file is not the worker's own.
        """
        state = self.workers[worker_id]
        self._progressed_ns = now_ns()
        try:
            answer = self._receiver.take(state.info.worker, piece)
        except OSError as error:
            state.broken = state.broken or (
                f"the master cannot write the record of {state.info.name}: {why(error)}"
            )
            self._changed.set()
            return
        self._link.to_agents(messages.SPOOL_WRITTEN, answer, worker_id)

    def on_finished(self, worker_id: str, finished: Finished) -> None:
        """Note that a worker has handed over its record.

        Raises:
            ValueError: it has done so before, or it names another worker's files.
        """
        state = self.workers[worker_id]
        if state.finished is not None:
            raise ValueError("it has handed over its record already")
        state.missing_bytes = self._receiver.missing(state.info.worker, finished.files or {})
        state.finished, state.left = finished, finished.left
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
            clients=self._resolved.totals.websockets,
            connected=total["connected"],
            subscriptions=self._resolved.totals.subscriptions,
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
            websockets=self._resolved.totals.websockets,
            subscriptions=self._resolved.totals.subscriptions,
            totals=self._totals(),
            complaints=tuple(self._complaints()),
            workers={state.info.worker: state.info.hostname for state in states},
            gone=frozenset(state.info.worker for state in states if state.gone and state.finished is None),
            warmup_ns=None if timeline is None else timeline.warmup_ns,
            measure_ns=None if timeline is None else timeline.measure_ns,
        )

    # The run.

    def run(self) -> None:
        """Go through the phases; whatever happens, complete the record and set :attr:`done`."""
        manifest = self.manifest
        if not any(state.info.in_master for state in self.workers.values()):
            self._pauses.start()
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
            manifest.reason = (
                f"the harness failed: {message_of(error)} at {place_of(error)}; {DEFECT} has the details"
            )
            self._keep_traceback(error)
        finally:
            manifest.end_phase(now_ns())
            self._finish()

    def _keep_traceback(self, error: Exception) -> None:
        """Write the traceback of a defect of the harness to the run folder."""
        with suppress(OSError):
            files.replace(self.folder.path / DEFECT, "".join(format_exception(error)))

    def _enter(self, phase: str, at_ns: int, end_ns: int | None) -> None:
        self.phase, self._phase_end_ns = phase, end_ns
        self.manifest.begin_phase(phase, at_ns)
        self.manifest.workers = self._described_workers()
        self.folder.save()

    def _ramp(self) -> None:
        phases = self._resolved.phases
        self._enter("ramp", now_ns(), None)
        while not self._ramp_ns:
            before = self._granted
            self._wait(
                lambda: self._ramp_ns > 0 or self._granted > before,  # noqa: B023  called before the next
                _USERS_TIMEOUT_S,
                f"users have started for {before:,} of {self._resolved.totals.clients:,} clients, and no more came",
            )
        patience_s = phases.ready_timeout_ns / 1e9
        ramp_end_ns = self._ramp_ns + self._resolved.totals.ramp_ns
        self._phase_end_ns = ramp_end_ns
        self._wait(
            lambda: (
                self._totals()["connected"] >= self._resolved.totals.websockets
                and self._totals()["acknowledged"] >= self._resolved.totals.subscriptions
            ),
            max(0.0, (ramp_end_ns - now_ns()) / 1e9) + patience_s,
            "not all clients could connect and subscribe",
        )
        self._enter("ready", now_ns(), now_ns() + phases.ready_timeout_ns)
        self._wait(
            lambda: self._totals()["ready"] >= self._resolved.totals.subscriptions,
            patience_s,
            "not all subscriptions were proven ready",
        )

    def _timed_phases(self) -> None:
        phases = self._resolved.phases
        start_ns = now_ns() + self._lead_ns
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
        """Wait for a condition on the workers' counts; raises RunError if it stays false for ``timeout_s``."""
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
            self._pauses.look()
            # Before the check for interrupts: Locust interrupts a test by itself when its last worker is gone.
            if self.workers and all(state.gone or state.left for state in self.workers.values()):
                raise RunError("all workers are gone: the run cannot go on", ExitCode.INCONCLUSIVE)
            self._check_interrupt()
            self._check_workers()
            if (failure := self._live_gates.failure(now_ns())) is not None:
                raise _GateFailedError(f"ended early: {failure}")
            self._check_budget()

    def _check_budget(self) -> None:
        """Raise _BudgetError if the run has cost more than its budget."""
        if self._budget is None:
            return
        at_ns, total = now_ns(), self._totals()
        self._connected_s += total["connected"] * (at_ns - self._counted_ns) / 1e9
        self._counted_ns = at_ns
        deliveries = sum(state.deliveries for state in self.workers.values())
        if (sentence := self._budget.exceeded(total, deliveries, self._connected_s)) is not None:
            raise _BudgetError(sentence)

    def _check_interrupt(self) -> None:
        if self._ending is not None:
            raise self._ending
        if self._interrupt.is_set():
            raise _Interrupted

    def _check(self) -> None:
        self._check_interrupt()
        self._check_budget()
        self._check_workers()
        for state in self.workers.values():
            if state.fatal is not None:
                raise RunError(f"the target refused: {state.fatal}", ExitCode.TARGET)
            if state.gone or state.left is not None:
                how = "was lost" if state.left is None else f"left ({state.left})"
                raise RunError(f"{state.info.name} {how} before the measurement began", ExitCode.INCONCLUSIVE)

    def _check_workers(self) -> None:
        """Raise RunError if a worker cannot do its part; a lost worker does not end the run for the others."""
        for state in self.workers.values():
            if state.broken is not None:
                raise RunError(state.broken, ExitCode(state.broken_code))

    def _explain(self, failure: str, timeout_s: float) -> str:
        total, expected = self._totals(), self._resolved.totals
        complaints = self._complaints()
        seen = f"; most often: {complaints[0][0]} ({complaints[0][1]}×)" if complaints else ""
        if total["throttled"]:
            seen += (
                f"; the target refused {total['throttled']:,} attempts for now: {Refusal.throttled().advice}"
            )
        return (
            f"{failure} within {timeout_s:.0f} s: {total['connected']} of {expected.websockets} connected,"
            f" {total['acknowledged']} of {expected.subscriptions} subscribed, {total['ready']} ready{seen}"
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
        # If the run was cut short while publishing, drain: else events in flight would look lost.
        cut_short = self.phase in ("warmup", "measure")
        drain_ns = self._resolved.phases.drain_ns if cut_short else 0
        self.phase, self._phase_end_ns = FINISHING, None
        self._link.to_agents(messages.FINISH, {"drain_ns": drain_ns})
        self._progressed_ns = now_ns() + drain_ns
        while any(state.pending for state in self.workers.values()):
            # A large record takes long to transfer: give up only when no piece has arrived for a while.
            if now_ns() - self._progressed_ns > _FINISH_TIMEOUT_S * 1e9:
                break
            self._changed.clear()
            self._changed.wait(0.5)
        self.manifest.workers = self._described_workers()
        self.manifest.oom_kills = self._kills.since()
        lost = [state for state in self.workers.values() if not state.whole]
        if lost and self.exit_code == ExitCode.PASSED:
            self.manifest.status, self.exit_code = "failed", ExitCode.INCONCLUSIVE
            self.manifest.reason = "; ".join(map(_how_lost, lost))
        if lost and self.manifest.oom_kills:
            self.manifest.reason = f"{self.manifest.reason}; {killed_here(self.manifest.oom_kills)}"
        self.manifest.exit_code = int(self.exit_code)
        self.manifest.refused = self.refused()
        self.manifest.failures = self.account.failures.to_list()
        self.manifest.checks = self.account.checks.to_dict()
        self.manifest.pauses = self._pauses.stop()
        with suppress(OSError):
            # Before the tables: if the disk is too full for them, the manifest is saved already.
            self.folder.save()
        try:
            run_in_thread(self.folder.complete)
        except RunError as error:
            self.exit_code, self.unwritten = error.code, str(error)
        else:
            # `complete` has set it to inconclusive if rows are missing.
            self.exit_code = ExitCode(self.manifest.exit_code)
        finally:
            self.done.set()

    def _described_workers(self) -> list[dict[str, Any]]:
        """Return the manifest's `workers`."""
        described = []
        for state in self.workers.values():
            info, share = state.info, state.share
            described.append(
                {
                    # First, so that the master's own facts override whatever the worker reports.
                    **(state.finished.described() if state.finished is not None else {}),
                    "worker": info.worker,
                    "id": info.worker_id,
                    "hostname": info.hostname,
                    "address": info.address,
                    "pid": info.pid,
                    "boot_id": info.boot_id,
                    "cpus": info.cpus,
                    "weight": float(info.weight),
                    "clients": share.clients,
                    "subscriptions": share.subscriptions,
                    "finished": state.whole,
                    "left": state.left,
                }
            )
        return described


def _how_lost(state: WorkerState) -> str:
    """Return a sentence on a worker that did not do its part to the end."""
    info = state.info
    which = f"worker {info.worker} ({info.hostname}, pid {info.pid})"
    if state.left is not None:
        return f"{which} left before the end: {state.left}"
    if state.missing_bytes:
        return f"{which} could not hand over its record: {state.missing_bytes:,} bytes of it are missing"
    return f"{which} was lost: its part of the record breaks off"
