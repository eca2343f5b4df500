"""Test that every plot shows its data with units, and is left out if it has nothing to show."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import analysis
from analysis import plots
from analysis.figures.latencies import latencies
from analysis.plots import style
from tests.analysis.synthetic import (
    MS,
    SECOND,
    T0,
    Row,
    connection,
    delivery,
    event,
    simple_run,
    subscription,
    write_run,
)
from tests.paths import REPO

pytestmark = pytest.mark.long

#: Start of the measure phase on the time axis, in seconds.
BEGIN_S = 1.0


def drawn(folder: Path, *names: str) -> dict[str, Figure]:
    """Return a run's plots by name, all or only ``names``. Each plot is also laid out, since that may fail too."""
    run = analysis.load(folder)
    figures = {}
    for plot in plots.ALL:
        if names and plot.__name__ not in names:
            continue
        shows = style.has_something_to_show(plot, run)
        with style.styled():
            figure = plot(run)
            assert shows is (figure is not None), plot.__name__
            if figure is not None:
                figure.draw_without_rendering()
                figures[plot.__name__] = figure
    return figures


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Return the labelled lines of axes as (x values, y values), in the axes' units."""
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_")
    }


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def ticks(axes: Axes, *values: float) -> list[str]:
    return [axes.yaxis.get_major_formatter()(value, None) for value in values]


def phase_names(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def lossy_run(folder: Path) -> Path:
    """Write a run of four seconds, two workers and three channels.

    One delivery in ten is lost, one is late, and one has a negative latency.
    """
    events, deliveries = [], []
    for number in range(120):
        events.append(event(7, number, f"/a/{number % 3}", number * 33 * MS))
        for reader in (1, 2):
            if (number + reader) % 10 == 0:
                continue
            latency_ns = 900 * MS if (number, reader) == (50, 1) else (1 + reader) * MS
            if (number, reader) == (51, 1):
                latency_ns = -5
            deliveries.append(delivery(events[-1], reader, latency_ns, worker=reader - 1))
    phases = [
        {"name": "ramp", "start_ns": T0, "end_ns": T0 + SECOND},
        {"name": "measure", "start_ns": T0 + SECOND, "end_ns": T0 + 5 * SECOND},
    ]
    one = {"hostname": "h", "pid": 1, "finished": True, "boot_id": "k"}
    workers = [{"worker": number, "id": f"w{number}", **one} for number in (0, 1)]
    host = {"hostname": "h", "cpus": 2, "kernel": "k", "platform": "linux", "machine": "m", "boot_id": "k"}
    tables: dict[str, Any] = {
        "events": events,
        "deliveries": deliveries,
        "subscriptions": [subscription(number, "/a/*") for number in (1, 2)],
        "connections": [connection(number) for number in (1, 2)],
    }
    return write_run(folder, tables, phases=phases, workers=workers, host=host, late_after_ns=500 * MS)


def test_a_whole_run_has_all_but_the_plots_of_what_it_has_not() -> None:
    run = analysis.load(REPO / "results" / "sample")
    left_out = [plot.__name__ for plot in plots.ALL if plot(run) is None]
    assert left_out == ["ledger", "recovery_over_time", "reactions_over_time", "by_group", "by_worker"]


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    return drawn(lossy_run(tmp_path_factory.mktemp("lossy") / "run"))


def test_the_ledger_has_a_bar_a_second_and_outcome(lossy: dict[str, Figure]) -> None:
    top, bottom = lossy["ledger"].axes
    bars: dict[str, list[Rectangle]] = {str(c.get_label()): list(c) for c in top.containers}
    assert legend(top) == list(bars) == ["in time", "late", "lost"]
    # Compute the expected counts: event n is due 33 ms · n after the phase begins, and goes to two readers.
    second = [number * 33 // 1000 for number in range(120)]
    lost = np.bincount([second[n] for n in range(120) for r in (1, 2) if (n + r) % 10 == 0], minlength=4)
    late = np.bincount([second[50]], minlength=4)
    expected = 2 * np.bincount(second, minlength=4)
    for name, heights, bases in (
        ("in time", expected - lost - late, 0 * lost),
        ("late", late, expected - lost - late),
        ("lost", lost, expected - lost),
    ):
        assert [bar.get_height() for bar in bars[name]] == heights.tolist()
        assert [bar.get_y() for bar in bars[name]] == bases.tolist()
        assert [bar.get_x() for bar in bars[name]] == [BEGIN_S + n for n in range(4)]
        assert {bar.get_width() for bar in bars[name]} == {1.0}
    assert (int(lost.sum()), int(late.sum())) == (24, 1)
    share = [bar.get_height() for bar in bottom.patches if isinstance(bar, Rectangle) and bar.get_height()]
    assert share[:4] == pytest.approx((100 * (lost + late) / expected).tolist())
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("expected/s", "% lost or late")
    assert bottom.get_xlabel() == "seconds since the run began"
    assert top.get_title(loc="left") == "Ledger: outcome of every expected delivery"


def test_the_heatmap_has_every_delivery_in_a_cell_and_says_what_it_cannot_show(
    lossy: dict[str, Figure],
) -> None:
    figure = lossy["latency_heatmap"]
    axes, bar = figure.axes
    (mesh,) = [each for each in axes.collections if isinstance(each, QuadMesh)]
    counts = mesh.get_array()
    assert counts is not None
    # Of 240 deliveries, 24 were lost, and one latency is not above zero.
    assert int(counts.sum()) == 215
    assert axes.get_title(loc="left") == (
        "Every delivery: fan-out latency over time (1 not above zero are left out)"
    )
    edges_ms = np.asarray(mesh.get_coordinates())[:, 0, 1]
    assert edges_ms[0] <= 2 < edges_ms[-1]
    assert edges_ms[-1] >= 900
    assert axes.get_yscale() == "log"
    assert ticks(axes, 0.05, 2, 900, 2000) == ["50 µs", "2 ms", "900 ms", "2 s"]
    assert bar.get_ylabel() == "deliveries a cell"


def test_channels_and_workers_have_a_line_each_that_rises_to_all(lossy: dict[str, Figure]) -> None:
    figures = lossy
    (workers,) = figures["by_worker"].axes
    # Each reader loses every tenth event, 12 in all: reader 1 from the tenth event on, reader 2 from the
    # ninth.
    assert legend(workers) == list(lines(workers)) == ["worker 0 (108)", "worker 1 (108)"]
    at_ms, share = lines(workers)["worker 1 (108)"]
    assert (set(at_ms), share[0], share[-1]) == ({3.0}, 0.0, 100.0)
    at_ms, _ = lines(workers)["worker 0 (108)"]
    assert (at_ms[0], at_ms[len(at_ms) // 2], at_ms[-1]) == (-5e-6, 2.0, 900.0)
    assert (workers.get_ylim(), workers.get_ylabel()) == ((0.0, 100.0), "% of deliveries")
    assert workers.get_xlabel() == "fan-out latency (arrival − intended) at most"
    # The axis must be linear, since the data has a negative latency, which a logarithmic axis cannot show.
    assert workers.get_xscale() == "linear"
    assert workers.get_title(loc="left") == "Distribution by worker"
    (channels,) = figures["by_channel"].axes
    found = legend(channels)
    assert sorted(label.partition(" (")[0] for label in found) == ["/a/0", "/a/1", "/a/2"]
    assert sum(int(label.partition("(")[2].rstrip(")")) for label in found) == 216


def test_latency_over_time_has_the_percentiles_of_each_second(lossy: dict[str, Figure]) -> None:
    (axes,) = lossy["latency_over_time"].axes
    found = lines(axes)
    assert legend(axes) == list(found) == ["max", "p99", "p90", "p50"]
    # Each point is in the middle of its second; the late delivery (900 ms) is due in the phase's second
    # second.
    assert {tuple(at) for at, _ in found.values()} == {(1.5, 2.5, 3.5, 4.5)}
    assert found["max"][1] == [3.0, 900.0, 3.0, 3.0]
    assert found["p50"][1][2:] == [2.0, 2.0]
    assert all(set(values) <= {2.0, 3.0, 900.0} for _, values in found.values())
    assert axes.get_title(loc="left").startswith("Fan-out latency (arrival − intended)")
    assert ticks(axes, 2.0, 900.0) == ["2 ms", "900 ms"]
    assert axes.get_yscale() == "log", "2 to 900 ms are more than a decade and a half"
    assert "measure" in phase_names(axes)
    assert any(isinstance(each, FillBetweenPolyCollection) for each in axes.collections)


def test_throughput_counts_what_was_due_accepted_and_delivered_each_second(tmp_path: Path) -> None:
    events = [
        event(1, n, "/a", n * 100 * MS, "rejected" if n % 10 == 3 else "accepted", slot_ns=None)
        for n in range(30)
    ]
    deliveries = [delivery(each, 5) for each in events if each["status"] == "accepted"]
    phases = [{"name": "measure", "start_ns": T0 + SECOND, "end_ns": T0 + 4 * SECOND}]
    tables: dict[str, list[Row]] = {
        "events": events,
        "deliveries": deliveries,
        "subscriptions": [subscription(5, "/a")],
    }
    figure = drawn(write_run(tmp_path / "run", tables, phases=phases), "throughput")["throughput"]
    top, bottom = figure.axes
    assert legend(top) == list(lines(top)) == ["offered (due by the schedule)", "accepted by the service"]
    assert legend(bottom) == list(lines(bottom)) == ["delivered to subscribers"]
    # The last event is due before the third second ends, so this incomplete second is left out. The last point repeats
    # the value before it, to draw the line to the end of the second second.
    assert lines(top)["offered (due by the schedule)"] == ([1.0, 2.0, 3.0], [10, 10, 10])
    assert lines(top)["accepted by the service"] == ([1.0, 2.0, 3.0], [9, 9, 9])
    assert lines(bottom)["delivered to subscribers"] == ([1.0, 2.0, 3.0], [9, 9, 9])
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("events/s", "deliveries/s")
    assert (top.get_ylim()[0], bottom.get_ylim()[0]) == (0, 0)
    assert ticks(top, 12_000) == ["12,000"]


def test_where_a_service_answers_no_publish_the_line_says_sent(tmp_path: Path) -> None:
    events = [event(1, n, "/a", n * 100 * MS, "sent") for n in range(5)]
    tables: dict[str, list[Row]] = {"events": events, "subscriptions": [subscription(5, "/a")]}
    top, _ = drawn(write_run(tmp_path / "run", tables), "throughput")["throughput"].axes
    assert legend(top)[1] == "sent (the service answers no publish)"


def test_a_percentile_curve_shows_the_bounds_of_inexact_arrivals(tmp_path: Path) -> None:
    events = [event(1, n, "/a", n * MS) for n in range(100)]
    deliveries = [
        delivery(each, 5, (n + 1) * MS, uncertain_ns=200_000 if n == 98 else 0)
        for n, each in enumerate(events)
    ]
    tables: dict[str, list[Row]] = {
        "events": events,
        "deliveries": deliveries,
        "subscriptions": [subscription(5, "/a")],
    }
    folder = write_run(tmp_path / "run", tables)
    (axes,) = drawn(folder, "percentile_curves")["percentile_curves"].axes
    found = lines(axes)
    assert (
        legend(axes)
        == list(found)
        == [
            "fan-out (arrival − intended)",
            "service (arrival − sent)",
            "receive queue (our own)",
        ]
    )
    above, at_ms = found["fan-out (arrival − intended)"]
    # The curve ends at 99 ms, the latency that one delivery in a hundred exceeds.
    assert [above[0], above[-1], at_ms[-1]] == pytest.approx([1.0, 0.01, 99.0])
    assert np.interp(-0.1, -np.array(above), at_ms) == pytest.approx(90, abs=1.5)
    assert set(found["receive queue (our own)"][1]) == {0.01}
    assert axes.get_xscale() == "log"
    # The axis begins at the median, and its ticks are labelled as percentiles.
    assert axes.get_xlim() == (0.5, 0.01)
    assert [axes.xaxis.get_major_formatter()(value, None) for value in (0.5, 0.1, 0.01, 0.001)] == [
        "50 %",
        "90 %",
        "99 %",
        "99.9 %",
    ]
    assert axes.get_title(loc="left") == "Percentile curve of 100 deliveries, from the median up"
    bands = [each for each in axes.collections if isinstance(each, FillBetweenPolyCollection)]
    headline = latencies(analysis.load(folder))
    assert headline is not None
    assert headline.headline.low is not None
    lowest = np.asarray(bands[0].get_paths()[0].vertices)[:, 1]
    assert lowest.max() == pytest.approx(99.0)
    assert np.isclose(lowest, 98.8).any(), "this one may have arrived 0.2 ms earlier"


def test_fan_out_has_three_points_an_event(tmp_path: Path) -> None:
    (axes,) = drawn(simple_run(tmp_path / "run"), "fan_out")["fan_out"].axes
    found = lines(axes)
    assert legend(axes) == list(found) == ["last subscriber", "median subscriber", "first subscriber"]
    for name, at_ms in (("last", 0.3), ("median", 0.2), ("first", 0.1)):
        at_s, values = found[f"{name} subscriber"]
        assert at_s == pytest.approx([BEGIN_S + n * 0.05 for n in range(10)])
        assert values == pytest.approx([at_ms] * 10)
    assert axes.get_ylim() == pytest.approx((0, 0.3 * 1.25))
    assert ticks(axes, 0.0, 0.3, 0.0005) == ["0", "300 µs", "500 ns"]


def test_the_ramp_counts_up_to_all(tmp_path: Path) -> None:
    (axes,) = drawn(simple_run(tmp_path / "run"), "connection_ramp")["connection_ramp"].axes
    found = lines(axes)
    assert (
        legend(axes)
        == list(found)
        == [
            "connect begun",
            "connected",
            "subscriptions acknowledged",
            "subscriptions proven ready",
        ]
    )
    assert {name: at[0] for name, (at, _) in found.items()} == {
        "connect begun": 0.0,
        "connected": pytest.approx(2e-6),
        "subscriptions acknowledged": pytest.approx(1e-9),
        "subscriptions proven ready": pytest.approx(0.999),
    }
    assert all(count == [0, 1, 2, 3] for _, count in found.values())
    assert (axes.get_ylabel(), axes.get_ylim()[0]) == ("number so far", 0)


def test_the_generators_health_is_by_worker_and_the_worst_of_a_second(tmp_path: Path) -> None:
    top, bottom = drawn(simple_run(tmp_path / "run"), "generator_health")["generator_health"].axes
    # The record has 0.25 s of CPU time per second and a lag of 1 ms, but no lateness and no queue delay.
    assert lines(top) == {"worker 0": ([1.0, 2.0], [25.0, 25.0])}
    assert list(lines(bottom)) == ["event loop lag", "schedule lateness", "receive-queue delay"]
    assert lines(bottom)["event loop lag"] == ([1.5, 2.5], [1.0, 1.0])
    assert lines(bottom)["schedule lateness"] == ([], [])
    assert (top.get_ylabel(), top.get_ylim()) == ("CPU, % of allowed", (0, 100))
    assert (bottom.get_ylabel(), bottom.get_yscale()) == ("worst of a second", "log")


def test_recovery_counts_those_that_stand_and_marks_the_drop(tmp_path: Path) -> None:
    """One of two clients is disconnected 200 ms after the phase begins, and is ready again 300 ms later."""
    zero = T0 + SECOND
    drop = {"intent": "drop 1"}
    connections = [
        connection(1, 0, closed_ns=zero + 200 * MS, **drop),
        connection(1, 1, started_ns=zero + 300 * MS, acknowledged_ns=zero + 400 * MS),
        connection(2),
    ]
    subscriptions = [
        subscription(1, "/a", 0, 200 * MS, **drop),
        subscription(1, "/a", 500 * MS, None, life=1, acknowledged_ns=zero + 450 * MS),
        subscription(2, "/a"),
    ]
    tables: dict[str, list[Row]] = {
        "events": [event(9, n, "/a", n * 100 * MS) for n in range(10)],
        "connections": connections,
        "subscriptions": subscriptions,
    }
    (axes,) = drawn(write_run(tmp_path / "run", tables), "recovery_over_time")["recovery_over_time"].axes
    found = lines(axes)
    assert legend(axes) == list(found) == ["clients connected", "subscriptions ready"]
    at_s, count = found["clients connected"]
    assert at_s == pytest.approx([1e-9, 1e-9, 1.2, 1.4, 2.0])
    assert count == [1, 2, 1, 2, 2]
    at_s, count = found["subscriptions ready"]
    assert at_s == pytest.approx([1.0, 1.0, 1.2, 1.5, 2.0])
    assert count == [1, 2, 1, 2, 2]


@pytest.mark.parametrize("phase", ["ramp", "measure"])
def test_a_run_that_got_nowhere_has_no_plot(phase: str, tmp_path: Path) -> None:
    phases = [{"name": phase, "start_ns": T0, "end_ns": None}]
    assert drawn(write_run(tmp_path / "run", {}, phases=phases, status="failed", reason="x")) == {}


def test_a_single_delivery_is_drawn(tmp_path: Path) -> None:
    only = event(1, 0, "/a", 250 * MS)
    tables: dict[str, list[Row]] = {
        "events": [only],
        "deliveries": [delivery(only, 5, 2 * MS)],
        "subscriptions": [subscription(5, "/a")],
    }
    figures = drawn(write_run(tmp_path / "run", tables))
    # A percentile curve and a heatmap need more than one delivery.
    assert list(figures) == ["latency_over_time", "throughput", "fan_out"]
    for values in lines(figures["latency_over_time"].axes[0]).values():
        assert values == ([1.5], [2.0])
    (axes,) = figures["fan_out"].axes
    assert set(map(str, lines(axes).values())) == {str(([1.25], [2.0]))}


def test_events_that_reached_nobody_have_a_throughput_and_no_latency(tmp_path: Path) -> None:
    tables: dict[str, list[Row]] = {
        "events": [event(1, n, "/a", n * 100 * MS) for n in range(10)],
        "subscriptions": [subscription(5, "/a")],
    }
    figures = drawn(write_run(tmp_path / "run", tables))
    assert list(figures) == ["throughput", "ledger"]
    top, bottom = figures["throughput"].axes
    assert lines(top)["accepted by the service"][1] == [10, 10]
    assert lines(bottom)["delivered to subscribers"][1] == [0, 0]
    assert [bar.get_height() for bar in figures["ledger"].axes[0].containers[2]] == [10]


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_name_that_the_font_cannot_show_is_drawn_without_a_warning(layout: Any) -> None:
    with warnings.catch_warnings(), style.styled():
        warnings.simplefilter("error")
        figure = Figure(layout=layout)
        axes = figure.subplots()
        axes.plot([1, 2], label="/默认/😀")
        axes.legend()
        assert style.to_svg(figure).startswith("<svg")
