"""A comparison of services as an HTML page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis.choose import content, outputs
from analysis.choose.content import Column
from analysis.choose.record import Choice
from analysis.compare.profile import value_of
from analysis.plots import style
from analysis.record import files
from analysis.templating import template

NAME: Final = "choice.html"
_TICKS: Final = ((2.0, "p50"), (10.0, "p90"), (100.0, "p99"), (1000.0, "p99.9"), (10_000.0, "p99.99"))
_DASHES: Final = ("-", "--", ":", "-.")


def write(folder: Path, choice: Choice, found: Sequence[Column]) -> Path:
    """Write the page into a folder and return its path.

    Raises:
        OSError: it cannot be written.
    """
    files.output(folder / NAME, render(choice, found))
    return folder / NAME


def render(choice: Choice, found: Sequence[Column]) -> str:
    """Return the page."""
    figure = curves(found)
    svg = None
    if figure is not None:
        with style.styled():
            svg = style.to_svg(figure)
    return template("choice.html").render(
        scenario=choice.scenario,
        created_ns=choice.created_ns,
        kind="plain",
        columns=found,
        stand_ins=content.stand_ins(found),
        tables=content.tables(found, choice.month),
        limits=content.limits(found),
        bounds=outputs.BOUNDS,
        figure=None if svg is None else Markup(svg),  # noqa: S704  shapes only, see style.py
    )


def curves(found: Sequence[Column]) -> Figure | None:
    """Return a plot of fan-out latency by percentile, the runs of each service pooled, or None without deliveries."""
    known = [column for column in found if any(run.latencies for run in column.runs)]
    if not known:
        return None
    with style.styled():
        figure, (axes,) = style.new_figure(1, 3.6)
        longest = 2.0
        for place, column in enumerate(known):
            counts = sum((run.latencies for run in column.runs), start=type(column.runs[0].latencies)())
            numbers = np.array(sorted(counts))
            total = np.cumsum([counts[number] for number in numbers.tolist()])
            # The rarity of a value is n if one in n samples is larger.
            rarity = total[-1] / np.maximum(total[-1] - total + 1, 1)
            axes.plot(
                rarity,
                [value_of(number) / 1e6 for number in numbers.tolist()],
                color=style.CYCLE[place % len(style.CYCLE)],
                linestyle=_DASHES[place // len(style.CYCLE) % len(_DASHES)],
                label=column.tried.label,
                drawstyle="steps-post",
            )
            longest = max(longest, float(rarity[-1]))
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = [(at, label) for at, label in _TICKS if at <= longest]
        axes.set_xticks([at for at, _ in ticks], [label for _, label in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlim(left=1.0)
        axes.set_ylabel("ms, from the intended time")
        axes.set_title("Fan-out latency by percentile")
        axes.legend(loc="upper left")
    return figure
