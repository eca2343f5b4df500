"""Plots of how latencies spread: over percentiles, over the subscribers of an event, over channels and workers."""

from collections.abc import Callable
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from analysis import text
from analysis.figures import fanout
from analysis.figures.groups import SHARES, Group
from analysis.figures.latencies import latencies
from analysis.ledger.reconcile import reconcile
from analysis.loading.run import Run
from analysis.plots import style
from analysis.plots.axes import UnitFormatter, label_milliseconds, label_time, legend_above, origin_of

#: The percentile axis begins at the median, above which half of the samples lie.
_MEDIAN: Final = 0.5


def percentile_curves(run: Run) -> Figure | None:
    """Draw the latency at each percentile; 90 %, 99 %, 99.9 % and so on are equally far apart on the axis."""
    found = latencies(run)
    if found is None or found.headline.curve is None:
        return None
    count = found.headline.figures["count"]
    figure, (axes,) = style.new_figure(1, 3.6)
    lowest, highest = [], []
    for distribution, label, colour, dash in (
        (found.headline, "fan-out (arrival − intended)", style.BLUE, "-"),
        (found.service, "service (arrival − sent)", style.GREEN, "--"),
        (found.queue, "receive queue (our own)", style.INK, ":"),
    ):
        if distribution.curve is None:
            continue
        above, at = distribution.curve
        axes.plot(above, at / 1e6, color=colour, label=label, linestyle=dash)
        if distribution.low is not None or distribution.high is not None:
            low, high = (at if end is None else end for end in (distribution.low, distribution.high))
            axes.fill_between(above, low / 1e6, high / 1e6, color=colour, alpha=0.2, linewidth=0)
        lowest.append(at[above <= _MEDIAN][:1].min(initial=at[-1]) / 1e6)
        highest.append(at[-1] / 1e6)
    axes.set_xscale("log")
    # Begin the axis at the median: lower percentiles show little, but would take as much room as each further nine
    # (90 %, 99 %, 99.9 %).
    nines = [_MEDIAN, *(10.0**-n for n in range(1, int(np.log10(count)) + 1))]
    axes.set_xlim(_MEDIAN, min(1.0 / count, _MEDIAN / 5))
    axes.xaxis.set_major_locator(FixedLocator(nines))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(UnitFormatter("above"))
    label_milliseconds(axes, np.array(lowest), np.array(highest))
    axes.set_xlabel("percentile")
    axes.set_title(f"Percentile curve of {count:,} deliveries, from the median up")
    legend_above(axes, 3)
    return figure


def fan_out(run: Run) -> Figure | None:
    """Time until an event's first, median and last subscriber received it, by the second in which it was due."""
    window = run.measure
    if window is None or window.seconds <= 0:
        return None
    settled = reconcile(run, window)
    reached = [int(np.count_nonzero((part.expected > 0) & (part.arrived > 0))) for part in settled.parts]
    count = sum(reached)
    if not count:
        return None
    shown = np.linspace(0, count - 1, min(count, 4000)).astype(np.int64)
    names = ("first_ns", "median_ns", "last_ns")
    at_s, drawn, lowest, highest = [], [], [], []
    for part, begin in zip(settled.parts, np.cumsum([0, *reached]).tolist(), strict=False):
        rows = fanout.Fanout.of(part)
        its = np.flatnonzero(rows.reached)
        chosen = its[shown[(shown >= begin) & (shown < begin + len(its))] - begin]
        at_s.append((rows.intended_ns[chosen] - origin_of(run)) / 1e9)
        drawn.append([rows.ranks_ns[name][chosen] / 1e6 for name in names])
        lowest.append(rows.ranks_ns["first_ns"][its].min(initial=np.iinfo(np.int64).max))
        highest.append(rows.ranks_ns["last_ns"][its].max(initial=np.iinfo(np.int64).min))
    first, middle, last = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    figure, (axes,) = style.new_figure(1, 3.0)
    # Draw two rings of different sizes around a dot, so that all three marks are visible where they coincide.
    for values, label, colour, size, filled in (
        (last, "last subscriber", style.VERMILION, 5.5, False),
        (middle, "median subscriber", style.BLUE, 3.5, False),
        (first, "first subscriber", style.GREEN, 1.5, True),
    ):
        axes.plot(
            np.concatenate(at_s),
            values,
            linestyle="none",
            marker="o",
            markersize=size,
            markeredgewidth=0.7,
            markerfacecolor=colour if filled else "none",
            color=colour,
            label=label,
            rasterized=True,  # as vector shapes the points would make up most of the page
        )
    label_milliseconds(axes, np.array(lowest) / 1e6, np.array(highest) / 1e6)
    sample = "" if len(shown) == count else f" ({len(shown):,} of {count:,} events shown)"
    axes.set_title(f"Fan-out of each event: first, median and last subscriber{sample}")
    legend_above(axes, 3, markerscale=1.5)
    label_time(axes)
    return figure


def by_channel(run: Run) -> Figure | None:
    """The share of deliveries within a latency, for each of the busiest channels; None if there is only one channel."""
    found = latencies(run)
    if found is None or not found.by_channel:
        return None
    return _shares(found.by_channel, lambda code: text.clean(str(found.channels[code])), "channel")


def by_worker(run: Run) -> Figure | None:
    """The share of deliveries within a latency, for each worker; None if there is only one worker."""
    found = latencies(run)
    if found is None or not found.by_worker:
        return None
    return _shares(found.by_worker, lambda code: f"worker {code}", "worker")


def by_group(run: Run) -> Figure | None:
    """The share of deliveries within a latency, for each group of clients; None if there is only one group."""
    found = latencies(run)
    if found is None or not found.by_group:
        return None
    return _shares(
        found.by_group, lambda code: text.clean(found.groups[code] or "without a group"), "group of clients"
    )


def name_in_legend(group: Group, name_of: Callable[[int], str]) -> str:
    """Return the name of a group's curve."""
    name = f"{group.members:,} others together" if group.code is None else name_of(group.code)
    return f"{name} ({group.count:,})"


def _shares(groups: list[Group], name_of: Callable[[int], str], what: str) -> Figure:
    """Draw the empirical distribution of each group."""
    alone = [group for group in groups if group.code is not None]
    figure, (axes,) = style.new_figure(1, 3.4)
    shares = np.linspace(0, 1, SHARES)
    for number, group in enumerate(groups):
        others = group.code is None
        colour = style.INK if others else style.CYCLE[number % len(style.CYCLE)]
        dash = "-" if number < len(style.CYCLE) else "--"
        axes.plot(
            group.at_shares / 1e6,
            shares * 100,
            color=colour,
            linestyle=dash,
            label=name_in_legend(group, name_of),
        )
    low = np.array([group.at_shares[0] for group in groups]) / 1e6
    high = np.array([group.at_shares[-1] for group in groups]) / 1e6
    if low.min() > 0 and high.max() / low.min() > 30:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(UnitFormatter("ms"))
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of deliveries")
    axes.set_xlabel("fan-out latency (arrival − intended) at most")
    rest = sum(group.members for group in groups if group.code is None)
    some = f": the busiest {len(alone)} of {len(alone) + rest:,}" if rest else ""
    axes.set_title(f"Distribution by {what}{some}")
    axes.legend(loc="lower right", fontsize=8)
    return figure
