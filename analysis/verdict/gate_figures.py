"""Compute the figure that a gate compares with its threshold, and the interval in which the true figure lies.

`analysis.figures.bounds` explains the interval. The clocks' error extends it on both sides, and arrivals that may be
earlier than their stamps extend it downwards.
"""

import math
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from analysis.figures import fanout, reaction_figures, recovery
from analysis.figures.bounds import Between, Bounded, Collector
from analysis.figures.latencies import KINDS, samples
from analysis.figures.percentiles import nearest_rank
from analysis.gates.grammar import Gate
from analysis.gates.metrics import Kind, Metric
from analysis.ledger.reconcile import Reconciled, reconcile
from analysis.loading import requests
from analysis.loading.run import Run, Window, ints
from analysis.loading.slices import stretches

_SUMMED = ("expected", "arrived", "late", "late_least", "late_most")
_UNKNOWN_CLOCKS = "the offset between the clocks is not known"
Value = tuple[float | None, float | None, float | None, str]
"""Value, lowest, highest, and the doubt: why the value is missing or may not be exact, or an empty text."""


class GateFigures:
    """Computes the figures of gates from a run's record; the samples of each metric are read on first use."""

    def __init__(self, run: Run, whole: Window, summary: Mapping[str, Any]) -> None:
        self._run = run
        self._whole = whole
        self._summary = summary
        self._samples: dict[str, Bounded] = {}
        self._known_totals: dict[Window, dict[str, int]] = {}

    def value(self, gate: Gate, window: Window) -> Value:
        """Return (value, lowest, highest, doubt). If there is no value, the doubt says why."""
        metric = gate.metric
        if metric.kind is Kind.DURATION:
            return self._statistic(gate, window)
        found = self._number(metric.name, window)
        if found is None:
            why = "no check was made" if metric.name.startswith("checks.") else "there is no data for it"
            return None, None, None, why
        return _said(found)

    def _statistic(self, gate: Gate, window: Window) -> Value:
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
                # With too few samples, the gate may fail only if the second largest sample also exceeds the threshold.
                # So the lower bound is at most that sample.
                next_low = values.at_rank(len(values) - 1).low if len(values) > 1 else -math.inf
                low = None if found.low is None or next_low is None else min(found.low, next_low)
                return found.value, low, found.high, doubt
            return _said(found)
        if metric.statistic == "mean":
            return _said(self._widened(metric.distribution, values.mean()))
        rank = 1 if metric.statistic == "min" else len(values)
        return _said(self._widened(metric.distribution, values.at_rank(rank)))

    def _recovery_time(self, gate: Gate) -> Value:
        """Return the recovery time; a subscription that never recovered counts with its wait until the record's end."""
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
        doubt = f"{len(waited):,} of {len(times):,} never were ready again: the figure is a lower bound"
        # The figure is only a lower bound: it can show that a gate fails, but not that a gate passes.
        least = value if statistic == "mean" else max(float(waited.min()), 0.0)
        return least, least, least, doubt

    def _of_summary(self, metric: Metric, window: Window) -> Between | None:
        """Return the figure from the summary, or None if the summary lacks it or has too few samples for it."""
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
        """Return the samples of a distribution that belong to a time window."""
        if distribution in KINDS:
            return samples(self._run, window, distribution)
        if distribution.startswith("reaction."):
            return reaction_figures.of_gate(self._run, distribution)
        if distribution.startswith("fanout."):
            return fanout.ranks(self._settled, distribution.partition(".")[2] + "_ns", window)
        if distribution.startswith("publish."):
            return self._publishes(distribution, window)
        if distribution not in self._samples:
            self._samples[distribution] = self._read(distribution)
        return self._samples[distribution]

    def _widened(self, distribution: str, found: Between) -> Between:
        """Return the figure with bounds that also include the clock errors and lags which its samples lack.

        The schedule is on the master's clock, so lateness includes the publishers' clock errors. In a record that does
        not say how exact arrivals are, arrivals without kernel timestamps are late by up to the event loop's lag.
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

    def _read(self, distribution: str) -> Bounded:
        """Return the samples of a distribution of the whole run."""
        table_name, begin, end = {
            "connect.time": ("connections", "started_ns", "acknowledged_ns"),
            "subscribe.time": ("subscriptions", "requested_ns", "acknowledged_ns"),
            "ready.gap": ("subscriptions", "probed_ns", "ready_ns"),
        }[distribution]
        table = self._run.table(table_name, (begin, end))
        begin_ns, end_ns = ints(table, begin), ints(table, end)
        known = (begin_ns >= 0) & (end_ns >= 0)
        return Bounded.of((end_ns - begin_ns)[known])

    def _publishes(self, distribution: str, window: Window) -> Bounded:
        """Return the samples of a publish distribution, such as lateness, for the requests scheduled in a window."""
        times = ("intended_ns", "sent_ns", "acked_ns")
        found = Collector()
        for stretch in stretches(self._run, self._whole):
            if stretch.start_ns >= window.end_ns or stretch.end_ns <= window.start_ns:
                continue
            table = self._run.table("events", (*requests.COLUMNS, *times), stretch)
            rows = requests.request_rows(table)
            intended_ns, sent_ns, acked_ns = (ints(table, name)[rows] for name in times)
            chosen = (sent_ns >= 0) & (intended_ns >= window.start_ns) & (intended_ns < window.end_ns)
            if distribution == "publish.latency":
                chosen &= acked_ns >= 0
                found.add((acked_ns - sent_ns)[chosen])
            else:
                found.add((sent_ns - intended_ns)[chosen])
        return found.done()

    @cached_property
    def _settled(self) -> Reconciled:
        return reconcile(self._run, self._whole)

    def _number(self, name: str, window: Window) -> Between | None:
        if name.startswith("checks."):
            return _exact(self._of_checks(name))
        if name.startswith("reaction."):
            return _exact(reaction_figures.number(self._run, self._settled, name))
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
        total = self._totals(window)
        wanted, due, reached = total["expected"], total["due"], total["arrived"]
        late = Between(*(float(total[each]) for each in ("late_least", "late", "late_most")))
        if not self._settled.ends_known:
            late = Between(None, late.value, None)
        timely = Between(
            None if late.high is None else reached - late.high,
            reached - late.value,
            None if late.low is None else reached - late.low,
        )
        accepted = total["accepted"] if self._settled.answered else None
        numbers: dict[str, Between | None] = {
            "delivery.loss": _exact((wanted - reached) / wanted if wanted else None),
            "delivery.lost": _exact(wanted - reached),
            "delivery.late": late,
            "delivery.ratio": _over(timely, wanted) if wanted else None,
            "delivery.rate": _over(timely, window.seconds),
            "fanout.complete": _exact(total["complete"] / total["owed"] if total["owed"] else None),
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

    def _totals(self, window: Window) -> dict[str, int]:
        """Return the numbers of events and deliveries, by outcome, for the events that were scheduled in a window."""
        if window not in self._known_totals:
            self._known_totals[window] = _totals(self._settled, window)
        return self._known_totals[window]

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


def _totals(settled: Reconciled, window: Window) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in settled.parts:
        intended_ns = part.events.intended_ns
        inside = (intended_ns >= window.start_ns) & (intended_ns < window.end_ns)
        owed = inside & (part.expected > 0)
        total.update(
            due=int(np.count_nonzero(inside)),
            accepted=int(np.count_nonzero(part.events.accepted[inside])),
            owed=int(np.count_nonzero(owed)),
            complete=int(np.count_nonzero(part.arrived[owed] >= part.expected[owed])),
            **{name: int(getattr(part, name)[inside].sum()) for name in _SUMMED},
        )
    return total


def _enough(count: int, percentile: float) -> bool:
    """Return True if at least one of ``count`` samples lies beyond a percentile."""
    # The tolerance is for rounding: 1 − 99.9/100 is slightly below 0.001, but one of 1,000 samples is above p99.9.
    return count * (1 - percentile / 100) >= 1 - 1e-9


def _exact(value: float | None) -> Between | None:
    return None if value is None else Between(float(value), float(value), float(value))


def _over(of: Between, divisor: float) -> Between:
    return Between(
        None if of.low is None else of.low / divisor,
        of.value / divisor,
        None if of.high is None else of.high / divisor,
    )


def _said(found: Between) -> Value:
    if found.low is None or found.high is None:
        return found.value, None, None, _UNKNOWN_CLOCKS
    return found.value, found.low, found.high, ""
