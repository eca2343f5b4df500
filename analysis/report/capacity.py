"""Show the result of a capacity search as sentences, a plot and an HTML page, from capacity.json alone."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from analysis import text
from analysis.plots import style
from analysis.plots.axes import UnitFormatter
from analysis.record import files
from analysis.templating import template

_KINDS = {
    "found": "limit found",
    "above": "not reached",
    "below": "below the lowest load",
    "generator": "the generator is the limit",
    "undecided": "undecided",
    "unfinished": "not finished",
}


def write(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write knee.svg, knee.png and capacity.html into a search's folder; return the page's path."""
    with style.styled():
        figure = knee(content)
        svg = style.to_svg(figure)
        files.replace(folder / "knee.svg", svg)
        with files.replacing(folder / "knee.png") as temporary, style.missing_glyphs_as_boxes():
            figure.savefig(temporary, dpi=150, facecolor="white", format="png")
    path = folder / "capacity.html"
    files.replace(path, render(content, svg))
    return path


def render(content: Mapping[str, Any], svg: str) -> str:
    """Return the HTML page; ``svg`` is the plot of latency and loss against load."""
    return template("capacity.html").render(
        content=content,
        sentences=sentences(content),
        figure=Markup(svg),  # noqa: S704  shapes only, see style.py
        unit=content["unit"],
        usl=usl_sentence(content),
    )


def sentences(content: Mapping[str, Any]) -> list[str]:
    """Return a sentence on each goal, one on all goals together if there are several, and one on the trials."""
    lines = [
        f"{text.clean(limit['goal'] or 'all goals together')}: {_limit(content, limit)}"
        for limit in content["limits"]
    ]
    full = sum(row["full"] for row in content["trials"])
    lines.append(f"{len(content['trials'])} trials, {full} of them full-length")
    return lines


def usl_sentence(content: Mapping[str, Any]) -> str:
    """Return a sentence on the fit of the universal scalability law, or on why there is no fit."""
    found = content["usl"]
    if found is None:
        return "The law is about events and subscribers; it is not fitted on this axis."
    if found["rate"] is None:
        return f"No fit: {found['reason']}."
    said = ", ".join(
        f"{sign} {found[name]['value']:.3g} ({found[name]['low']:.3g} … {found[name]['high']:.3g})"
        for sign, name in (("λ", "rate"), ("σ", "contention"), ("κ", "coherence"))
    )
    if found["peak"] is None:
        return f"{said}; {found['reason']}. {_sentence(found['method'])}"
    peak = found["peak"]
    return (
        f"{said}; throughput has its peak of {found['peak_throughput']:,.0f}/s at {peak['value']:,.0f}"
        f" ({peak['low']:,.0f} … {peak['high']:,.0f}){content['unit']}. {_sentence(found['method'])}"
    )


def _sentence(said: str) -> str:
    return f"{said[:1].upper()}{said[1:]}."


def _limit(content: Mapping[str, Any], limit: Mapping[str, Any]) -> str:
    unit, lower, upper = content["unit"], limit["lower"], limit["upper"]
    passes = _votes(limit["lower_votes"], 0) + _deliveries(content, lower)
    fails = _votes(limit["upper_votes"], 1)
    kind = limit["kind"]
    if lower is not None and upper is not None:
        said = f"from {lower:,g} ({passes}) to {upper:,g}{unit} ({fails})"
    elif lower is not None:
        said = f"at least {lower:,g}{unit} ({passes})"
    elif upper is not None:
        said = f"less than {upper:,g}{unit} ({fails})"
    else:
        said = "nothing is known"
    why = f"; {text.clean(limit['reason'])}" if limit["reason"] else ""
    return said if kind == "found" else f"{_KINDS[kind]}: {said}{why}"


def _votes(votes: list[int], mine: int) -> str:
    word = ("passed", "failed")[mine]
    total = sum(votes)
    return f"{word} {votes[mine]} of {total} full-length trials" if total else f"{word} in short trials only"


def _deliveries(content: Mapping[str, Any], load: float | None) -> str:
    rates = [
        row["offered_deliveries_per_s"]
        for row in content["trials"]
        if row["load"] == load and row["offered_deliveries_per_s"]
    ]
    return f", {text.rate(sorted(rates)[len(rates) // 2])} deliveries" if rates else ""


def knee(content: Mapping[str, Any]) -> Figure:
    """Return the plot of latency and loss against load, with a mark per trial; the interval of the limit is shaded."""
    figure, (above, below) = style.new_figure(2, 5.5, sharex=True)
    rows = [row for row in content["trials"] if row.get("p99_ns") is not None]
    for name, colour in (("p50_ns", style.SKY), ("p99_ns", style.BLUE)):
        ordered = sorted((row["load"], row[name] / 1e6) for row in rows)
        above.plot(
            [load for load, _ in ordered], [ms for _, ms in ordered], color=colour, alpha=0.8, label=name[:-3]
        )
    for label, marker, colour in (
        ("passed", "o", style.GREEN),
        ("failed", "X", style.VERMILION),
        ("no vote", "s", style.ORANGE),
    ):
        some = [row for row in rows if _outcome(row) == label]
        if some:
            loads = [row["load"] for row in some]
            above.scatter(
                loads,
                [row["p99_ns"] / 1e6 for row in some],
                marker=marker,
                color=colour,
                zorder=3,
                label=label,
            )
            lossy = [row for row in some if row["loss"] is not None]
            below.scatter(
                [row["load"] for row in lossy],
                [100 * row["loss"] for row in lossy],
                marker=marker,
                color=colour,
                zorder=3,
            )
    if content["limits"]:
        last = content["limits"][-1]
        for axes in (above, below):
            if last["lower"] is not None and last["upper"] is not None:
                axes.axvspan(last["lower"], last["upper"], color=style.PURPLE, alpha=0.2)
            elif (edge := last["lower"] or last["upper"]) is not None:
                axes.axvline(edge, color=style.PURPLE, linestyle="--")
    if rows:
        _scale(above, rows)
        above.legend(ncols=5, loc="upper left")
    losses = [100 * row["loss"] for row in rows if row["loss"] is not None]
    below.set_ylim(0, 1.2 * max(losses, default=0) or 1)
    above.set_ylabel("latency")
    below.set_ylabel("loss, %")
    below.set_xlabel(f"load,{text.clean(content['unit'])}")
    return figure


def _scale(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Make both axes logarithmic, with ticks at loads that were tried, and room for the legend above the marks."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_ticks({row["load"] for row in rows})))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda load, _: f"{load:,g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.yaxis.set_major_formatter(UnitFormatter("ms"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    times = [row[name] / 1e6 for row in rows for name in ("p50_ns", "p99_ns") if row[name]]
    if times:
        axes.set_ylim(min(times) * 0.7, max(times) * 2.5)


def _ticks(loads: Collection[float]) -> list[float]:
    """Return the loads that have room for their labels: at most one for each tenth of the axis."""
    ordered = sorted(load for load in loads if load > 0)
    if not ordered:
        return []
    least = (ordered[-1] / ordered[0]) ** 0.1
    kept = [ordered[-1]]
    for load in reversed(ordered[:-1]):
        if kept[-1] / load >= least:
            kept.append(load)
    return kept[::-1]


def _outcome(row: Mapping[str, Any]) -> str:
    if not row["doubt"] and "failed" in row["votes"]:
        return "failed"
    return "passed" if not row["doubt"] and set(row["votes"]) == {"passed"} else "no vote"
