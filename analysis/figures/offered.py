"""The load of a run: the rate curves of its scenario, the curves' steps, and the numbers of events that were due."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.loading.columns import taken, unanswering
from analysis.loading.run import Ints, Run, Window, ints
from analysis.loading.slices import all_stretches

#: Maximum number of steps that get figures of their own. A curve with more steps is taken for a recorded load.
MAX_STEPS = 100
SECOND_NS = 1_000_000_000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupCurve:
    """Intended rate of a group in events/s, linear between times (ns) from the start of the measure phase.

    Two points at one time form a step. The first value holds before the first point, the last one after the last.
    """

    at_ns: Ints
    events_per_s: Floats

    def rates(self, at_ns: Ints, *, after: bool) -> Floats:
        """Return the rate (events/s) just before or, with ``after``, just after each time."""
        last = len(self.at_ns) - 1
        place = np.searchsorted(self.at_ns, at_ns, side="right" if after else "left")
        left, right = np.clip(place - 1, 0, last), np.clip(place, 0, last)
        length_ns = self.at_ns[right] - self.at_ns[left]
        share = np.clip((at_ns - self.at_ns[left]) / np.maximum(length_ns, 1), 0.0, 1.0)
        found: Floats = self.events_per_s[left] + share * (self.events_per_s[right] - self.events_per_s[left])
        return found

    @property
    def jumps_ns(self) -> Ints:
        """Times at which one step ends and the next begins."""
        found: Ints = self.at_ns[1:][self.at_ns[1:] == self.at_ns[:-1]]
        return found

    @property
    def flat(self) -> bool:
        """True if the rate is constant except for sudden steps."""
        same = self.events_per_s[1:] == self.events_per_s[:-1]
        return bool(np.all(same | (self.at_ns[1:] == self.at_ns[:-1])))


@dataclass(frozen=True)
class Step:
    """A stretch of the measure phase in which every group's rate is constant."""

    window: Window
    events_per_s: float


def curves(run: Run) -> list[GroupCurve]:
    """Return the curve of each group, or an empty list if the record is too old to hold them."""
    return [_curve(entry) for entry in run.manifest.get("offered") or ()]


def _curve(entry: dict[str, Any]) -> GroupCurve:
    points = entry["points"] or [[0, 1.0]]
    return GroupCurve(
        np.array([at_ns for at_ns, _ in points], dtype=np.int64),
        np.array([load for _, load in points], dtype=np.float64) * entry["events_per_s"],
    )


def varies(run: Run) -> bool:
    """Return True if the intended load changes within the measure phase."""
    _, rates = staircase(run)
    return len(rates) > 0 and bool(np.any(rates != rates[0]))


def staircase(run: Run) -> tuple[Ints, Floats]:
    """Return the points of the load curve for a chart: (times in ns since the epoch, events/s of all groups).

    The curve reaches from the first publish to the end of the measure phase. Both arrays are empty if the load is
    unknown.
    """
    found, window = curves(run), run.measure
    if not found or window is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    begin_ns, end_ns = run.first_publish_ns - window.start_ns, window.end_ns - window.start_ns
    corners = np.unique(np.concatenate([curve.at_ns for curve in found]))
    inner = corners[(corners > begin_ns) & (corners < end_ns)]
    at_ns = np.concatenate(([begin_ns], np.repeat(inner, 2), [end_ns]))
    rates = np.zeros(len(at_ns))
    for curve in found:
        # Each inner time at which a curve bends or jumps occurs twice: with the rate before it and the rate after it.
        rates[0::2] += curve.rates(at_ns[0::2], after=True)
        rates[1::2] += curve.rates(at_ns[1::2], after=False)
    return at_ns + window.start_ns, rates


def steps(run: Run) -> list[Step]:
    """Return the load steps of the measure phase, cut at the end of the run.

    The list is empty if the load does not consist of 2 to `MAX_STEPS` constant steps.
    """
    found, window = curves(run), run.measure
    if not found or window is None or not all(curve.flat for curve in found):
        return []
    length_ns = window.end_ns - window.start_ns
    jumps = np.unique(np.concatenate([curve.jumps_ns for curve in found]))
    edges = np.concatenate(([0], jumps[(jumps > 0) & (jumps < length_ns)], [length_ns]))
    if not 2 <= len(edges) - 1 <= MAX_STEPS:
        return []
    rates = sum((curve.rates(edges[:-1], after=True) for curve in found), np.zeros(len(edges) - 1))
    return [
        Step(Window(window.start_ns + begin, window.start_ns + end), rate)
        for begin, end, rate in zip(edges[:-1].tolist(), edges[1:].tolist(), rates.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class BySecond:
    """The events of a run by the second in which they were due; see `events_by_second` for where the seconds begin."""

    due: Ints
    #: In each second, how many of the due events should arrive; see `analysis.loading.columns.taken`.
    accepted: Ints
    #: Time (ns) at which the last event was due, or None if there are no events.
    last_ns: int | None
    #: True if the service acknowledges publishes.
    answered: bool


def events_by_second(run: Run, start_ns: int) -> BySecond:
    """Count the events due in each second from ``start_ns`` on; events due earlier are left out."""
    due = accepted = np.zeros(0, dtype=np.int64)
    last_ns, answered = None, True
    for stretch in all_stretches(run):
        events = run.table("events", ("intended_ns", "status"), stretch)
        intended_ns = ints(events, "intended_ns")
        second = (intended_ns - start_ns) // SECOND_NS
        inside = second >= 0
        due = _sum(due, np.bincount(second[inside]))
        accepted = _sum(accepted, np.bincount(second[inside & taken(events)]))
        answered &= not unanswering(events)
        if len(intended_ns):
            latest_ns = int(intended_ns.max())
            last_ns = latest_ns if last_ns is None else max(last_ns, latest_ns)
    return BySecond(due, accepted, last_ns, answered)


def _sum(one: Ints, other: Ints) -> Ints:
    length = max(len(one), len(other))
    return np.pad(one, (0, length - len(one))) + np.pad(other, (0, length - len(other)))
