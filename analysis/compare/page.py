"""A comparison as an HTML page: figures side by side, both latency curves, other differences, and conclusions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.compare import outputs, services
from analysis.compare.curves import Side, curves
from analysis.compare.decide import BETTER, SAME, UNKNOWN, WORSE, Difference
from analysis.compare.design import Design, Kind
from analysis.compare.profile import Profile, pooled
from analysis.plots import style
from analysis.record import files
from analysis.templating import template

#: Name of the page's meta element that holds the comparison as data.
META: Final = "loadgen-comparison"
_KINDS = {BETTER: "good", SAME: "good", WORSE: "bad", UNKNOWN: "warning"}
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
    """Write the page; ``content`` (see `analysis.compare.content`) lets `loadgen verify` check the page.

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
            svg = style.to_svg(_curves(base, new, sides or ("base", "new")))
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


def _curves(base: Sequence[Profile], new: Sequence[Profile], names: tuple[str, str]) -> Figure:
    looks = ((style.BLUE, "o"), (style.ORANGE, "s"))
    sides = [
        Side(name, pooled(profiles), colour, mark=mark)
        for profiles, name, (colour, mark) in zip((base, new), names, looks, strict=True)
    ]
    return curves(sides, 3.4)
