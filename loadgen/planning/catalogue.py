"""Describe a scenario from its file alone, so that a user can choose one from the catalogue."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.planning import replies
from loadgen.planning.fanout import GroupLoad, due
from loadgen.planning.peaks import Rates, peak
from loadgen.resolve import ResolvedRun
from loadgen.resolve.resolver import planned
from loadgen.scenario import Scenario

_QUESTION = re.compile(r"[^.?!]*\?")
_NS_PER_S = 1_000_000_000
#: Number of values in the load curve that `loadgen scenarios` shows for a scenario.
CURVE_COLUMNS = 60


@dataclass(frozen=True, slots=True)
class Rate:
    """Mean and peak of a rate per second in the measure phase."""

    mean: float
    peak: float


@dataclass(frozen=True, slots=True)
class Portrait:
    """Description of a scenario for `loadgen scenarios`."""

    scenario: Scenario
    path: Path
    command: str
    """The shell command that runs the scenario."""
    comments: tuple[str, ...]
    """The file's comments that begin at the start of a line, as paragraphs; only indented lines are not joined."""
    run: ResolvedRun
    loads: tuple[GroupLoad, ...]
    events: Rate
    deliveries: Rate | None
    """Expected deliveries; None if there are too many channels to compute them, or if only the values of the data
    decide which subscriptions match."""
    curve: tuple[float, ...]
    """Mean events/s of all groups in each of `CURVE_COLUMNS` equal parts of the measure phase."""

    @property
    def question(self) -> str | None:
        """The first question in the comments, or None. A catalogue scenario opens with the question it answers."""
        for paragraph in self.comments:
            if found := _QUESTION.search(paragraph):
                return found[0].strip()
        return None

    @property
    def seconds(self) -> float:
        """Duration of a run (s) without the time until subscriptions are ready, which depends on the target."""
        phases = self.run.phases
        return (self.run.totals.ramp_ns + phases.publishing_ns + phases.drain_ns) / _NS_PER_S

    @property
    def steady(self) -> bool:
        """True if the load is constant."""
        return self.events.peak <= self.events.mean * (1 + 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """Return this description as JSON values; the parts copied from the scenario file keep the keys of the file."""
        resolved = self.scenario.resolved()
        return {
            "name": self.scenario.name,
            "path": str(self.path),
            "description": " ".join(self.scenario.description.split()),
            "question": self.question,
            "comments": list(self.comments),
            "command": self.command,
            "clients": self.run.totals.clients,
            "subscriptions": None if self.run.journeys else self.run.totals.subscriptions,
            "events_per_s": None
            if self.run.journeys
            else {"mean": self.events.mean, "peak": self.events.peak},
            "deliveries_per_s": None
            if self.deliveries is None
            else {"mean": self.deliveries.mean, "peak": self.deliveries.peak},
            "curve_events_per_s": list(self.curve),
            "seconds": self.seconds,
            "gates": resolved.get("gates", []),
            "variables": resolved.get("variables", {}),
            "groups": resolved["clients"],
            "subscribers_per_event": {load.name: load.subscribers for load in self.loads},
            "phases": resolved["phases"],
        }


def portrait(name_or_path: str, path: Path) -> Portrait:
    """Return the portrait of the scenario in the file ``path``: its description for `loadgen scenarios`.

    ``name_or_path`` is the text with which the user named the scenario; the portrait's `command` repeats it.

    Raises:
        ScenarioError: the file does not exist or is not valid.
    """
    scenario, run = planned(str(path))
    run, _, found = replies.planned(run)
    loads = tuple(found)
    rates = Rates(run, loads)
    begin_ns, end_ns = run.phases.warmup_ns, run.phases.publishing_ns
    edges = [begin_ns + (end_ns - begin_ns) * n // CURVE_COLUMNS for n in range(CURVE_COLUMNS + 1)]
    curve = [0.0] * CURVE_COLUMNS
    events = deliveries = 0.0
    for name, publish in run.publishing.items():
        before = [due(publish.pace, edge) * publish.batch for edge in edges]
        for place in range(CURVE_COLUMNS):
            length_ns = edges[place + 1] - edges[place]
            if length_ns:
                curve[place] += (before[place + 1] - before[place]) * _NS_PER_S / length_ns
        measured = before[-1] - before[0]
        events += measured
        deliveries += measured * next(load.subscribers or 0.0 for load in loads if load.name == name)
    seconds = (end_ns - begin_ns) / _NS_PER_S
    outbound = rates.outbound()
    return Portrait(
        scenario=scenario,
        path=path,
        command=f"loadgen run {shlex.quote(name_or_path)}",
        # A folder is that of a recorded run, whose scenario was saved without its comments.
        comments=() if path.is_dir() else tuple(_comments(path.read_text(encoding="utf-8-sig"))),
        run=run,
        loads=loads,
        events=Rate(events / seconds, peak(rates.inbound())),
        deliveries=None if outbound is None else Rate(deliveries / seconds, peak(outbound)),
        curve=tuple(curve),
    )


def _comments(text: str) -> list[str]:
    """Return the paragraphs of comments that begin at the start of a line; indented lines stay lines of their own."""
    paragraphs: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        comment = line.startswith("#")
        words = line.lstrip("#").strip()
        if comment and words:
            if not inside:
                paragraphs.append([])
            indented = line.lstrip("#").startswith("  ")
            paragraphs[-1].append(f"\n{words}" if indented and paragraphs[-1] else words)
        inside = comment and bool(words)
    return [" ".join(lines).replace(" \n", "\n") for lines in paragraphs]


def sparkline(values: Sequence[float], *, plain: bool = False) -> str:
    """Draw a curve as one line of block characters, scaled to the highest value; zero is a space.

    ``plain`` draws it in ASCII, for terminals without block characters.
    """
    levels = ".:-=+*#@" if plain else "▁▂▃▄▅▆▇█"
    highest = max(values, default=0.0)
    if highest <= 0:
        return " " * len(values)
    return "".join(
        " " if value <= 0 else levels[min(int(value / highest * len(levels)), len(levels) - 1)]
        for value in values
    )
