"""Test that a figure's data has all that the figure shows: lines, bars, bands, spans, marks, heat maps."""

import math

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis.plots.axes import UnitFormatter, label_time
from analysis.plots.plain import POINTS_MAX, panels


def figure_with_all() -> Figure:
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0.0, 1.0, 2.0], [5.0, math.nan, 6.0], label="line", color="#112233", linestyle="--")
    axes.plot([0.0, 1.0], [1.0, 2.0], drawstyle="steps-post", label="step", color="#445566")
    axes.plot([0.5], [3.0], linestyle="none", marker="o", markerfacecolor="none", label="points")
    axes.bar([0.0, 1.0], [2.0, 3.0], 1.0, [0.0, 1.0], align="edge", color="#009E73", label="bars")
    axes.fill_between([0.0, 1.0], [1.0, 1.0], [2.0, 2.0], color="#E69F00", alpha=0.25)
    axes.axvspan(0.25, 0.75, color="#7a7f87", alpha=0.1)
    axes.axvline(1.5, color="#D55E00")
    axes.annotate("measure", (0.5, 1.0), xycoords=("data", "axes fraction"))
    axes.set_xlim(0, 2)
    axes.set_ylim(0, 8)
    axes.set_title("Title", loc="left")
    axes.yaxis.set_major_formatter(UnitFormatter("ms"))
    label_time(axes)
    return figure


def test_all_parts_of_axes_are_there() -> None:
    (panel,) = panels(figure_with_all())
    assert panel["title"] == "Title"
    assert panel["x"] == {
        "label": "seconds since the run began",
        "begin": 0,
        "end": 2,
        "log": False,
        "unit": "time",
    }
    assert (panel["y"]["unit"], panel["y"]["end"]) == ("ms", 8)
    line, step, points, bars = panel["series"]
    assert (line["kind"], line["name"], line["colour"], line["dash"]) == ("line", "line", "#112233", [6, 4])
    # Unknown values are null, never zero.
    assert (line["x"], line["y"]) == ([0, 1, 2], [5, None, 6])
    assert (step["kind"], step["x"], step["y"], step["dash"]) == ("step", [0, 1], [1, 2], [])
    assert (points["kind"], points["hollow"], points["y"]) == ("points", True, [3])
    assert (bars["kind"], bars["name"], bars["colour"]) == ("bars", "bars", "#009e73")
    assert (bars["x"], bars["base"], bars["y"], bars["width"]) == ([0, 1], [0, 1], [2, 3], 1.0)
    (band,) = panel["bands"]
    assert (band["colour"], band["alpha"]) == ("#e69f00", 0.25)
    assert {*zip(band["x"], band["y"], strict=True)} == {(0, 1), (1, 1), (1, 2), (0, 2)}
    (span,) = panel["spans"]
    assert (span["begin"], span["end"], span["colour"]) == (0.25, 0.75, "#7a7f87")
    assert span["alpha"] == pytest.approx(0.1)
    assert panel["marks"] == [{"x": 1.5, "colour": "#d55e00"}]
    assert panel["names"] == [{"text": "measure", "x": 0.5}]
    assert panel["heat"] is None


def test_a_heat_map_has_each_cell_that_is_not_empty() -> None:
    figure = Figure()
    axes = figure.subplots()
    counts = np.ma.masked_equal(np.array([[0, 3], [1, 0]]), 0)
    mesh = axes.pcolormesh(
        np.array([0.0, 1.0, 2.0]), np.array([1.0, 10.0, 100.0]), counts, norm=LogNorm(1, 10)
    )
    figure.colorbar(mesh, ax=axes)
    # The colour bar does not count as a panel.
    (panel,) = panels(figure)
    heat = panel["heat"]
    assert heat is not None
    assert (heat["columns"], heat["rows"]) == ([0, 1, 2], [1, 10, 100])
    cells = {*zip(heat["column"], heat["row"], heat["count"], strict=True)}
    assert cells == {(1, 0, 3), (0, 1, 1)}
    assert heat["shade"][heat["count"].index(3)] > heat["shade"][heat["count"].index(1)] == 0


def test_a_long_line_is_thinned_without_losing_a_peak() -> None:
    values = np.sin(np.arange(50_000) / 900)
    values[31_234], values[7] = 9.0, -9.0
    figure = Figure()
    figure.subplots().plot(np.arange(50_000), values)
    (panel,) = panels(figure)
    (series,) = panel["series"]
    assert series["shown"] == [len(series["x"]), 50_000]
    assert 1_000 < len(series["x"]) <= POINTS_MAX + 2
    assert series["x"] == sorted(series["x"])
    assert (series["x"][0], series["x"][-1]) == (0, 49_999)
    assert (max(series["y"]), min(series["y"])) == (9, -9)
    assert series["name"] is None
