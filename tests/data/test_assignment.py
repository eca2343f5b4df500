"""Test which row a client takes and which row a publish request takes."""

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.data.assignment import client_row, request_rows


def row(assign: str, rows: int, index: int, number: int = 0, name: str = "people") -> int:
    return client_row(assign, rows, seed="1", name=name, number=number, index=index)  # type: ignore[arg-type]


def requests(assign: str, rows: int, index: int, clients: int, number: int = 0) -> list[int]:
    draw = request_rows(
        assign,  # type: ignore[arg-type]
        rows,
        seed="1",
        name="people",
        number=number,
        index=index,
        clients=clients,
    )
    return [draw() for _ in range(50)]


def test_by_client_gives_each_client_of_a_group_a_row_of_its_own() -> None:
    assert [row("by-client", 3, index) for index in range(3)] == [0, 1, 2]
    with pytest.raises(IndexError, match="client 3 of the group has no row: there are 3"):
        row("by-client", 3, 3)


def test_in_turn_begins_again_after_the_last_row() -> None:
    assert [row("in-turn", 3, index) for index in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_random_rows_are_fixed_by_seed_name_and_client_and_spread_evenly() -> None:
    drawn = Counter(row("random", 10, 0, number=number) for number in range(5_000))
    # Each row is expected 500 times; 5 standard deviations are 106.
    assert set(drawn) == set(range(10))
    assert all(abs(count - 500) < 106 for count in drawn.values())
    # The drawn row depends only on the seed, the name of the data and the client's number.
    assert [row("random", 1000, 0, number=number) for number in range(5)] == [
        row("random", 1000, 9, number=number) for number in range(5)
    ]
    assert [row("random", 1000, 0, number=n) for n in range(9)] != [
        row("random", 1000, 0, number=n, name="other") for n in range(9)
    ]


@given(st.integers(1, 7), st.integers(1, 9))
def test_the_requests_of_a_group_take_all_rows_in_turn(clients: int, rows: int) -> None:
    each = [requests("in-turn", rows, index, clients) for index in range(clients)]
    together = [row for requests in zip(*each, strict=True) for row in requests]
    assert list(islice(together, 40)) == [number % rows for number in range(min(40, len(together)))]


def test_requests_draw_rows_by_client_and_at_random() -> None:
    assert requests("by-client", 9, 4, 5) == [4] * 50
    drawn = requests("random", 9, 0, 1)
    assert drawn == requests("random", 9, 3, 7)
    assert len(set(drawn)) == 9
    assert drawn != requests("random", 9, 0, 1, number=1)
