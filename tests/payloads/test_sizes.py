"""Test sizes: the distribution has the given percentiles, and planned shares are those of the draws."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.payloads.plans import Sizes
from loadgen.payloads.sizes import drawn, mean_of, shares_of, shares_of_draws

SIZES = Sizes(300, 20_000, 200_000)


def test_draws_go_through_the_percentiles() -> None:
    draw = drawn(SIZES, "seed")
    sizes = sorted(draw() for _ in range(10_000))
    # Allow six standard deviations of a binomial distribution.
    below = sum(size <= 300 for size in sizes)
    assert abs(below - 5_000) < 6 * 50
    above = sum(size > 20_000 for size in sizes)
    assert abs(above - 100) < 6 * 10
    assert sizes[-1] <= 200_000


def test_draws_are_the_same_for_the_same_seed() -> None:
    one, again, other = drawn(SIZES, "a"), drawn(SIZES, "a"), drawn(SIZES, "b")
    sizes = [one() for _ in range(50)]
    assert sizes == [again() for _ in range(50)]
    assert sizes != [other() for _ in range(50)]


def test_one_size_is_always_that_size() -> None:
    sizes = Sizes(500, 500, 500)
    draw = drawn(sizes, "a")
    assert {draw() for _ in range(20)} == {500}
    assert [(each.bytes, each.share) for each in shares_of_draws(sizes, 80)] == [(500, 1)]


def test_larger_draws_become_the_largest_size() -> None:
    draw = drawn(Sizes(1000, 5000, 5000), "a")
    sizes = [draw() for _ in range(20_000)]
    assert max(sizes) == 5000
    assert 80 < sizes.count(5000) < 320


@pytest.mark.parametrize("sizes", [SIZES, Sizes(300, 400, 500), Sizes(2000, 9000, 9000), Sizes(1, 2, 3)])
def test_planned_shares_are_those_of_the_draws(sizes: Sizes) -> None:
    shares = shares_of_draws(sizes, 1)
    assert sum(each.share for each in shares) == pytest.approx(1)
    draw = drawn(sizes, "a")
    found = [draw() for _ in range(15_000)]
    error = 6 * statistics.pstdev(found) / len(found) ** 0.5
    # Drawn sizes are rounded to whole bytes, so their mean may be off by another half byte.
    assert mean_of(shares) == pytest.approx(statistics.mean(found), abs=error + 0.5)


@given(st.lists(st.tuples(st.integers(1, 300_000), st.floats(0.001, 1000)), min_size=1, max_size=50))
def test_shares_of_sizes_have_their_mean_and_their_units(sizes: list[tuple[int, float]]) -> None:
    shares = shares_of(sizes)
    total = sum(weight for _, weight in sizes)
    assert mean_of(shares) == pytest.approx(sum(size * weight for size, weight in sizes) / total)
    units = sum(-(-size // 5120) * weight for size, weight in sizes) / total
    assert sum(-(-each.bytes // 5120) * each.share for each in shares) == pytest.approx(units)


def test_descending_sizes_are_no_sizes() -> None:
    with pytest.raises(ValueError, match="must not decrease"):
        Sizes(2, 1, 3)
