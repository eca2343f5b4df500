"""Test how clients are dealt to workers of different weights."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.run.shares import FINEST, HEAVIEST, turns, weight_of

weights = st.lists(
    st.one_of(
        st.integers(1, 40).map(Fraction),
        st.integers(1, 4_000).map(lambda n: n * FINEST),
    ),
    min_size=1,
    max_size=9,
)


@settings(max_examples=80, deadline=None)
@given(weights=weights, count=st.integers(0, 300))
def test_every_stretch_from_the_first_client_on_is_shared_to_within_one_client(
    weights: list[Fraction], count: int
) -> None:
    dealt = turns(weights, count)
    assert len(dealt) == count
    whole = [int(weight / FINEST) for weight in weights]
    total, had = sum(whole), [0] * len(weights)
    for number, worker in enumerate(dealt, start=1):
        had[worker] += 1
        for index, weight in enumerate(whole):
            assert abs(had[index] * total - number * weight) < total
    assert sum(had) == count


@given(weights=weights, count=st.integers(0, 300), more=st.integers(0, 300))
def test_the_same_clients_go_to_the_same_worker_every_time_and_in_a_larger_run_too(
    weights: list[Fraction], count: int, more: int
) -> None:
    assert turns(weights, count + more)[:count] == turns(weights, count)


@given(weights=weights, factor=st.integers(1, 50))
def test_only_the_proportion_of_weights_counts(weights: list[Fraction], factor: int) -> None:
    assert turns([weight * factor for weight in weights], 100) == turns(weights, 100)


def test_weight_two_has_twice_the_clients_of_weight_one_to_the_client() -> None:
    dealt = turns([Fraction(2), Fraction(1)], 42)
    assert (dealt.count(0), dealt.count(1)) == (28, 14)
    assert dealt[:6] == [0, 1, 0, 0, 1, 0]


def test_a_million_clients_are_dealt_to_workers_of_odd_weights_without_much_ado() -> None:
    odd = [Fraction(n, 8) for n in range(1, 61)]
    dealt = turns(odd, 1_000_000)
    for index, weight in enumerate(odd):
        assert abs(dealt.count(index) - 1_000_000 * weight / sum(odd)) < 1


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "two", "", "1/0", "0.0001", "10001", "1e9"])
def test_what_is_no_weight_is_told_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="a weight is a number such as 2"):
        weight_of(text)


def test_weights_are_exact() -> None:
    assert weight_of("0.1") * 10 == weight_of(" 1 ") == 1
    assert weight_of(str(HEAVIEST)) == HEAVIEST
