"""Plot fan-out latency by percentile, a curve for each side of a comparison."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis.compare.profile import values_of
from analysis.plots import style

_PERCENTILES: Final = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)


@dataclass(frozen=True, slots=True)
class Side:
    """One curve: its name in the legend, the pooled histogram of its runs, and its line style."""

    name: str
    counts: Counter[int]
    colour: str
    line: str = "-"
    mark: str = ""
    """Matplotlib's marker at the labelled percentiles, or an empty text for none."""


def curves(sides: Sequence[Side], height: float) -> Figure:
    """Plot the latencies of each side, with rarer ones further right; leave out sides without deliveries."""
    figure, (axes,) = style.new_figure(1, height)
    longest = 0.0
    for side in sides:
        if not side.counts:
            continue
        numbers = np.array(sorted(side.counts))
        total = np.cumsum([side.counts[number] for number in numbers.tolist()])
        # The rarity of a value is n if one in n samples is larger. The largest sample has no larger one and gets the
        # highest rarity.
        rarity = total[-1] / np.maximum(total[-1] - total + 1, 1)
        values = values_of(numbers) / 1e6
        axes.plot(
            rarity, values, color=side.colour, linestyle=side.line, label=side.name, drawstyle="steps-post"
        )
        longest = max(longest, float(rarity[-1]))
        if not side.mark:
            continue
        places = np.searchsorted(total, np.ceil(total[-1] * np.array(_PERCENTILES[1:]) / 100))
        shown = [1 / (1 - p / 100) for p in _PERCENTILES[1:]]
        reached = [at for at, rare in enumerate(shown) if rare <= rarity[-1]]
        axes.plot(
            [shown[at] for at in reached],
            [values[min(places[at], len(values) - 1)] for at in reached],
            side.mark,
            color=side.colour,
            markersize=5,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = [(1 / (1 - p / 100), f"p{p:g}" if p else "least") for p in _PERCENTILES]
    ticks = [(at, label) for at, label in ticks if at <= max(longest, 2.0)]
    axes.set_xticks([at for at, _ in ticks], [label for _, label in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("ms, from the intended time")
    axes.set_title("Fan-out latency by percentile")
    axes.legend(loc="upper left")
    return figure
