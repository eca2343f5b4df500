"""Reactions (replies to requests) over time: the wait for the first reply, and the gaps between replies."""

import numpy as np
from matplotlib.figure import Figure

from analysis.figures import reactions
from analysis.loading.run import Ints, Run
from analysis.plots import style
from analysis.plots.axes import label_milliseconds, label_time, origin_of

#: Maximum number of points drawn in one panel.
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
    """Return (time of the request, time to the first reply, longest gap between replies) of each stream, by request.

    A stream is the replies to one request that arrived at one subscription. The gap is -1 if only one reply arrived.
    """
    arrivals = found.arrivals
    reply = arrivals.reply
    stream = reactions.grouped(
        found.requested_ns[reply],
        found.cause_publisher[reply],
        found.cause_sequence[reply],
        found.cause_subscription[reply],
        arrivals.subscription,
    )
    order = np.lexsort((arrivals.row, arrivals.arrival_ns, stream))
    at_ns, of = arrivals.arrival_ns[order], stream[order]
    begins = np.ones(len(of), dtype=bool)
    begins[1:] = of[1:] != of[:-1]
    requested_ns = found.requested_ns[reply[order[begins]]]
    gap_ns = np.full(len(requested_ns), -1, dtype=np.int64)
    between = np.flatnonzero(~begins)
    np.maximum.at(gap_ns, of[between], at_ns[between] - at_ns[between - 1])
    return requested_ns, at_ns[begins] - requested_ns, gap_ns
