import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import native
from loadgen.measure.columns import DeliveryBuffer, NativeDeliveryBuffer


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 7))
def test_every_row_comes_out_once_and_in_order_whatever_the_buffer_size(
    batches: list[int], capacity: int
) -> None:
    buffer = DeliveryBuffer(rows=capacity)
    taken: list[np.ndarray] = []
    count = 0
    for batch in batches:
        for _ in range(batch):
            buffer.add(count, count + 1, count + 2, (count + 3, 4, 5, 6, 7))
            count += 1
        taken.extend(piece.copy() for piece in buffer.take())
    rows = np.concatenate(taken) if taken else np.empty((0, 9))
    assert rows[:, 0].tolist() == list(range(count))
    assert not rows[:, 3].any()
    assert rows[:, 4].tolist() == [n + 3 for n in range(count)]


BUFFERS = [
    DeliveryBuffer,
    pytest.param(NativeDeliveryBuffer, marks=pytest.mark.skipif(not native.available, reason="not built")),
]


@pytest.mark.parametrize("kind", BUFFERS)
def test_a_piece_is_not_overwritten_until_the_next_is_asked_for(
    kind: type[DeliveryBuffer | NativeDeliveryBuffer],
) -> None:
    buffer = kind(rows=2)
    for number in range(5):
        buffer.add(number, 1, 1, (1, 1, 1, 1, 1))
    taken = []
    # What comes in meanwhile goes elsewhere, also into buffers that were given back.
    for piece in buffer.take():
        for _ in range(10):
            buffer.add(9, 9, 9, (9, 9, 9, 9, 9))
        taken.extend(piece[:, 0].tolist())
    assert taken == [0, 1, 2, 3, 4]
    assert sum(map(len, buffer.take())) == 30


def test_a_number_beyond_int64_is_refused_and_leaves_no_row() -> None:
    buffer = DeliveryBuffer(rows=4)
    with pytest.raises(struct.error):
        buffer.add(1, 1, 1, (2**63, 1, 1, 1, 1))
    assert list(buffer.take()) == []
