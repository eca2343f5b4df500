"""Shared parts of the plots: the time axis with its phases, units on the axes, counts by second."""

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import ScaledTranslation

from analysis.loading.run import Ints, Run
from analysis.plots import style

Floats = npt.NDArray[np.float64]
SECOND_NS = 1_000_000_000
#: Unit of the numbers on an axis: seconds since the run began, milliseconds, counts, the share of samples above a
#: percentile, per cent, or plain numbers.
Unit = Literal["time", "ms", "count", "above", "percent", "number"]
#: The label that matplotlib gives to the axes of a colour bar.
COLORBAR: Final = "<colorbar>"
TIME: Final = "seconds since the run began"
#: Heights of the line with the phases' names, and of the line with a legend above it, in points.
_PHASE_NAMES_PT: Final = 13
_LEGEND_PT: Final = 16
_PHASE_TINTS = {"ramp": 0.10, "ready": 0.05, "warmup": 0.12, "measure": 0.0, "drain": 0.08}


def origin_of(run: Run) -> int:
    """Return the time (ns) that is zero on the time axis: the run's creation."""
    created: int = run.manifest["created_ns"]
    return created


def steps_by_second(counts: Ints, start_ns: int, end_ns: int, origin_ns: int) -> tuple[Floats, Ints]:
    """Return (start of each second in s since the origin, count in it), without the last second if it is unfinished.

    The end of the last second is added with the same count, so that a step line covers it.
    """
    seconds = max(1, (end_ns - start_ns) // SECOND_NS)
    counts = np.pad(counts, (0, max(0, seconds - len(counts))))[:seconds]
    at_s = (np.arange(len(counts) + 1) * SECOND_NS + start_ns - origin_ns) / 1e9
    return at_s, np.append(counts, counts[-1])


def worst_by_second(at_s: Floats, values: Ints) -> tuple[Floats, Ints]:
    """Return (middle of each second, largest value in it), for seconds with a value above zero."""
    known = values > 0
    second = np.floor(at_s[known]).astype(np.int64)
    present, inverse = np.unique(second, return_inverse=True)
    worst = np.zeros(len(present), dtype=np.int64)
    np.maximum.at(worst, inverse, values[known])
    return np.asarray(present + 0.5, dtype=np.float64), worst


def shade_phases(axes: Axes, run: Run, origin_ns: int) -> None:
    """Tint every phase except `measure`, and write the phases' names above the axes."""
    low, high = axes.get_xlim()
    for name, (start_ns, end_ns) in run.phases.items():
        start = (start_ns - origin_ns) / 1e9
        end = high if end_ns is None else (end_ns - origin_ns) / 1e9
        visible = (max(low, start), min(high, end))
        if visible[1] <= visible[0]:
            continue
        if tint := _PHASE_TINTS.get(name, 0.0):
            axes.axvspan(*visible, color=style.INK, alpha=tint, linewidth=0, zorder=0)
        if visible[1] - visible[0] > (high - low) * 0.06:
            axes.annotate(
                name,
                ((visible[0] + visible[1]) / 2, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=8,
            )
    axes.set_xlim(low, high)


def legend_above(axes: Axes, columns: int, **settings: Any) -> None:
    """Write the legend on a line of its own between the title and the names of the phases, where no curve is."""
    above = ScaledTranslation(0, _PHASE_NAMES_PT / 72, axes.figure.dpi_scale_trans)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        bbox_transform=axes.transAxes + above,
        borderaxespad=0,
        borderpad=0,
        ncols=columns,
        **settings,
    )
    axes.set_title(axes.get_title(loc="left"), pad=_PHASE_NAMES_PT + _LEGEND_PT)


def label_time(axes: Axes) -> None:
    """Label the time axis."""
    axes.set_xlabel(TIME)


def unit_of(axis: Axis) -> Unit:
    """Return the unit of the numbers on an axis, found by its formatter and its label.

    An x axis without a label is a time axis: of charts stacked above each other, only the lowest has the label.
    """
    formatter = axis.get_major_formatter()
    if isinstance(formatter, UnitFormatter):
        return formatter.unit
    label = axis.get_label().get_text()
    if isinstance(axis, XAxis) and (label == TIME or not label):
        return "time"
    return "percent" if "%" in label else "number"


class UnitFormatter(FuncFormatter):
    """Formats the ticks of an axis whose numbers have a unit."""

    def __init__(self, unit: Unit) -> None:
        self.unit: Unit = unit
        super().__init__(lambda value, _: _TICKS[unit](value))


def label_milliseconds(axes: Axes, low: Floats, high: Floats) -> None:
    """Label a latency axis with units; make it logarithmic if all values are positive and span a factor above 30."""
    bottom, top = float(low.min()), float(high.max())
    if bottom > 0 and top / bottom > 30:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(lambda *_: "")
        axes.set_ylim(bottom * 0.7, top * 2)
    elif bottom >= 0:
        axes.set_ylim(0, top * 1.25)
    axes.yaxis.set_major_formatter(UnitFormatter("ms"))


def milliseconds_tick(milliseconds: float) -> str:
    """Return a tick's label with a unit; six digits are enough, since ticks are round numbers."""
    for factor, unit in ((1e-3, "s"), (1, "ms"), (1e3, "µs")):
        if abs(milliseconds) * factor >= 0.9995:
            return f"{milliseconds * factor:g} {unit}"
    return "0" if milliseconds == 0 else f"{milliseconds * 1e6:g} ns"


def nines_tick(above: float) -> str:
    """Return a percentile as an axis label such as `99.9 %`, given the share of samples above it."""
    if above > 0.4:
        return f"{100 * (1 - above):.0f} %"
    nines = round(-np.log10(above))
    return "90 %" if nines == 1 else ("99 %" if nines == 2 else f"99.{'9' * (nines - 2)} %")


_TICKS: Final[dict[Unit, Callable[[float], str]]] = {
    "ms": milliseconds_tick,
    "count": lambda value: f"{value:,.0f}",
    "above": nines_tick,
}
