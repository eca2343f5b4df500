"""Decide gates: passed, failed, or inconclusive if the measurement is not exact enough to tell.

A gate is decided on the figure and on the interval in which the true figure lies (see `analysis.figures.bounds`). The
clocks' error extends the interval on both sides. Arrivals that may be earlier than their stamps extend it downwards.
The gate passes if the whole interval meets the condition, fails if none of it does, and is inconclusive otherwise.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.figures import fanout, recovery
from analysis.figures.bounds import Between, Bounded
from analysis.figures.latencies import KINDS, samples
from analysis.figures.percentiles import nearest_rank
from analysis.gates.grammar import Gate, duration_ns, parse
from analysis.gates.metrics import Kind, Metric
from analysis.ledger.reconcile import Reconciled, reconcile
from analysis.loading.run import Ints, Run, Window, ints

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
_RANK = {PASSED: 0, INCONCLUSIVE: 1, FAILED: 2}
_UNKNOWN_CLOCKS = "how the clocks stood to each other is not known"


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a gate. Values are in the metric's unit (ns, fraction, count, per second), or None if unknown."""

    gate: str
    metric: str
    kind: str
    op: str
    threshold: float
    status: str
    value: float | None
    low: float | None
    high: float | None
    #: Distance from the threshold as a share of it, positive if the value is better; None where it has no meaning.
    margin: float | None
    reason: str
    #: The window that decided, in seconds into the measurement, or None for the whole measurement.
    window_s: tuple[float, float] | None = None
    windows: int | None = None
    windows_failed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def gates_of(manifest: Mapping[str, Any]) -> list[Gate]:
    """Return the gates of the scenario in a manifest."""
    gates = []
    for written in manifest["scenario"].get("gates", ()):
        if isinstance(written, str):
            gates.append(parse(written))
            continue
        over = written.get("over")
        over_ns = None if over is None else duration_ns(over, "the window")
        gates.append(parse(written["check"]).with_options(over_ns, bool(written.get("abort_early", False))))
    return gates


def evaluate(run: Run, summary: Mapping[str, Any], gates: list[Gate]) -> list[Result]:
    """Decide each gate of a run from its tables."""
    window = run.measure
    if window is None or summary["ledger"] is None:
        return [_undecided(gate, "nothing was measured") for gate in gates]
    verdict = summary["verdict"]
    if verdict["kind"] == "invalid":
        why = verdict["findings"][0]["reason"]
        return [_undecided(gate, f"the run is invalid: {why}") for gate in gates]
    figures = _Figures(run, window, summary)
    return [_decide(gate, figures, window) for gate in gates]


def worst(results: list[Result]) -> str:
    """Return the gravest status, or `passed` if there are no gates."""
    return max((result.status for result in results), key=_RANK.__getitem__, default=PASSED)


def _decide(gate: Gate, figures: "_Figures", whole: Window) -> Result:
    if gate.over_ns is None:
        return _decide_in(gate, figures, whole, None)
    windows = list(_windows(whole, gate.over_ns))
    if not windows:
        return _undecided(gate, "the measurement is shorter than the gate's window")
    results = [_decide_in(gate, figures, window, whole) for window in windows]
    # Among equally grave windows, show the one with the smallest margin.
    gravest = max(
        results,
        key=lambda result: (
            _RANK[result.status],
            -(result.margin if result.margin is not None else math.inf),
        ),
    )
    failed = sum(result.status == FAILED for result in results)
    return replace(gravest, windows=len(results), windows_failed=failed)


def _windows(whole: Window, length_ns: int) -> Iterator[Window]:
    """Yield windows of ``length_ns`` from the start on; the last one also takes the remainder."""
    count = (whole.end_ns - whole.start_ns) // length_ns
    for number in range(count):
        start_ns = whole.start_ns + number * length_ns
        yield Window(start_ns, whole.end_ns if number == count - 1 else start_ns + length_ns)


def _decide_in(gate: Gate, figures: "_Figures", window: Window, whole: Window | None) -> Result:
    value, low, high, doubt = figures.value(gate, window)
    place = None
    if whole is not None:
        place = ((window.start_ns - whole.start_ns) / 1e9, (window.end_ns - whole.start_ns) / 1e9)
    if value is None or low is None or high is None:
        return replace(_undecided(gate, doubt), window_s=place)
    held = {gate.holds(bound) for bound in (low, value, high)}
    status = PASSED if held == {True} else FAILED if held == {False} else INCONCLUSIVE
    if status == FAILED:
        doubt = ""
    elif doubt:
        status = INCONCLUSIVE
    if not doubt and status == INCONCLUSIVE:
        doubt = "the threshold lies within the measurement's uncertainty"
    return replace(
        _undecided(gate, doubt),
        status=status,
        value=value,
        low=low,
        high=high,
        margin=_margin(gate, value),
        window_s=place,
    )


def _margin(gate: Gate, value: float) -> float | None:
    if gate.threshold == 0 or gate.op in ("==", "!="):
        return None
    better = gate.threshold - value if gate.op in ("<", "<=") else value - gate.threshold
    return better / gate.threshold


def _undecided(gate: Gate, reason: str) -> Result:
    return Result(
        gate.text,
        gate.metric.name,
        gate.metric.kind.name.lower(),
        gate.op,
        gate.threshold,
        INCONCLUSIVE,
        None,
        None,
        None,
        None,
        reason,
    )


_Value = tuple[float | None, float | None, float | None, str]


class _Figures:
    """The samples behind each metric and the times that assign them to windows, read on first use."""

    def __init__(self, run: Run, whole: Window, summary: Mapping[str, Any]) -> None:
        self._run = run
        self._whole = whole
        self._summary = summary
        self._samples: dict[str, tuple[Ints | None, Ints]] = {}

    def value(self, gate: Gate, window: Window) -> _Value:
        """Return (value, lowest, highest, doubt). If there is no value, the doubt says why."""
        metric = gate.metric
        if metric.kind is Kind.DURATION:
            return self._statistic(gate, window)
        found = self._number(metric.name, window)
        if found is None:
            why = (
                "no check was made" if metric.name.startswith("checks.") else "there is nothing to take it of"
            )
            return None, None, None, why
        return _said(found)

    def _statistic(self, gate: Gate, window: Window) -> _Value:
        metric = gate.metric
        if (known := self._of_summary(metric, window)) is not None:
            return _said(known)
        if metric.distribution == "recovery.time":
            return self._recovery_time(gate)
        values = self._values(metric.distribution, window)
        if not len(values):
            return None, None, None, "there are no samples"
        if metric.percentile is not None:
            found = self._widened(metric.distribution, values.percentile(metric.percentile))
            too_few = not _enough(len(values), metric.percentile) and metric.percentile < 100
            if too_few and not gate.holds(values.at_rank(len(values)).value):
                doubt = f"{len(values):,} samples are too few for {metric.statistic}"
                # A threshold below the second largest sample is below the percentile too.
                next_low = values.at_rank(len(values) - 1).low if len(values) > 1 else -math.inf
                low = None if found.low is None or next_low is None else min(found.low, next_low)
                return found.value, low, found.high, doubt
            return _said(found)
        if metric.statistic == "mean":
            return _said(self._widened(metric.distribution, values.mean()))
        rank = 1 if metric.statistic == "min" else len(values)
        return _said(self._widened(metric.distribution, values.at_rank(rank)))

    def _recovery_time(self, gate: Gate) -> _Value:
        """Return the recovery time; subscriptions that never were ready again took longer than the record reaches."""
        known, waited = recovery.times_ns(self._run)
        times = np.sort(np.concatenate((known, waited)))
        if not len(times):
            return None, None, None, "nothing was dropped"
        statistic, percentile = gate.metric.statistic, gate.metric.percentile
        if percentile is not None:
            value = float(nearest_rank(times, percentile))
        elif statistic == "mean":
            value = float(times.mean())
        else:
            value = float(times.min() if statistic == "min" else times.max())
        if not len(waited) or (statistic != "mean" and value < waited.min()):
            return value, value, value, ""
        doubt = f"{len(waited):,} of {len(times):,} never were ready again: it is at least this"
        # A lower bound fails a gate that it exceeds, but cannot pass one.
        least = value if statistic == "mean" else max(float(waited.min()), 0.0)
        return least, least, least, doubt

    def _of_summary(self, metric: Metric, window: Window) -> Between | None:
        """Return the summary's figure of the same samples, or None if it has none or the samples are too few."""
        name = {
            "delivery.latency": "headline_ns",
            "delivery.service": "service_ns",
            "delivery.queue": "receive_queue_ns",
        }
        if window != self._whole or metric.distribution not in name or self._summary["delivery"] is None:
            return None
        figures = self._summary["delivery"][name[metric.distribution]]
        enough = metric.percentile is None or _enough(figures["count"], metric.percentile)
        statistic = metric.statistic.replace("p99.9", "p999")
        if figures.get(statistic) is None or not enough or not figures["low"] or not figures["high"]:
            return None
        return Between(
            *(float(of[statistic]) for of in (figures["low"], figures, figures["high"])),
        )

    def _values(self, distribution: str, window: Window) -> Bounded:
        """Return the samples that belong to a window."""
        if distribution in KINDS:
            return samples(self._run, window, distribution)
        if distribution.startswith("fanout."):
            return fanout.ranks(self._settled, distribution.partition(".")[2] + "_ns", window)
        if distribution not in self._samples:
            self._samples[distribution] = self._read(distribution)
        at_ns, values = self._samples[distribution]
        if at_ns is not None:
            values = values[(at_ns >= window.start_ns) & (at_ns < window.end_ns)]
        return Bounded.of(values)

    def _widened(self, distribution: str, found: Between) -> Between:
        """Return the figure, widened by uncertainty that is not in its samples.

        The schedule is on the master's clock, so lateness has the publishers' clock errors. In a record that does not
        say how exact arrivals are, arrivals without kernel timestamps are late by up to the event loop's lag.
        """
        if distribution == "publish.lateness":
            error_ns = self._summary["publish"]["lateness_ns"]["error_ns"]
            if error_ns is None or found.low is None or found.high is None:
                return Between(None, found.value, None)
            return Between(found.low - error_ns, found.value, found.high + error_ns)
        arrivals = distribution in ("delivery.latency", "delivery.service") or distribution.startswith(
            "fanout."
        )
        stamped = self._summary["connections"]["kernel_timestamps"]
        if self._run.uncertain_arrivals is not None or not arrivals or stamped is None or stamped == 1:
            return found
        lag_ns = (self._summary["health"] or {}).get("lag_worst_ns") or 0
        return found._replace(low=None if found.low is None else found.low - lag_ns)

    def _read(self, distribution: str) -> tuple[Ints | None, Ints]:
        """Return (times, values) of the samples; times is None for a distribution of the whole run."""
        run = self._run
        if distribution.startswith("publish."):
            return self._publishes(distribution)
        table_name, begin, end = {
            "connect.time": ("connections", "started_ns", "acknowledged_ns"),
            "subscribe.time": ("subscriptions", "requested_ns", "acknowledged_ns"),
            "ready.gap": ("subscriptions", "probed_ns", "ready_ns"),
        }[distribution]
        table = run.table(table_name, (begin, end))
        begin_ns, end_ns = ints(table, begin), ints(table, end)
        known = (begin_ns >= 0) & (end_ns >= 0)
        return None, (end_ns - begin_ns)[known]

    def _publishes(self, distribution: str) -> tuple[Ints, Ints]:
        names = ("publisher", "batch", "intended_ns", "sent_ns", "acked_ns")
        table = self._run.table("events", names, self._whole)
        publisher, batch, intended_ns, sent_ns, acked_ns = (ints(table, name) for name in names)
        _, first = np.unique((publisher << 32) | batch, return_index=True)
        intended_ns, sent_ns, acked_ns = intended_ns[first], sent_ns[first], acked_ns[first]
        if distribution == "publish.latency":
            known = (sent_ns >= 0) & (acked_ns >= 0)
            return intended_ns[known], (acked_ns - sent_ns)[known]
        known = sent_ns >= 0
        return intended_ns[known], (sent_ns - intended_ns)[known]

    @cached_property
    def _settled(self) -> Reconciled:
        return reconcile(self._run, self._whole)

    def _number(self, name: str, window: Window) -> Between | None:
        if name.startswith("checks."):
            return _exact(self._of_checks(name))
        ledger = self._settled.ledger
        if name == "delivery.duplicates":
            return _exact(ledger.duplicates)
        if name == "delivery.reordered":
            return _exact(ledger.reordered)
        if name == "delivery.altered":
            return None if ledger.altered is None else _exact(ledger.altered)
        if name.startswith("recovery."):
            return _exact(self._of_recovery(name))
        if name == "connect.errors":
            table = self._run.table("connections", ("connection", "acknowledged_ns"))
            tried = ints(table, "acknowledged_ns")
            return _exact(float(np.mean(tried < 0))) if len(tried) else None
        events, expected, arrived = self._settled.events, self._settled.expected, self._settled.arrived
        inside = (events.intended_ns >= window.start_ns) & (events.intended_ns < window.end_ns)
        wanted, due = int(expected[inside].sum()), int(np.count_nonzero(inside))
        reached = int(arrived[inside].sum())
        late = self._late(inside)
        timely = Between(
            None if late.high is None else reached - late.high,
            reached - late.value,
            None if late.low is None else reached - late.low,
        )
        accepted = int(np.count_nonzero(events.accepted[inside])) if events.answered else None
        owed = inside & (expected > 0)
        numbers: dict[str, Between | None] = {
            "delivery.loss": _exact((wanted - reached) / wanted if wanted else None),
            "delivery.lost": _exact(wanted - reached),
            "delivery.late": late,
            "delivery.ratio": _over(timely, wanted) if wanted else None,
            "delivery.rate": _over(timely, window.seconds),
            "fanout.complete": _exact(
                float(np.mean(arrived[owed] >= expected[owed])) if owed.any() else None
            ),
            "publish.errors": _exact((due - accepted) / due if due and accepted is not None else None),
            "publish.rate": _exact(None if accepted is None else accepted / window.seconds),
            "publish.offered": _exact(due / window.seconds),
        }
        return numbers[name]

    def _of_checks(self, name: str) -> float | None:
        found = self._summary["checks"]
        if found is None:
            return None
        passed, failed = found["passed"], found["failed"]
        return float(failed) if name == "checks.failed" else passed / (passed + failed)

    def _late(self, inside: npt.NDArray[np.bool_]) -> Between:
        """Return the number of late deliveries of the chosen events, with its bounds."""
        settled = self._settled
        least, value, most = (
            float(late[inside].sum()) for late in (settled.late_least, settled.late, settled.late_most)
        )
        return Between(least, value, most) if settled.ends_known else Between(None, value, None)

    def _of_recovery(self, name: str) -> float | None:
        found = self._summary["recovery"]
        if found is None:
            return None
        if name == "recovery.missed":
            return None if found["missed"] is None else float(found["missed"]["events"])
        again = found["reconnects"]
        if name == "recovery.failed":
            return again["failed"] / again["attempts"] if again["attempts"] else None
        return None if again["peak_per_s"] is None else float(again["peak_per_s"])


def _enough(count: int, percentile: float) -> bool:
    """Return whether at least one of ``count`` samples lies beyond a percentile."""
    # Of 1,000 samples one is above p99.9, though 1 − 99.9/100 is a little less than a thousandth in binary.
    return count * (1 - percentile / 100) >= 1 - 1e-9


def _exact(value: float | None) -> Between | None:
    return None if value is None else Between(float(value), float(value), float(value))


def _over(of: Between, divisor: float) -> Between:
    return Between(
        None if of.low is None else of.low / divisor,
        of.value / divisor,
        None if of.high is None else of.high / divisor,
    )


def _said(found: Between) -> _Value:
    if found.low is None or found.high is None:
        return found.value, None, None, _UNKNOWN_CLOCKS
    return found.value, found.low, found.high, ""
