"""Connected clients and ready subscriptions over time, for runs in which clients were dropped, lost or away."""

import numpy as np
from matplotlib.figure import Figure

from analysis.figures import recovery
from analysis.loading.run import Ints, Run, ints
from analysis.plots import style
from analysis.plots.axes import Floats, UnitFormatter, label_time, origin_of, shade_phases

_NEVER = np.iinfo(np.int64).max


def recovery_over_time(run: Run) -> Figure | None:
    """Connected clients and ready subscriptions over time, with the drops marked.

    Returns None if no client was dropped, lost or away.
    """
    if recovery.summarise(run) is None:
        return None
    origin_ns = origin_of(run)
    figure, (axes,) = style.new_figure(1, 3.0)
    end_ns = max((end for _, end in run.phases.values() if end is not None), default=None)
    # Draw the line of clients wider than the line of subscriptions, since the two often coincide.
    for table, begin, end, label, colour, width in (
        ("connections", "acknowledged_ns", "closed_ns", "clients connected", style.SKY, 3.2),
        ("subscriptions", "ready_ns", "ended_ns", "subscriptions ready", style.GREEN, 1.4),
    ):
        rows = run.table(table, (begin, end))
        at_s, count = _standing(ints(rows, begin), ints(rows, end, missing=_NEVER), origin_ns, end_ns)
        axes.plot(at_s, count, drawstyle="steps-post", color=colour, label=label, linewidth=width)
    axes.set_ylim(bottom=0)
    for drop in recovery.drops(run):
        at_s_of_drop = (drop.at_ns - origin_ns) / 1e9
        axes.axvline(at_s_of_drop, color=style.VERMILION, linestyle="--", linewidth=1.2)
        if (time_ns := drop.after_ns(99)) is not None:
            axes.axvspan(
                at_s_of_drop, at_s_of_drop + time_ns / 1e9, color=style.VERMILION, alpha=0.12, linewidth=0
            )
    axes.yaxis.set_major_formatter(UnitFormatter("count"))
    axes.set_title("Recovery: dashed a drop, shaded until 99 % of what it cut were ready again")
    axes.legend(loc="lower right", ncols=2)
    shade_phases(axes, run, origin_ns)
    label_time(axes)
    return figure


def _standing(begin_ns: Ints, end_ns: Ints, origin_ns: int, until_ns: int | None) -> tuple[Floats, Ints]:
    """Return times until ``until_ns`` (s since the origin), and how many intervals are open from each to the next."""
    begun = begin_ns >= 0
    times = np.concatenate((begin_ns[begun], end_ns[begun]))
    steps = np.repeat(np.array([1, -1], dtype=np.int64), int(np.count_nonzero(begun)))
    order = np.lexsort((-steps, times))
    times, count = times[order], np.cumsum(steps[order])
    inside = times < (_NEVER if until_ns is None else until_ns)
    times, count = times[inside], count[inside]
    if until_ns is not None and len(times):
        times, count = np.append(times, until_ns), np.append(count, count[-1])
    return np.asarray((times - origin_ns) / 1e9, dtype=np.float64), count
