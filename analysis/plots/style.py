"""The style of all plots: colours that colour-blind readers can tell apart, readable on light and dark pages."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Okabe and Ito's palette, without its yellow, which is hard to see on a white page.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
#: A grey with a contrast of at least 4:1 on both a white and a near-black page.
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
    # Draw text as shapes: the reader needs no font, and text from a run cannot become markup.
    "svg.fonttype": "path",
    # A dollar sign in a channel's name is not the beginning of a formula.
    "text.parse_math": False,
    "svg.hashsalt": "loadgen",
}


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style to everything drawn inside the block."""
    with mpl.rc_context():
        # Undo a `matplotlibrc` of the working directory, which may ask for LaTeX.
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


_P = ParamSpec("_P")
#: True while :func:`has_something_to_show` calls a plot; :func:`new_figure` then raises instead of making a figure.
_asking: ContextVar[bool] = ContextVar("_asking", default=False)


class _HasSomethingToShowError(Exception):
    """Raised by :func:`new_figure` to stop a plot that has something to show."""


def has_something_to_show(plot: Callable[_P, Figure | None], *arguments: _P.args, **named: _P.kwargs) -> bool:
    """Return True if a plot would return a figure, without making one.

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
    """Return a figure 9 inches wide and its axes, one below the other.

    It does not use pyplot, which keeps global state.
    """
    if _asking.get():
        raise _HasSomethingToShowError
    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=sharex, squeeze=False)
    return figure, [row[0] for row in axes]


@contextmanager
def missing_glyphs_as_boxes() -> Iterator[None]:
    """Draw characters that the font lacks as boxes, without matplotlib's warning for each.

    Names of channels and services may contain such characters. The tables beside the plots show the names.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        yield


def to_svg(figure: Figure) -> str:
    """Return the figure as an SVG element, without XML prologue and date."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None}
    with missing_glyphs_as_boxes(), _laid_out(figure):
        figure.savefig(buffer, format="svg", metadata=metadata, dpi=150)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


@contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """Lay a figure out for SVG once, so that it is not laid out again inside the block.

    `savefig` would draw the whole figure once just to lay it out, and discard that drawing.
    """
    engine, dpi = figure.get_layout_engine(), figure.dpi
    if engine is None:
        yield
        return
    FigureCanvasSVG(figure)
    figure.set_dpi(72)  # `savefig` lays out an SVG at 72 dpi
    engine.execute(figure)
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(engine)
        figure.set_dpi(dpi)
