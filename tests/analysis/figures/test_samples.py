"""Test that samples looked up by rank equal the sorted samples, however they are counted, split or stored."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.figures import samples, selection
from analysis.figures.bounds import Collector
from analysis.figures.groups import GROUPS_MAX, SHARES, Groups
from analysis.figures.percentiles import Percentiles
from analysis.figures.samples import Samples, Store, at_ranks
from analysis.loading import room
from analysis.loading.room import Room

WIDE = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**15), 2**15),
    st.integers(2**24 - 3, 2**24 + 3),
    st.integers(-(2**25) - 3, -(2**25) + 3),
    # About one second in ns: the values lie in one bucket or in two neighbouring ones.
    st.integers(2**30 - 100, 2**30 + 100),
    st.integers(2**40, 2**40 + 2**30),
)
PIECES = st.lists(st.lists(WIDE, max_size=20), min_size=1, max_size=6).filter(any)
#: Values for four limits in the modules that are tested; `sized` names the limits in this order.
SIZES = st.tuples(
    st.sampled_from((0, 30, 10**6)),
    st.sampled_from((0, 0, 10, 10**6)),
    st.sampled_from((0, 5, 10**6)),
    st.sampled_from((2, 3, 4096)),
)
Sizes = tuple[int, int, int, int]


def sized(patch: pytest.MonkeyPatch, sizes: Sizes) -> None:
    for (place, name), size in zip(
        (
            (room, "KEPT_BYTES"),
            (samples, "SORTED_MAX"),
            (selection, "COLLECTED_MAX"),
            (selection, "CELLS"),
        ),
        sizes,
        strict=True,
    ):
        patch.setattr(place, name, size)


def samples_of(pieces: Sequence[Sequence[int]], room: Room | None = None) -> Samples:
    found = Samples(room)
    for piece in pieces:
        found.add(np.array(piece, dtype=np.int64))
    return found


@settings(max_examples=30, deadline=None)
@given(PIECES, SIZES)
def test_the_samples_at_all_ranks_are_the_sorted_samples(pieces: list[list[int]], sizes: Sizes) -> None:
    ordered = sorted(value for piece in pieces for value in piece)
    with pytest.MonkeyPatch.context() as patch:
        sized(patch, sizes)
        found = samples_of(pieces)
        assert found.at_ranks(np.arange(1, len(ordered) + 1)).tolist() == ordered
        # Ranks may come in any order, and may be asked for again.
        assert found.at_ranks(np.array([len(ordered), 1])).tolist() == [ordered[-1], ordered[0]]
        assert [value for block in found.blocks() for value in block.tolist()] == [
            value for piece in pieces for value in piece
        ]
    assert (len(found), found.total) == (len(ordered), sum(ordered))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.integers(-(2**30), 2**30), max_size=30), max_size=5), SIZES)
def test_the_figures_are_those_of_sorted_samples(pieces: list[list[int]], sizes: Sizes) -> None:
    ordered = np.array(sorted(value for piece in pieces for value in piece), dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        sized(patch, sizes)
        # The means are equal too, because sums below 2**53 are exact.
        assert samples_of(pieces).percentiles() == Percentiles.of_sorted(ordered)


@settings(max_examples=20, deadline=None)
@given(PIECES, PIECES, st.data(), SIZES)
def test_what_is_taken_away_is_not_found(
    pieces: list[list[int]], more: list[list[int]], data: st.DataObject, sizes: Sizes
) -> None:
    all_of = [value for piece in pieces for value in piece]
    away = [value for value in all_of if data.draw(st.booleans())]
    added = [value for piece in more for value in piece]
    left = sorted(all_of)
    for value in away:
        left.remove(value)
    ordered = sorted(left + added)
    with pytest.MonkeyPatch.context() as patch:
        sized(patch, sizes)
        room = Room()
        parts = [(samples_of(pieces, room), 1), (samples_of([away], room), -1), (samples_of(more, room), 1)]
        assert at_ranks(parts, np.arange(1, len(ordered) + 1)).tolist() == ordered


@given(st.lists(WIDE, min_size=1, max_size=60))
def test_buckets_are_in_the_order_of_the_numbers(values: list[int]) -> None:
    ordered = np.array(sorted(values), dtype=np.int64)
    assert (np.diff(selection.bucket(ordered)) >= 0).all()
    # Each small number has its own bucket.
    small = np.arange(-(2**14), 2**14 + 1)
    assert (np.diff(selection.bucket(small)) > 0).all()
    # The buckets of 0 and 1 are neighbours, without a million buckets for fractions between them.
    assert selection.bucket(np.array([-2, -1, 0, 1])).tolist() == [-8193, -1, 0, 1]
    assert selection.bucket(np.array([0, 1, 2])).tolist() == [0, 1, 8193]


def test_samples_take_as_many_bytes_as_they_need() -> None:
    store = Store()
    for values in ([1, -5], [300], [70_000], [2**40, -(2**40)]):
        store.add(np.array(values, dtype=np.int64))
    assert [block.itemsize for block in store.blocks()] == [1, 2, 4, 8]
    assert [block.tolist() for block in store.blocks()] == [[1, -5], [300], [70_000], [2**40, -(2**40)]]


def test_beyond_its_room_nothing_is_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KEPT_BYTES", 1000)
    kept_in = Room()
    kept = [kept_in.put(np.arange(250, dtype=np.int32) + number) for number in range(4)]
    assert [isinstance(each, np.ndarray) for each in kept] == [True, False, False, False]
    assert [kept_in.get(each).tolist() for each in kept] == [list(range(n, n + 250)) for n in range(4)]


def test_a_million_samples_in_one_bucket_are_divided_until_few_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selection, "COLLECTED_MAX", 1000)
    monkeypatch.setattr(selection, "CELLS", 16)
    draws = np.random.default_rng(3)
    values = 50_000_000_000 + draws.integers(0, 1_000_000, 200_000)
    ranks = np.array([1, 1000, 100_000, 199_999, 200_000])
    assert Samples.of(values).at_ranks(ranks).tolist() == np.sort(values)[ranks - 1].tolist()


GROUPED = st.lists(
    st.lists(st.tuples(st.integers(-50, 2**20), st.integers(-1, GROUPS_MAX + 4)), max_size=40), max_size=4
)


@settings(max_examples=20, deadline=None)
@given(GROUPED, SIZES)
def test_groups_are_those_of_sorting_each(pieces: list[list[tuple[int, int]]], sizes: Sizes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        sized(patch, sizes)
        room = Room()
        values, codes = Store(room), Groups(Store(room))
        for piece in pieces:
            values.add(np.array([value for value, _ in piece], dtype=np.int64))
            codes.add(np.array([code for _, code in piece], dtype=np.int64))
        found = codes.largest(values)
    rows = [row for piece in pieces for row in piece if row[1] >= 0]
    by_code = {
        code: sorted(v for v, its in rows if its == code) for code in sorted({code for _, code in rows})
    }
    largest = sorted(by_code, key=lambda code: -len(by_code[code]))
    if len(largest) < 2:
        assert found == []
        return
    expected: list[tuple[int | None, int, list[int]]] = [
        (code, 1, by_code[code]) for code in largest[:GROUPS_MAX]
    ]
    if rest := largest[GROUPS_MAX:]:
        expected.append((None, len(rest), sorted(value for code in rest for value in by_code[code])))
    assert [(group.code, group.members, group.count) for group in found] == [
        (code, members, len(ordered)) for code, members, ordered in expected
    ]
    for group, (_, _, ordered) in zip(found, expected, strict=True):
        places = np.minimum((np.linspace(0, 1, SHARES) * len(ordered)).astype(int), len(ordered) - 1)
        assert group.at_shares.tolist() == [ordered[place] for place in places]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=20), min_size=1
    ).filter(any),
    SIZES,
)
def test_the_ends_of_stored_samples_are_those_of_sorted_ends(
    pieces: list[list[tuple[int, int]]], sizes: Sizes
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        sized(patch, sizes)
        collector = Collector()
        for piece in pieces:
            values, early = np.array(piece, dtype=np.int64).reshape(-1, 2).T
            collector.add(values, early if early.any() else None)
        found = collector.done()
        ends = sorted(value - early for piece in pieces for value, early in piece)
        lows = [found.at_rank(rank).low for rank in range(1, len(ends) + 1)]
    assert lows == ends
