"""Profiles: the parts of runs that a comparison needs, small enough to commit as a baseline.

The measurement is cut into blocks of time. Each block holds every distribution as a sparse histogram with bins of equal
ratio (0.5 %), so that blocks can be resampled and pooled. The figures of the whole run are kept exactly.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final, Self

import msgspec
import numpy as np
import numpy.typing as npt

from analysis.figures import fanout, latencies, reactions
from analysis.figures.bounds import Bounded, Collector
from analysis.ledger.reconcile import reconcile
from analysis.loading import requests
from analysis.loading.pieces import in_windows
from analysis.loading.run import Ints, ReadError, Run, Window, ints, load
from analysis.loading.slices import cut_by_second, stretches
from analysis.loading.target import target_of
from analysis.record import files
from analysis.record.folders import runs_in

FORMAT: Final = 1
BINS_PER_E: Final = 200.0
"""Number of bins for each factor of e; each bin is 0.5 % wide."""
BLOCKS_MAX: Final = 30
"""Maximum number of blocks of a run. A block lasts a second or more: shorter blocks would correlate with each other."""

#: The metrics of a comparison: name of the distribution, percentile (None for a plain number), and +1 if a higher value
#: is worse, else -1.
METRICS: Final[dict[str, tuple[str, float | None, int]]] = {
    "delivery.latency.p50": ("delivery.latency", 50.0, 1),
    "delivery.latency.p99": ("delivery.latency", 99.0, 1),
    "fanout.last.p99": ("fanout.last", 99.0, 1),
    "publish.latency.p99": ("publish.latency", 99.0, 1),
    "delivery.rate": ("delivery.rate", None, -1),
    "reaction.latency.p50": ("reaction.latency", 50.0, 1),
    "reaction.latency.p99": ("reaction.latency", 99.0, 1),
    "reaction.first.p99": ("reaction.first", 99.0, 1),
    "reaction.gap.p99": ("reaction.gap", 99.0, 1),
}
#: Metrics that only some runs have: those of clients that reply.
OPTIONAL: Final = frozenset(name for name in METRICS if name.startswith("reaction."))

Histogram = dict[str, int]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """One run: `figures` by metric (ns, or per second); `blocks` by distribution, one histogram per time block."""

    run: str
    scenario: dict[str, Any]
    verdict: str
    status: str
    loss: float | None
    created_ns: int
    figures: dict[str, float | None]
    blocks: dict[str, list[Histogram]] = field(repr=False)
    rates: list[float] = field(repr=False)
    #: The result of `analysis.loading.target.target_of`, plus the master's `host`; empty in older baselines.
    target: dict[str, Any] = field(default_factory=dict)
    #: Bounds (low, high) on each true figure, by metric. Metrics with unknown bounds are missing; old baselines
    #: have no bounds.
    ends: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: Time from the run's creation to the end of its last phase, or None if unknown, as in older baselines.
    seconds: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None = None
    format: int = FORMAT

    @classmethod
    def of(cls, run: Run, summary: Mapping[str, Any]) -> Self:
        """Return the profile of a run, given its summary.

        Raises:
            ReadError: nothing was measured.
        """
        window = run.measure
        if window is None or summary["ledger"] is None:
            raise ReadError(f"{run.path} measured nothing: there is nothing to compare")
        edges = _edges(window)
        found = _distributions(run, window, edges)
        blocks = {name: each.histograms for name, each in found.items()}
        counts = np.array([sum(each.values()) for each in blocks["delivery.latency"]])
        seconds = np.diff(edges) / 1e9
        figures = {
            metric: found[name].percentile(percent)
            for metric, (name, percent, _) in METRICS.items()
            if percent is not None and name in found
        }
        figures["delivery.rate"] = summary["throughput"]["delivered_per_s"]
        ends = {
            metric: _ends(found[name].bounded if name in found else None, percent, figures[metric], run)
            for metric, (name, percent, _) in METRICS.items()
            if metric in figures
        }
        ratio = summary["ledger"]["delivery_ratio"]
        ledger = summary["ledger"]
        arrived = ledger["delivered"] + ledger["late"]
        ends["delivery.rate"] = (
            (arrived - ledger["late_most"]) / window.seconds,
            (arrived - ledger["late_least"]) / window.seconds,
        )
        return cls(
            run=run.path.name,
            scenario=run.manifest["scenario"],
            verdict=summary["verdict"]["kind"],
            status=summary["status"],
            loss=None if ratio is None else 1 - ratio,
            created_ns=run.manifest["created_ns"],
            figures=figures,
            blocks=blocks,
            rates=[float(rate) for rate in counts / seconds],
            target={**target_of(run.manifest), "host": run.manifest["host"]["hostname"]},
            ends={metric: found for metric, found in ends.items() if found is not None},
            seconds=_seconds(run),
        )

    def cumulated(self, distribution: str) -> tuple[Floats, Floats]:
        """Return the logarithms of the bins' values, ascending, and the cumulated counts of each block of time.

        A row of the counts is a bin, and a column is a block. The count is the number of the block's values in this bin
        and below. A bin below 1 ns has the logarithm of 1 ns.

        The results are cached: several metrics, and each interim comparison of a plan that may stop early, use the same
        histograms.
        """
        histograms = self.blocks[distribution]
        found = self._cumulated.get(id(histograms))
        if found is None:
            found = self._cumulated[id(histograms)] = _cumulated(histograms)
        return found

    @cached_property
    def _cumulated(self) -> dict[int, tuple[Floats, Floats]]:
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as they are, not copied, because the histograms may be large."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def _cumulated(histograms: Sequence[Histogram]) -> tuple[Floats, Floats]:
    of_all = chain.from_iterable(histograms)
    bins = np.fromiter(map(int, of_all), dtype=np.int64)
    counts = [count for histogram in histograms for count in histogram.values()]
    numbers, place = np.unique(bins, return_inverse=True)
    matrix = np.zeros((len(histograms), len(numbers)))
    matrix[np.repeat(np.arange(len(histograms)), [len(each) for each in histograms]), place] = counts
    # Counts are whole numbers below 2**53, so float sums of them are exact. The contiguous copy puts the counts of a
    # bin next to each other in memory.
    logs = np.log(np.maximum(values_of(numbers), 1.0))
    return logs, np.ascontiguousarray(np.cumsum(matrix, axis=1).T)


def pooled(profiles: Sequence[Profile]) -> Counter[int]:
    """Return the histogram of the fan-out latency (`delivery.latency`) over several runs, by bin number."""
    counts: Counter[int] = Counter()
    for profile in profiles:
        for histogram in profile.blocks["delivery.latency"]:
            counts.update({int(number): count for number, count in histogram.items()})
    return counts


def read(path: Path) -> list[Profile]:
    """Return the profiles in a run's folder, a folder of runs, or a baseline file, oldest first.

    Raises:
        ReadError: the path is none of these, or a run cannot be read or measured nothing.
    """
    from analysis.summary import summarise

    if path.is_file():
        return _read_file(path)
    folders = [path] if (path / "manifest.json").exists() else runs_in(path)
    if not folders:
        raise ReadError(f"{path} is neither a run's folder, a folder of runs, nor a baseline file")
    profiles = []
    for folder in folders:
        run = load(folder)
        profiles.append(Profile.of(run, summarise(run)))
    return sorted(profiles, key=lambda profile: profile.created_ns)


def write(path: Path, profiles: Sequence[Profile]) -> None:
    """Write a baseline file.

    Raises:
        OSError: the file cannot be written.
    """
    content = {"format": FORMAT, "runs": [profile.to_dict() for profile in profiles]}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.output(path, json.dumps(content, separators=(",", ":")) + "\n")


def _read_file(path: Path) -> list[Profile]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ReadError(
                f"{path} is a baseline of format {content['format']}, this version reads {FORMAT}"
            )
        # A baseline may come from anywhere, so its types are checked.
        return msgspec.convert(content["runs"], list[Profile])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ReadError(f"{path} is not a baseline file: make one with `loadgen baseline`") from None


@dataclass(frozen=True)
class _Distribution:
    """Samples and their histogram in each block of time; `bounded` is None if the samples' intervals are not known."""

    samples: Bounded
    bounded: Bounded | None
    histograms: list[Histogram]

    def percentile(self, percent: float) -> float | None:
        """Return a percentile of all samples, or None if there are none."""
        return self.samples.percentile(percent).value if len(self.samples) else None


def _distributions(run: Run, window: Window, edges: Ints) -> dict[str, _Distribution]:
    """Return the distributions by name, reading the run in stretches of time."""
    delivery, last, publish = (_Blocks(edges) for _ in range(3))

    def read(_: Window, __: Ints, at: Mapping[str, Ints]) -> tuple[Ints, Ints]:
        return at["intended_ns"], at["arrival_ns"] - at["intended_ns"]

    cuts = cut_by_second(run, window.start_ns, (window.start_ns, window.end_ns), latencies.SECOND_NS)
    inside = [cut for cut in cuts if window.start_ns <= cut.start_ns < window.end_ns]
    for at_ns, values in in_windows(run, ("intended_ns", "arrival_ns"), inside, read):
        delivery.add(at_ns, values)
    settled = reconcile(run, window)
    for part in settled.parts:
        its = (part.expected > 0) & (part.arrived > 0)
        last.add(part.events.intended_ns[its], part.ranks_ns["last_ns"][its])
    answers, times = Collector(), ("intended_ns", "sent_ns", "acked_ns")
    for stretch in stretches(run, window):
        table = run.table("events", (*requests.COLUMNS, *times), stretch)
        rows = requests.request_rows(table)
        due_ns, sent_ns, acked_ns = (ints(table, name)[rows] for name in times)
        answered = (sent_ns >= 0) & (acked_ns >= 0)
        publish.add(due_ns[answered], (acked_ns - sent_ns)[answered])
        answers.add((acked_ns - sent_ns)[answered])
    latency = latencies.samples(run, window, "delivery.latency")
    ranks = fanout.ranks(settled, "last_ns")
    return {
        "delivery.latency": _Distribution(latency, latency, delivery.histograms()),
        "fanout.last": _Distribution(ranks, ranks, last.histograms()),
        "publish.latency": _Distribution(answers.done(), None, publish.histograms()),
        **_reactions(run, edges),
    }


def _reactions(run: Run, edges: Ints) -> dict[str, _Distribution]:
    """Return the distributions of the replies' latencies, or an empty mapping if no client replies to events.

    The samples are in blocks of time, by the time of the request.
    """
    found = reactions.reactions(run)
    if found is None:
        return {}
    latency, first, gap = (_Blocks(edges) for _ in range(3))
    arrivals = found.arrivals
    asked_ns, arrival_ns = found.requested_ns[arrivals.reply], arrivals.arrival_ns
    latency.add(asked_ns, arrival_ns - asked_ns)
    # A stream consists of the replies to one request that arrived at one subscription. The latency of the first reply
    # is a sample of `first`, and the time between two successive replies a sample of `gap`.
    request = reactions.grouped(found.cause_publisher, found.cause_sequence, found.cause_subscription)
    stream = reactions.grouped(request[arrivals.reply], arrivals.subscription)
    order = np.lexsort((arrivals.row, arrival_ns, stream))
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = stream[order][1:] != stream[order][:-1]
    ones, later, earlier = order[begins], order[1:][~begins[1:]], order[:-1][~begins[1:]]
    first.add(asked_ns[ones], (arrival_ns - asked_ns)[ones])
    gap.add(asked_ns[later], arrival_ns[later] - arrival_ns[earlier])
    return {
        "reaction.latency": _Distribution(found.latency, found.latency, latency.histograms()),
        "reaction.first": _Distribution(found.first, found.first, first.histograms()),
        "reaction.gap": _Distribution(found.gap, found.gap, gap.histograms()),
    }


class _Blocks:
    """Counts values by block of time and bin."""

    def __init__(self, edges: Ints) -> None:
        self._edges = edges
        self._counts: list[Counter[int]] = [Counter() for _ in edges[1:]]

    def add(self, at_ns: Ints, values: Ints) -> None:
        """Count values; ``at_ns`` is the intended time of each value's event."""
        if not len(values):
            return
        block = np.clip(np.searchsorted(self._edges, at_ns, side="right") - 1, 0, len(self._counts) - 1)
        # The lowest bin is -1, for all values of zero or less.
        numbers = bins(values) + 1
        width = int(numbers.max()) + 1
        found = np.bincount(block * width + numbers)
        for cell in np.flatnonzero(found).tolist():
            self._counts[cell // width][cell % width - 1] += int(found[cell])

    def histograms(self) -> list[Histogram]:
        """Return a histogram for each block of time, with the bins in ascending order."""
        return [{str(number): counts[number] for number in sorted(counts)} for counts in self._counts]


def _seconds(run: Run) -> float | None:
    """Return the time from a run's creation to the end of its last phase, or None if it is not on record."""
    ends = [end_ns for _, end_ns in run.phases.values() if end_ns is not None]
    if not ends or len(ends) < len(run.phases):
        return None
    seconds = (max(ends) - int(run.manifest["created_ns"])) / 1e9
    return seconds if seconds >= 0 else None


def _edges(window: Window) -> Ints:
    blocks = int(max(1, min(BLOCKS_MAX, window.seconds)))
    return np.linspace(window.start_ns, window.end_ns, blocks + 1).astype(np.int64)


def bins(values: Ints) -> Ints:
    """Return the bin of each value; values of zero or less share one bin below all others."""
    return np.where(values > 0, np.rint(np.log(np.maximum(values, 1)) * BINS_PER_E), -1).astype(np.int64)


def values_of(numbers: Ints) -> Floats:
    """Return the value in the middle of each bin."""
    return np.asarray(np.where(numbers < 0, 0.0, np.exp(numbers / BINS_PER_E)), dtype=np.float64)


def _ends(
    samples: Bounded | None, percent: float | None, figure: float | None, run: Run
) -> tuple[float, float] | None:
    """Return the bounds (low, high) on a figure, or None if unknown."""
    if figure is None or samples is None or percent is None or not len(samples):
        return None if figure is None else (figure, figure)
    found = samples.percentile(percent)
    if found.low is None or found.high is None or run.uncertain_arrivals is None:
        return None
    return found.low, found.high
