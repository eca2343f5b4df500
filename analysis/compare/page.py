"""A comparison as an HTML page: figures side by side, both latency curves, other differences, and conclusions."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis.compare import outputs, services
from analysis.compare.decide import BETTER, SAME, UNKNOWN, WORSE, Difference
from analysis.compare.design import Design, Kind
from analysis.compare.profile import Profile, value_of
from analysis.plots import style
from analysis.record import files
from analysis.templating import template

#: Name of the page's meta element that holds the comparison as data.
META: Final = "loadgen-comparison"
_KINDS = {BETTER: "good", SAME: "good", WORSE: "bad", UNKNOWN: "warning"}
_PERCENTILES = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)
_MARKS = ("o", "s")
_ONE_RUN = (
    "one run a side does not show how much runs differ among themselves: take three or more a side, in turns"
    " (loadgen ab)"
)


def write(
    path: Path,
    base: Sequence[Profile],
    new: Sequence[Profile],
    found: Sequence[Difference],
    content: Mapping[str, Any] | None = None,
) -> None:
    """Write the page; with ``content`` (see `analysis.compare.content`) it can be verified.

    Raises:
        OSError: the page cannot be written.
    """
    files.output(path, render(base, new, found, content))


def render(
    base: Sequence[Profile],
    new: Sequence[Profile],
    found: Sequence[Difference],
    content: Mapping[str, Any] | None = None,
    *,
    drawn: bool = True,
) -> str:
    """Return the page; if ``drawn`` is False, without the plot, which takes most of the time."""
    sides = services.names(base, new)
    svg = ""
    if drawn:
        with style.styled():
            svg = style.to_svg(curves(base, new, sides or ("base", "new")))
    verdict = outputs.overall(found)
    return template("compare.html").render(
        meta=META,
        content=None if content is None else json.dumps(content),
        scenario=base[0].scenario.get("name", ""),
        sides=sides or ("base", "new"),
        services=sides is not None,
        verdicts=services.decision(sides, found) if sides else [verdict],
        kind=_KINDS[verdict] if sides is None else "plain",
        rows=[
            {
                "metric": each.metric,
                "base": outputs.figure(each.metric, each.base),
                "new": outputs.figure(each.metric, each.new),
                "change": outputs.percent(each.change),
                "interval": outputs.interval(each),
                "said": services.said(each, sides) if sides else each.verdict,
                "kind": "" if sides and each.verdict != UNKNOWN else _KINDS[each.verdict],
            }
            for each in found
        ],
        reasons=outputs.reasons(found, sides),
        setup=services.setup(base, new),
        caveats=[
            *([_ONE_RUN] if Design.of(base, new).kind is Kind.SINGLE else []),
            *(services.caveats(base, new) if sides else []),
        ],
        doubts=outputs.doubts(base, new),
        runs=[
            (name, run)
            for name, side in zip(sides or ("base", "new"), (base, new), strict=True)
            for run in side
        ],
        figure=Markup(svg),  # noqa: S704  shapes only, see style.py
    )


def curves(base: Sequence[Profile], new: Sequence[Profile], names: tuple[str, str]) -> Figure:
    """Return a plot of fan-out latency by percentile, each side's runs pooled and rarer latencies further right."""
    figure, (axes,) = style.new_figure(1, 3.4)
    longest = 0.0
    for side, name, colour, mark in zip((base, new), names, (style.BLUE, style.ORANGE), _MARKS, strict=True):
        counts: Counter[int] = Counter()
        for profile in side:
            for histogram in profile.blocks["delivery.latency"]:
                counts.update({int(number): count for number, count in histogram.items()})
        if not counts:
            continue
        numbers = np.array(sorted(counts))
        total = np.cumsum([counts[number] for number in numbers.tolist()])
        # The rarity of a value is n if one in n samples is larger; the largest sample has the highest rarity.
        rarity = total[-1] / np.maximum(total[-1] - total + 1, 1)
        values = np.array([value_of(number) for number in numbers.tolist()]) / 1e6
        axes.plot(rarity, values, color=colour, label=name, drawstyle="steps-post")
        places = np.searchsorted(total, np.ceil(total[-1] * np.array(_PERCENTILES[1:]) / 100))
        shown = [1 / (1 - p / 100) for p in _PERCENTILES[1:]]
        reached = [at for at, rare in enumerate(shown) if rare <= rarity[-1]]
        axes.plot(
            [shown[at] for at in reached],
            [values[min(places[at], len(values) - 1)] for at in reached],
            mark,
            color=colour,
            markersize=5,
        )
        longest = max(longest, float(rarity[-1]))
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = [(1 / (1 - p / 100), f"p{p:g}" if p else "least") for p in _PERCENTILES]
    ticks = [(at, label) for at, label in ticks if at <= max(longest, 2.0)]
    axes.set_xticks([at for at, _ in ticks], [label for _, label in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("ms, from the intended time")
    axes.set_title("Fan-out latency by percentile")
    axes.legend(loc="upper left")
    return figure
