"""Plots of a run over time."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from analysis.figures import offered
from analysis.figures.latencies import Latencies, latencies
from analysis.loading.run import Run, ints
from analysis.plots import style
from analysis.plots.axes import (
    SECOND_NS,
    UnitFormatter,
    label_milliseconds,
    label_time,
    legend_above,
    origin_of,
    shade_phases,
    steps_by_second,
    worst_by_second,
)
from analysis.verdict.cpu import CPU, cpu_share, receive_share

_WORKER_COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILION, style.PURPLE, style.SKY)


def throughput(run: Run) -> Figure | None:
    """Events offered and accepted, and deliveries, each second."""
    start_ns = run.first_publish_ns
    events = offered.events_by_second(run, start_ns)
    found = latencies(run)
    if events.last_ns is None:
        return None
    origin_ns = origin_of(run)
    taken_label = "accepted by the service" if events.answered else "sent (the service answers no publish)"
    # If the load varies, a third panel at the bottom shows the latency, and so the effect of the load.
    varying = offered.varies(run) and found is not None and len(found.seconds) > 0
    figure, rows = style.new_figure(3 if varying else 2, 6.4 if varying else 4.4, sharex=True)
    top, bottom = rows[:2]
    end_ns = max(events.last_ns, found.last_arrival_ns if found else 0)
    arrivals = found.arrivals if found else np.zeros(0, dtype=np.int64)
    for axes, of_seconds, label, colour, width in (
        (top, events.due, "offered (due by the schedule)", style.ORANGE, 3.2),
        (top, events.accepted, taken_label, style.BLUE, 1.4),
        (bottom, arrivals, "delivered to subscribers", style.GREEN, 1.6),
    ):
        seconds, counts = steps_by_second(of_seconds, start_ns, end_ns, origin_ns)
        axes.plot(seconds, counts, drawstyle="steps-post", color=colour, label=label, linewidth=width)
    at_ns, rates = offered.staircase(run)
    if len(rates):
        label = "intended (the scenario's curve)"
        top.plot(
            (at_ns - origin_ns) / 1e9, rates, color=style.INK, label=label, linewidth=1.2, linestyle="--"
        )
    for axes, unit in ((top, "events/s"), (bottom, "deliveries/s")):
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(UnitFormatter("count"))
        if varying:
            # A varying load may draw its lines at any height, so leave room for the legend above them.
            axes.set_ylim(top=axes.get_ylim()[1] * 1.25)
        axes.legend(loc="upper left" if varying else "lower center", ncols=3)
        shade_phases(axes, run, origin_ns)
    if varying:
        assert found is not None
        _latency_lines(rows[2], run, found, ((99, style.VERMILION, "p99"), (50, style.BLUE, "p50")))
        rows[2].set_ylabel("fan-out latency")
    label_time(rows[-1])
    top.set_title("Throughput" if not varying else "Load and its effect")
    return figure


def latency_over_time(run: Run) -> Figure | None:
    """Percentiles of the headline latency by the second in which an event was due."""
    found = latencies(run)
    if found is None or not len(found.seconds):
        return None
    figure, (axes,) = style.new_figure(1, 3.4)
    axes.set_title("Fan-out latency (arrival − intended), by the second in which an event was due")
    _latency_lines(
        axes,
        run,
        found,
        (
            (100, style.PURPLE, "max"),
            (99, style.VERMILION, "p99"),
            (90, style.ORANGE, "p90"),
            (50, style.BLUE, "p50"),
        ),
    )
    label_time(axes)
    return figure


def _latency_lines(axes: Axes, run: Run, found: Latencies, lines: Sequence[tuple[int, str, str]]) -> None:
    """Draw percentiles by second, the highest first."""
    origin_ns = origin_of(run)
    at_s = (found.seconds * SECOND_NS + run.first_publish_ns - origin_ns) / 1e9 + 0.5
    series = {percent: values / 1e6 for percent, values in found.bands_ns.items()}
    for percent, colour, label in lines:
        axes.plot(at_s, series[percent], color=colour, label=label, marker=".", markersize=4)
    axes.fill_between(at_s, series[50], series[99], color=style.ORANGE, alpha=0.12, linewidth=0)
    label_milliseconds(axes, series[50], series[lines[0][0]])
    legend_above(axes, 4)
    shade_phases(axes, run, origin_ns)


def connection_ramp(run: Run) -> Figure | None:
    """Number of connected clients and of ready subscriptions over the ramp."""
    connections = run.table("connections", ("acknowledged_ns", "started_ns"))
    subscriptions = run.table("subscriptions", ("acknowledged_ns", "ready_ns"))
    if not connections.num_rows:
        return None
    origin_ns = origin_of(run)
    figure, (axes,) = style.new_figure(1, 2.8)
    for values, label, colour in (
        (ints(connections, "started_ns"), "connect begun", style.INK),
        (ints(connections, "acknowledged_ns"), "connected", style.BLUE),
        (ints(subscriptions, "acknowledged_ns"), "subscriptions acknowledged", style.ORANGE),
        (ints(subscriptions, "ready_ns"), "subscriptions proven ready", style.GREEN),
    ):
        values = np.sort(values[values >= 0])
        if len(values):
            at_s = (np.concatenate([values[:1], values]) - origin_ns) / 1e9
            axes.plot(at_s, np.arange(len(at_s)), drawstyle="steps-post", color=colour, label=label)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(UnitFormatter("count"))
    axes.set_title("Ramp")
    axes.set_ylabel("number so far")
    axes.legend(loc="upper left")
    label_time(axes)
    return figure


def generator_health(run: Run) -> Figure | None:
    """CPU, event-loop lag, schedule lateness and receive-queue delay of each worker."""
    columns = (
        *("worker", "time_ns", *CPU),
        *("lag_max_ns", "late_max_ns", "queue_max_ns"),
    )
    table = run.table("health", columns)
    if not table.num_rows:
        return None
    origin_ns = origin_of(run)
    worker, at_s = ints(table, "worker"), (ints(table, "time_ns") - origin_ns) / 1e9
    figure, (top, bottom) = style.new_figure(2, 4.4, sharex=True)
    times = {name: ints(table, name) for name in CPU}
    cpu, receiving = cpu_share(times) * 100, receive_share(times) * 100
    for number in np.unique(worker).tolist():
        mine = np.flatnonzero(worker == number)
        mine = mine[np.argsort(at_s[mine])]
        name = f"worker {number}" if number < 6 else None
        colour = _WORKER_COLOURS[number % len(_WORKER_COLOURS)]
        top.plot(at_s[mine], cpu[mine], label=name, color=colour)
        if not np.isnan(receiving[mine]).all():
            label = "its receive thread" if number == 0 else None
            top.plot(at_s[mine], receiving[mine], label=label, color=colour, linestyle=":")
    drawn = False
    for column, label, colour in (
        ("lag_max_ns", "event loop lag", style.INK),
        ("late_max_ns", "schedule lateness", style.ORANGE),
        ("queue_max_ns", "receive-queue delay", style.BLUE),
    ):
        seconds, worst = worst_by_second(at_s, ints(table, column))
        drawn = drawn or len(worst) > 0
        bottom.plot(seconds, worst / 1e6, color=colour, label=label)
    top.set_ylim(0, max(100, float(cpu.max()) * 1.05))
    top.set_ylabel("CPU, % of allowed")
    top.set_title("Health of the generator")
    # Above the axes, on the line of the title: a busy worker's curve is at the top of the axes.
    top.legend(loc="lower right", bbox_to_anchor=(1, 1.07), ncols=3, borderaxespad=0)
    if drawn:
        bottom.set_yscale("log")
        # Room for the legend above the curves.
        least, most = bottom.get_ylim()
        bottom.set_ylim(least, most * (most / least) ** 0.25)
        bottom.yaxis.set_minor_formatter(NullFormatter())
    bottom.yaxis.set_major_formatter(UnitFormatter("ms"))
    bottom.set_ylabel("worst of a second")
    bottom.legend(loc="upper right", ncols=3)
    for axes in (top, bottom):
        shade_phases(axes, run, origin_ns)
    label_time(bottom)
    return figure
