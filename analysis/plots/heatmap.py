"""Where all latencies lie over time, not only their percentiles: a second population shows as a second band."""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis import style
from analysis.plots.axes import first_publish_of, label_time, milliseconds_tick, origin_of, shade_phases
from analysis.run import Run, ints

_COLUMNS_MAX = 240
_ROWS = 60
# Made for colour-blind readers; without its ends, which a dark and a white page would swallow.
_COLOURS = ListedColormap(colormaps["cividis"](np.linspace(0.3, 0.9, 256)))


def latency_heatmap(run: Run) -> Figure | None:
    """How many deliveries had which latency, by when their event was due; colours and latencies are logarithmic.

    What is not above zero cannot stand on a logarithmic axis and is counted in the title.
    """
    table = run.table("deliveries", ("intended_ns", "arrival_ns"))
    intended_ns = ints(table, "intended_ns")
    start_ns = first_publish_of(run)
    inside = intended_ns >= start_ns
    intended_ns = intended_ns[inside]
    latency_ns = ints(table, "arrival_ns")[inside] - intended_ns
    positive = latency_ns > 0
    if np.count_nonzero(positive) < 2:
        return None
    at_s = (intended_ns - origin_of(run))[positive] / 1e9
    milliseconds = latency_ns[positive] / 1e6
    seconds = max(1.0, float(at_s.max() - at_s.min()))
    columns = int(min(_COLUMNS_MAX, max(10, seconds * 4)))
    edges_s = np.linspace(at_s.min(), at_s.max() + 1e-9, columns + 1)
    low, high = float(milliseconds.min()), float(milliseconds.max())
    edges_ms = np.geomspace(low * 0.98, max(high, low * 1.5) * 1.02, _ROWS + 1)
    counts, _, _ = np.histogram2d(at_s, milliseconds, bins=(edges_s, edges_ms))
    figure, (axes,) = style.new_figure(1, 3.2)
    shown = np.ma.masked_equal(counts.T, 0)
    mesh = axes.pcolormesh(
        edges_s, edges_ms, shown, norm=LogNorm(1, max(2, int(counts.max()))), cmap=_COLOURS, rasterized=True
    )
    bar = figure.colorbar(mesh, ax=axes, pad=0.01)
    bar.set_label("deliveries a cell", color=style.INK)
    bar.outline.set_visible(False)
    most = int(counts.max())
    decades = [10**power for power in range(9) if 10**power * 2 < most]
    bar.set_ticks(sorted({1, *decades, max(2, most)}))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds_tick(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=False)
    left_out = int(np.count_nonzero(~positive))
    note = f" ({left_out:,} not above zero are left out)" if left_out else ""
    axes.set_title(f"Every delivery: fan-out latency over time{note}")
    shade_phases(axes, run, origin_of(run))
    label_time(axes)
    return figure
