"""Simulate `loadgen ab`: how often it finds a difference if it may stop after any pair, and how soon.

`python -m benchmarks.statistics_known stopping` checks the results with the full number of plans;
`compare/test_chances.py` checks them with a sample.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from analysis.compare.chances import Student, Test, of_pairs
from analysis.compare.decide import UNKNOWN, compare
from analysis.compare.outputs import overall
from analysis.compare.profile import Profile
from tests.analysis.comparisons import World

Floats = npt.NDArray[np.float64]
#: Distributions from which the difference between two runs of equal systems is drawn. All are symmetric, because the
#: systems could be swapped.
SHAPES = ("normal", "heavy tails", "outliers")


@dataclass(frozen=True)
class Stopped:
    """Results of simulated test plans: the share that found a difference, and the mean number of pairs run."""

    found: float
    pairs: float


def differences(plans: int, pairs: int, effect: float, seed: int, shape: str = "normal") -> Floats:
    """Draw random differences between the two runs of each pair: one row per plan, one column per pair.

    Their unit is the standard deviation of one difference, and their mean is ``effect``.
    """
    draws = np.random.default_rng(seed)
    if shape == "normal":
        noise = draws.normal(size=(plans, pairs))
    elif shape == "heavy tails":
        noise = draws.standard_t(3, size=(plans, pairs)) / np.sqrt(3)
    else:
        noise = draws.normal(size=(plans, pairs)) * np.where(draws.random((plans, pairs)) < 0.1, 10, 1)
    return noise + effect


def looked(values: Floats, level: float) -> Stopped:
    """Apply the test of `loadgen ab` to one metric after each pair; stop when it shows a difference."""
    return _walk(values, level, partial(of_pairs, most=values.shape[1]))


def peeked(values: Floats, level: float) -> Stopped:
    """Apply Student's t after each pair, although it is valid only once; stop at the first difference that it finds."""
    return _walk(values, level, lambda pairs: Student(pairs - 1.0))


def fixed(values: Floats, level: float) -> Stopped:
    """Apply Student's t once, after all pairs."""
    pairs = values.shape[1]
    (found,) = _crossed(values, level, [(pairs, Student(pairs - 1.0))])
    return Stopped(float(found.mean()), pairs)


def planned(effect: float, level: float, power: float = 0.9) -> int:
    """Return how many pairs of runs a single Student's t test needs to find an effect with probability ``power``.

    The unit of ``effect`` is the standard deviation of the difference between the two runs of a pair.
    """
    from scipy import stats  # scipy takes 0.5 s to load

    for pairs in range(2, 1_000):
        critical = Student(pairs - 1.0).critical(level)
        if stats.nct.sf(critical, pairs - 1, effect * np.sqrt(pairs)) >= power:
            return pairs
    raise ValueError("the effect is too small")


def _walk(values: Floats, level: float, test: Callable[[int], Test]) -> Stopped:
    looks = [(pairs, test(pairs)) for pairs in range(2, values.shape[1] + 1)]
    crossed = np.array(list(_crossed(values, level, looks)))
    found = crossed.any(axis=0)
    made = np.where(found, crossed.argmax(axis=0) + 2, values.shape[1])
    return Stopped(float(found.mean()), float(made.mean()))


def _crossed(values: Floats, level: float, looks: list[tuple[int, Test]]) -> Iterator[npt.NDArray[np.bool_]]:
    for pairs, test in looks:
        seen = values[:, :pairs]
        statistic = seen.mean(axis=1) / (seen.std(axis=1, ddof=1) / np.sqrt(pairs))
        yield np.abs(statistic) >= test.critical(level)


def ab(world: World, most: int, factor: float) -> tuple[str, int]:
    """Simulate one `loadgen ab` with complete runs and all metrics; return its verdict and its number of pairs."""
    base: list[Profile] = []
    new: list[Profile] = []
    verdict = UNKNOWN
    while verdict == UNKNOWN and len(base) < most:
        one, other = world.sides(1, factor)
        base, new = base + one, new + other
        verdict = overall(compare(base, new, resamples=50, most=most))
    return verdict, len(base)
