"""One look for all plots: colours that colour-blind readers can tell apart, readable on light and on dark."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Okabe and Ito's palette, without the yellow that a white page swallows.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
#: Of a lightness between: at least 4:1 against a white and against a near-black page.
INK = "#7a7f87"
_RC: Any = {
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    # Room for the names of the phases between the title and the axes.
    "axes.titlepad": 16,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.6,
    # Text as shapes: no font is needed where the page is read, and no text of a run can become markup.
    "svg.fonttype": "path",
    "svg.hashsalt": "loadgen",
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this look inside the block."""
    with mpl.rc_context():
        # Matplotlib has read a `matplotlibrc` of the working directory, which may ask for LaTeX.
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


_P = ParamSpec("_P")
#: Set while only the question is whether a plot draws anything.
_asking: ContextVar[bool] = ContextVar("_asking", default=False)


class _HasSomethingToShowError(Exception):
    """A plot asked for its figure."""


def has_something_to_show(plot: Callable[_P, Figure | None], *arguments: _P.args, **named: _P.kwargs) -> bool:
    """Return whether a plot would return a figure, without making one.

    A plot looks at its data first, returns None if there is nothing to show, and then calls :func:`new_figure`.
    """
    token = _asking.set(True)
    try:
        return plot(*arguments, **named) is not None
    except _HasSomethingToShowError:
        return True
    finally:
        _asking.reset(token)


def new_figure(rows: int = 1, height: float = 3.0, sharex: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure 9 inches wide and its axes, one under the other; made without pyplot, so nothing is global."""
    if _asking.get():
        raise _HasSomethingToShowError
    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=sharex, squeeze=False)
    return figure, [row[0] for row in axes]


def to_svg(figure: Figure) -> str:
    """Return the figure as an SVG element, without the XML prologue and without a date."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None}
    with _laid_out(figure):
        figure.savefig(buffer, format="svg", metadata=metadata, dpi=150)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


@contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """Lay a figure out for SVG once, and not again inside the block.

    `savefig` draws the whole figure once to lay it out, and throws that drawing away.
    """
    engine, dpi = figure.get_layout_engine(), figure.dpi
    if engine is None:
        yield
        return
    FigureCanvasSVG(figure)
    figure.set_dpi(72)  # SVG's, at which `savefig` lays out too
    engine.execute(figure)
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(engine)
        figure.set_dpi(dpi)
