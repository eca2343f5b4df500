"""Simulate capacity searches: each trial's run is synthetic, for a target with a known limit."""

import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

import analysis
from analysis.__main__ import write
from analysis.report import capacity as report
from loadgen.capacity import conduct, record, trial
from loadgen.capacity.axes import Scale
from loadgen.capacity.conduct import Request, Search
from loadgen.resolve.loading import load
from loadgen.scenario import Scenario, overrides_of
from tests.analysis.synthetic import SECOND, T0, connection, delivery, event, subscription, write_run

MS = 1_000_000
ZERO = T0 + SECOND
#: Runs and their reports, kept because searches with the same start try the same loads.
_MADE = tempfile.TemporaryDirectory(prefix="loadgen-searches-")
GOAL = "delivery.latency.p50 < 20ms"


def made_up_search(
    folder: Path,
    patch: pytest.MonkeyPatch,
    *,
    takes: float = 100.0,
    goals: tuple[str, ...] = (GOAL,),
    refuses_from: float = 1e9,
    low: float | None = 20.0,
    high: float | None = 400.0,
    precision: float = 0.05,
    drawn: bool = False,
) -> Path:
    """Simulate a whole capacity search in a folder, over the events/s of the scenario `comments`.

    Short trials last 500 ms, full ones 1 s. From the load ``refuses_from`` on, the target refuses and the run has no
    record. The plot of latency and loss against load is drawn only if ``drawn``.
    """

    def make(runs: trial.Runs, scale: Scale, load_: float, full: bool, into: Path) -> int:
        into.mkdir(parents=True)
        if load_ >= refuses_from:
            (into / "run.log").write_text("the target refused\n")
            return 4
        (into / "run.log").write_text("passed\n")
        words = runs.arguments(scale, load_, full)
        said = [word for place, word in enumerate(words) if words[place - 1] == "--set"]
        made, exit_code = reported(runs.scenario, tuple(said), load_, takes)
        shutil.copytree(made, into / made.name)
        return exit_code

    patch.setattr(trial, "make", make)
    patch.setattr(conduct, "load", loaded)
    request = Request(
        scenario="comments",
        axis="events",
        goals=goals,
        low=low,
        high=high,
        precision=precision,
        budget_ns=None,
        short_ns=500 * MS,
        full_ns=SECOND,
        options=(),
        overrides=(),
    )
    folder.mkdir(parents=True)
    Search(request, folder, lambda _: None).go()
    content = record.read(folder)
    if drawn:
        report.write(folder, content)
    else:
        (folder / "capacity.html").write_text(report.render(content, "<svg></svg>"), encoding="utf-8")
    return folder


def loaded(name: str, overrides: Mapping[str, str], *, target: str | None = None) -> Scenario:
    """Read a scenario once for all trials that use it, because a search reads the same ones repeatedly."""
    return _loaded(name, tuple(overrides.items()), target)


@cache
def _loaded(name: str, overrides: tuple[tuple[str, str], ...], target: str | None) -> Scenario:
    return load(name, dict(overrides), target=target)


@cache
def reported(scenario: str, overrides: tuple[str, ...], rate: float, takes: float) -> tuple[Path, int]:
    """Return the folder of a synthetic run with its summary, and the run's exit code. Copy the folder to use it."""
    folder = Path(_MADE.name) / str(len(list(Path(_MADE.name).iterdir()))) / "20260101-000000-comments"
    record_of_run = analysis.load(made_up_run(folder, scenario, list(overrides), rate, takes))
    summary = analysis.summarise(record_of_run)
    assert not write(record_of_run, summary, report=False)
    return folder, int(summary["exit_code"])


def made_up_run(folder: Path, scenario: str, overrides: list[str], rate: float, takes: float) -> Path:
    """Write a run with one subscriber and a service that handles ``takes`` events per second with 5 ms of latency.

    If ``rate`` is above ``takes``, a queue grows and so does the latency.
    """
    resolved = load(scenario, overrides_of(overrides))
    length_ns = resolved.phases.measure_ns
    events = [event(1, n, "/a", round(n * SECOND / rate)) for n in range(int(rate * length_ns / SECOND))]
    deliveries = [
        delivery(e, 1, 5 * MS + max(0, round(n * SECOND / takes) - round(n * SECOND / rate)))
        for n, e in enumerate(events)
    ]
    health = {"interval_ns": SECOND, "cpu_ns": SECOND // 4, "lag_max_ns": MS, "gc_ns": 0, "rss_bytes": 10**8}
    return write_run(
        folder,
        {
            "events": events,
            "deliveries": deliveries,
            "subscriptions": [subscription(1, "/a", -MS)],
            "connections": [connection(1, opened_ns=T0 + 1, closed_ns=ZERO + 3 * SECOND)],
            "health": [{"time_ns": T0 + n * SECOND, "open_files": 9, **health} for n in (1, 2)],
        },
        scenario=resolved.resolved(),
        phases=[
            {"name": "ramp", "start_ns": T0, "end_ns": ZERO},
            {"name": "measure", "start_ns": ZERO, "end_ns": ZERO + length_ns},
        ],
    )
