"""Write a history of runs as an HTML page: the changes of level, a plot of each metric, and all figures."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.compare import outputs
from analysis.compare.decide import BETTER, WORSE
from analysis.compare.history import Change, Series, few
from analysis.compare.profile import Profile
from analysis.plots import style
from analysis.record import files
from analysis.templating import template


def write(
    path: Path, profiles: Sequence[Profile], histories: Sequence[Series], changes: Sequence[Change]
) -> None:
    """Write the page; the profiles must be in order of time.

    Raises:
        OSError: the page cannot be written.
    """
    files.output(path, render(profiles, histories, changes))


def render(profiles: Sequence[Profile], histories: Sequence[Series], changes: Sequence[Change]) -> str:
    """Return the page."""
    figures = []
    with style.styled():
        for each in histories:
            those = [change for change in changes if change.metric == each.metric]
            figures.append((each.metric, Markup(style.to_svg(plot(each, those, len(profiles))))))  # noqa: S704
    scenarios = dict.fromkeys(str(profile.scenario.get("name", "")) for profile in profiles)
    return template("history.html").render(
        scenario=", ".join(filter(None, scenarios)) or "runs",
        runs=profiles,
        verdict=outputs.conclusion(len(profiles), changes),
        kind=_kind(len(profiles), changes),
        changes=[
            {
                "number": change.place + 1,
                "run": change.run,
                "metric": change.metric,
                "before": outputs.figure(change.metric, change.before),
                "after": outputs.figure(change.metric, change.after),
                "change": outputs.percent(change.ratio),
                "verdict": WORSE if change.worse else BETTER,
                "kind": "bad" if change.worse else "good",
            }
            for change in changes
        ],
        metrics=[each.metric for each in histories],
        figures=figures,
        figure_of=outputs.figure,
    )


def plot(history: Series, changes: Sequence[Change], runs: int) -> Figure:
    """Return a plot of a metric over the runs, numbered from 1; lines show its level, and where the level changed."""
    figure, (axes,) = style.new_figure(1, 2.6)
    scale, unit = (1.0, "per second") if history.metric.endswith(".rate") else (1e6, "ms")
    numbers = [place + 1 for place in history.places]
    values = history.values / scale
    axes.plot(numbers, values, "o", color=style.BLUE, markersize=4.5, zorder=3)
    for level in history.levels:
        ends = numbers[level.first] - 0.4, numbers[level.last] + 0.4
        axes.plot(ends, [level.median / scale] * 2, color=style.ORANGE, linewidth=2)
    for change in changes:
        colour = style.VERMILION if change.worse else style.GREEN
        axes.axvline(change.place + 0.5, color=colour, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"{outputs.percent(change.ratio)} {WORSE if change.worse else BETTER}",
            (change.place + 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -2),
            textcoords="offset points",
            va="top",
            fontsize=9,
            color=colour,
        )
    # Leave room above the points for the labels of changes.
    axes.margins(y=0.25)
    axes.set_xlim(0.2, runs + 0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("run")
    axes.set_ylabel(unit)
    axes.set_title(history.metric, pad=8)
    return figure


def _kind(runs: int, changes: Sequence[Change]) -> str:
    if any(change.worse for change in changes):
        return "bad"
    return "warning" if few(runs) else "good"
