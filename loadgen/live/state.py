"""The state of a run while it goes on: the reports of all workers, added up exactly.

Every second becomes a point of the time series. Percentiles come from merged HDR histograms, over the second, the last
ten, and the measure phase so far. A second in which a worker says nothing has no rates and no percentiles: those of the
others would look like a drop in load.
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
from loadgen.measure.live import BOUNDS_NS, Report
from loadgen.resolve import ResolvedRun

#: Points that are kept: an hour of seconds.
POINTS_KEPT: Final = 3_600
#: The statuses that an event of the record can have.
STATUSES: Final = ("accepted", "rejected", "error", "unanswered", "unsent", "unmade")


@dataclass
class WorkerTotals:
    """What one worker has reported in all, and what it said last."""

    deliveries: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    heard_ns: int = 0
    #: The last row of its health; None: none came yet.
    health: Mapping[str, Any] | None = None
    #: Reports since the last point.
    fresh: list[Report] = field(default_factory=list)


class Buckets:
    """How many values each bucket of `BOUNDS_NS` has (bounds are inclusive; the last is beyond all), and the sum."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_NS) + 1)
        self.sum_s = 0.0
        #: Nanoseconds; None: there are no values.
        self.min_ns: int | None = None
        self.max_ns: int | None = None

    def add(self, part: Mapping[str, Any] | None) -> None:
        """Add what a report counted; None: it had no values."""
        if part is None:
            return
        self.sum_s += part["sum_ns"] / 1e9
        self.min_ns = part["min_ns"] if self.min_ns is None else min(self.min_ns, part["min_ns"])
        self.max_ns = part["max_ns"] if self.max_ns is None else max(self.max_ns, part["max_ns"])
        for place, count in enumerate(part["counts"]):
            self.counts[place] += count


class LiveState:
    """One run's state. ``observe`` takes reports as they come; ``tick`` makes a point of what came."""

    def __init__(
        self,
        name: str,
        run: ResolvedRun,
        target: Mapping[str, Any],
        workers: Iterable[int],
    ) -> None:
        """``name`` is the run's; ``target`` is what the manifest says of it; ``workers`` their numbers."""
        self.run = name
        self.scenario = run.name
        self.begun_ns = now_ns()
        #: URL of the target, without secrets.
        self.target = str(target["url"])
        self.protocol = str(target["protocol"])
        #: Groups that subscribe: what deliveries can be of.
        self.groups = tuple(group.name for group in run.groups if group.subscribe)
        self.workers = {worker: WorkerTotals() for worker in workers}
        self.latencies = Latencies()
        #: Headline latencies and publish durations of all phases, in the buckets of `BOUNDS_NS`.
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
        #: The figures of the measure phase so far.
        self.so_far: dict[str, Any] = self._so_far()
        self.points: deque[dict[str, Any]] = deque(maxlen=POINTS_KEPT)
        self.view: View | None = None
        self._count = 0
        self._last_ns: int | None = None
        self._last_totals: Mapping[str, int] = {}

    def observe(self, worker: int, report: Report, received_ns: int) -> None:
        """Take a worker's report of a second."""
        totals = self.workers[worker]
        totals.deliveries += report["deliveries"]
        counted, statuses = report["groups"], report.get("statuses", {})
        totals.groups.update({name: counted[name] for name in self.groups if name in counted})
        totals.statuses.update({name: statuses[name] for name in STATUSES if name in statuses})
        totals.heard_ns = received_ns
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
        """Make a point of what came since the last one; false: a worker's report is still awaited."""
        if view.phase == "finishing" and not any(totals.fresh for totals in self.workers.values()):
            # The last reports have come; what is silent now hands over its record.
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
        offset_ns = None if view.measure_ns is None else at_ns - view.measure_ns
        loss = None if offset_ns is None else self.loss.settle(offset_ns)
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
        self._last_ns, self._last_totals = at_ns, dict(view.totals)
        self.points.append(point)
        return True

    def finish(self, at_ns: int, view: View) -> None:
        """Take in what came last: nothing will come any more."""
        self.loss.settle(None)
        self.subscribers.settle(at_ns)
        self.view = view
        self.verdict = self.judge.verdict(self, view, at_ns)
        self.gates = self.judge.gates(self)
        self.so_far = self._so_far()

    def _rates(self, at_ns: int, view: View, complete: bool) -> dict[str, float | None]:
        """Return rates a second: what was due since the last point, what was sent, and what arrived."""
        due = due_deliveries = sent = accepted = None
        if self._last_ns is not None and at_ns > self._last_ns:
            seconds = (at_ns - self._last_ns) / 1e9
            if view.warmup_ns is not None:
                begin_ns, end_ns = self._last_ns - view.warmup_ns, at_ns - view.warmup_ns
                due = (self.due.events(end_ns) - self.due.events(begin_ns)) / seconds
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
            # By each worker's own span: its seconds and ours do not begin together.
            "deliveries_per_s": self._sum_of_rates() if complete else None,
        }

    def _sum_of_rates(self) -> float:
        total = 0.0
        for totals in self.workers.values():
            span_ns = sum(report["end_ns"] - report["start_ns"] for report in totals.fresh)
            total += sum(report["deliveries"] for report in totals.fresh) * 1e9 / max(1, span_ns)
        return total

    def _generator(self, complete: bool) -> dict[str, float | int | None]:
        """Return how the worst of the workers is doing."""
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
            "negative": self.negative,
        }

    @property
    def deliveries(self) -> int:
        """Deliveries of all workers in all phases."""
        return sum(totals.deliveries for totals in self.workers.values())


def _most(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
