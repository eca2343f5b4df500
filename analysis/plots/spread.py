"""Plots of how latencies spread: over percentiles, over the subscribers of an event, over channels and workers."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from analysis import style, text
from analysis.percentiles import curve
from analysis.plots.axes import label_milliseconds, label_time, milliseconds_tick, nines_tick, origin_of
from analysis.run import Ints, Run, codes, ints


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
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: nines_tick(value)))
    label_milliseconds(axes, np.array(lowest), np.array(highest))
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
    at_s = (events.intended_ns[reached] - origin_of(run)) / 1e9
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
    label_milliseconds(axes, first, last)
    sample = "" if len(shown) == len(reached) else f" ({len(shown):,} of {len(reached):,} events shown)"
    axes.set_title(f"Fan-out of each event: first, median and last subscriber{sample}")
    axes.legend(loc="upper right", ncols=3, markerscale=3)
    label_time(axes)
    return figure


_MOST_LINES = 8


def by_channel(run: Run) -> Figure | None:
    """The share of deliveries within a latency, for each of the busiest channels; None for a single channel."""
    window = run.measure
    if window is None:
        return None
    events = run.table("events", ("publisher", "sequence", "channel"), window)
    channel, names = codes(events, "channel")
    if len(names) < 2:
        return None
    key = (ints(events, "publisher") << 32) | ints(events, "sequence")
    order = np.argsort(key)
    key, channel = key[order], channel[order]
    table = run.table("deliveries", ("publisher", "sequence", "intended_ns", "arrival_ns"), window)
    wanted = (ints(table, "publisher") << 32) | ints(table, "sequence")
    place = np.minimum(np.searchsorted(key, wanted), max(0, len(key) - 1))
    known = key[place] == wanted if len(key) else np.zeros(len(wanted), dtype=bool)
    latency_ns = (ints(table, "arrival_ns") - ints(table, "intended_ns"))[known]
    return _shares(latency_ns, channel[place[known]], [str(name) for name in names], "channel")


def by_worker(run: Run) -> Figure | None:
    """The share of deliveries within a latency, for each worker; None for a single one."""
    window = run.measure
    if window is None:
        return None
    table = run.table("deliveries", ("worker", "intended_ns", "arrival_ns"), window)
    worker = ints(table, "worker")
    if len(np.unique(worker)) < 2:
        return None
    latency_ns = ints(table, "arrival_ns") - ints(table, "intended_ns")
    names = [f"worker {number}" for number in range(int(worker.max()) + 1)]
    return _shares(latency_ns, worker, names, "worker")


def _shares(latency_ns: Ints, group: Ints, names: list[str], what: str) -> Figure | None:
    """Draw the empirical distribution of each of the largest groups, and of all others together."""
    counts = np.bincount(group, minlength=len(names)) if len(group) else np.zeros(len(names), dtype=np.int64)
    present = [int(code) for code in np.argsort(-counts, kind="stable") if counts[code]]
    if len(present) < 2:
        return None
    chosen, rest = present[:_MOST_LINES], present[_MOST_LINES:]
    lines = [(text.clean(names[code]), np.sort(latency_ns[group == code])) for code in chosen]
    if rest:
        lines.append((f"{len(rest):,} others together", np.sort(latency_ns[np.isin(group, rest)])))
    figure, (axes,) = style.new_figure(1, 3.4)
    shares = np.linspace(0, 1, 400)
    for number, (name, ordered) in enumerate(lines):
        at = ordered[np.minimum((shares * len(ordered)).astype(np.int64), len(ordered) - 1)]
        colour = style.INK if rest and number == len(lines) - 1 else style.CYCLE[number % len(style.CYCLE)]
        dash = "-" if number < len(style.CYCLE) else "--"
        axes.plot(at / 1e6, shares * 100, color=colour, linestyle=dash, label=f"{name} ({len(ordered):,})")
    low = np.array([ordered[0] for _, ordered in lines]) / 1e6
    high = np.array([ordered[-1] for _, ordered in lines]) / 1e6
    if low.min() > 0 and high.max() / low.min() > 30:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds_tick(value)))
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of deliveries")
    axes.set_xlabel("fan-out latency (arrival − intended) at most")
    some = f": the busiest {len(chosen)} of {len(present):,}" if rest else ""
    axes.set_title(f"Distribution by {what}{some}")
    axes.legend(loc="lower right", fontsize=8)
    return figure
