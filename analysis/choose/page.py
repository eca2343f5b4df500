"""A comparison of services as an HTML page."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.choose import content, outputs
from analysis.choose.content import Column
from analysis.choose.record import Choice
from analysis.compare.curves import Side
from analysis.compare.curves import curves as percentile_curves
from analysis.plots import style
from analysis.record import files
from analysis.templating import template

NAME: Final = "choice.html"
_DASHES: Final = ("-", "--", ":", "-.")


def write(folder: Path, choice: Choice, found: Sequence[Column]) -> Path:
    """Write the page into a folder and return the page's path.

    Raises:
        OSError: the page cannot be written.
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
    """Return a plot of fan-out latency by percentile with a curve for all runs of a service, or None without data."""
    known = [column for column in found if any(run.latencies for run in column.runs)]
    if not known:
        return None
    sides = [
        Side(
            column.tried.label,
            sum((run.latencies for run in column.runs), start=Counter()),
            style.CYCLE[place % len(style.CYCLE)],
            _DASHES[place // len(style.CYCLE) % len(_DASHES)],
        )
        for place, column in enumerate(known)
    ]
    with style.styled():
        return percentile_curves(sides, 3.6)
