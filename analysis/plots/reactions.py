"""Reactions over time: how long requests waited for their first reply, and how evenly the replies came."""

import numpy as np
from matplotlib.figure import Figure

from analysis.figures import reactions
from analysis.loading.run import Ints, Run
from analysis.plots import style
from analysis.plots.axes import label_milliseconds, label_time, origin_of

#: Most points in a panel.
_SHOWN = 4_000


def reactions_over_time(run: Run) -> Figure | None:
    """Time from each request to its first reply, and the longest gap between its replies, by the request's time.

    Return None if no reply to a request arrived.
    """
    found = reactions.reactions(run)
    if found is None or not len(found.first):
        return None
    requested_ns, first_ns, gap_ns = _streams(found)
    several = gap_ns >= 0
    figure, axes = style.new_figure(2 if several.any() else 1, 5.0 if several.any() else 3.0)
    panels = [
        (axes[0], np.ones(len(first_ns), dtype=bool), first_ns, "First reply to each request", style.BLUE)
    ]
    if several.any():
        panels.append(
            (axes[1], several, gap_ns, "Longest gap between the replies to each request", style.VERMILION)
        )
    for panel, chosen, values, title, colour in panels:
        at_s = (requested_ns[chosen] - origin_of(run)) / 1e9
        shown = np.linspace(0, len(at_s) - 1, min(len(at_s), _SHOWN)).astype(np.int64)
        in_ms = values[chosen] / 1e6
        panel.plot(
            at_s[shown],
            in_ms[shown],
            linestyle="none",
            marker=".",
            markersize=4,
            color=colour,
            rasterized=True,
        )
        label_milliseconds(panel, in_ms, in_ms)
        few = "" if len(shown) == len(at_s) else f" ({len(shown):,} of {len(at_s):,} shown)"
        panel.set_title(f"{title}{few}")
        label_time(panel)
    return figure


def _streams(found: reactions.Reactions) -> tuple[Ints, Ints, Ints]:
    """Return the request's time, the time to the first reply and the longest gap of each stream, by request.

    The gap is -1 where there is one reply only.
    """
    arrivals = found.arrivals
    cause = np.stack(
        (
            found.requested_ns[arrivals.reply],
            found.cause_publisher[arrivals.reply],
            found.cause_sequence[arrivals.reply],
            found.cause_subscription[arrivals.reply],
            arrivals.subscription,
        ),
        axis=1,
    )
    streams, stream = np.unique(cause, axis=0, return_inverse=True)
    order = np.lexsort((arrivals.row, arrivals.arrival_ns, stream.reshape(-1)))
    at_ns, of = arrivals.arrival_ns[order], stream.reshape(-1)[order]
    begins = np.ones(len(of), dtype=bool)
    begins[1:] = of[1:] != of[:-1]
    gap_ns = np.full(len(streams), -1, dtype=np.int64)
    between = np.flatnonzero(~begins)
    np.maximum.at(gap_ns, of[between], at_ns[between] - at_ns[between - 1])
    return streams[:, 0], at_ns[begins] - streams[:, 0], gap_ns
