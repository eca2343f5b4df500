"""Test the search for pairs that occur twice, and the ranks of events of very different sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.ledger import ranks

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.sampled_from((1, 4, 64)))
def test_pairs_are_distinct_if_a_set_holds_as_many(pairs: list[tuple[int, int]], cells: int) -> None:
    one, other = (np.array([pair[n] for pair in pairs], dtype=np.int64) for n in (0, 1))
    with pytest.MonkeyPatch.context() as patch:
        # With so few hash cells, different pairs fall into the same cell.
        patch.setattr(ranks, "_CELLS", cells)
        assert ranks.distinct(one, other) is (len(set(pairs)) == len(pairs))


def test_events_of_many_sizes_are_sorted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(2)
    event = np.repeat(np.arange(60), np.arange(1, 61))
    event, latency = event[draws.permutation(len(event))], draws.integers(-500, 500, len(event))
    one_by_one = ranks.ranks(event, latency)
    monkeypatch.setattr(ranks, "_SIZES_MAX", 3)
    np.testing.assert_equal(ranks.ranks(event, latency), one_by_one)
    assert one_by_one[2]["last_ns"].tolist() == [latency[event == number].max() for number in range(60)]
