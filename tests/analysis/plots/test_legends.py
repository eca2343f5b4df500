"""Test that legends do not cover curves, however high the curves are."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

import analysis
from analysis.plots import style
from analysis.plots.over_time import generator_health, latency_over_time
from analysis.plots.spread import fan_out, percentile_curves
from tests.paths import REPO

PLOTS = [latency_over_time, percentile_curves, fan_out, generator_health]


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.__name__)
def test_no_point_of_a_curve_is_behind_a_legend(plot: Callable[[analysis.Run], Figure | None]) -> None:
    with style.styled():
        figure = plot(analysis.load(REPO / "results" / "sample"))
        assert figure is not None
        figure.draw_without_rendering()
        for axes in figure.axes:
            legend = axes.get_legend()
            assert legend is not None
            box = legend.get_window_extent()
            (left, _), (_, top) = axes.get_xlim(), axes.get_ylim()
            highest = max(float(np.max(line.get_ydata(), initial=0)) for line in axes.lines)
            # A curve may be at its highest anywhere, as the next run's may be.
            _, at = axes.transData.transform((left, min(highest, top)))
            assert box.y0 >= at, f"the legend begins {at - box.y0:.1f} px below the highest point"
            title = axes.title if axes.title.get_text() else axes._left_title  # type: ignore[attr-defined]
            if title.get_text():
                assert not title.get_window_extent().overlaps(box)
