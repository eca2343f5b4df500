"""Figures as plain data: what a matplotlib figure shows, for the charts that a browser draws.

Both pictures of a plot, the drawn one and the interactive one, come from the same figure, so they show the same data.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgba
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle

from analysis.plots.axes import COLORBAR, unit_of

#: Maximum number of points of one line; more would only make the page larger.
POINTS_MAX: Final = 4_000
_DASHES: Final[dict[str, list[int]]] = {"--": [6, 4], ":": [2, 3], "-.": [6, 3, 2, 3]}
#: Number of shades in a heat map's colour scale.
_SHADES: Final = 64


def panels(figure: Figure) -> list[dict[str, Any]]:
    """Return the axes of a figure, from top to bottom, as data for JSON; see `_panel` for the keys."""
    return [_panel(axes) for axes in figure.axes if axes.get_label() != COLORBAR]


def _panel(axes: Axes) -> dict[str, Any]:
    """Return the contents of axes as data for JSON.

    The keys are ``x`` and ``y`` (label, limits, scale and unit of each axis), ``series`` (lines and bars, each with a
    name or None), ``bands`` (areas between two lines), ``spans`` (shaded stretches of x), ``marks`` (vertical lines),
    ``names`` (words above the axes) and ``heat`` (a heat map).
    """
    return {
        "title": axes.get_title(loc="left"),
        "x": _axis(axes, "x"),
        "y": _axis(axes, "y"),
        "series": [*_lines(axes), *_bars(axes)],
        "bands": list(_bands(axes)),
        "spans": list(_spans(axes)),
        "marks": [
            {"x": _number(line.get_xdata()[0]), "colour": to_hex(line.get_color())}  # type: ignore[index]
            for line in axes.get_lines()
            if not _is_data(axes, line)
        ],
        "names": [{"text": text.get_text(), "x": _number(text.xy[0])} for text in axes.texts],  # type: ignore[attr-defined]
        "heat": _heat(axes),
    }


def _axis(axes: Axes, which: str) -> dict[str, Any]:
    axis = axes.xaxis if which == "x" else axes.yaxis
    begin, end = axes.get_xlim() if which == "x" else axes.get_ylim()
    # Of the plots that share an x axis only the lowest has the axis's label, so the label may be empty.
    label = axis.get_label().get_text()
    return {
        "label": label,
        "begin": _number(begin),
        "end": _number(end),
        "log": axis.get_scale() == "log",
        "unit": unit_of(axis),
    }


def _is_data(axes: Axes, line: Line2D) -> bool:
    """Return True for a line through data, False for a line across the whole axes, such as `axvline` draws."""
    return line.get_transform() == axes.transData


def _lines(axes: Axes) -> Iterator[dict[str, Any]]:
    for line in axes.get_lines():
        if not _is_data(axes, line):
            continue
        x, y = (np.asarray(values, dtype=np.float64) for values in (line.get_xdata(), line.get_ydata()))
        if not len(x):
            continue
        step = line.get_drawstyle() == "steps-post"
        chosen = _chosen(y) if len(x) > POINTS_MAX else np.arange(len(x))
        label = str(line.get_label())
        yield {
            "kind": "points" if line.get_linestyle() == "None" else "step" if step else "line",
            "name": None if label.startswith("_") else label,
            "colour": to_hex(line.get_color()),
            "width": float(line.get_linewidth()),
            "dash": _DASHES.get(str(line.get_linestyle()), []),
            "hollow": line.get_markerfacecolor() == "none",
            "size": float(line.get_markersize()),
            "x": _rounded(x[chosen]),
            "y": _rounded(y[chosen]),
            "shown": [len(chosen), len(x)],
        }


def _chosen(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the sorted indices of the lowest and highest value in each of many sections, to keep every peak."""
    edges = np.linspace(0, len(values), POINTS_MAX // 2 + 1).astype(np.int64)
    known = np.where(np.isnan(values), 0.0, values)
    places = {0, len(values) - 1}
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = known[begin:end]
        places |= {begin + int(part.argmin()), begin + int(part.argmax())}
    return np.array(sorted(places), dtype=np.int64)


def _bars(axes: Axes) -> Iterator[dict[str, Any]]:
    for container in axes.containers:
        if not isinstance(container, BarContainer):
            continue
        bars: list[Rectangle] = list(container)
        if not bars:
            continue
        label = str(container.get_label())
        yield {
            "kind": "bars",
            "name": None if label.startswith("_") else label,
            "colour": to_hex(bars[0].get_facecolor()),
            "x": _rounded(np.array([bar.get_x() for bar in bars])),
            "width": float(bars[0].get_width()),
            "base": _rounded(np.array([bar.get_y() for bar in bars])),
            "y": _rounded(np.array([bar.get_height() for bar in bars])),
            "shown": [len(bars), len(bars)],
        }


def _bands(axes: Axes) -> Iterator[dict[str, Any]]:
    for collection in axes.collections:
        if not isinstance(collection, FillBetweenPolyCollection):
            continue
        red, green, blue, alpha = np.asarray(collection.get_facecolor(), dtype=np.float64)[0].tolist()
        for path in collection.get_paths():
            corners = np.asarray(path.vertices, dtype=np.float64)
            if 2 < len(corners) <= 4 * POINTS_MAX:
                yield {
                    "colour": to_hex((red, green, blue)),
                    "alpha": alpha,
                    "x": _rounded(corners[:, 0]),
                    "y": _rounded(corners[:, 1]),
                }


def _spans(axes: Axes) -> Iterator[dict[str, Any]]:
    bars = {
        id(bar) for container in axes.containers if isinstance(container, BarContainer) for bar in container
    }
    for patch in axes.patches:
        if id(patch) in bars or not isinstance(patch, Rectangle | Polygon):
            continue
        at = np.asarray(patch.get_path().vertices) if isinstance(patch, Polygon) else None
        begin = patch.get_x() if isinstance(patch, Rectangle) else float(at[:, 0].min())  # type: ignore[index]
        end = begin + patch.get_width() if isinstance(patch, Rectangle) else float(at[:, 0].max())  # type: ignore[index]
        face = to_rgba(patch.get_facecolor())
        yield {"begin": _number(begin), "end": _number(end), "colour": to_hex(face[:3]), "alpha": face[3]}


def _heat(axes: Axes) -> dict[str, Any] | None:
    mesh = next((each for each in axes.collections if isinstance(each, QuadMesh)), None)
    if mesh is None:
        return None
    corners = np.asarray(mesh.get_coordinates())
    counts: Any = np.ma.asarray(mesh.get_array()).reshape(corners.shape[0] - 1, corners.shape[1] - 1)
    row, column = np.nonzero(counts.filled(0))
    values = counts.filled(0)[row, column]
    shade = np.clip(np.asarray(mesh.norm(values)) * (_SHADES - 1), 0, _SHADES - 1).astype(np.int64)
    return {
        "columns": _rounded(corners[0, :, 0]),
        "rows": _rounded(corners[:, 0, 1]),
        "column": column.tolist(),
        "row": row.tolist(),
        "count": values.astype(np.int64).tolist(),
        "shade": shade.tolist(),
        "shades": [to_hex(colour) for colour in mesh.get_cmap()(np.linspace(0, 1, _SHADES))],
    }


def _rounded(values: np.ndarray[Any, Any]) -> list[float | None]:
    """Return numbers with six significant digits, as many as a screen shows; NaN and infinity become None."""
    return [_number(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def _number(value: Any) -> float:
    number = float(value)
    return int(number) if number.is_integer() else number
