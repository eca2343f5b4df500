"""The phases of a run, from the ramp to the end of the drain, and the reasons to end them early."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Final, Protocol

from gevent.event import Event

from loadgen.exits import ExitCode, RunError
from loadgen.measure.clock import now_ns
from loadgen.planning.budget import Budget
from loadgen.protocol.refusals import Refusal
from loadgen.resolve import ResolvedRun
from loadgen.resolve.rows import ClientRows
from loadgen.run.early_gates import EarlyGates
from loadgen.run.master.doubts import Doubts
from loadgen.run.master.progress import ProgressView
from loadgen.run.master.workers import Workers
from loadgen.run.master_messages import Go, Grant, Ramp
from loadgen.run.messages import Link
from loadgen.run.periodic import lead_ns
from loadgen.run.worker_messages import Claim
from loadgen.users.worker import Timeline

#: Longest wait (s) for further users to start while some clients have no user yet.
_USERS_TIMEOUT_S: Final = 30.0
_LOOK_S: Final = 0.5
_TIMED_LOOK_S: Final = 1.0
_BUDGET_LOOK_S: Final = 0.25


class Interrupted(Exception):  # noqa: N818  not an error
    """The run was asked to end early."""


class GateFailedError(Exception):
    """A gate that ends the run early has failed; the message names it."""


class StoppedError(Exception):
    """The run has cost more than `--max-cost`, or `--abort-on` ends it; the message gives the reason."""


class Clock:
    """The master's clock, and waits that use it; tests replace it."""

    def now_ns(self) -> int:
        """Return the wall-clock time in ns."""
        return now_ns()

    def wait(self, event: Event, timeout_s: float) -> None:
        """Wait until an event is set, at most ``timeout_s`` seconds."""
        event.wait(timeout_s)


class Pauses(Protocol):
    """Records pauses of the master's process (times in which it did not run); see `loadgen.run.master_pauses`."""

    def look(self) -> None:
        """Record the longest pause of the process since the last call, if any."""


class Phases:
    """Take a run through its phases: ramp, ready, warm-up, measure, drain.

    While :meth:`go` waits, the workers' messages and signals call the other methods. ``on_enter`` is called with the
    name and the start (wall clock, ns) of each phase, ``on_over`` with the end of each timed phase.
    """

    def __init__(
        self,
        run: ResolvedRun,
        rows: ClientRows,
        link: Link,
        workers: Workers,
        view: ProgressView,
        early_gates: EarlyGates,
        pauses: Pauses,
        budget: Budget | None,
        doubts: Doubts,
        clock: Clock,
        on_enter: Callable[[str, int], None],
        on_over: Callable[[int], None],
    ) -> None:
        self._run = run
        self._rows = rows
        self._link = link
        self._workers = workers
        self._view = view
        self._early_gates = early_gates
        self._pauses = pauses
        self._budget = budget
        self._doubts = doubts
        self._clock = clock
        self._on_enter = on_enter
        self._on_over = on_over
        elsewhere = not all(state.info.in_master for state in workers.values())
        self._lead_ns = lead_ns(run.totals.clients, elsewhere=elsewhere)
        #: Number of clients that have been assigned to users.
        self._granted = 0
        #: Time at which the ramp starts, or 0 if some clients have no user yet.
        self._ramp_ns = 0
        #: Sum of all clients' connection times (s) up to the time `_counted_ns`, needed for the cost of the run so far.
        self._connected_s = 0.0
        self._counted_ns = clock.now_ns()
        self._interrupted = Event()
        #: Error that ends the run early, or None if there is none or the run is merely interrupted.
        self._error: RunError | None = None
        #: Set when a wait should check its condition again.
        self.changed = Event()

    # The following methods are called while `go` waits.

    def interrupt(self) -> None:
        """End the run early."""
        self._interrupted.set()
        self.changed.set()

    def end(self, error: RunError) -> None:
        """End the run early because of ``error``, unless an earlier error has ended it already."""
        self._error = self._error or error
        self.interrupt()

    def grant(self, worker_id: str, claim: Claim) -> None:
        """Assign the next clients of the requested roles to a worker's users; the last assignment starts the ramp."""
        granted = self._workers[worker_id].grant(claim.wanted)
        numbers = [number for numbers in granted.values() for number in numbers]
        self._link.to_agents(
            Grant(
                request=claim.request,
                granted=granted,
                values=self._rows.of(numbers),
                places=self._rows.places(numbers),
            ),
            worker_id,
        )
        self._granted += sum(map(len, granted.values()))
        if self._granted == self._run.totals.clients and not self._ramp_ns:
            # Set the ramp's start only when all users exist: spawning users would delay clients that are connecting.
            self._ramp_ns = self._clock.now_ns() + self._lead_ns
            self._link.to_agents(Ramp(ramp_ns=self._ramp_ns))
        self.changed.set()

    def go(self) -> None:
        """Go through all phases.

        Raises:
            Interrupted: the run was interrupted.
            GateFailedError: a gate failed that ends the run.
            StoppedError: the run has cost more than `--max-cost`, or a reason that `--abort-on` names has occurred.
            RunError: the target or a worker has failed.
        """
        self._ramp()
        self._await_readiness()
        self._timed_phases()

    def _enter(self, phase: str, at_ns: int, end_ns: int | None) -> None:
        self._view.enter(phase, end_ns)
        self._on_enter(phase, at_ns)

    def _ramp(self) -> None:
        expected = self._run.totals
        self._enter("ramp", self._clock.now_ns(), None)
        while not self._ramp_ns:
            before = self._granted
            self._wait(
                lambda: self._ramp_ns > 0 or self._granted > before,  # noqa: B023  called in this turn of the loop
                _USERS_TIMEOUT_S,
                f"users have started for {before:,} of {expected.clients:,} clients, and no more came",
            )
        ramp_end_ns = self._view.phase_end_ns = self._ramp_ns + expected.ramp_ns
        left_s = max(0.0, (ramp_end_ns - self._clock.now_ns()) / 1e9)

        def all_there() -> bool:
            total = self._workers.totals()
            return (
                total["connected"] + total["shut_connections"] >= expected.websockets
                and total["acknowledged"] + total["shut_subscriptions"] >= expected.subscriptions
            )

        left_s += self._run.login_time_s
        self._wait(all_there, left_s + self._patience_s, "not all clients could connect and subscribe")

    def _await_readiness(self) -> None:
        at_ns = self._clock.now_ns()
        self._enter("ready", at_ns, at_ns + self._run.phases.ready_timeout_ns)

        def all_ready() -> bool:
            total = self._workers.totals()
            return total["ready"] + total["shut_subscriptions"] >= self._run.totals.subscriptions

        self._wait(
            all_ready,
            self._patience_s,
            "not all subscriptions were proven ready",
        )

    def _timed_phases(self) -> None:
        phases = self._run.phases
        start_ns = self._clock.now_ns() + self._lead_ns
        measure_ns = start_ns + phases.warmup_ns
        measure_end_ns = measure_ns + phases.measure_ns
        drain_end_ns = measure_end_ns + phases.drain_ns
        timeline = self._view.timeline = Timeline(start_ns, measure_ns, measure_end_ns, drain_end_ns)
        self._link.to_agents(Go(**asdict(timeline)))
        self._sleep_until(start_ns)
        for name, begin_ns, end_ns in (
            ("warmup", start_ns, measure_ns),
            ("measure", measure_ns, measure_end_ns),
            ("drain", measure_end_ns, drain_end_ns),
        ):
            self._enter(name, begin_ns, end_ns)
            if name == "measure":
                self._early_gates.begin(begin_ns)
                self._doubts.begin(begin_ns)
            self._sleep_until(end_ns)
            self._on_over(end_ns)

    @property
    def _patience_s(self) -> float:
        return self._run.phases.ready_timeout_ns / 1e9

    def _wait(self, condition: Callable[[], bool], timeout_s: float, failure: str) -> None:
        """Wait for a condition on the workers' counts; raises RunError if it stays false for ``timeout_s``."""
        deadline_ns = self._clock.now_ns() + int(timeout_s * 1e9)
        while not condition():
            self._check_start()
            left_s = (deadline_ns - self._clock.now_ns()) / 1e9
            if left_s <= 0:
                raise RunError(self._explain(failure, timeout_s), ExitCode.TARGET)
            self.changed.clear()
            self._clock.wait(self.changed, min(left_s, _LOOK_S))
        self._check_start()

    def _sleep_until(self, at_ns: int) -> None:
        look_s = _TIMED_LOOK_S if self._budget is None else _BUDGET_LOOK_S
        while (left_ns := at_ns - self._clock.now_ns()) > 0:
            self._clock.wait(self._interrupted, min(left_ns / 1e9, look_s))
            self._pauses.look()
            # Check for lost workers first: when the last worker is gone, Locust itself interrupts the test, and the run
            # would end as interrupted.
            self._workers.check_any()
            self._check_interrupt()
            self._workers.check_able()
            if (failure := self._early_gates.failure(self._clock.now_ns())) is not None:
                raise GateFailedError(f"ended early: {failure}")
            self._check_budget()
            if (sentence := self._doubts.sentence(self._clock.now_ns())) is not None:
                raise StoppedError(sentence)

    def _check_start(self) -> None:
        self._check_interrupt()
        self._check_budget()
        self._workers.check_able()
        self._workers.check_complete()

    def _check_interrupt(self) -> None:
        if self._error is not None:
            raise self._error
        if self._interrupted.is_set():
            raise Interrupted

    def _check_budget(self) -> None:
        if self._budget is None:
            return
        at_ns, total = self._clock.now_ns(), self._workers.totals()
        self._connected_s += total["connected"] * (at_ns - self._counted_ns) / 1e9
        self._counted_ns = at_ns
        sentence = self._budget.exceeded(total, self._workers.deliveries, self._connected_s)
        if sentence is not None:
            raise StoppedError(sentence)

    def _explain(self, failure: str, timeout_s: float) -> str:
        total, expected, complaints = (
            self._workers.totals(),
            self._run.totals,
            self._workers.complaints(),
        )
        seen = f"; most often: {complaints[0][0]} ({complaints[0][1]}×)" if complaints else ""
        if total["throttled"]:
            seen += (
                f"; the target refused {total['throttled']:,} attempts for now: {Refusal.throttled().advice}"
            )
        return (
            f"{failure} within {timeout_s:.0f} s: {total['connected']} of {expected.websockets} connected,"
            f" {total['acknowledged']} of {expected.subscriptions} subscribed, {total['ready']} ready{seen}"
        )
