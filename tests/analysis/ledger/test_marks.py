"""Test `Marks`, which marks deliveries of a run: it must give the same result as a plain array of flags."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.ledger import marks
from analysis.ledger.marks import Marks
from analysis.loading.run import RowGroup


def groups_of(sizes: list[int]) -> list[RowGroup]:
    firsts = np.cumsum([0, *sizes]).tolist()
    # Numbers of row groups may have gaps, since row groups without rows are left out.
    return [
        RowGroup(2 * n, first, size, 0, 1) for n, (first, size) in enumerate(zip(firsts, sizes, strict=False))
    ]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.data(), st.sampled_from((0, 3, 1000)))
def test_marks_are_those_of_a_plain_array(sizes: list[int], data: st.DataObject, room: int) -> None:
    total = sum(sizes)
    order = data.draw(st.permutations(range(total)))
    marked = order[: data.draw(st.integers(0, total))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(marked)), max_size=4)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "ROOM_BYTES", room)
        made = Marks(groups_of(sizes))
    plain = np.zeros(total, dtype=bool)
    for begin, end in zip([0, *cuts], [*cuts, len(marked)], strict=True):
        rows = np.array(marked[begin:end], dtype=np.int64)
        made.add(rows)
        plain[rows] = True
        assert made.tolist() == plain.tolist()
    for group in groups_of(sizes):
        its = plain[group.first_row : group.first_row + group.rows]
        assert made.of(group).tolist() == its.tolist()
        assert made.some(group) == its.any()


def test_complete_row_groups_take_no_memory() -> None:
    made = Marks(groups_of([1000] * 50))
    for begin in range(0, 50_000, 700):
        made.add(np.arange(begin, min(begin + 700, 50_000)))
    assert (made._open, made._closed) == ({}, {})
    assert all(made.of(group).all() for group in groups_of([1000] * 50))
