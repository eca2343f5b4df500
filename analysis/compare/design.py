"""The design of a comparison: the number of runs on each side, and whether the sides took turns. It decides the test.

* In pairs: three or more runs a side, in turns. Each pair's difference is an observation, so slow drifts cancel.
* Apart: three or more runs a side, not in turns. Welch's t.
* Against a baseline: one or two runs on one side and three or more on the other. A single run has no spread, so both
  sides are assumed to vary alike. Their pooled spread, or that of the baseline alone if the other side is one run,
  gives the prediction interval of the new runs: with n and m runs its error is the spread times √(1/n + 1/m).
* Few: two runs a side. One degree of freedom would give intervals over many orders of magnitude, so none is given.
* Single: one run on a side and at most two on the other. Only the spread within runs is known.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.compare.chances import Student, Test, of_pairs, quantile
from analysis.compare.profile import Profile

#: Minimum number of runs from which a spread is estimated.
RUNS_MIN: Final = 3
POWER: Final = 0.9
REPEATS_MAX: Final = 1_000

Floats = npt.NDArray[np.float64]


class Kind(Enum):
    """The designs of a comparison; the docstring of this module describes them."""

    PAIRS = auto()
    APART = auto()
    BASELINE = auto()
    FEW = auto()
    SINGLE = auto()


@dataclass(frozen=True, slots=True)
class Estimate:
    """Logarithm of the ratio, its standard error and test, and the spread of a single run's figure.

    ``shift`` is the logarithm of the ratio. ``least`` and ``most`` are the smallest and the largest shift that the
    uncertainty of the runs' figures (clocks, stamps) allows. ``spread`` is NaN if unknown.
    """

    shift: float
    error: float
    test: Test
    spread: float
    least: float
    most: float

    @property
    def certain(self) -> float:
        """The shift between `least` and `most` that is closest to 0; a shift of 0 means no change."""
        return max(self.least, 0.0) + min(self.most, 0.0)

    @property
    def vague(self) -> float:
        """Largest possible distance between the true shift and `shift`; 0 if all figures are exact."""
        return max(self.shift - self.least, self.most - self.shift)


@dataclass(frozen=True, slots=True)
class Asked:
    """Smallest change that matters (a share), error level of one metric, and of the first step of Holm's method."""

    min_effect: float
    level: float
    hardest: float


@dataclass(frozen=True, slots=True)
class Design:
    """The design of a comparison: its kind, and the number of runs on each side."""

    kind: Kind
    base: int
    new: int
    #: Maximum number of pairs of a plan that may stop early, or None if the number of runs was fixed beforehand.
    most: int | None = None
    #: Mean time (s) that a run took, or None if the time of any run is unknown.
    seconds: float | None = None

    @classmethod
    def of(cls, base: Sequence[Profile], new: Sequence[Profile], most: int | None = None) -> "Design":
        """Return the design of two sets of runs, each in the order in which its runs were made."""
        fewest, largest = sorted((len(base), len(new)))
        if fewest >= RUNS_MIN:
            kind = Kind.PAIRS if taken_in_turns(base, new) else Kind.APART
        elif largest >= RUNS_MIN:
            kind = Kind.BASELINE
        else:
            kind = Kind.SINGLE if fewest < 2 else Kind.FEW
        times = [profile.seconds for profile in (*base, *new)]
        known = [seconds for seconds in times if seconds is not None]
        seconds = sum(known) / len(known) if known and len(known) == len(times) else None
        return cls(kind, len(base), len(new), most, seconds)

    @property
    def broken(self) -> bool:
        """True if no test is valid, because the runs may have stopped early and are not in pairs."""
        return self.most is not None and self.kind in (Kind.APART, Kind.BASELINE)

    @property
    def decides(self) -> bool:
        """True if the design allows an interval and a verdict. For single runs, both use the spread within a run."""
        return self.kind is not Kind.FEW and not self.broken

    def too_few(self) -> str:
        """Return the reason why there is no interval."""
        if self.broken:
            return "these runs may have stopped early and are not in pairs"
        if self.kind is Kind.PAIRS:
            return f"{self.base} pairs of runs are too few for an interval"
        if self.base == self.new:
            return f"{self.base} runs a side are too few for an interval"
        return f"{self.base} runs against {self.new} are too few for an interval"

    def spread(self, before: Floats, after: Floats) -> tuple[float, float, Test]:
        """Return (variance of the difference of means, spread of one run, test) for the logarithms of both sides."""
        base, new = len(before), len(after)
        if self.kind is Kind.PAIRS or (self.kind is Kind.FEW and self.most is not None):
            differences = after - before
            variance = float(differences.var(ddof=1))
            return variance / base, math.sqrt(variance / 2), of_pairs(base, self.most)
        squares = [float(((side - side.mean()) ** 2).sum()) for side in (before, after)]
        if self.kind is not Kind.APART:
            pooled = sum(squares) / (base + new - 2)
            return pooled * (1 / base + 1 / new), math.sqrt(pooled), Student(base + new - 2.0)
        parts = [square / (n - 1) / n for square, n in zip(squares, (base, new), strict=True)]
        weights = sum(part**2 / (n - 1) for part, n in zip(parts, (base, new), strict=True))
        freedom = sum(parts) ** 2 / weights if weights > 0 else base + new - 2.0
        spread = math.sqrt((parts[0] * base + parts[1] * new) / 2)
        return sum(parts), spread, Student(freedom)

    def of_more(self, runs: int) -> tuple[float, float, Test]:
        """Return the standard error, the degrees of freedom and the test that a comparison of ``runs`` runs would have.

        The error is in units of the spread between runs. ``runs`` is the number on each side, or in a comparison with a
        baseline the number on the side with fewer runs.
        """
        if self.kind is Kind.BASELINE:
            there = max(self.base, self.new)
            freedom = there + runs - 2.0
            return math.sqrt(1 / there + 1 / runs), freedom, Student(freedom)
        if self.kind is Kind.APART:
            return math.sqrt(2 / runs), 2.0 * (runs - 1), Student(2.0 * (runs - 1))
        return math.sqrt(2 / runs), runs - 1.0, of_pairs(runs, None if self.most is None else runs)


def taken_in_turns(base: Sequence[Profile], new: Sequence[Profile]) -> bool:
    """Return True if both sides have equally many runs (at least two) and each pair was made before the next pair."""
    if len(base) != len(new) or len(base) < 2:
        return False
    pairs = [sorted((b.created_ns, n.created_ns)) for b, n in zip(base, new, strict=True)]
    return all(earlier[1] < later[0] for earlier, later in pairwise(pairs))


def needed(design: Design, estimate: Estimate, asked: Asked) -> tuple[int | None, float | None, str]:
    """Return (runs needed to show the minimum effect with power `POWER`, minutes they take, clause that states both).

    Number and minutes are None if unknown. Both assume that further runs vary as much as these.
    """
    effect = f"a change of {asked.min_effect * 100:g} %"
    if design.broken:
        return None, None, "compare whole pairs, as loadgen ab made them"
    if math.isnan(estimate.spread):
        once = f"from one run it can't be known how many runs {effect} takes"
        return None, None, f"run each side three times or more, in turns (loadgen ab): {once}"
    left = math.log1p(asked.min_effect) - estimate.vague
    if left <= 0:
        return None, None, f"more runs do not show {effect}: the runs' own figures are not known that well"
    against = design.kind is Kind.BASELINE
    runs = _fewest(design.of_more, 1 if against else RUNS_MIN, left / estimate.spread, asked.hardest)
    which = f"new runs against this baseline of {max(design.base, design.new)}" if against else "runs a side"
    if runs is None:
        cure = "; make a baseline of more runs" if against else ""
        return None, None, f"{effect} takes more than {REPEATS_MAX:,} {which}{cure}"
    clause = f"about {runs:,} {which} would show {effect}"
    if design.seconds is None:
        return runs, None, f"{clause}; how long they take is not on record"
    minutes = runs * (1 if against else 2) * design.seconds / 60
    return runs, minutes, f"{clause}, in {_long(minutes)} altogether"


def _fewest(
    of_more: Callable[[int], tuple[float, float, Test]], least: int, effect: float, level: float
) -> int | None:
    """Return the fewest runs that show an effect, at least ``least``, or None if more than `REPEATS_MAX` are needed.

    ``effect`` is in units of the spread between runs (one standard deviation). ``of_more`` returns the standard error,
    the degrees of freedom and the test for a number of runs.
    """

    def enough(runs: int) -> bool:
        error, freedom, test = of_more(runs)
        return (test.critical(level) + quantile(POWER, freedom)) * error <= effect

    # If some number of runs is enough, so is every larger number: find the smallest by binary search.
    low, high = least, REPEATS_MAX
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _long(minutes: float) -> str:
    if minutes < 1:
        return "less than a minute"
    if minutes < 120:
        return f"about {math.ceil(minutes)} minutes"
    return f"about {minutes / 60:.0f} hours"
