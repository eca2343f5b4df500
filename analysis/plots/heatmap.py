"""Heat map of all latencies over time: unlike percentiles, it shows a second population as a second band."""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from analysis.figures.latencies import ROWS_A_DECADE, latencies
from analysis.loading.run import Run
from analysis.plots import style
from analysis.plots.axes import UnitFormatter, label_time, origin_of, shade_phases

_ROWS_MAX = 90
# A colour map for colour-blind readers, without its ends, which would vanish on a dark or a white page.
_COLOURS = ListedColormap(colormaps["cividis"](np.linspace(0.3, 0.9, 256)))


def latency_heatmap(run: Run) -> Figure | None:
    """Number of deliveries by latency and by the time at which the event was due; logarithmic colours and latencies.

    Latencies of zero or less do not fit on a logarithmic axis; the title says how many there are.
    """
    found = latencies(run)
    if found is None or found.heat is None:
        return None
    heat = found.heat
    edges_s = (heat.edges_ns - origin_of(run)) / 1e9
    # Show only the occupied part of the grid, with rows merged until at most _ROWS_MAX are left.
    low = int(np.log10(heat.lowest_ns) * ROWS_A_DECADE)
    high = max(int(np.log10(heat.highest_ns) * ROWS_A_DECADE) + 1, low + ROWS_A_DECADE // 6)
    together = -(-(high - low) // _ROWS_MAX)
    rows = -(-(high - low) // together)
    shown_rows = np.pad(heat.counts[:, low : low + rows * together], ((0, 0), (0, rows * together)))
    counts = shown_rows[:, : rows * together].reshape(len(heat.counts), rows, together).sum(axis=2)
    edges_ms = 10.0 ** ((low + np.arange(rows + 1) * together) / ROWS_A_DECADE) / 1e6
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
    bar.ax.yaxis.set_major_formatter(UnitFormatter("count"))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.yaxis.set_major_formatter(UnitFormatter("ms"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=False)
    note = f" ({heat.left_out:,} not above zero are left out)" if heat.left_out else ""
    axes.set_title(f"Every delivery: fan-out latency over time{note}")
    shade_phases(axes, run, origin_of(run))
    label_time(axes)
    return figure
