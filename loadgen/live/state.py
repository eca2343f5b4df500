"""The live state of a run: the exact sum of all workers' reports.

Every second becomes a data point of the live charts. Percentiles come from merged HDR histograms over the second, the
last ten seconds, and the measure phase so far. A second in which a worker is silent has no rates and no percentiles,
because the sum over the other workers would look like a drop in load.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hdrh.histogram import HdrHistogram

from loadgen.live.judge import Judge, Verdict, share_of_allowed
from loadgen.live.plan import Due
from loadgen.live.series import Latencies, Loss, Subscribers, percentiles
from loadgen.live.view import SILENCE_NS, View
from loadgen.measure.clock import now_ns
from loadgen.measure.running import BOUNDS_NS, Report
from loadgen.resolve import ResolvedRun

#: Number of data points of the live charts that are kept: one hour.
POINTS_KEPT: Final = 3_600
#: All statuses of an event in the run's record.
STATUSES: Final = ("accepted", "rejected", "error", "unanswered", "unsent", "unmade")


@dataclass
class WorkerTotals:
    """One worker's totals and its latest health."""

    deliveries: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    heard_ns: int = 0
    #: Time up to which the worker has reported (master's clock, ns), or 0 before its first report.
    covered_ns: int = 0
    #: The worker's latest health row, or None if it has sent none.
    health: Mapping[str, Any] | None = None
    #: Reports since the last data point of the live charts.
    fresh: list[Report] = field(default_factory=list)


class Buckets:
    """A histogram with the buckets of `BOUNDS_NS` (inclusive upper bounds), and one bucket for greater values."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_NS) + 1)
        self.sum_s = 0.0
        #: Least and greatest value in nanoseconds, or None if there are no values.
        self.min_ns: int | None = None
        self.max_ns: int | None = None

    def add(self, part: Mapping[str, Any] | None) -> None:
        """Add a report's distribution (see `measure.running.Spread.told`), or nothing if it is None."""
        if part is None:
            return
        self.sum_s += part["sum_ns"] / 1e9
        self.min_ns = part["min_ns"] if self.min_ns is None else min(self.min_ns, part["min_ns"])
        self.max_ns = part["max_ns"] if self.max_ns is None else max(self.max_ns, part["max_ns"])
        for place, count in enumerate(part["counts"]):
            self.counts[place] += count


class LiveState:
    """The live state of one run: :meth:`observe` takes reports, :meth:`tick` adds a data point to the live charts."""

    def __init__(
        self,
        name: str,
        run: ResolvedRun,
        target: Mapping[str, Any],
        workers: Iterable[int],
    ) -> None:
        """Begin a run's state, without any report.

        ``name`` is the run's name, ``target`` the manifest's `target`, and ``workers`` are the workers' numbers.
        """
        self.run = name
        self.scenario = run.name
        self.begun_ns = now_ns()
        #: URL of the target, without secrets.
        self.target = str(target["url"])
        self.protocol = str(target["protocol"])
        #: Names of the groups that subscribe, and so receive deliveries.
        self.groups = tuple(group.name for group in run.groups if group.subscribe)
        self.workers = {worker: WorkerTotals() for worker in workers}
        self.latencies = Latencies()
        #: Headline latencies, from due time to arrival (`latency`), and publish durations (`publish`) of all phases.
        self.latency = Buckets()
        self.publish = Buckets()
        self.negative = 0
        self.loss = Loss()
        self.subscribers = Subscribers()
        self.due = Due(run)
        self.judge = Judge(run)
        self.verdict = Verdict(None, ())
        #: The state of each gate: see `judge.Judge.gates`.
        self.gates: list[dict[str, Any]] = self.judge.gates(self)
        #: Figures of the measure phase so far.
        self.so_far: dict[str, Any] = self._so_far()
        self.points: deque[dict[str, Any]] = deque(maxlen=POINTS_KEPT)
        self.view: View | None = None
        self._count = 0
        self._last_ns: int | None = None
        #: The workers' counts at the last data point; a count that no worker has reported is 0.
        self._last_totals: Counter[str] = Counter()

    def observe(self, worker: int, report: Report, received_ns: int) -> None:
        """Add a worker's report of one second."""
        totals = self.workers[worker]
        totals.deliveries += report["deliveries"]
        counted, statuses = report["groups"], report.get("statuses", {})
        totals.groups.update({name: counted[name] for name in self.groups if name in counted})
        totals.statuses.update({name: statuses[name] for name in STATUSES if name in statuses})
        totals.heard_ns = received_ns
        totals.covered_ns = max(totals.covered_ns, report["end_ns"])
        totals.health = report["health"] or totals.health
        totals.fresh.append(report)
        self.negative += report["negative"]
        self.latency.add(report["latency"])
        self.publish.add(report["publish"])
        self.latencies.take(report)
        self.loss.take(report)
        self.subscribers.take(report)
        self.judge.take(worker, report)

    def tick(self, at_ns: int, view: View) -> bool:
        """Add a data point to the live charts from the reports since the last one; return False if it is too early.

        The data point waits up to `SILENCE_NS` for the report of each worker that is not lost. In the phase `finishing`
        a data point is added only if a report has arrived since the last data point.
        """
        if view.phase == "finishing" and not any(totals.fresh for totals in self.workers.values()):
            # Add no data point to the live charts: the workers have sent their last reports and are handing over their
            # records.
            self.view = view
            return False
        living = [number for number in self.workers if number not in view.gone]
        awaited = [number for number in living if not self.workers[number].fresh]
        if awaited and any(
            at_ns - max(self.workers[number].heard_ns, self._last_ns or self.begun_ns) < SILENCE_NS
            for number in awaited
        ):
            return False
        self.view = view
        complete = len(living) == len(self.workers) and not awaited  # fmt: skip
        self.subscribers.settle(at_ns)
        # One worker may report an event, and another worker the arrivals of this event: compare expected deliveries and
        # arrivals only over seconds that all workers have reported.
        covered_ns = min((at_ns, *(self.workers[number].covered_ns for number in living)))
        loss = None if view.measure_ns is None else self.loss.settle(covered_ns - view.measure_ns)
        self.verdict = self.judge.verdict(self, view, at_ns)
        self.gates = self.judge.gates(self)
        self.so_far = self._so_far()
        second = self.latencies.close_second(complete)
        point = {
            "number": self._count,
            "at_s": view.elapsed_s,
            "phase": view.phase,
            **self._rates(at_ns, view, complete),
            "latency_ns": percentiles(second),
            "latency_10s_ns": percentiles(self.latencies.recent() if complete else None),
            "first_10s_ns": percentiles(self.subscribers.recent_first(at_ns)),
            "last_10s_ns": percentiles(self.subscribers.recent_last(at_ns)),
            "connected": view.totals["connected"],
            "ready": view.totals["ready"],
            "lost_connections": view.totals["lost_connections"],
            "loss": loss,
            **self._generator(complete),
            "verdict": self.verdict.kind,
        }
        for totals in self.workers.values():
            totals.fresh.clear()
        self._count += 1
        self._last_ns, self._last_totals = at_ns, Counter(view.totals)
        self.points.append(point)
        return True

    def finish(self, at_ns: int, view: View) -> None:
        """Compute the final figures at the end of the run, when no more reports will come."""
        self.loss.settle(None)
        self.subscribers.settle(at_ns)
        self.view = view
        self.verdict = self.judge.verdict(self, view, at_ns)
        self.gates = self.judge.gates(self)
        self.so_far = self._so_far()

    def _rates(self, at_ns: int, view: View, complete: bool) -> dict[str, float | None]:
        """Return rates per second since the last data point: events due, sent and accepted, and deliveries."""
        due = due_deliveries = sent = accepted = None
        if self._last_ns is not None and at_ns > self._last_ns:
            seconds = (at_ns - self._last_ns) / 1e9
            if view.warmup_ns is not None:
                begin_ns, end_ns = self._last_ns - view.warmup_ns, at_ns - view.warmup_ns
                first, last = self.due.events(begin_ns), self.due.events(end_ns)
                due = None if first is None or last is None else (last - first) / seconds
                before, after = self.due.deliveries(begin_ns), self.due.deliveries(end_ns)
                due_deliveries = None if before is None or after is None else (after - before) / seconds
            if complete:
                sent = (view.totals["sent"] - self._last_totals["sent"]) / seconds
                accepted = (view.totals["accepted"] - self._last_totals["accepted"]) / seconds
        return {
            "events_due_per_s": due,
            "events_sent_per_s": sent,
            "events_accepted_per_s": accepted,
            "deliveries_due_per_s": due_deliveries,
            # Add up the rates of all workers, each over the time span of its own reports: the spans differ slightly.
            "deliveries_per_s": self._sum_of_rates() if complete else None,
        }

    def _sum_of_rates(self) -> float:
        total = 0.0
        for totals in self.workers.values():
            span_ns = sum(report["end_ns"] - report["start_ns"] for report in totals.fresh)
            total += sum(report["deliveries"] for report in totals.fresh) * 1e9 / max(1, span_ns)
        return total

    def _generator(self, complete: bool) -> dict[str, float | int | None]:
        """Return the worst value of any worker for each figure of the generator's health."""
        rows = [totals.health for totals in self.workers.values() if totals.health is not None]
        if not complete or not rows:
            return {"queue_max_ns": None, "late_max_ns": None, "cpu_max": None, "lag_max_ns": None}
        return {
            "queue_max_ns": _most(row["queue_max_ns"] for row in rows),
            "late_max_ns": _most(row["late_max_ns"] for row in rows),
            "cpu_max": max(share_of_allowed(row) for row in rows),
            "lag_max_ns": _most(row["lag_max_ns"] for row in rows),
        }

    def _so_far(self) -> dict[str, Any]:
        measured: HdrHistogram = self.latencies.measured
        return {
            "latency_ns": percentiles(measured),
            "first_ns": percentiles(self.subscribers.first),
            "last_ns": percentiles(self.subscribers.last),
            "sampled_events": self.subscribers.complete,
            "deliveries": self.loss.arrived_measured,
            "expected": self.loss.expected_measured,
            "loss": self.loss.so_far(),
            "surplus": self.loss.surplus(),
            "negative": self.negative,
        }

    @property
    def deliveries(self) -> int:
        """Number of deliveries of all workers in all phases."""
        return sum(totals.deliveries for totals in self.workers.values())


def _most(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
