"""Draw the monthly costs of several services as a load grows, with their uncertainty."""

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis import text
from analysis.plots import style
from loadgen.planning.services.costing import Costing
from loadgen.planning.services.crossings import Crossing, Curve
from loadgen.planning.services.load import Axis, Load
from loadgen.planning.services.show import number

_COLOURS: Final = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c564b", "#7f3c8d", "#11776c", "#b3446c",
    "#6a6f00", "#3b3eac",
)  # fmt: skip
_AXIS_LABELS: Final[dict[Axis, str]] = {
    "subscribers": "connections, each event reaches them in proportion",
    "rate": "events published per second",
    "payload": "bytes of an event",
    "fan-out": "deliveries of an event, connections unchanged",
}
#: Space between two labels, as a share of the height of the axes.
_LABEL_SPACE: Final = 0.034
_DPI: Final = 100


def draw(load: Load, curves: Sequence[Sequence[Curve]], crossings: Sequence[Crossing]) -> Figure:
    """Return a figure with a panel for each axis; ``curves`` has, for each axis, the curves of all services.

    A solid line is a sure cost. A dashed line rests on a weak source or on an assumption, or is the middle of a
    coloured band that shows a range. A dotted line is a lower bound. A ring marks a crossing of two sure costs. A cross
    marks the load at which a known quota, or the largest plan, is used up.
    """
    with style.styled():
        panels = [each for each in curves if each]
        figure = Figure(figsize=(15, 6.2 * max(1, -(-len(panels) // 2))), layout="constrained")
        figure.set_facecolor("white")
        axes = figure.subplots(max(1, -(-len(panels) // 2)), 2, squeeze=False).flatten()
        costings = [curve.costing for curve in panels[0]] if panels else []
        colours = _colours(costings)
        for place, ax in enumerate(axes):
            if place < len(panels):
                _panel(ax, load, panels[place], crossings, colours)
            else:
                ax.set_axis_off()
        missing = [costing.label for costing in costings if costing.month.usd().low is None]
        figure.suptitle(
            f"{text.clean(load.name)}: US dollars a month, list prices", color="#333333", fontsize=13
        )
        said = (
            "solid: sure · dashed: weak source, assumption, or the middle of a range (band) · dotted: at least · ring:"
            " crossing of two sure costs · cross: a quota binds · vertical line: this load"
        )
        if missing:
            said += f"\nnot drawn, price unknown: {', '.join(missing)}"
        figure.supxlabel(said, color="#333333", fontsize=10)
        return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the extension of the file's name.

    Raises:
        ValueError: the name ends in neither .png nor .svg.
        OSError: the file cannot be written.
    """
    if path.suffix.lower() == ".svg":
        path.write_text(style.to_svg(figure), encoding="utf-8")
    elif path.suffix.lower() == ".png":
        with style.missing_glyphs_as_boxes():
            figure.savefig(
                path, format="png", dpi=_DPI, metadata={"Software": None}, pil_kwargs={"optimize": True}
            )
    else:
        raise ValueError(f"{path.name!r} must end in .png or .svg")


def _colours(costings: Sequence[Costing]) -> dict[str, str]:
    services = list(dict.fromkeys(costing.service.service for costing in costings))
    return {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(services)}


def _panel(
    ax: Axes, load: Load, curves: Sequence[Curve], crossings: Sequence[Crossing], colours: dict[str, str]
) -> None:
    axis = curves[0].axis
    base = float(load.value(axis) or 1)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ends: list[tuple[float, str, str]] = []
    for curve in curves:
        colour = colours[curve.costing.service.service]
        end = _line(ax, curve, base, colour)
        _quota(ax, curve, base, colour)
        if end is not None:
            ends.append((end, curve.costing.label, colour))
    for crossing in crossings:
        if crossing.axis == axis and crossing.sure and not crossing.step and crossing.usd_below.low:
            ax.plot(
                float(crossing.begin),
                float(crossing.usd_below.low),
                "o",
                mfc="white",
                mec="#333333",
                ms=6,
                zorder=5,
            )
    ax.axvline(base, color=style.INK, linewidth=1, zorder=0)
    ax.set_xlim(base * float(curves[0].factors[0]), base * float(curves[0].factors[-1]))
    ax.set_xlabel(_AXIS_LABELS[axis])
    ax.set_title(
        f"as {axis} grow{'' if axis == 'subscribers' else 's'} (now {number(load.value(axis))})", pad=8
    )
    for each in (ax.xaxis, ax.yaxis):
        each.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.15g}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"${value:,.15g}"))
    _label(ax, ends)


def _line(ax: Axes, curve: Curve, base: float, colour: str) -> float | None:
    """Draw a curve; return the height of its last point, or None if no cost is known."""
    points = [
        (base * float(factor), float(usd.low), None if usd.high is None else float(usd.high))
        for factor, usd in zip(curve.factors, curve.usd, strict=True)
        if usd.low is not None and usd.low > 0
    ]
    if not points:
        return None
    known = [(x, low, high) for x, low, high in points if high is not None]
    middles = [(low * high) ** 0.5 for _, low, high in known]
    sure = curve.costing.month.sure
    ax.plot(
        [x for x, _, _ in known], middles, color=colour, linestyle="-" if sure else (0, (5, 2)),
        linewidth=2.0 if sure else 1.5,
    )  # fmt: skip
    if any(low != high for _, low, high in known):
        ax.fill_between(
            [x for x, _, _ in known], [low for _, low, _ in known], [high for _, _, high in known],
            color=colour, alpha=0.16, linewidth=0,
        )  # fmt: skip
    open_ended = [(x, low) for x, low, high in points if high is None]
    if open_ended:
        ax.plot([x for x, _ in open_ended], [low for _, low in open_ended], ":", color=colour, linewidth=1.5)
    return (middles[-1] if known else None) if not open_ended else open_ended[-1][1]


def _quota(ax: Axes, curve: Curve, base: float, colour: str) -> None:
    """Mark the point at which the load reaches a quota, if the chart covers this point and its cost is known."""
    factor = next(each.factor for each in curve.costing.headrooms if each.axis == curve.axis)
    if factor is None or not float(curve.factors[0]) <= factor <= float(curve.factors[-1]):
        return
    usd = curve.at(Fraction(factor).limit_denominator(10**6))
    if usd.low and usd.high:
        ax.plot(base * factor, float(usd.low * usd.high) ** 0.5, "x", color=colour, ms=7, mew=2, zorder=6)


def _label(ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Label the lines at the right of the plot, each as close to its line's end as the other labels allow."""
    low, high = (math.log10(each) for each in ax.get_ylim())
    wanted = sorted(((math.log10(end) - low) / (high - low), name, colour) for end, name, colour in ends)
    places = [height for height, _, _ in wanted]
    for _ in range(200):
        moved = False
        for lower in range(len(places) - 1):
            overlap = _LABEL_SPACE - (places[lower + 1] - places[lower])
            if overlap > 1e-6:
                places[lower] -= overlap / 2
                places[lower + 1] += overlap / 2
                moved = True
        if not moved:
            break
    for (height, name, colour), place in zip(wanted, places, strict=True):
        ax.annotate(
            name,
            xy=(1, height),
            xytext=(1.03, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )
