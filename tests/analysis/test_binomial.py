"""Test the binomial quantile against sums of exact probabilities."""

from fractions import Fraction
from math import comb

import pytest

from tests.analysis.binomial import quantile


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("count", [1, 2, 40, 150])
def test_it_is_the_least_number_with_the_chance(share: float, rate: float, count: int) -> None:
    chance = Fraction(rate)
    up_to = [Fraction(0)]
    for number in range(count + 1):
        exactly = comb(count, number) * chance**number * (1 - chance) ** (count - number)
        up_to.append(up_to[-1] + exactly)
    found = quantile(share, count, rate)
    assert up_to[found] < share <= up_to[found + 1]
