"""Profiles: the parts of runs that a comparison needs, small enough to commit as a baseline.

The measurement is cut into blocks of time. Each block holds every distribution as a sparse histogram with bins of equal
ratio (0.5 %), so that blocks can be resampled and pooled. The run's own figures are kept exactly.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from analysis.figures import fanout, latencies
from analysis.figures.bounds import Bounded
from analysis.figures.percentiles import nearest_rank
from analysis.ledger.reconcile import reconcile
from analysis.loading import requests
from analysis.loading.run import Ints, ReadError, Run, Window, ints, load
from analysis.loading.target import target_of
from analysis.record import files
from analysis.record.folders import runs_in

FORMAT: Final = 1
BINS_PER_E: Final = 200.0
"""Bins for each factor of e: one is 0.5 % wide."""
BLOCKS_MAX: Final = 30
"""Maximum number of blocks of a run, and at most one per second: shorter blocks would correlate with each other."""

#: The metrics of a comparison: distribution, percentile (None for a plain number), and +1 if more is worse, else -1.
METRICS: Final[dict[str, tuple[str, float | None, int]]] = {
    "delivery.latency.p50": ("delivery.latency", 50.0, 1),
    "delivery.latency.p99": ("delivery.latency", 99.0, 1),
    "fanout.last.p99": ("fanout.last", 99.0, 1),
    "publish.latency.p99": ("publish.latency", 99.0, 1),
    "delivery.rate": ("delivery.rate", None, -1),
}

Histogram = dict[str, int]


@dataclass(frozen=True, slots=True)
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
    #: As returned by `analysis.loading.target.target_of`, plus the master's `host`; empty in older baselines.
    target: dict[str, Any] = field(default_factory=dict)
    #: Bounds (low, high) on each true figure, by metric. Metrics with unknown bounds are missing; old baselines
    #: have no bounds.
    ends: dict[str, tuple[float, float]] = field(default_factory=dict)
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
        samples = _samples(run, window)
        bounded = {
            "delivery.latency": latencies.samples(run, window, "delivery.latency"),
            "fanout.last": fanout.ranks(reconcile(run, window), "last_ns"),
        }
        edges = _edges(window)
        blocks = {name: _histograms(at_ns, values, edges) for name, (at_ns, values) in samples.items()}
        at_ns, _ = samples["delivery.latency"]
        counts, _ = np.histogram(at_ns, bins=edges)
        seconds = np.diff(edges) / 1e9
        figures = {
            metric: _percentile(samples[name][1], percent)
            for metric, (name, percent, _) in METRICS.items()
            if percent is not None
        }
        figures["delivery.rate"] = summary["throughput"]["delivered_per_s"]
        ends = {
            metric: _ends(bounded.get(name), percent, figures[metric], run)
            for metric, (name, percent, _) in METRICS.items()
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
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


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
        # Turn the lists in `ends` into tuples, which JSON lacks. Older baselines have no `ends`.
        return [
            Profile(
                **{
                    **entry,
                    "ends": {name: (low, high) for name, (low, high) in entry.get("ends", {}).items()},
                }
            )
            for entry in content["runs"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ReadError(f"{path} is not a baseline file: make one with `loadgen baseline`") from None


def _samples(run: Run, window: Window) -> dict[str, tuple[Ints, Ints]]:
    """Return the (intended times, values) of the samples, by distribution."""
    table = run.table("deliveries", ("intended_ns", "arrival_ns"), window)
    intended_ns = ints(table, "intended_ns")
    frame = fanout.by_event(reconcile(run, window))[["intended_ns", "last_ns"]].dropna()
    times = ("intended_ns", "sent_ns", "acked_ns")
    events = run.table("events", (*requests.COLUMNS, *times), window)
    due_ns, sent_ns, acked_ns = (ints(events, name) for name in times)
    rows = requests.request_rows(events)
    answered = rows[(sent_ns[rows] >= 0) & (acked_ns[rows] >= 0)]
    return {
        "delivery.latency": (intended_ns, ints(table, "arrival_ns") - intended_ns),
        "fanout.last": (
            frame["intended_ns"].to_numpy(dtype=np.int64),
            frame["last_ns"].to_numpy(dtype=np.int64),
        ),
        "publish.latency": (due_ns[answered], (acked_ns - sent_ns)[answered]),
    }


def _edges(window: Window) -> Ints:
    blocks = int(max(1, min(BLOCKS_MAX, window.seconds)))
    return np.linspace(window.start_ns, window.end_ns, blocks + 1).astype(np.int64)


def bins(values: Ints) -> Ints:
    """Return the bin of each value; values of zero or less share one bin below all others."""
    return np.where(values > 0, np.rint(np.log(np.maximum(values, 1)) * BINS_PER_E), -1).astype(np.int64)


def value_of(bin_number: int) -> float:
    """Return the value in the middle of a bin."""
    return 0.0 if bin_number < 0 else float(np.exp(bin_number / BINS_PER_E))


def _histograms(at_ns: Ints, values: Ints, edges: Ints) -> list[Histogram]:
    block = np.clip(np.searchsorted(edges, at_ns, side="right") - 1, 0, len(edges) - 2)
    numbers = bins(values)
    found = []
    for each in range(len(edges) - 1):
        present, counts = np.unique(numbers[block == each], return_counts=True)
        found.append({str(number): int(count) for number, count in zip(present, counts, strict=True)})
    return found


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


def _percentile(values: Ints, percent: float) -> float | None:
    return float(nearest_rank(np.sort(values), percent)) if len(values) else None
