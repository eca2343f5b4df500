"""Every plot draws what there is, and is left out where there is nothing to show."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

import analysis
from analysis import plots, style
from tests.analysis.synthetic import (
    SECOND,
    T0,
    connection,
    delivery,
    event,
    simple_run,
    subscription,
    write_run,
)
from tests.paths import REPO

MS = 1_000_000


def drawn(folder: Path) -> dict[str, Figure]:
    run = analysis.load(folder)
    figures = {}
    for plot in plots.ALL:
        with style.styled():
            figure = plot(run)
            if figure is not None:
                figure.savefig(folder.parent / "plot.svg")
                figures[plot.__name__] = figure
    return figures


def lossy_run(folder: Path) -> Path:
    """Four seconds, two workers, three channels; one delivery in ten is lost, one is late, one negative."""
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
    assert left_out == ["ledger", "recovery_over_time", "by_worker"]


def test_losses_channels_and_workers_have_their_plots(tmp_path: Path) -> None:
    figures = drawn(lossy_run(tmp_path / "run"))
    assert {"ledger", "by_channel", "by_worker", "latency_heatmap"} <= set(figures)
    top, bottom = figures["ledger"].axes
    in_time, late, lost = (sum(bar.get_height() for bar in container) for container in top.containers)
    summary = analysis.summarise(analysis.load(tmp_path / "run"))["ledger"]
    assert (in_time, late, lost) == (summary["delivered"], summary["late"], summary["lost"])
    assert lost == 24
    assert late == 1
    assert bottom.get_ylabel() == "% lost or late"
    assert "1 not above zero" in figures["latency_heatmap"].axes[0].get_title(loc="left")
    labels = [line.get_label() for line in figures["by_worker"].axes[0].get_lines()]
    assert [str(label).partition(" (")[0] for label in labels] == ["worker 0", "worker 1"]


@pytest.mark.parametrize("phase", ["ramp", "measure"])
def test_a_run_that_got_nowhere_has_no_plot_that_fails(phase: str, tmp_path: Path) -> None:
    phases = [{"name": phase, "start_ns": T0, "end_ns": None}]
    drawn(write_run(tmp_path / "run", {}, phases=phases, status="failed", reason="x"))


def test_a_small_run_is_drawn(tmp_path: Path) -> None:
    assert "latency_over_time" in drawn(simple_run(tmp_path / "run"))
