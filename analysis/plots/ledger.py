"""The ledger as a plot: the outcome of every expected delivery, second by second."""

import numpy as np
from matplotlib.figure import Figure

from analysis.ledger.reconcile import reconcile
from analysis.loading.run import Run
from analysis.plots import style
from analysis.plots.axes import SECOND_NS, UnitFormatter, label_time, origin_of, shade_phases


def ledger(run: Run) -> Figure | None:
    """Plot expected deliveries by the second in which their event was due, and the share that was late or lost.

    Returns None if everything arrived in time: the report's table already says so.
    """
    window = run.measure
    if window is None or window.seconds <= 0:
        return None
    settled = reconcile(run, window)
    if not settled.ledger.expected or not (settled.ledger.lost or settled.ledger.late):
        return None
    seconds = int(np.ceil(window.seconds))
    expected, lost, overdue = np.zeros((3, seconds))
    for part in settled.parts:
        second = np.minimum((part.events.intended_ns - window.start_ns) // SECOND_NS, seconds - 1)
        for total, counts in (
            (expected, part.expected),
            (lost, part.expected - part.arrived),
            (overdue, part.late),
        ):
            total += np.bincount(second, weights=counts, minlength=seconds)
    at_s = (window.start_ns - origin_of(run)) / 1e9 + np.arange(seconds)
    figure, (top, bottom) = style.new_figure(2, 4.0, sharex=True)
    intime = expected - lost - overdue
    top.bar(at_s, intime, 1.0, align="edge", color=style.GREEN, label="in time", linewidth=0)
    top.bar(at_s, overdue, 1.0, intime, align="edge", color=style.ORANGE, label="late", linewidth=0)
    top.bar(at_s, lost, 1.0, intime + overdue, align="edge", color=style.VERMILION, label="lost", linewidth=0)
    top.set_ylabel("expected/s")
    top.yaxis.set_major_formatter(UnitFormatter("count"))
    # The bars fill the axes, so the legend is above them.
    top.legend(loc="lower right", bbox_to_anchor=(1.0, 1.04), ncols=3)
    top.set_title("Ledger: outcome of every expected delivery")
    share = np.divide((lost + overdue) * 100, expected, out=np.zeros(seconds), where=expected > 0)
    bottom.bar(at_s, share, 1.0, align="edge", color=style.VERMILION, linewidth=0)
    bottom.set_ylabel("% lost or late")
    bottom.set_ylim(bottom=0)
    for axes in (top, bottom):
        shade_phases(axes, run, origin_of(run))
    label_time(bottom)
    return figure
