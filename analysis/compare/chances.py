"""Tests for a difference: Student's t if the number of runs was fixed beforehand, `Anytime` if it was not.

Student's t holds for one look at the data. Looking after each pair of runs and stopping at the first significant result
flags equal sides far too often. `Anytime` holds at all looks together: it is a mixture of likelihood ratios whose mean
is 1 at every number of pairs if there is no difference, so by Ville's inequality it ever exceeds 1/p with a chance of
at most p. The effect, in standard deviations of a pair's difference, has a normal prior with mean 0 and variance
`PRIOR`; the standard deviation has the right Haar prior, which makes the result independent of the unit.

Sources: H. Wang and A. Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown
variance" (2023, arXiv:2310.03722), the test martingale by a Gaussian mixture; the same formula for regression is in M.
Lindon, D. Ham, M. Tingley and I. Bojinov, "Anytime-valid linear models" (2022, arXiv:2210.08589).

A plan of at most `most` pairs divides its error probability: half is for the looks before the last pair (`Anytime`),
half for the look after the last pair (Student's t). So a plan that runs to its end has nearly the power of a plan
without earlier looks.
"""

import math
from dataclasses import dataclass
from typing import Final, Protocol

from scipy import special

#: Variance of the normal prior of the effect. With this value, few pairs suffice to find effects of two or more
#: standard deviations.
PRIOR: Final = 10.0
#: Smallest number of pairs at which the test `Anytime` can find a difference at 5 %, if it tests about five metrics
#: together.
LOOKS_FROM: Final = 4


class Test(Protocol):
    """A two-sided test of no difference, given the statistic: estimate divided by its standard error."""

    def chance(self, statistic: float) -> float:
        """Return a p-value."""

    def critical(self, level: float) -> float:
        """Return the smallest absolute statistic whose p-value is at most ``level``, or infinity if there is none."""


@dataclass(frozen=True, slots=True)
class Student:
    """Student's t test with ``freedom`` degrees of freedom: valid if the number of runs was fixed beforehand."""

    freedom: float

    def chance(self, statistic: float) -> float:
        """Return the p-value; see `Test`."""
        return 2 * float(special.stdtr(self.freedom, -abs(statistic)))

    def critical(self, level: float) -> float:
        """Return the critical statistic; see `Test`."""
        return quantile(1 - level / 2, self.freedom)


@dataclass(frozen=True, slots=True)
class Anytime:
    """The anytime-valid t-test after ``pairs`` pairs of runs: valid even if it is applied after every pair."""

    pairs: int

    def chance(self, statistic: float) -> float:
        """Return the p-value: 1 divided by the evidence, at most 1."""
        return math.exp(min(0.0, -self.log_evidence(statistic)))

    def log_evidence(self, statistic: float) -> float:
        """Return the logarithm of the evidence against no difference.

        The evidence is the likelihood ratio of an effect to no effect, averaged over the effect's prior.
        """
        if self.pairs < 2:
            return 0.0
        total = 1 + self.pairs * PRIOR
        ratio = statistic * statistic / (self.pairs - 1)
        return -math.log(total) / 2 + (math.log1p(ratio) - math.log1p(ratio / total)) * self.pairs / 2

    def critical(self, level: float) -> float:
        """Return the critical statistic: the one at which the evidence is 1/``level`` (see `Test`)."""
        if self.pairs < 2:
            return math.inf
        total = 1 + self.pairs * PRIOR
        power = math.exp((math.log(total) / 2 - math.log(level)) * 2 / self.pairs)
        if power >= total:
            return math.inf
        return math.sqrt((self.pairs - 1) * (power - 1) / (1 - power / total))


@dataclass(frozen=True, slots=True)
class Half:
    """The test `test` with half of the error probability; the other half is left for the plan's other test."""

    test: Test

    def chance(self, statistic: float) -> float:
        """Return twice the p-value of `test`, at most 1."""
        return min(1.0, 2 * self.test.chance(statistic))

    def critical(self, level: float) -> float:
        """Return the critical statistic of `test` at half of ``level``."""
        return self.test.critical(level / 2)


def of_pairs(pairs: int, most: int | None) -> Test:
    """Return the test to apply after ``pairs`` pairs of a plan that may stop early and has at most ``most`` pairs.

    ``most`` is None if the plan never stops early. After the last pair of a plan so short that no earlier look could
    find a difference, Student's t is valid at the full level.
    """
    if most is None or (most <= LOOKS_FROM and pairs == most):
        return Student(pairs - 1.0)
    return Half(Student(pairs - 1.0) if pairs == most else Anytime(pairs))


def quantile(share: float, freedom: float) -> float:
    """Return a quantile of Student's t; `scipy.stats.t.ppf` calls the same function but takes 100 times as long."""
    return float(special.stdtrit(freedom, share))
