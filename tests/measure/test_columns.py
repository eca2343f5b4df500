import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.columns import DeliveryBuffer


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 7))
def test_every_row_comes_out_once_and_in_order_whatever_the_buffer_size(
    batches: list[int], capacity: int
) -> None:
    buffer = DeliveryBuffer(rows=capacity)
    taken, count = [], 0
    for batch in batches:
        for _ in range(batch):
            buffer.add(count, count + 1, count + 2, (count + 3, 4, 5, 6, 7))
            count += 1
        taken.extend(buffer.take())
    rows = np.concatenate(taken) if taken else np.empty((0, 8))
    assert rows[:, 0].tolist() == list(range(count))
    assert rows[:, 3].tolist() == [n + 3 for n in range(count)]


def test_rows_taken_are_not_overwritten_by_later_ones() -> None:
    buffer = DeliveryBuffer(rows=2)
    buffer.add(1, 1, 1, (1, 1, 1, 1, 1))
    (first,) = buffer.take()
    for _ in range(10):
        buffer.add(9, 9, 9, (9, 9, 9, 9, 9))
    assert first.tolist() == [[1] * 8]


def test_a_number_beyond_int64_is_refused_and_leaves_no_row() -> None:
    buffer = DeliveryBuffer(rows=4)
    with pytest.raises(struct.error):
        buffer.add(1, 1, 1, (2**63, 1, 1, 1, 1))
    assert buffer.take() == []
