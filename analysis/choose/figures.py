"""The figures of each service's runs, each with its lower and upper bound (see `analysis.figures.bounds`)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from analysis.compare.profile import Profile, pooled
from analysis.gates.grammar import parse
from analysis.gates.metrics import Kind, find
from analysis.loading.run import ReadError, load
from analysis.summary import summarise
from analysis.verdict.gate_figures import GateFigures

#: The metrics in the order of the report, with their names for people.
METRICS: Final = {
    "delivery.ratio": "delivered in time, of expected",
    "delivery.lost": "lost",
    "delivery.late": "late",
    "delivery.duplicates": "duplicates",
    "delivery.reordered": "out of order",
    "delivery.latency.p50": "fan-out latency p50",
    "delivery.latency.p99": "fan-out latency p99",
    "delivery.latency.p99.9": "fan-out latency p99.9",
    "fanout.last.p99": "last subscriber of an event, p99",
    "publish.latency.p99": "publish to answer, p99",
    "publish.errors": "events not accepted",
    "connect.time.p99": "connect and log in, p99",
    "subscribe.time.p99": "subscribe to acknowledgement, p99",
    "ready.gap.p99": "from there to the first delivery, p99",
    "delivery.rate": "deliveries a second",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Value and bounds of one metric, in the metric's unit.

    If the metric is unknown, all three are None and `doubt` says why.
    """

    value: float | None
    low: float | None
    high: float | None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run on a service, with its figures."""

    folder: Path
    target: str
    verdict: str
    why: str
    """The most serious finding (reason to doubt the run), or an empty text if there is none."""
    balances: bool | None
    """True if expected and recorded deliveries add up; None if nothing was measured."""
    kernel_stamps: float | None
    """Share of connections whose deliveries the kernel stamped on arrival."""
    figures: dict[str, Figure]
    latencies: Counter[int] = field(default_factory=Counter, repr=False)
    """Histogram of fan-out latency, with the bins of `analysis.compare.profile`."""


def measured(folder: Path) -> Measured:
    """Return the figures of a run.

    Raises:
        ReadError: the run cannot be read.
    """
    run = load(folder)
    summary = summarise(run)
    ledger, verdict = summary["ledger"], summary["verdict"]
    return Measured(
        folder=folder,
        target=summary["target"]["service"],
        verdict=verdict["kind"],
        why=verdict["findings"][0]["reason"] if verdict["findings"] else "",
        balances=None if ledger is None else bool(ledger["balances"]),
        kernel_stamps=summary["connections"]["kernel_timestamps"],
        figures=_figures(run, summary),
        latencies=_latencies(run, summary),
    )


def _figures(run: Any, summary: dict[str, Any]) -> dict[str, Figure]:
    window = run.measure
    if window is None or summary["ledger"] is None:
        return {metric: Figure(None, None, None, "nothing was measured") for metric in METRICS}
    found = GateFigures(run, window, summary)
    # The parser demands a whole gate. Any threshold will do, since the metric's value does not depend on it.
    return {
        metric: Figure(*found.value(parse(f"{metric} > {_ZERO[find(metric).kind]}"), window))
        for metric in METRICS
    }


_ZERO: Final = {Kind.DURATION: "0s", Kind.SHARE: "0", Kind.COUNT: "0", Kind.RATE: "0/s"}


def _latencies(run: Any, summary: dict[str, Any]) -> Counter[int]:
    try:
        return pooled([Profile.of(run, summary)])
    except ReadError:
        return Counter()


def spread(figures: Sequence[Figure]) -> Figure:
    """Return one figure for several runs: the interval from the lowest lower bound to the highest upper bound.

    The value is that of the only run, or None for several: percentiles are not averaged.
    """
    if len(figures) == 1:
        return figures[0]
    known = [
        each for each in figures if each.value is not None and each.low is not None and each.high is not None
    ]
    if not known:
        return Figure(None, None, None, next((each.doubt for each in figures), ""))
    return Figure(
        None,
        min(each.low for each in known if each.low is not None),
        max(each.high for each in known if each.high is not None),
        next((each.doubt for each in figures if each.doubt), ""),
    )
