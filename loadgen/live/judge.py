"""Evaluate the generator's health and the gates during a run.

After the run, the analysis decides the same questions from the complete record. This module uses the workers' reports
so far, and the same limits (`analysis.limits`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hdrh.histogram import HdrHistogram

from analysis.gates.grammar import Gate
from analysis.limits import LIMITS, reads_too_slowly
from loadgen.live.series import Latencies, Loss, Subscribers
from loadgen.live.view import SILENCE_NS, View
from loadgen.measure import histograms
from loadgen.measure.running import Report
from loadgen.resolve import ResolvedRun

_MEASURING = ("measure", "drain", "finishing")


class Heard(Protocol):
    """The part of one worker's totals that the verdict needs."""

    #: Time of the worker's last report, or 0 if it has sent none.
    heard_ns: int


class Observed(Protocol):
    """The part of the live state that verdict and gates need."""

    @property
    def workers(self) -> Mapping[int, Heard]:
        """Totals of the workers by their number."""

    latencies: Latencies
    loss: Loss
    subscribers: Subscribers


@dataclass(frozen=True)
class Verdict:
    """The verdict so far and its reasons. ``kind`` is valid, degraded or invalid, or None before the measurement."""

    kind: str | None
    reasons: tuple[str, ...]


class _Worker:
    """A worker's health in the measure phase."""

    def __init__(self) -> None:
        self.seconds = self.busy = 0
        self.stalled_ns = self.worst_stall_ns = 0
        self.collecting_ns = 0
        self.files_share = self.ports_share = 0.0
        self.clock_moved_ns = 0
        self.held_ns = self.worst_held_ns = self.span_ns = 0
        self.cgroup: int | None = None
        #: Values of the previous second: CPU time as a share of the limit, and longest lag of the event loop (ns).
        self.before = (0.0, 0)


class Judge:
    """Collects from the workers' reports the figures that decide the verdict and the gates."""

    def __init__(self, run: ResolvedRun) -> None:
        self._gates: list[Gate] = [written.gate() for written in run.gates]
        self._lateness = histograms.new_histogram()
        #: Number of deliveries in the seconds in which no receive-queue delay was above the limit. The delay histograms
        #: of these seconds are not decoded.
        self._quick = 0
        self._queue = histograms.new_histogram()
        #: True if the generator caused, or may have caused, a receive-queue delay above the limit.
        self._reads_too_slowly = False
        #: Histograms of further distributions that gates use, by the tag of the distribution in the run's record.
        self._asked: dict[str, HdrHistogram] = {
            tag: histograms.new_histogram()
            for distribution, tag in (
                ("delivery.service", "service"),
                ("delivery.queue", "queue"),
                ("publish.latency", "publish"),
            )
            if any(gate.metric.distribution == distribution for gate in self._gates)
        }
        self._due = self._unsent = self._accepted = 0
        self._workers: dict[int, _Worker] = {}

    def take(self, worker: int, report: Report) -> None:
        """Add a worker's report."""
        if report.get("lateness") is not None:
            self._lateness.add(histograms.decoded(report["lateness"]))
        self._due += report.get("due", 0)
        self._unsent += report.get("unsent", 0)
        self._accepted += report.get("accepted", 0)
        if report["measured"] == "none":
            return
        row = report["health"]
        slow = row is None or (row["queue_max_ns"] or 0) > LIMITS.queue_doubtful_ns
        # A second without a health report: the worker may have stood still, so assume that it read slowly.
        self._reads_too_slowly |= row is None
        if not slow:
            self._quick += report["deliveries"]
        for tag, histogram in (*([("queue", self._queue)] if slow else []), *self._asked.items()):
            if (encoded := report["histograms"].get(tag)) is not None:
                histogram.add(histograms.decoded(encoded))
        if row is not None:
            self._take_health(self._workers.setdefault(worker, _Worker()), row)

    def _take_health(self, known: _Worker, row: Mapping[str, Any]) -> None:
        cpu, lag_ns = share_of_allowed(row), row["lag_max_ns"]
        queue_ns, before = row["queue_max_ns"] or 0, known.before
        if queue_ns > LIMITS.queue_doubtful_ns:
            worse = max(cpu, before[0]), max(lag_ns, before[1])
            self._reads_too_slowly |= reads_too_slowly(*worse, queue_ns)
        known.before = cpu, lag_ns
        known.seconds += 1
        known.busy += share_of_allowed(row) > LIMITS.busy_cpu
        if row.get("throttled_ns") is not None:
            held_ns = min(row["throttled_ns"], row["interval_ns"])
            known.held_ns, known.worst_held_ns = known.held_ns + held_ns, max(known.worst_held_ns, held_ns)
            known.span_ns += row["interval_ns"]
            known.cgroup = row.get("cgroup")
        known.worst_stall_ns = max(known.worst_stall_ns, row["lag_max_ns"])
        known.stalled_ns += row["lag_max_ns"] if row["lag_max_ns"] > LIMITS.stall_ns else 0
        known.collecting_ns = max(known.collecting_ns, row["gc_ns"])
        known.files_share = max(known.files_share, row["open_files"] / (row["open_files_limit"] or 1e18))
        known.ports_share = max(known.ports_share, row["ports"] / (row["ports_limit"] or 1e18))

    def verdict(self, state: Observed, view: View, at_ns: int) -> Verdict:
        """Return the verdict on the generator so far."""
        invalid: list[str] = []
        degraded: list[str] = []
        for number in sorted(view.gone):
            invalid.append(f"worker {number} ({view.workers.get(number, '?')}) was lost")
        for number, totals in state.workers.items():
            silent_ns = at_ns - totals.heard_ns
            awaited = totals.heard_ns and number not in view.gone and view.phase != "finishing"
            if awaited and silent_ns > max(SILENCE_NS, LIMITS.silence_ns):
                invalid.append(f"nothing is known of worker {number} for {silent_ns / 1e9:.0f} s")
        if view.phase in _MEASURING:
            self._throttling(invalid, degraded)
            self._schedule(state, invalid, degraded)
            for number, known in self._workers.items():
                _worker(number, known, invalid, degraded)
        if invalid or degraded:
            return Verdict("invalid" if invalid else "degraded", (*invalid, *degraded))
        return Verdict(
            "valid" if view.phase in _MEASURING and state.latencies.measured.total_count else None, ()
        )

    def _throttling(self, invalid: list[str], degraded: list[str]) -> None:
        """Add a reason for each CPU quota that stopped workers. Workers in one cgroup share a quota and one reason."""
        seen: set[int] = set()
        for number, known in self._workers.items():
            if known.worst_held_ns < LIMITS.throttled_ns or known.cgroup in seen:
                continue
            if known.cgroup is not None:
                seen.add(known.cgroup)
            share = known.held_ns / max(1, known.span_ns)
            (invalid if share >= LIMITS.throttled_wrong else degraded).append(
                f"a CPU quota stopped worker {number} for {share:.1%} of the time, up to"
                f" {known.worst_held_ns / 1e6:.0f} ms in a second"
            )

    def _schedule(self, state: Observed, invalid: list[str], degraded: list[str]) -> None:
        if self._unsent:
            share = self._unsent / max(1, self._due)
            (invalid if share > LIMITS.unsent_wrong else degraded).append(
                f"{self._unsent:,} of {self._due:,} events that were due were never sent"
            )
        measured = state.latencies.measured
        if self._lateness.total_count and measured.total_count:
            own_ns, whole_ns = _p99(self._lateness), _p99(measured)
            share = own_ns / max(1, whole_ns)
            said = (
                f"the generator itself published late: p99 {own_ns / 1e6:.1f} ms of {whole_ns / 1e6:.1f} ms"
            )
            if own_ns > LIMITS.lateness_wrong_ns and share > LIMITS.lateness_wrong_share:
                invalid.append(said)
            elif own_ns > LIMITS.lateness_doubtful_ns and share > LIMITS.lateness_doubtful_share:
                degraded.append(said)
        if (queue_ns := self._queue_p99_ns()) > LIMITS.queue_doubtful_ns and not self._reads_too_slowly:
            degraded.append(
                f"deliveries waited behind data that was lost on the way and sent again: p99 {queue_ns / 1e6:.0f} ms"
            )
        elif queue_ns > LIMITS.queue_doubtful_ns:
            (invalid if queue_ns > LIMITS.queue_wrong_ns else degraded).append(
                f"deliveries waited in the generator before they were read: p99 {queue_ns / 1e6:.0f} ms"
            )

    def _queue_p99_ns(self) -> int:
        """Return the p99 (ns) of the time that deliveries waited in the receive queue; exact only above the limit.

        For seconds without a wait above the limit, only the deliveries are counted. Their waits count as shorter than
        all others, and the result is 0 if the p99 is one of them.
        """
        total = self._quick + self._queue.total_count
        rank = int(0.99 * total + 0.5) - self._quick
        if rank <= 0:
            return 0
        # `_queue` leaves out the deliveries of seconds without a long wait, which `_quick` counts. So the rank of the
        # p99 in `_queue` is lower by that count.
        return histograms.values_at(self._queue, (100 * rank / self._queue.total_count,))[0]

    def gates(self, state: Observed) -> list[dict[str, Any]]:
        """Return each gate with its value so far; ``holds`` is None if it will be known only at the end."""
        rows = []
        for gate in self._gates:
            value = self._value(gate, state)
            # A gate with `over` is decided for each time window. A window may fail even if the phase as a whole passes,
            # so the gate is not decided before the end.
            holds = None if value is None or gate.over_ns is not None else gate.holds(value)
            rows.append({"text": gate.text, "value": value, "kind": gate.metric.kind.name, "holds": holds})
        return rows

    def _value(self, gate: Gate, state: Observed) -> float | None:
        metric = gate.metric
        distributions = {
            "delivery.latency": state.latencies.measured,
            "delivery.service": self._asked.get("service"),
            "delivery.queue": self._asked.get("queue"),
            "publish.latency": self._asked.get("publish"),
            "fanout.first": state.subscribers.first,
            "fanout.last": state.subscribers.last,
        }
        if metric.distribution:
            return statistic(distributions.get(metric.distribution), metric.statistic, metric.percentile)
        if metric.name == "delivery.loss":
            return state.loss.so_far()
        if metric.name == "publish.errors":
            return 1 - self._accepted / self._due if self._due else None
        return None


def statistic(histogram: HdrHistogram | None, name: str, percentile: float | None) -> float | None:
    """Return a statistic of a histogram by its name in gates, or None if the histogram is missing or empty."""
    if histogram is None or not histogram.total_count:
        return None
    if percentile is not None:
        return float(histograms.values_at(histogram, (percentile,))[0])
    take = {"min": histogram.get_min_value, "max": histogram.get_max_value, "mean": histogram.get_mean_value}
    return float(take[name]())


def _worker(number: int, known: _Worker, invalid: list[str], degraded: list[str]) -> None:
    if known.seconds and known.busy / known.seconds > LIMITS.busy_seconds:
        degraded.append(
            f"worker {number} used more than {LIMITS.busy_cpu:.0%} of the CPU that it is allowed in {known.busy} of"
            f" {known.seconds} s"
        )
    if known.worst_stall_ns > LIMITS.stall_ns:
        share = known.stalled_ns / (known.seconds * 1e9)
        (invalid if share > LIMITS.stalled_wrong else degraded).append(
            f"worker {number} stood still for {known.worst_stall_ns / 1e6:.0f} ms"
        )
    if known.collecting_ns > LIMITS.gc_pause_ns:
        degraded.append(
            f"worker {number} spent {known.collecting_ns / 1e6:.0f} ms of a second in garbage collection"
        )
    if known.files_share > LIMITS.open_files_share:
        degraded.append(f"worker {number} came close to its limit of open files")
    if known.ports_share > LIMITS.ports_share:
        degraded.append(f"worker {number} came close to its limit of local ports")


def share_of_allowed(row: Mapping[str, Any]) -> float:
    """Return a worker's CPU time in a second as a share of the time allowed; see `analysis.verdict.cpu.cpu_share`."""
    interval_ns, allowed_ns = max(1, row["interval_ns"]), row.get("allowed_ns")
    core_ns = min(interval_ns, allowed_ns) if allowed_ns else interval_ns
    cpu_ns, receive_ns = row["cpu_ns"], row.get("receive_cpu_ns")
    if receive_ns is None:
        return float(cpu_ns / core_ns)
    busiest = max(receive_ns, cpu_ns - receive_ns) / core_ns
    return float(max(busiest, cpu_ns / allowed_ns if allowed_ns else 0.0))


def _p99(histogram: HdrHistogram) -> int:
    return histograms.values_at(histogram, (99,))[0]
