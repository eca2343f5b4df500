"""The statistics of a comparison.

The unit is the run, not the delivery: the deliveries of one run share the machine, the time of day and the other load
on the machine. Each run's figure is one observation, on a logarithmic scale because effects are ratios. The test
depends on how the runs were made (see `design`) and on whether the plan may stop early (see `chances`).

The spread between blocks of time within a run is a lower bound on the run's own error. It is estimated by a block
bootstrap, as samples are correlated. With one run per side it is the only estimate, and the verdict then says that the
spread between runs is not known.

If clocks or stamps are uncertain, each run's figure is known only as an interval, from a low end to a high end (see
`analysis.figures.bounds`). More runs do not reduce this error, because it is not random. The true ratio then lies
between (low end after / high end before) and (high end after / low end before). The confidence interval extends beyond
this range on both sides, and the test for a difference uses the ratio in the range that is closest to no change. A
figure without a recorded interval counts as exact, and `outputs.doubts` says so.

A metric is better or worse if its test finds a difference and the change exceeds the minimum effect. The test's level
holds for all metrics together (Holm). A metric is the same only if the whole interval lies within the minimum effect.
Holm's method needs one valid p-value for each metric at the moment of deciding, so it holds for plans that stop early
as well.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.compare.chances import Student
from analysis.compare.design import Asked, Design, Estimate, Kind, needed
from analysis.compare.profile import METRICS, OPTIONAL, Profile
from analysis.text import clean

BETTER, WORSE, SAME, UNKNOWN = "better", "worse", "same", "can't tell"
RESAMPLES: Final = 1_000
#: Largest logarithm in an interval of ratios. An interval beyond a factor of ten means that there are too few runs.
_REACH_MAX: Final = math.log(10)
#: Maximum size (draws times bins) of a table of all weighted sums. If it would be larger, a binary search is faster.
_TABLE_MAX: Final = 50_000

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Difference:
    """The result for one metric. `change` is new / base − 1; `low` and `high` bound it at the stated confidence.

    ``low`` and ``high`` are None if there are too few runs for an interval.
    """

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
    #: Minutes that `repeats` runs of each side would take one after the other, or None if unknown.
    minutes: float | None = None
    #: A clause on how to decide the metric if the verdict is undecided; else empty.
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def compare(
    base: Sequence[Profile],
    new: Sequence[Profile],
    min_effect: float = 0.05,
    confidence: float = 0.95,
    seed: int = 1,
    resamples: int = RESAMPLES,
    most: int | None = None,
) -> list[Difference]:
    """Compare two sets of runs, metric by metric. Each set must be in the order in which its runs were made.

    ``most`` is the planned maximum number of pairs, each with one run of either side, if the comparison may stop early
    (see `chances`). It is None if the number of runs was fixed beforehand.
    """
    draws = np.random.default_rng(seed)
    design = Design.of(base, new, most)
    metrics = metrics_of(base, new)
    estimates = {name: _estimate(name, base, new, design, draws, resamples) for name in metrics}
    known = {name: estimate for name, estimate in estimates.items() if estimate is not None}
    significant = _holm(known, 1 - confidence) if design.decides else set()
    # Holm's first step has the strictest level: a metric that meets it is significant whatever the other p-values are.
    asked = Asked(min_effect, 1 - confidence, (1 - confidence) / max(1, len(known)))
    differences = []
    for name in metrics:
        estimate = known.get(name)
        if estimate is None:
            differences.append(
                Difference(
                    name,
                    *(None,) * 5,
                    UNKNOWN,
                    None,
                    _lacking(name, base, new),
                    advice="more runs do not help",
                )
            )
            continue
        differences.append(_difference(name, base, new, design, estimate, name in significant, asked))
    return differences


def _lacking(name: str, base: Sequence[Profile], new: Sequence[Profile]) -> str:
    """Return a clause that names the runs whose figure for a metric is zero or missing; empty if there is none."""
    said = []
    for side, profiles in (("base", base), ("new", new)):
        without = [profile.run for profile in profiles if not (profile.figures.get(name) or 0) > 0]
        if len(without) == len(profiles):
            said.append(f"{side} has no such figure above zero")
        elif without:
            more = f" and {len(without) - 1:,} more" if len(without) > 1 else ""
            said.append(f"{side} has no such figure above zero in run {clean(without[0])}{more}")
    return ", ".join(said)


def metrics_of(base: Sequence[Profile], new: Sequence[Profile]) -> list[str]:
    """Return the metrics to compare: all of `METRICS`, and those of `OPTIONAL` that every run has."""
    runs = [*base, *new]
    return [
        name
        for name in METRICS
        if name not in OPTIONAL or all((profile.figures.get(name) or 0) > 0 for profile in runs)
    ]


def _difference(
    name: str,
    base: Sequence[Profile],
    new: Sequence[Profile],
    design: Design,
    estimate: Estimate,
    significant: bool,
    asked: Asked,
) -> Difference:
    change = math.expm1(estimate.shift)
    reach = estimate.test.critical(asked.level) * estimate.error
    low: float | None = None
    high: float | None = None
    if design.decides and (significant or reach <= _REACH_MAX):
        low, high = math.expm1(estimate.least - reach), math.expm1(estimate.most + reach)
    verdict, reason = UNKNOWN, ""
    if significant and abs(estimate.certain) > math.log1p(asked.min_effect):
        verdict = WORSE if (change > 0) == (METRICS[name][2] > 0) else BETTER
    elif low is None or high is None:
        reason = design.too_few()
    elif -asked.min_effect < low and high < asked.min_effect:
        verdict = SAME
    else:
        reason = f"the interval reaches beyond ±{100 * asked.min_effect:g} %"
        if estimate.most - estimate.least > math.log1p(asked.min_effect):
            reason += ", since the runs' own figures are not known better"
    if design.kind is Kind.SINGLE:
        # Blocks of time show only the error within each run, not how much runs differ.
        verdict, reason = (
            UNKNOWN,
            f"one run a side: {verdict} by these two, how much runs differ is not known",
        )
    repeats, minutes, advice = None, None, ""
    if verdict == UNKNOWN:
        repeats, minutes, advice = needed(design, estimate, asked)
    return Difference(
        name,
        _geometric_mean(name, base),
        _geometric_mean(name, new),
        change,
        low,
        high,
        verdict,
        repeats,
        reason,
        minutes,
        advice,
    )


def _estimate(
    name: str,
    base: Sequence[Profile],
    new: Sequence[Profile],
    design: Design,
    draws: np.random.Generator,
    resamples: int,
) -> Estimate | None:
    before, after = _logs(name, base), _logs(name, new)
    if before is None or after is None:
        return None
    within = [_block_variance(name, profile, draws, resamples) for profile in (*base, *new)]
    floor = sum(within[: len(base)]) / len(base) ** 2 + sum(within[len(base) :]) / len(new) ** 2
    shift = float(after.mean() - before.mean())
    (before_low, before_high), (after_low, after_high) = (_end_logs(name, side) for side in (base, new))
    ends = float(after_low.mean() - before_high.mean()), float(after_high.mean() - before_low.mean())
    if design.kind is Kind.SINGLE:
        blocks = max(2, min(len(profile.rates) for profile in (*base, *new)))
        return Estimate(shift, math.sqrt(floor), Student(blocks - 1), math.nan, *ends)
    variance, spread, test = design.spread(before, after)
    spread = max(spread, math.sqrt(sum(within) / len(within)), 1e-9)
    return Estimate(shift, math.sqrt(max(variance, floor, 1e-18)), test, spread, *ends)


def _holm(known: dict[str, Estimate], level: float) -> set[str]:
    """Return the metrics that differ, with a family-wise error rate of at most ``level`` (Holm 1979)."""
    chances = {
        name: estimate.test.chance(estimate.certain / max(estimate.error, 1e-18))
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


def _block_variance(name: str, profile: Profile, draws: np.random.Generator, resamples: int) -> float:
    """Return the variance of the logarithm of a run's figure, by resampling its blocks of time."""
    distribution, percent, _ = METRICS[name]
    if percent is None:
        rates = np.array(profile.rates)
        if len(rates) < 2 or rates.mean() <= 0:
            return 0.0
        return float(rates.var(ddof=1) / len(rates) / rates.mean() ** 2)
    histograms = profile.blocks.get(distribution, [])
    if len(histograms) < 2:
        return 0.0
    logs, upto = profile.cumulated(distribution)
    drawn = draws.multinomial(len(histograms), np.full(len(histograms), 1 / len(histograms)), resamples)
    weights = drawn.astype(np.float64)
    at = _reaching(weights, upto, np.ceil((weights @ upto[-1]) * (percent / 100)))
    return float(logs[at].var(ddof=1))


def _reaching(weights: Floats, upto: Floats, wanted: Floats) -> Ints:
    """Return, for each row of ``weights``, the first row of ``upto`` whose weighted sum is at least ``wanted``.

    Sums grow from row to row of ``upto``, and the sum of the last row is always large enough. All summands are whole
    numbers, so the sums are exact in any order of addition.
    """
    if len(weights) * len(upto) <= _TABLE_MAX:
        return np.asarray((weights @ upto.T >= wanted[:, np.newaxis]).argmax(axis=1), dtype=np.int64)
    at = np.zeros(len(weights), dtype=np.int64)
    beyond = np.full(len(weights), len(upto) - 1)
    # A binary search computes the sums of about a dozen rows of `upto` instead of hundreds.
    while (at < beyond).any():
        middle = (at + beyond) // 2
        less = np.einsum("ij,ij->i", weights, upto[middle]) < wanted
        at, beyond = np.where(less, middle + 1, at), np.where(less, beyond, middle)
    return at
