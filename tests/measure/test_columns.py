import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import native
from loadgen.measure.arrival import arrival
from loadgen.measure.columns import (
    COLUMNS,
    ROW_BYTES,
    SPARES,
    DeliveryBuffer,
    NativeDeliveryBuffer,
    RowBuffer,
)


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 7))
def test_every_row_comes_out_once_and_in_order_whatever_the_buffer_size(
    batches: list[int], capacity: int
) -> None:
    buffer = DeliveryBuffer(rows=capacity)
    taken: list[np.ndarray[Any, Any]] = []
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
    # Rows that are added while a piece is read go to other buffers, some of which are reused.
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


def test_a_row_is_nine_numbers_in_the_order_of_the_columns() -> None:
    assert (len(COLUMNS), ROW_BYTES) == (9, 72)
    buffer = DeliveryBuffer(rows=4)
    buffer.add(1, arrival(2, 7), 3, (4, 5, 6, 2**63 - 1, -(2**63)))
    buffer.add(1, 2, 3, (4, 5, 6, 7, 8))
    (piece,) = buffer.take()
    assert piece.tolist() == [[1, 2, 3, 7, 4, 5, 6, 2**63 - 1, -(2**63)], [1, 2, 3, 0, 4, 5, 6, 7, 8]]


@pytest.mark.parametrize("columns", [1, 3])
def test_rows_of_any_width_come_out_as_they_went_in(columns: int) -> None:
    buffer = RowBuffer(columns, rows=2)
    rows = [[10 * n + k for k in range(columns)] for n in range(5)]
    for row in rows:
        buffer.add(*row)
    assert [piece.tolist() for piece in buffer.take()] == [rows[0:2], rows[2:4], rows[4:]]
    assert list(buffer.take()) == []
    with pytest.raises(struct.error):
        buffer.add(*range(columns + 1))


@pytest.mark.parametrize("kind", BUFFERS)
def test_the_oldest_is_taken_first_and_the_rest_stays(
    kind: type[DeliveryBuffer | NativeDeliveryBuffer],
) -> None:
    buffer = kind(rows=2)
    assert list(buffer.take_oldest()) == []
    for number in range(5):
        buffer.add(number, 1, 1, (1, 1, 1, 1, 1))
    assert [piece[:, 0].tolist() for piece in buffer.take_oldest()] == [[0, 1]]
    assert [piece[:, 0].tolist() for piece in buffer.take_oldest()] == [[2, 3]]
    assert list(buffer.take_oldest()) == [], "the one that is being filled is not full"
    assert [piece[:, 0].tolist() for piece in buffer.take()] == [[4]]


@pytest.mark.parametrize("kind", BUFFERS)
def test_relief_is_asked_for_whenever_as_many_are_full(
    kind: type[DeliveryBuffer | NativeDeliveryBuffer],
) -> None:
    buffer = kind(rows=2)
    taken: list[list[int]] = []
    full: list[int] = []

    def relieve() -> None:
        full.append(added)
        taken.extend(piece[:, 0].tolist() for piece in buffer.take_oldest())

    buffer.on_backpressure(3, relieve)
    for added in range(12):
        buffer.add(added, 1, 1, (1, 1, 1, 1, 1))
    # A buffer holds two rows, so three buffers are full after row 5 (the first is row 0). Each call of `relieve` takes
    # one full buffer away, so three are full again after every second row.
    assert full == [5, 7, 9, 11]
    assert taken == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [piece[:, 0].tolist() for piece in buffer.take()] == [[8, 9], [10, 11]]


def test_a_few_buffers_are_used_again_and_no_more_are_kept() -> None:
    buffer = RowBuffer(1, rows=1)
    for number in range(6):
        buffer.add(number)
    first = [piece.__array_interface__["data"][0] for piece in buffer.take()]
    assert len(set(first)) == 6
    assert len(buffer._spare) == SPARES == 2
    for number in range(3):
        buffer.add(number)
    again = [piece.__array_interface__["data"][0] for piece in buffer.take()]
    # The first of these buffers may be new: it was allocated before the earlier buffers were given back.
    assert set(again[1:]) <= set(first)
