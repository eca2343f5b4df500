"""The report's plots. Each takes a run and returns a matplotlib figure, or None where there is nothing to show."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis import style
from analysis.percentiles import curve, nearest_rank
from analysis.run import Ints, Run, codes, ints

Floats = npt.NDArray[np.float64]
_SECOND_NS = 1_000_000_000
_PHASE_TINTS = {"ramp": 0.10, "ready": 0.05, "warmup": 0.12, "measure": 0.0, "drain": 0.08}


def throughput(run: Run) -> Figure | None:
    """Events offered and accepted, and deliveries, each second."""
    events = run.table("events", ("intended_ns", "sent_ns", "status"))
    arrival_ns = ints(run.table("deliveries", ("arrival_ns",)), "arrival_ns")
    if not events.num_rows:
        return None
    origin_ns = _origin(run)
    intended_ns = ints(events, "intended_ns")
    status, names = codes(events, "status")
    accepted = status == names.index("accepted") if "accepted" in names else np.zeros(len(status), dtype=bool)
    figure, (top, bottom) = style.new_figure(2, 4.4, sharex=True)
    end_ns = int(max(intended_ns.max(), arrival_ns.max() if len(arrival_ns) else 0))
    for axes, values, label, colour, width in (
        (top, intended_ns, "offered (due by the schedule)", style.ORANGE, 3.2),
        (top, intended_ns[accepted], "accepted by the service", style.BLUE, 1.4),
        (bottom, arrival_ns, "delivered to subscribers", style.GREEN, 1.6),
    ):
        seconds, counts = _per_second(values, _first_publish(run), end_ns, origin_ns)
        axes.plot(seconds, counts, drawstyle="steps-post", color=colour, label=label, linewidth=width)
    for axes, unit in ((top, "events/s"), (bottom, "deliveries/s")):
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.legend(loc="lower center", ncols=2)
        _shade(axes, run, origin_ns)
    _time_axis(bottom)
    top.set_title("Throughput")
    return figure


def latency_over_time(run: Run) -> Figure | None:
    """Percentiles of the headline latency by the second in which an event was due."""
    table = run.table("deliveries", ("intended_ns", "arrival_ns"))
    intended_ns = ints(table, "intended_ns")
    if not len(intended_ns):
        return None
    latency_ns = ints(table, "arrival_ns") - intended_ns
    origin_ns, start_ns = _origin(run), _first_publish(run)
    second = (intended_ns - start_ns) // _SECOND_NS
    order = np.lexsort((latency_ns, second))
    second, latency_ns = second[order], latency_ns[order]
    present, begins = np.unique(second, return_index=True)
    groups = np.split(latency_ns, begins[1:])
    at_s = (present * _SECOND_NS + start_ns - origin_ns) / 1e9 + 0.5
    series = {p: np.array([nearest_rank(group, p) for group in groups]) / 1e6 for p in (50, 90, 99, 100)}
    figure, (axes,) = style.new_figure(1, 3.2)
    for percent, colour, label in (
        (100, style.PURPLE, "max"),
        (99, style.VERMILION, "p99"),
        (90, style.ORANGE, "p90"),
        (50, style.BLUE, "p50"),
    ):
        axes.plot(at_s, series[percent], color=colour, label=label, marker=".", markersize=4)
    axes.fill_between(at_s, series[50], series[99], color=style.ORANGE, alpha=0.12, linewidth=0)
    _milliseconds(axes, series[50], series[100])
    axes.set_title("Fan-out latency (arrival − intended), by the second in which an event was due")
    axes.legend(loc="upper right", ncols=4)
    _shade(axes, run, origin_ns)
    _time_axis(axes)
    return figure


def percentile_curves(run: Run) -> Figure | None:
    """Latency by percentile on an axis on which each further nine takes the same space."""
    window = run.measure
    if window is None:
        return None
    table = run.table("deliveries", ("intended_ns", "sent_ns", "arrival_ns", "read_ns"), window)
    if table.num_rows < 2:
        return None
    arrival_ns = ints(table, "arrival_ns")
    figure, (axes,) = style.new_figure(1, 3.4)
    lowest, highest = [], []
    for values, label, colour, dash in (
        (arrival_ns - ints(table, "intended_ns"), "fan-out (arrival − intended)", style.BLUE, "-"),
        (arrival_ns - ints(table, "sent_ns"), "service (arrival − sent)", style.GREEN, "--"),
        (ints(table, "read_ns") - arrival_ns, "receive queue (our own)", style.INK, ":"),
    ):
        above, at = curve(np.sort(values))
        axes.plot(above, at / 1e6, color=colour, label=label, linestyle=dash)
        lowest.append(at[len(at) // 4] / 1e6)
        highest.append(at[-1] / 1e6)
    axes.set_xscale("log")
    nines = [10.0**-n for n in range(int(np.log10(table.num_rows)) + 1)]
    axes.set_xlim(1.0, 1.0 / table.num_rows)
    axes.xaxis.set_major_locator(FixedLocator(nines))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _nines(value)))
    _milliseconds(axes, np.array(lowest), np.array(highest))
    axes.set_xlabel("percentile")
    axes.set_title(f"Percentile curve of {table.num_rows:,} deliveries")
    axes.legend(loc="upper left")
    return figure


def fan_out(run: Run) -> Figure | None:
    """When the first, the median and the last subscriber of each event had it, by the second in which it was due."""
    from analysis.ledger import settle

    window = run.measure
    if window is None or window.seconds <= 0:
        return None
    settled = settle(run, window)
    events, matched = settled.events, settled.matched
    if not len(matched.event):
        return None
    latency_ns = matched.arrival_ns - events.intended_ns[matched.event]
    order = np.lexsort((latency_ns, matched.event))
    reached, begins, sizes = np.unique(matched.event[order], return_index=True, return_counts=True)
    latency_ns = latency_ns[order]
    at_s = (events.intended_ns[reached] - _origin(run)) / 1e9
    figure, (axes,) = style.new_figure(1, 3.0)
    shown = np.linspace(0, len(reached) - 1, min(len(reached), 4000)).astype(np.int64)
    last, first = latency_ns[begins + sizes - 1] / 1e6, latency_ns[begins] / 1e6
    for values, label, colour in (
        (last, "last subscriber", style.VERMILION),
        (latency_ns[begins + (sizes - 1) // 2] / 1e6, "median subscriber", style.BLUE),
        (first, "first subscriber", style.GREEN),
    ):
        axes.plot(
            at_s[shown],
            values[shown],
            linestyle="none",
            marker=".",
            markersize=3,
            color=colour,
            label=label,
            rasterized=True,  # thousands of shapes would make up most of the page
        )
    _milliseconds(axes, first, last)
    sample = "" if len(shown) == len(reached) else f" ({len(shown):,} of {len(reached):,} events shown)"
    axes.set_title(f"Fan-out of each event: first, median and last subscriber{sample}")
    axes.legend(loc="upper right", ncols=3, markerscale=3)
    _time_axis(axes)
    return figure


def connection_ramp(run: Run) -> Figure | None:
    """How many clients were connected and how many subscriptions ready, over the ramp."""
    connections = run.table("connections", ("acknowledged_ns", "started_ns"))
    subscriptions = run.table("subscriptions", ("acknowledged_ns", "ready_ns"))
    if not connections.num_rows:
        return None
    origin_ns = _origin(run)
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
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_title("Ramp")
    axes.set_ylabel("so far")
    axes.legend(loc="upper left")
    _time_axis(axes)
    return figure


def generator_health(run: Run) -> Figure | None:
    """CPU, hub lag, schedule lateness and receive-queue delay of each worker."""
    columns = ("worker", "time_ns", "interval_ns", "cpu_ns", "lag_max_ns", "late_max_ns", "queue_max_ns")
    table = run.table("health", columns)
    if not table.num_rows:
        return None
    origin_ns = _origin(run)
    worker, at_s = ints(table, "worker"), (ints(table, "time_ns") - origin_ns) / 1e9
    figure, (top, bottom) = style.new_figure(2, 4.4, sharex=True)
    cpu = ints(table, "cpu_ns") / np.maximum(ints(table, "interval_ns"), 1) * 100
    for number in np.unique(worker).tolist():
        mine = np.flatnonzero(worker == number)
        mine = mine[np.argsort(at_s[mine])]
        name = f"worker {number}" if number < 6 else None
        top.plot(at_s[mine], cpu[mine], label=name, color=_WORKER_COLOURS[number % len(_WORKER_COLOURS)])
    for column, label, colour in (
        ("lag_max_ns", "event loop lag", style.INK),
        ("late_max_ns", "schedule lateness", style.ORANGE),
        ("queue_max_ns", "receive-queue delay", style.BLUE),
    ):
        seconds, worst = _worst_by_second(at_s, ints(table, column))
        bottom.plot(seconds, worst / 1e6, color=colour, label=label)
    top.set_ylim(0, max(100, float(cpu.max()) * 1.05))
    top.set_ylabel("CPU, % of a core")
    top.set_title("How the generator itself was doing")
    top.legend(loc="upper right", ncols=3)
    bottom.set_yscale("log")
    bottom.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    bottom.set_ylabel("worst of a second")
    bottom.legend(loc="upper right", ncols=3)
    for axes in (top, bottom):
        _shade(axes, run, origin_ns)
    _time_axis(bottom)
    return figure


_WORKER_COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILION, style.PURPLE, style.SKY)

#: The report's plots in their order: what a reader asks first stands first.
ALL: Sequence[Callable[[Run], Figure | None]] = (
    latency_over_time,
    percentile_curves,
    throughput,
    fan_out,
    connection_ramp,
    generator_health,
)


def _origin(run: Run) -> int:
    created: int = run.manifest["created_ns"]
    return created


def _first_publish(run: Run) -> int:
    """The zero of whole seconds: the start of the warm-up, so that no second straddles two phases of whole seconds."""
    for name in ("warmup", "measure"):
        if name in run.phases:
            return run.phases[name][0]
    return _origin(run)


def _per_second(values: Ints, start_ns: int, end_ns: int, origin_ns: int) -> tuple[Floats, Ints]:
    """Return (second since the origin, count in it), with a closing zero; the last, begun second is left out."""
    seconds = max(1, (end_ns - start_ns) // _SECOND_NS)
    second = (values - start_ns) // _SECOND_NS
    counts = np.bincount(second[(second >= 0) & (second < seconds)], minlength=seconds)
    at_s = (np.arange(len(counts) + 1) * _SECOND_NS + start_ns - origin_ns) / 1e9
    return at_s, np.append(counts, counts[-1])


def _worst_by_second(at_s: Floats, values: Ints) -> tuple[Floats, Ints]:
    known = values > 0
    second = np.floor(at_s[known]).astype(np.int64)
    present, inverse = np.unique(second, return_inverse=True)
    worst = np.zeros(len(present), dtype=np.int64)
    np.maximum.at(worst, inverse, values[known])
    return np.asarray(present + 0.5, dtype=np.float64), worst


def _shade(axes: Axes, run: Run, origin_ns: int) -> None:
    """Tint every phase but the measured one and name them all above the axes."""
    low, high = axes.get_xlim()
    for name, (start_ns, end_ns) in run.phases.items():
        start = (start_ns - origin_ns) / 1e9
        end = high if end_ns is None else (end_ns - origin_ns) / 1e9
        visible = (max(low, start), min(high, end))
        if visible[1] <= visible[0]:
            continue
        if tint := _PHASE_TINTS.get(name, 0.0):
            axes.axvspan(*visible, color=style.INK, alpha=tint, linewidth=0, zorder=0)
        if visible[1] - visible[0] > (high - low) * 0.06:
            axes.annotate(
                name,
                ((visible[0] + visible[1]) / 2, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=8,
            )
    axes.set_xlim(low, high)


def _time_axis(axes: Axes) -> None:
    axes.set_xlabel("seconds since the run began")


def _milliseconds(axes: Axes, low: Floats, high: Floats) -> None:
    """Label a latency axis with units; logarithmic where the values span more than two decades and none is negative."""
    bottom, top = float(low.min()), float(high.max())
    if bottom > 0 and top / bottom > 30:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(lambda *_: "")
        axes.set_ylim(bottom * 0.7, top * 2)
    elif bottom >= 0:
        axes.set_ylim(0, top * 1.25)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def _tick(milliseconds: float) -> str:
    """Return a tick's label: short, since ticks are round."""
    for factor, unit in ((1e-3, "s"), (1, "ms"), (1e3, "µs")):
        if abs(milliseconds) * factor >= 0.9995:
            return f"{milliseconds * factor:g} {unit}"
    return "0" if milliseconds == 0 else f"{milliseconds * 1e6:g} ns"


def _nines(above: float) -> str:
    nines = round(-np.log10(above))
    if nines == 0:
        return "0 %"
    return "90 %" if nines == 1 else ("99 %" if nines == 2 else f"99.{'9' * (nines - 2)} %")
