"""The statistics of a comparison.

The unit is the run, not the delivery: deliveries of one run share its machine, its moment and its neighbours. With two
or more runs per side, each run's figure is one observation, on a logarithmic scale because effects are ratios. Runs
taken in turns (A B A B …) are paired, so that slow drifts cancel; others are compared by Welch's t. The spread between
blocks of time within a run (a block bootstrap, as samples are correlated) is a lower bound on the run's own error. For
a side with one run it is the only estimate, and the verdict then says that the spread between runs is not known.

If clocks or stamps are uncertain, each run's figure is known only as an interval, from a low end to a high end (see
`analysis.figures.bounds`). More runs do not reduce this error, because it is not random. The true ratio then lies
between (low end after / high end before) and (high end after / low end before). The confidence interval extends beyond
both, and the test for a difference uses the ratio in that range that is closest to no change. A figure without a
recorded interval counts as exact, and `outputs.doubts` says so.

A metric is better or worse if its interval excludes zero at a level that holds for all metrics together (Holm) and the
ratio exceeds the minimum effect. It is the same only if the whole interval lies within the minimum effect.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.compare.profile import METRICS, Profile, value_of

BETTER, WORSE, SAME, UNKNOWN = "better", "worse", "same", "can't tell"
RESAMPLES: Final = 1_000
POWER: Final = 0.9
_REPEATS_MAX: Final = 1_000

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Difference:
    """The result for one metric. `change` is new / base − 1; `low` and `high` bound it at the stated confidence."""

    metric: str
    base: float | None
    new: float | None
    change: float | None
    low: float | None
    high: float | None
    verdict: str
    #: Number of runs per side that would show the minimum effect with 90 % power, or None if unknown.
    repeats: int | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Estimate:
    """Logarithm of the ratio, its standard error and degrees of freedom, and the spread of a single run's figure.

    ``shift`` is the logarithm of the ratio. ``least`` and ``most`` are the smallest and the largest shift that the
    uncertainty of the runs' figures (clocks, stamps) allows.
    """

    shift: float
    error: float
    freedom: float
    spread: float
    least: float
    most: float

    @property
    def certain(self) -> float:
        """The shift between `least` and `most` that is closest to 0, which means no change."""
        return max(self.least, 0.0) + min(self.most, 0.0)


def compare(
    base: Sequence[Profile],
    new: Sequence[Profile],
    min_effect: float = 0.05,
    confidence: float = 0.95,
    seed: int = 1,
    resamples: int = RESAMPLES,
) -> list[Difference]:
    """Compare two sets of runs, metric by metric. Each set must be in the order in which its runs were made."""
    draws = np.random.default_rng(seed)
    paired = taken_in_turns(base, new)
    cumulated = _Cumulated()
    estimates = {name: _estimate(name, base, new, paired, draws, resamples, cumulated) for name in METRICS}
    known = {name: estimate for name, estimate in estimates.items() if estimate is not None}
    significant = _holm(known, 1 - confidence)
    differences = []
    for name in METRICS:
        estimate = known.get(name)
        if estimate is None:
            differences.append(
                Difference(name, None, None, None, None, None, UNKNOWN, None, "a run has no such figure")
            )
            continue
        differences.append(
            _difference(name, base, new, estimate, name in significant, min_effect, confidence)
        )
    return differences


def _difference(
    name: str,
    base: Sequence[Profile],
    new: Sequence[Profile],
    estimate: _Estimate,
    significant: bool,
    min_effect: float,
    confidence: float,
) -> Difference:
    reach = _quantile(0.5 + confidence / 2, estimate.freedom) * estimate.error
    low, high = math.expm1(estimate.least - reach), math.expm1(estimate.most + reach)
    change = math.expm1(estimate.shift)
    single = min(len(base), len(new)) < 2
    verdict, reason = UNKNOWN, ""
    if significant and abs(estimate.certain) > math.log1p(min_effect):
        verdict = WORSE if (change > 0) == (METRICS[name][2] > 0) else BETTER
    elif -min_effect < low and high < min_effect:
        verdict = SAME
    else:
        reason = f"the interval reaches beyond ±{min_effect:.0%}"
        if estimate.most - estimate.least > math.log1p(min_effect):
            reason += ", since the runs' own figures are not known better"
    if single:
        # A side has only one run, so its spread between runs is unknown: blocks show only the error within that run.
        verdict, reason = UNKNOWN, f"one run a side: within it {verdict}, how much runs differ is not known"
    return Difference(
        name,
        _geometric_mean(name, base),
        _geometric_mean(name, new),
        change,
        low,
        high,
        verdict,
        None if single else _repeats(estimate.spread, min_effect, 1 - confidence),
        reason,
    )


def _estimate(
    name: str,
    base: Sequence[Profile],
    new: Sequence[Profile],
    paired: bool,
    draws: np.random.Generator,
    resamples: int,
    cumulated: "_Cumulated",
) -> _Estimate | None:
    before, after = _logs(name, base), _logs(name, new)
    if before is None or after is None:
        return None
    within = [_block_variance(name, profile, draws, resamples, cumulated) for profile in (*base, *new)]
    floor = sum(within[: len(base)]) / len(base) ** 2 + sum(within[len(base) :]) / len(new) ** 2
    shift = float(after.mean() - before.mean())
    (before_low, before_high), (after_low, after_high) = (_end_logs(name, side) for side in (base, new))
    ends = float(after_low.mean() - before_high.mean()), float(after_high.mean() - before_low.mean())
    if len(before) < 2 or len(after) < 2:
        blocks = max(2, min(len(profile.rates) for profile in (*base, *new)))
        return _Estimate(shift, math.sqrt(floor), blocks - 1, math.nan, *ends)
    if paired:
        differences = after - before
        variance, freedom = float(differences.var(ddof=1)) / len(differences), len(differences) - 1.0
        spread = float(differences.std(ddof=1)) / math.sqrt(2)
    else:
        parts = [float(side.var(ddof=1)) / len(side) for side in (before, after)]
        variance = sum(parts)
        weights = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (before, after), strict=True))
        freedom = variance**2 / weights if weights > 0 else len(before) + len(after) - 2.0
        spread = math.sqrt((float(before.var(ddof=1)) + float(after.var(ddof=1))) / 2)
    return _Estimate(shift, math.sqrt(max(variance, floor, 1e-18)), freedom, max(spread, 1e-9), *ends)


def taken_in_turns(base: Sequence[Profile], new: Sequence[Profile]) -> bool:
    """Return True if the runs were made in turns: equally many per side (two or more), each pair before the next."""
    if len(base) != len(new) or len(base) < 2:
        return False
    pairs = [sorted((b.created_ns, n.created_ns)) for b, n in zip(base, new, strict=True)]
    return all(earlier[1] < later[0] for earlier, later in pairwise(pairs))


def _holm(known: dict[str, _Estimate], level: float) -> set[str]:
    """Return the metrics that differ, with a chance of at most `level` that any of them does not (Holm 1979)."""
    chances = {
        name: 2 * float(special.stdtr(estimate.freedom, -abs(estimate.certain) / max(estimate.error, 1e-18)))
        for name, estimate in known.items()
    }
    found: set[str] = set()
    for place, name in enumerate(sorted(chances, key=chances.__getitem__)):
        if chances[name] > level / (len(chances) - place):
            break
        found.add(name)
    return found


def _logs(name: str, profiles: Sequence[Profile]) -> Floats | None:
    figures = [profile.figures.get(name) for profile in profiles]
    if not figures or any(figure is None or figure <= 0 for figure in figures):
        return None
    return np.log(np.array(figures, dtype=np.float64))


def _end_logs(name: str, profiles: Sequence[Profile]) -> tuple[Floats, Floats]:
    """Return the logarithms of each run's figure at its lowest and highest possible value, if these are known."""
    ends = [profile.ends.get(name, (profile.figures[name],) * 2) for profile in profiles]
    # Zero has no logarithm: a nanosecond (for the rate, 1e-9 per second) stands for it.
    logs = np.log(np.maximum(np.array(ends, dtype=np.float64), 1.0 if name != "delivery.rate" else 1e-9))
    return logs[:, 0], logs[:, 1]


def _geometric_mean(name: str, profiles: Sequence[Profile]) -> float | None:
    logs = _logs(name, profiles)
    return None if logs is None else float(np.exp(logs.mean()))


def _block_variance(
    name: str, profile: Profile, draws: np.random.Generator, resamples: int, cumulated: "_Cumulated"
) -> float:
    """Return the variance of the logarithm of a run's figure, by resampling its blocks of time."""
    distribution, percent, _ = METRICS[name]
    if percent is None:
        rates = np.array(profile.rates)
        if len(rates) < 2 or rates.mean() <= 0:
            return 0.0
        return float(rates.var(ddof=1) / len(rates) / rates.mean() ** 2)
    histograms = profile.blocks[distribution]
    if len(histograms) < 2:
        return 0.0
    numbers, upto = cumulated(histograms)
    drawn = draws.multinomial(len(histograms), np.full(len(histograms), 1 / len(histograms)), resamples)
    weights = drawn.astype(np.float64)
    wanted = np.ceil((weights @ upto[-1]) * (percent / 100))
    at = np.zeros(resamples, dtype=np.int64)
    beyond = np.full(resamples, len(numbers) - 1)
    # Find the bin of each draw's percentile by binary search, which looks at a dozen of the hundreds of bins.
    while (at < beyond).any():
        middle = (at + beyond) // 2
        less = np.einsum("ij,ij->i", weights, upto[middle]) < wanted
        at, beyond = np.where(less, middle + 1, at), np.where(less, beyond, middle)
    # The percentiles of all draws lie in a few bins, so convert each of these bins to a value only once.
    ends, which = np.unique(at, return_inverse=True)
    values = np.array([max(value_of(int(number)), 1.0) for number in numbers[ends]])[which]
    return float(np.log(values).var(ddof=1))


class _Cumulated:
    """Cache of histograms as arrays: several metrics of a comparison use the same histograms."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Ints, Floats]] = {}

    def __call__(self, histograms: Sequence[Mapping[str, int]]) -> tuple[Ints, Floats]:
        """Return the numbers of all bins, ascending, and for each a row with each histogram's count up to it."""
        found = self._made.get(id(histograms))
        if found is None:
            found = self._made[id(histograms)] = _cumulated(histograms)
        return found


def _cumulated(histograms: Sequence[Mapping[str, int]]) -> tuple[Ints, Floats]:
    bins = np.array([int(number) for histogram in histograms for number in histogram], dtype=np.int64)
    counts = [count for histogram in histograms for count in histogram.values()]
    numbers, place = np.unique(bins, return_inverse=True)
    matrix = np.zeros((len(histograms), len(numbers)))
    matrix[np.repeat(np.arange(len(histograms)), [len(each) for each in histograms]), place] = counts
    # Whole numbers below 2**53, so that sums of them are exact. A row is read at once.
    return numbers, np.ascontiguousarray(np.cumsum(matrix, axis=1).T)


def _repeats(spread: float, min_effect: float, level: float) -> int | None:
    """Return how many runs per side show the minimum effect with power `POWER`, or None if `_REPEATS_MAX` or more."""
    effect = math.log1p(min_effect)
    for runs in range(2, _REPEATS_MAX):
        freedom = 2.0 * (runs - 1)
        error = spread * math.sqrt(2 / runs)
        needed = _quantile(1 - level / 2, freedom) + _quantile(POWER, freedom)
        if needed * error <= effect:
            return runs
    return None


def _quantile(share: float, freedom: float) -> float:
    """Return a quantile of Student's t; `scipy.stats.t.ppf` calls the same function but takes 100 times as long."""
    return float(special.stdtrit(freedom, share))
