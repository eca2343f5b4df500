"""Find the runs at which the level of a metric changed: change points by PELT (the `ruptures` library).

PELT (Killick, Fearnhead, Eckley 2012) finds the segmentation with the least squared deviation plus a penalty for each
change. It works on logarithms, so that a change is a ratio. The noise is estimated from differences of neighbouring
runs, which a change of level hardly affects. The penalty is set so that a history without any change shows one in at
most 5 % of cases (by simulation, `tests/analysis/compare/test_history.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.compare.profile import METRICS, Profile

Floats = npt.NDArray[np.float64]
#: Minimum number of runs before and after each change of level.
RUNS_MIN: Final = 3
#: The penalty of a change is (`_PENALTY` + 2·ln(number of runs)) · noise².
_PENALTY = 10.0
#: Smallest noise assumed: smaller differences are taken for rounding.
_NOISE_MIN = 1e-3


@dataclass(frozen=True, slots=True)
class Level:
    """The runs between two changes: indices of the first and the last run, and the median of their figures."""

    first: int
    last: int
    median: float


@dataclass(frozen=True, slots=True)
class Change:
    """A change of level: the first run of the new level, and the medians before and after (ns, or per second)."""

    metric: str
    run: str
    place: int
    before: float
    after: float
    worse: bool

    @property
    def ratio(self) -> float:
        """The change as a fraction of the earlier level: 0.1 if it rose by 10 %."""
        return self.after / self.before - 1


@dataclass(frozen=True, slots=True)
class Series:
    """One metric over the runs that have it: each run's index among all runs and its figure, and the levels found."""

    metric: str
    places: list[int]
    values: Floats
    levels: list[Level]


def series(profiles: Sequence[Profile]) -> list[Series]:
    """Return the history of each metric that a run has; the profiles must be in order of time."""
    found = []
    for metric in METRICS:
        known = [(place, profile.figures.get(metric)) for place, profile in enumerate(profiles)]
        runs = [(place, value) for place, value in known if value is not None and value > 0]
        if runs:
            values = np.array([value for _, value in runs])
            found.append(Series(metric, [place for place, _ in runs], values, split(values)))
    return found


def few(runs: int) -> bool:
    """Return True if runs are too few to detect a change of level."""
    return runs < 2 * RUNS_MIN


def changes(
    profiles: Sequence[Profile], min_effect: float = 0.0, histories: Sequence[Series] | None = None
) -> list[Change]:
    """Return the changes of level of every metric, in the order of runs; the profiles must be in order of time.

    ``min_effect`` is the smallest change to return, as a share. Runs that lack a metric are left out of its history.
    ``histories`` is the result of `series` for these profiles, if it was computed before.
    """
    found = []
    for each in series(profiles) if histories is None else histories:
        sign = METRICS[each.metric][2]
        for before, after in pairwise(each.levels):
            change = after.median / before.median - 1
            if abs(change) >= min_effect:
                place = each.places[after.first]
                found.append(
                    Change(
                        each.metric,
                        profiles[place].run,
                        place,
                        before.median,
                        after.median,
                        change * sign > 0,
                    )
                )
    return sorted(found, key=lambda change: change.place)


def split(values: Floats) -> list[Level]:
    """Return the levels of a history of positive figures: a single one if the history is too short to find changes."""
    if not len(values):
        return []
    ends = [len(values)]
    if not few(len(values)):
        logs = np.log(values)
        # For normal noise, the median absolute difference of two values is 0.954 standard deviations (0.6745 * sqrt 2).
        noise = max(_NOISE_MIN, float(np.median(np.abs(np.diff(logs)))) / 0.954)
        import ruptures  # imported here: ruptures takes a second to load, and only a history needs it

        search = ruptures.KernelCPD(kernel="linear", min_size=RUNS_MIN).fit((logs / noise).reshape(-1, 1))
        ends = search.predict(pen=_PENALTY + 2 * np.log(len(values)))
    begins = [0, *ends[:-1]]
    return [
        Level(begin, end - 1, float(np.median(values[begin:end])))
        for begin, end in zip(begins, ends, strict=True)
    ]
