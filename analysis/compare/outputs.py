"""Print a comparison or a history of runs in the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import text
from analysis.compare import services
from analysis.compare.decide import BETTER, SAME, UNKNOWN, WORSE, Difference, metrics_of
from analysis.compare.design import Design, Kind
from analysis.compare.history import RUNS_MIN, Change, few
from analysis.compare.profile import METRICS, OPTIONAL, Profile
from analysis.console import sentence

_LOOKS = {BETTER: "green", SAME: "green", WORSE: "red", UNKNOWN: "yellow"}


def figure(metric: str, value: float | None) -> str:
    """Return a metric's figure with its unit."""
    return text.rate(value) if metric.endswith(".rate") else text.duration(value)


def percent(change: float | None) -> str:
    """Return a change as +12.3 %."""
    if change is None:
        return text.UNKNOWN
    return f"{'+' if change >= 0 else '−'}{abs(change) * 100:.1f} %"


def interval(difference: Difference) -> str:
    """Return the interval of a change, or "unknown"."""
    if difference.low is None or difference.high is None:
        return text.UNKNOWN
    return f"{percent(difference.low)} … {percent(difference.high)}"


def runs(count: int) -> str:
    """Return a number of runs as text: `1 run`, `3 runs`."""
    return "1 run" if count == 1 else f"{count:,} runs"


def overall(differences: Sequence[Difference]) -> str:
    """Return the gravest verdict, in the order worse, can't tell, better, same."""
    verdicts = {difference.verdict for difference in differences}
    return next((verdict for verdict in (WORSE, UNKNOWN, BETTER) if verdict in verdicts), SAME)


def doubts(base: Sequence[Profile], new: Sequence[Profile]) -> list[str]:
    """Return the reasons that the runs give to doubt their comparison, one sentence each."""
    lines = []
    for name, side in (("base", base), ("new", new)):
        for profile in side:
            if profile.verdict != "valid" or profile.status != "complete":
                status = "" if profile.status == "complete" else f" ({text.clean(profile.status)})"
                lines.append(f"{name} run {text.clean(profile.run)} is {profile.verdict}{status}")
        vague = sum(
            any(profile.figures.get(metric) is not None and metric not in profile.ends for metric in METRICS)
            for profile in side
        )
        if vague:
            lines.append(f"{vague:,} {name} runs do not say how exact arrivals are: taken as exact")
    design = Design.of(base, new)
    if design.kind is Kind.BASELINE:
        few, many = ("new", "base") if len(new) < len(base) else ("base", "new")
        lines.append(
            f"the {few} side has {runs(min(design.base, design.new))}: it is taken to vary as the"
            f" {runs(max(design.base, design.new))} of {many} do"
        )
    uncompared = sorted(
        metric
        for metric in OPTIONAL.difference(metrics_of(base, new))
        if any((profile.figures.get(metric) or 0) > 0 for profile in (*base, *new))
    )
    if uncompared:
        lines.append(f"not compared, since not every run has them: {', '.join(uncompared)}")
    # Leave out how the targets differ: `services` reports that.
    differing = sorted(
        {
            key
            for profile in (*base, *new)
            for key in _differing(base[0].scenario, profile.scenario)
            if key.partition(".")[0] != "target"
        }
    )
    if differing:
        lines.append(f"the scenarios differ in {', '.join(map(text.clean, differing))}")
    losses = [max((profile.loss or 0.0 for profile in side), default=0.0) for side in (base, new)]
    if any(losses):
        lines.append(
            f"deliveries were lost: up to {text.ratio(losses[0])} (base), {text.ratio(losses[1])} (new)"
        )
    return lines


def show(
    console: Console, base: Sequence[Profile], new: Sequence[Profile], differences: Sequence[Difference]
) -> None:
    """Print the table of metrics, the reasons to doubt the comparison, and the verdict.

    If the two sides are different services, also print how else these differ.
    """
    sides = services.names(base, new)
    first, second = sides or ("base", "new")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in (
        ("", 0),
        (first, 1),
        (second, 1),
        ("change", 1),
        ("95 % interval", 1),
        ("verdict", 0),
    ):
        # With two services, titles and verdicts contain the names of both and are long, so the columns with them may
        # wrap.
        fixed = sides is None or name in ("", "change", "95 % interval")
        table.add_column(name, justify="right" if right else "left", no_wrap=fixed)
    for difference in differences:
        table.add_row(
            difference.metric,
            figure(difference.metric, difference.base),
            figure(difference.metric, difference.new),
            percent(difference.change),
            interval(difference),
            Text(
                services.said(difference, sides) if sides else difference.verdict, _LOOKS[difference.verdict]
            ),
        )
    if sides:
        sentence(console, Text(f"{first} against {second}", "bold"))
    sentence(console, f"{runs(len(base))} against {len(new)}\n")
    console.print(table)
    console.print()
    if sides:
        _show_setup(console, sides, services.setup(base, new))
        for line in services.caveats(base, new):
            sentence(console, Text(line, "dim"))
    for line in doubts(base, new):
        sentence(console, Text(line, "yellow"))
    for metrics, reason in reasons(differences, sides):
        sentence(console, Text(f"{metrics}: {reason}", "yellow"))
    verdict = overall(differences)
    if sides is None:
        undecided = ", ".join(each.metric for each in differences if each.verdict == UNKNOWN)
        said = f"{verdict} in {undecided}" if verdict == UNKNOWN else verdict
        sentence(console, Text(f"\n{said}", _LOOKS[verdict]))
        return
    console.print()
    for line in services.decision(sides, differences):
        sentence(console, Text(line, "bold"))


def reasons(differences: Sequence[Difference], sides: tuple[str, str] | None) -> list[tuple[str, str]]:
    """Return (metrics, reason with advice) for the metrics whose verdict is "can't tell".

    Metrics with the same reason share a row.
    """
    found: dict[str, list[str]] = {}
    for difference in differences:
        if difference.verdict == UNKNOWN:
            reason = services.why(difference, sides) if sides else difference.reason
            found.setdefault("; ".join(filter(None, (reason, difference.advice))), []).append(
                difference.metric
            )
    return [(", ".join(metrics), reason) for reason, metrics in found.items()]


def _show_setup(console: Console, sides: tuple[str, str], rows: Sequence[tuple[str, str, str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("what else differs", style="dim")
    for name in sides:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print()


def _differing(one: object, other: object, path: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for key in sorted({*one, *other}, key=str):
            found += _differing(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if one == other else [path]


def conclusion(count: int, changes: Sequence[Change]) -> str:
    """Return a sentence that says how many lasting changes the metrics of a series of runs show."""
    if few(count):
        return f"{runs(count)} are too few for a history: it takes {2 * RUNS_MIN}"
    if not changes:
        return f"no change of level in {count:,} runs"
    worse = sum(change.worse for change in changes)
    parts = [
        f"{number} for the {way}"
        for number, way in ((worse, WORSE), (len(changes) - worse, BETTER))
        if number
    ]
    noun = "1 change" if len(changes) == 1 else f"{len(changes)} changes"
    return f"{noun} of level in {count:,} runs: {', '.join(parts)}"


def show_history(console: Console, profiles: Sequence[Profile], changes: Sequence[Change]) -> None:
    """Print each lasting change of a metric, with the first run that has the new value."""
    if not changes:
        sentence(console, conclusion(len(profiles), changes))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("from run", "metric", "before", "after", "change", ""):
        # A cell that is too wide is broken, never cut.
        right = name in ("before", "after", "change")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for change in changes:
        verdict = WORSE if change.worse else BETTER
        table.add_row(
            Text(text.clean(change.run)),
            change.metric,
            figure(change.metric, change.before),
            figure(change.metric, change.after),
            percent(change.ratio),
            Text(verdict, style=_LOOKS[verdict]),
        )
    console.print(table)
