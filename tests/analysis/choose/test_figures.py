"""Test the figures of a service's runs: each has bounds, and several runs are given as one interval."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.choose.figures import METRICS, Figure, measured, spread
from analysis.gates.metrics import find
from analysis.loading.run import ReadError
from tests.analysis.synthetic import MS, SECOND, T0, delivery, event, simple_run, subscription, write_run

_numbers = st.floats(0, 1e9)


@st.composite
def _figures(draw: st.DrawFn) -> Figure:
    low, value, high = sorted(draw(st.tuples(_numbers, _numbers, _numbers)))
    return Figure(value, low, high)


def test_each_metric_is_one_that_gates_know() -> None:
    assert [find(metric).name for metric in METRICS] == list(METRICS)


def test_the_figures_of_a_whole_run(tmp_path: Path) -> None:
    found = measured(simple_run(tmp_path / "run"))
    assert found.balances is True
    assert found.figures["delivery.ratio"].value == 1.0
    assert found.figures["delivery.lost"] == Figure(0, 0, 0)
    # The event reached three subscribers 100, 200 and 300 µs after it was due.
    assert found.figures["delivery.latency.p50"].value == 200_000
    assert found.figures["delivery.latency.p99"].value == 300_000
    assert sum(found.latencies.values()) == 30


def test_lost_and_doubled_deliveries_are_counted(tmp_path: Path) -> None:
    events = [event(9, n, "/default/a", n * 50 * MS) for n in range(10)]
    subscriptions = [subscription(n, "/default/a", -MS) for n in range(2)]
    deliveries = [delivery(e, s, MS) for e in events for s in range(2)]
    del deliveries[7]
    deliveries.append(delivery(events[2], 0, 2 * MS))
    folder = write_run(
        tmp_path / "run", {"events": events, "subscriptions": subscriptions, "deliveries": deliveries}
    )
    found = measured(folder).figures
    assert found["delivery.lost"].value == 1
    assert found["delivery.duplicates"].value == 1
    assert found["delivery.ratio"].value == pytest.approx(19 / 20)


def test_without_a_measurement_each_figure_is_unknown_with_its_reason(tmp_path: Path) -> None:
    phases = [{"name": "ramp", "start_ns": T0, "end_ns": T0 + SECOND}]
    folder = write_run(tmp_path / "run", {}, phases=phases, status="aborted")
    found = measured(folder)
    assert found.balances is None
    assert set(found.figures.values()) == {Figure(None, None, None, "nothing was measured")}
    assert not found.latencies


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError):
        measured(tmp_path)


@given(st.lists(_figures(), min_size=2, max_size=6))
def test_several_runs_are_one_interval_around_all_their_bounds_and_no_average(runs: list[Figure]) -> None:
    found = spread(runs)
    assert found.value is None
    assert found.low == min(each.low for each in runs if each.low is not None)
    assert found.high == max(each.high for each in runs if each.high is not None)


@given(_figures())
def test_one_run_keeps_its_value(run: Figure) -> None:
    assert spread([run]) == run


def test_a_run_without_the_figure_is_told_beside_the_others() -> None:
    found = spread([Figure(1.0, 0.5, 2.0), Figure(None, None, None, "there is no data for it")])
    assert (found.low, found.high, found.doubt) == (0.5, 2.0, "there is no data for it")
    assert spread([Figure(None, None, None, "why")] * 2) == Figure(None, None, None, "why")
