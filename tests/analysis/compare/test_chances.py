"""Test the statistical tests: the anytime-valid one against integrals, and the error rates of plans by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.compare.chances import LOOKS_FROM, PRIOR, Anytime, Half, Student, of_pairs
from analysis.compare.decide import WORSE
from tests.analysis import sequential
from tests.analysis.comparisons import World

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("statistic", "pairs"), [(0.0, 3), (1.5, 4), (4.0, 7), (-4.0, 7), (9.0, 12)])
def test_the_evidence_is_the_mean_likelihood_ratio_of_t_over_the_prior(statistic: float, pairs: int) -> None:
    """The evidence equals the ratio of the t statistic's densities, averaged over the prior.

    The t statistic contains all information that does not depend on the unit, so its densities give the same
    ratio as all the data.
    """
    from scipy import integrate, stats  # scipy takes 0.5 s to load, in every process that collects tests

    def weighed(effect: float) -> float:
        density = stats.nct.pdf(statistic, pairs - 1, effect * math.sqrt(pairs))
        return float(density * stats.norm.pdf(effect, scale=math.sqrt(PRIOR)))

    mixed, _ = integrate.quad(weighed, -25, 25, limit=400, points=[0.0, statistic / math.sqrt(pairs)])
    expected = math.log(mixed / stats.t.pdf(statistic, pairs - 1))
    assert Anytime(pairs).log_evidence(statistic) == pytest.approx(expected, abs=1e-4)


@given(st.integers(1, 100), st.floats(1e-6, 0.5))
def test_the_critical_statistic_has_just_this_chance(pairs: int, level: float) -> None:
    for test in (Anytime(pairs), Half(Anytime(pairs)), Student(pairs), Half(Student(pairs))):
        critical = test.critical(level)
        if math.isinf(critical):
            assert test.chance(1e12) > level
        else:
            assert test.chance(critical) == pytest.approx(level, rel=1e-6)


@given(st.integers(2, 60), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_larger_statistic_never_has_a_larger_chance(pairs: int, one: float, other: float) -> None:
    less, more = sorted((one, other))
    chances = [Anytime(pairs).chance(statistic) for statistic in (less, more, -more)]
    assert 0 <= chances[1] <= chances[0] <= 1
    assert chances[1] == chances[2]


@given(st.integers(2, 60), st.floats(1e-4, 0.2))
def test_looking_early_costs_width(pairs: int, level: float) -> None:
    assert Anytime(pairs).critical(level) >= Student(pairs - 1).critical(level)


def test_a_plan_spends_half_on_the_last_pair_and_all_if_no_look_can_find_anything() -> None:
    assert of_pairs(10, None) == Student(9)
    assert of_pairs(10, 10) == Half(Student(9))
    assert of_pairs(9, 10) == Half(Anytime(9))
    assert of_pairs(LOOKS_FROM, LOOKS_FROM) == Student(LOOKS_FROM - 1)
    # In a plan this short, no look before the last pair finds even an infinite difference at 5 %. So the test of the
    # last pair may use the whole error rate.
    assert all(math.isinf(of_pairs(pairs, LOOKS_FROM).critical(0.05)) for pairs in range(1, LOOKS_FROM))
    # A plan may make more pairs than it was meant to: half of the error rate is for early looks, and holds for any
    # number of pairs.
    assert of_pairs(12, 10) == Half(Anytime(12))


@pytest.mark.parametrize("shape", sequential.SHAPES)
def test_equal_sides_are_flagged_in_at_most_5_percent_at_any_look(shape: str) -> None:
    values = sequential.differences(4_000, 20, 0.0, seed=3, shape=shape)
    assert sequential.looked(values, 0.05).found <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4_000)
    if shape == "normal":
        assert sequential.peeked(values, 0.05).found > 0.15, "else this simulation could not show a fault"


def test_a_large_effect_stops_a_plan_early_and_costs_little_power() -> None:
    # One of five metrics is 10 % higher, and single runs vary by 2 %. So the difference of a pair of runs is 3.4 of its
    # standard deviations.
    values = sequential.differences(4_000, 10, math.log(1.1) / (0.02 * math.sqrt(2)), seed=4)
    early = sequential.looked(values, 0.01)
    assert early.found >= 0.99
    assert early.pairs <= 7
    small = sequential.differences(4_000, 10, 1.7, seed=5)
    assert sequential.looked(small, 0.01).found >= sequential.fixed(small, 0.01).found - 0.08


def test_a_plan_with_all_metrics_stops_at_a_shift_and_seldom_flags_equal_sides() -> None:
    world = World(31)
    shifted = [sequential.ab(world, 10, 1.10) for _ in range(20)]
    assert sum(verdict == WORSE for verdict, _ in shifted) >= 18
    assert np.mean([pairs for _, pairs in shifted]) <= 8
    equal = [sequential.ab(world, 8, 1.0) for _ in range(20)]
    assert sum(verdict == WORSE for verdict, _ in equal) <= 4
