"""Describe a prepared run, for the form in Locust's web UI: the form itself shows only Locust's own options."""

from dataclasses import dataclass

from analysis.text import clean
from loadgen.resolve import ResolvedRun

_S = 1_000_000_000
#: Maximum number of groups that are described individually.
_GROUPS_MAX = 8


@dataclass(frozen=True)
class Coming:
    """A run that is prepared and has not begun."""

    #: URL of the target, without secrets.
    target: str
    rows: tuple[tuple[str, str], ...]
    """Pairs of a label and its text, in the order in which to show them; each gate is a line of its text."""

    @classmethod
    def of(cls, run: ResolvedRun, target: str) -> "Coming":
        """Describe ``run`` against the URL ``target``, which must hold no secret."""
        named = [f"{group.count:,} {clean(group.name)}" for group in run.groups]
        if len(named) > _GROUPS_MAX:
            named[_GROUPS_MAX - 1 :] = [f"{len(named) - _GROUPS_MAX + 1} further groups"]
        phases, rate = run.phases, sum(publish.events_per_s for publish in run.publishing.values())
        times = [
            ("ramp", run.totals.ramp_ns),
            ("warm-up", phases.warmup_ns),
            ("measure", phases.measure_ns),
            ("drain", phases.drain_ns),
        ]
        rows = [
            ("Scenario", clean(run.name)),
            ("Target", clean(target)),
            ("Clients", f"{run.totals.clients:,}: {', '.join(named)}"),
            ("Subscriptions", f"{run.totals.subscriptions:,}"),
        ]
        if rate and not run.journeys:
            rows.append(("Events", f"{rate:,.6g}/s"))
        rows.append(("Phases", ", ".join(f"{name} {_seconds(ns)}" for name, ns in times if ns)))
        if run.gates:
            rows.append(("Gates", "\n".join(clean(each.check) for each in run.gates)))
        return cls(clean(target), tuple(rows))


def _seconds(ns: int) -> str:
    """Return a phase's length with at most one decimal, or three if it is shorter than a second."""
    seconds = ns / _S
    return f"{round(seconds, 1 if seconds >= 1 else 3):,.15g} s"
