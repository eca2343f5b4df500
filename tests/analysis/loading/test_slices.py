"""Test that a run's figures are the same when read in slices, when read whole, and by plain numpy."""

import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from analysis.figures import latencies, shared_stamps
from analysis.figures.intervals import by_second
from analysis.figures.latencies import Latencies
from analysis.ledger import order
from analysis.ledger.reconcile import reconcile
from analysis.loading import slices
from analysis.loading.lookup import EventPlaces, Places, grouping
from analysis.loading.run import Run, ints
from tests.analysis.ledger.test_reconcile import LATE_NS, Situation, situations, tables_of
from tests.analysis.synthetic import write_run
from tests.paths import REPO

pytestmark = pytest.mark.long

SAMPLE = REPO / "results" / "sample"
NUMBERS = st.lists(st.integers(0, 2**20), max_size=60)


@settings(max_examples=40, deadline=None)
@given(situations(), st.integers(1, 4), st.integers(1, 4))
def test_the_ledger_is_the_same_however_it_is_cut(situation: Situation, rows: int, group_rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder), tables_of(situation), late_after_ns=LATE_NS)
        whole = of(Path(folder))
        path = Path(folder) / "deliveries.parquet"
        pq.write_table(pq.read_table(path), path, row_group_size=group_rows)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(slices, "SLICE_ROWS", rows)
            # Use the other code path, for more (publisher, subscription) pairs than fit into a table.
            patch.setattr(order, "_STREAMS_MAX", rows)
            cut = of(Path(folder))
    assert cut[0] == whole[0]
    pd.testing.assert_frame_equal(cut[1], whole[1])
    pd.testing.assert_frame_equal(cut[2], whole[2])


def of(folder: Path) -> tuple[Any, pd.DataFrame, pd.DataFrame]:
    from analysis.figures import fanout

    run = analysis.load(folder)
    assert run.measure is not None
    settled = reconcile(run, run.measure)
    return settled.ledger, settled.breakdown.frame, fanout.by_event(settled)


def found_in(run: Run) -> Latencies:
    found = latencies.latencies(run)
    assert found is not None
    return found


@pytest.mark.parametrize("rows", [50, 700])
def test_the_latencies_are_the_same_however_they_are_cut(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found_in(analysis.load(SAMPLE))
    monkeypatch.setattr(slices, "SLICE_ROWS", rows)
    run = analysis.load(SAMPLE)
    assert len(slices.cut_by_second(run, run.first_publish_ns, (), latencies.SECOND_NS)) > 3
    np.testing.assert_equal(asdict(found_in(run)), asdict(whole))


def test_the_latencies_are_those_of_plain_numpy() -> None:
    run = analysis.load(SAMPLE)
    found, window = found_in(run), run.measure
    assert window is not None
    names = ("subscription", "intended_ns", "sent_ns", "arrival_ns", "read_ns")
    table = run.table("deliveries", names, window)
    subscription, intended_ns, sent_ns, arrival_ns, read_ns = (ints(table, name) for name in names)
    for distribution, values in (
        (found.headline, arrival_ns - intended_ns),
        (found.service, arrival_ns - sent_ns),
        (found.queue, read_ns - arrival_ns),
    ):
        ordered = np.sort(values)
        assert distribution.figures["count"] == len(values)
        assert distribution.figures["p99"] == ordered[int(np.ceil(0.99 * len(values))) - 1]
        assert (distribution.figures["min"], distribution.figures["max"]) == (ordered[0], ordered[-1])
        assert distribution.figures["mean"] == pytest.approx(values.mean())
    stamped = pd.DataFrame({"s": subscription, "a": arrival_ns, "i": intended_ns}).drop_duplicates()
    shared = len(stamped) - len(stamped[["s", "a"]].drop_duplicates())
    assert found.stamps_shared == shared / len(intended_ns)
    everything = run.table("deliveries", ("arrival_ns", "intended_ns"))
    second = (ints(everything, "intended_ns") - run.first_publish_ns) // latencies.SECOND_NS
    took_ns = pd.Series(ints(everything, "arrival_ns") - ints(everything, "intended_ns"))
    largest = took_ns.groupby(second).max()
    assert largest.index.tolist() == found.seconds.tolist()
    assert largest.tolist() == found.bands_ns[100].tolist()
    assert found.heat is not None
    assert found.heat.counts.sum() + found.heat.left_out == np.count_nonzero(second >= 0)


def test_stamps_shared_across_a_cut_are_counted_once() -> None:
    """All events that one read brings have the kernel timestamp of the last of them; here they lie in two slices."""
    people = Places(np.array([3, 9]))
    none = shared_stamps.Shared()
    first = shared_stamps.Stamps.of(
        np.array([3, 3, 9, 3]), np.array([5, 12, 11, 12]), np.array([1, 4, 4, 6]), people
    )
    second = shared_stamps.Stamps.of(
        np.array([3, 9, 9]), np.array([12, 14, 14]), np.array([10, 10, 12]), people
    )
    none.add(first, 10)
    none.add(second, 20)
    # A stamp is shared if a later event of the same subscription has it, too. At subscription 3, three events arrive at
    # time 12, so two share it. At subscription 9, two arrive at time 14, so one shares it.
    assert none.count == 3


@given(NUMBERS, NUMBERS)
def test_places_are_those_of_a_list(numbers: list[int], wanted: list[int]) -> None:
    listed = sorted(set(numbers))
    places = Places(np.array(listed, dtype=np.int64)).of(np.array([-1, *wanted, *listed], dtype=np.int64))
    assert places.tolist() == [listed.index(n) if n in listed else -1 for n in (-1, *wanted, *listed)]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=40),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), max_size=40),
)
def test_events_are_found_with_gaps_in_their_sequences(
    held: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    keys = sorted((publisher << 32) | sequence for publisher, sequence in set(held))
    publisher, sequence = (np.array([pair[n] for pair in wanted], dtype=np.int64) for n in (0, 1))
    found = EventPlaces(np.array(keys, dtype=np.int64)).of(publisher, sequence).tolist()
    assert found == [keys.index((p << 32) | s) if (p << 32) | s in keys else -1 for p, s in wanted]


@given(st.lists(st.tuples(st.integers(0, 2**18), st.integers(0, 3)), max_size=60))
def test_grouping_is_a_stable_sort(rows: list[tuple[int, int]]) -> None:
    first, second = (np.array([row[n] for row in rows], dtype=np.int64) for n in (0, 1))
    wanted = sorted(range(len(rows)), key=lambda place: rows[place])
    assert grouping(first, second).tolist() == wanted


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_turn_and_a_single_item_needs_no_thread(count: int) -> None:
    threads = set()

    def work(item: int) -> int:
        threads.add(threading.current_thread())
        return item * item

    assert list(slices.in_turn(work, iter(range(count)))) == [item * item for item in range(count)]
    assert (threading.current_thread() in threads) is (count == 1)


def test_intervals_add_up_to_the_tables() -> None:
    run = analysis.load(SAMPLE)
    frame = by_second(run)
    assert frame["offered"].sum() == (run.events["intended_ns"] >= run.first_publish_ns).sum()
    assert frame["arrived"].sum() == (run.deliveries["arrival_ns"] >= run.first_publish_ns).sum()
    assert frame["start_ns"].diff().dropna().unique().tolist() == [latencies.SECOND_NS]
    assert (frame["p50_ns"].dropna() <= frame["max_ns"].dropna()).all()
    assert set(frame["phase"]) >= {"warmup", "measure"}
