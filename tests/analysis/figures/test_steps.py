"""Test load steps: their edges, their counts, and percentiles of their own samples only."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import analysis
from analysis.__main__ import main
from analysis.figures import offered
from analysis.figures.offered import GroupCurve
from analysis.figures.percentiles import Percentiles
from analysis.plots import over_time, style
from analysis.report.terminal import print_summary
from analysis.verify.check import verify
from loadgen.pacing import Point, shapes
from tests.analysis.synthetic import MS, SECOND, T0, connection, delivery, event, subscription, write_run


def staircase_run(folder: Path, offered: list[dict[str, Any]] | None = None, **manifest: Any) -> Path:
    """Write a run of three seconds with 10, 20 and 40 events/s to two subscribers.

    Latencies are about 1 ms in the first second, 2 ms in the second and 3 ms in the third.
    """
    events, deliveries = [], []
    sequence = 0
    for second, rate in enumerate((10, 20, 40)):
        for number in range(rate):
            events.append(event(7, sequence, "/a", second * SECOND + number * SECOND // rate))
            sequence += 1
            for reader in (1, 2):
                if (second, number, reader) == (1, 3, 2):
                    continue  # one is lost
                deliveries.append(delivery(events[-1], reader, (second + 1) * MS + number * 1000 + reader))
    points = [[0, 0.25], [SECOND, 0.25], [SECOND, 0.5], [2 * SECOND, 0.5], [2 * SECOND, 1.0]]
    if offered is None:
        offered = [{"group": "writers", "events_per_s": 40.0, "points": points}]
    tables = {
        "events": events,
        "deliveries": deliveries,
        "subscriptions": [subscription(number, "/a", -MS) for number in (1, 2)],
        "connections": [connection(number) for number in (1, 2)],
    }
    phases = [
        {"name": "ramp", "start_ns": T0, "end_ns": T0 + SECOND},
        {"name": "measure", "start_ns": T0 + SECOND, "end_ns": T0 + 4 * SECOND},
    ]
    return write_run(folder, tables, **{"phases": phases, "offered": offered, **manifest})


def test_each_step_has_its_own_counts_and_percentiles(tmp_path: Path) -> None:
    summary = analysis.summarise(analysis.load(staircase_run(tmp_path / "run")))
    steps = summary["steps"]
    assert [step["start_ns"] - T0 for step in steps] == [SECOND, 2 * SECOND, 3 * SECOND]
    assert [step["end_ns"] - T0 for step in steps] == [2 * SECOND, 3 * SECOND, 4 * SECOND]
    assert [step["intended_per_s"] for step in steps] == [10, 20, 40]
    assert [step["events_due"] for step in steps] == [10, 20, 40]
    assert [step["events_accepted"] for step in steps] == [10, 20, 40]
    assert [(step["delivered"], step["expected"]) for step in steps] == [(20, 20), (39, 40), (80, 80)]
    for second, step in enumerate(steps):
        own = [
            (second + 1) * MS + number * 1000 + reader
            for number in range((10, 20, 40)[second])
            for reader in (1, 2)
            if (second, number, reader) != (1, 3, 2)
        ]
        figures = Percentiles.of(np.array(own)).to_dict()
        high = {name: value for name, value in figures.items() if name not in ("count", "negative")}
        # This run's record does not say how exact its arrival times are, so the lower bounds (`low`) are unknown.
        assert step["headline_ns"] == {**figures, "error_ns": 0, "low": None, "high": high}
    # The steps together make up the measure phase.
    assert sum(step["delivered"] for step in steps) == summary["ledger"]["delivered"]
    assert sum(step["headline_ns"]["count"] for step in steps) == summary["delivery"]["headline_ns"]["count"]


def test_the_steps_stand_in_every_output_and_are_verified(tmp_path: Path) -> None:
    folder = staircase_run(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    assert "By step of the load" in (folder / "report.html").read_text()
    assert "step 2: 20.0/s offered, 20 due, 39 of 40" in (folder / "summary.md").read_text()
    run = analysis.load(folder)
    console = Console(width=80, record=True)
    print_summary(analysis.summarise(run), console)
    shown = console.export_text()
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "2 1 s 20.0/s 20 97.50 % 2.01 ms" in " ".join(shown.split())
    found = verify(run)
    assert found.disagreements == []
    path = folder / "summary.json"
    content = path.read_text()
    p99_ns = analysis.summarise(run)["steps"][2]["headline_ns"]["p99"]
    assert content.count(f'"p99": {p99_ns}') >= 1
    before, _, after = content.partition('"steps": [\n')
    path.write_text(before + '"steps": [\n' + after.replace(f'"p99": {p99_ns}', f'"p99": {p99_ns + 1}', 1))
    said = "\n".join(verify(analysis.load(folder)).disagreements)
    assert f"steps.2.headline_ns.p99 is {p99_ns + 1}, and {p99_ns} by the tables" in said


def test_sql_finds_the_same_steps(tmp_path: Path) -> None:
    from analysis.verify import independent

    run = analysis.load(staircase_run(tmp_path / "run"))
    assert run.measure is not None
    found = independent.figures(run, run.measure)
    assert [found[f"steps.{number}.events_due"] for number in range(3)] == [10, 20, 40]
    assert found["steps.1.headline_ns.count"] == 39
    assert "steps.3.events_due" not in found


@pytest.mark.parametrize(
    "curves",
    [
        [],
        [{"group": "g", "events_per_s": 5.0, "points": []}],
        [{"group": "g", "events_per_s": 5.0, "points": [[0, 0.0], [3 * SECOND, 1.0]]}],
        # After the jump the rate rises gradually, so the load does not consist of constant steps.
        [{"group": "g", "events_per_s": 5.0, "points": [[0, 1], [SECOND, 1], [SECOND, 2], [2 * SECOND, 3]]}],
        # This step lies at the end of the run.
        [{"group": "g", "events_per_s": 5.0, "points": [[0, 1], [3 * SECOND, 1], [3 * SECOND, 2]]}],
        # These are too many steps for a table.
        [
            {
                "group": "g",
                "events_per_s": 5.0,
                "points": [[n // 2 * 20 * MS, (n + 1) // 2 % 2] for n in range(1, 400)],
            }
        ],
    ],
)
def test_what_is_no_staircase_has_no_steps(tmp_path: Path, curves: list[dict[str, Any]]) -> None:
    folder = staircase_run(tmp_path / "run", curves)
    assert analysis.summarise(analysis.load(folder))["steps"] == []


def test_a_record_without_curves_has_no_steps_and_no_intended_line(tmp_path: Path) -> None:
    run = analysis.load(staircase_run(tmp_path / "run", []))
    assert not offered.varies(run)
    assert offered.staircase(run)[0].size == 0
    with style.styled():
        figure = over_time.throughput(run)
    assert figure is not None
    assert len(figure.axes) == 2


def test_the_steps_of_several_groups_are_cut_at_all_edges(tmp_path: Path) -> None:
    curves = [
        {"group": "a", "events_per_s": 10.0, "points": [[0, 1], [SECOND, 1], [SECOND, 2]]},
        {"group": "b", "events_per_s": 100.0, "points": [[0, 1], [2 * SECOND, 1], [2 * SECOND, 0.5]]},
        {"group": "c", "events_per_s": 3.0, "points": []},
    ]
    steps = offered.steps(analysis.load(staircase_run(tmp_path / "run", curves)))
    assert [step.events_per_s for step in steps] == [113, 123, 73]


def test_a_run_that_ended_early_has_the_steps_that_it_reached(tmp_path: Path) -> None:
    phases = [{"name": "measure", "start_ns": T0 + SECOND, "end_ns": T0 + 2 * SECOND + SECOND // 2}]
    run = analysis.load(staircase_run(tmp_path / "run", phases=phases, status="interrupted", exit_code=130))
    assert [(s.window.start_ns - T0, s.window.end_ns - T0) for s in offered.steps(run)] == [
        (SECOND, 2 * SECOND),
        (2 * SECOND, 2 * SECOND + SECOND // 2),
    ]
    assert [step["events_due"] for step in analysis.summarise(run)["steps"]] == [10, 10]


def test_the_intended_curve_is_drawn_beside_what_was_offered(tmp_path: Path) -> None:
    run = analysis.load(staircase_run(tmp_path / "run"))
    with style.styled():
        figure = over_time.throughput(run)
    assert figure is not None
    top, _, latency = figure.axes
    (intended,) = (line for line in top.lines if str(line.get_label()).startswith("intended"))
    assert np.asarray(intended.get_xdata()).tolist() == [1, 2, 2, 3, 3, 4]
    assert np.asarray(intended.get_ydata()).tolist() == [10, 10, 20, 20, 40, 40]
    assert [line.get_label() for line in latency.lines] == ["p99", "p50"]


@given(
    loads=st.lists(st.floats(0, 5), min_size=1, max_size=6),
    times=st.lists(st.integers(0, 20), min_size=6, max_size=6),
    at_ns=st.integers(0, 25),
)
def test_a_rate_is_the_one_that_the_schedule_has(loads: list[float], times: list[int], at_ns: int) -> None:
    points = [Point(at, load) for at, load in zip(sorted(times), loads, strict=False)]
    curve = GroupCurve(
        np.array([point.at_ns for point in points]), np.array([point.load for point in points])
    )
    found = curve.rates(np.array([at_ns]), after=True)[0]
    assert found == pytest.approx(shapes.load_at(points, at_ns))
