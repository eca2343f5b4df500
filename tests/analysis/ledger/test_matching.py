"""Test the matching of rows to expected pairs against its definition, row by row."""

import math
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from analysis.ledger import order, ranks, windows
from analysis.ledger.events import events_in, expected_of, reach_of
from analysis.ledger.matching import Found, Through, match
from analysis.ledger.ranks import RANKS
from analysis.ledger.reconcile import Reconciled, reconcile
from analysis.loading import slices
from analysis.loading.run import Run
from tests.analysis.synthetic import MS, SECOND, T0, Row, delivery, event, pings, subscription, write_run

LATE_NS = 60 * MS


def found_in(run: Run) -> Found:
    window = run.measure
    assert window is not None
    events, present = events_in(run, window), windows.segments(run)
    reach = reach_of(events, present)
    return match(run, window, events, present, reach, expected_of(events, present, reach)[0])


def settled_in(run: Run) -> Reconciled:
    assert run.measure is not None
    return reconcile(run, run.measure)


def run_of(folder: Path, events: list[Row], subscriptions: list[Row], deliveries: list[Row]) -> Run:
    tables = {"events": events, "subscriptions": subscriptions, "deliveries": deliveries}
    return analysis.load(write_run(folder, tables, late_after_ns=LATE_NS))


SENT = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 99)), max_size=20)


@given(SENT, SENT)
def test_through_is_the_last_event_of_each_segment_and_publisher(
    one: list[tuple[int, int, int]], other: list[tuple[int, int, int]]
) -> None:
    parts = []
    for rows in (one, other):
        columns = [np.array([row[n] for row in rows], dtype=np.int64) for n in range(3)]
        parts.append((Through.key(columns[0], columns[1]), columns[2]))
    through = Through.of([pair for pair, _ in parts], [sent for _, sent in parts])
    publishers = np.arange(5, dtype=np.int64)
    for segment in range(6):
        expected = [
            max((at for s, p, at in [*one, *other] if (s, p) == (segment, publisher)), default=-1)
            for publisher in publishers.tolist()
        ]
        assert through.last_ns(segment, publishers).tolist() == expected
    assert (np.diff(through.pair) > 0).all()


def test_of_nothing_nothing_came_through() -> None:
    assert Through.of([], []).last_ns(3, np.array([1, 2])).tolist() == [-1, -1]
    # The key's upper 32 bits hold the segment (3), even with the largest publisher number in the lower 32 bits.
    assert Through.key(3, np.array([2**31 - 1])).tolist() == [3 * 2**32 + 2**31 - 1]


LATENCIES = st.lists(st.tuples(st.integers(0, 5), st.integers(-50, 50)), max_size=40)


@pytest.mark.parametrize("scale", [1, 2**55])
@given(rows=LATENCIES)
def test_the_rank_of_a_share_is_the_least_latency_that_so_many_do_not_exceed(
    rows: list[tuple[int, int]], scale: int
) -> None:
    # With large latencies, event and latency do not fit into one integer and are sorted by two keys.
    event = np.array([number for number, _ in rows], dtype=np.int64)
    latency = np.array([value * scale for _, value in rows], dtype=np.int64)
    reached, counts, at = ranks.ranks(event, latency)
    assert list(at) == ["first_ns", "median_ns", "p99_ns", "last_ns"] == list(RANKS)
    place = 0
    for number, group in groupby(sorted(rows), key=lambda row: row[0]):
        values = [value * scale for _, value in group]
        assert (reached[place], counts[place]) == (number, len(values))
        for name, share in (("first_ns", 0.0), ("median_ns", 0.5), ("p99_ns", 0.99), ("last_ns", 1.0)):
            assert at[name][place] == values[max(math.ceil(share * len(values) - 1e-9), 1) - 1]
        place += 1
    assert place == len(reached)


def test_ninety_nine_of_a_hundred_subscribers_are_not_all() -> None:
    event, latency = np.zeros(200, dtype=np.int64), np.arange(200)[::-1].copy()
    _, _, at = ranks.ranks(event, latency)
    assert {name: int(values[0]) for name, values in at.items()} == {
        "first_ns": 0,
        "median_ns": 99,
        "p99_ns": 197,
        "last_ns": 199,
    }


def test_the_first_of_a_pair_is_the_earliest_to_arrive_and_then_to_be_read(tmp_path: Path) -> None:
    one, two = event(1, 0, "/a", 0), event(1, 1, "/a", MS)
    stranger = event(7, 0, "/a", 0)
    rows = [
        delivery(one, 5, 3 * MS),
        delivery(one, 5, 2 * MS),
        delivery(one, 6, 4 * MS, read_ns=T0 + 3 * SECOND),
        delivery(one, 6, 4 * MS),
        delivery(two, 5, MS),
        delivery(stranger, 5, MS),
        delivery(stranger, 5, 2 * MS),
        delivery(one, 5, 9 * MS),
    ]
    subscriptions = [subscription(5, "/a"), subscription(6, "/a")]
    found = found_in(run_of(tmp_path, [one, two], subscriptions, rows))
    assert found.expected_rows.tolist() == [False, True, False, True, True, False, False, False]
    assert found.arrived.tolist() == [2, 1]
    assert found.ranks_ns["first_ns"].tolist() == [2 * MS, MS]
    assert found.ranks_ns["last_ns"].tolist() == [4 * MS, MS]
    event_places, numbers = found.duplicates
    assert sorted(zip(event_places.tolist(), numbers.tolist(), strict=True)) == [
        (-1, 5),
        (0, 5),
        (0, 5),
        (0, 6),
    ]
    assert (found.rows, found.unrecorded, found.not_acknowledged) == (8, 1, 0)
    assert found.arrived_by_subscription.tolist() == [2, 1]
    # Only the second event (number 1) did not reach all subscribers: it reached just subscription 5.
    assert [part.tolist() for part in found.incomplete] == [[1], [5]]
    assert found.late_least is found.late is found.late_most
    assert found.ranks_low_ns is found.ranks_ns is found.ranks_high_ns


def test_a_row_counts_where_the_pattern_at_that_time_takes_the_channel(tmp_path: Path) -> None:
    events = [event(1, n, channel, n * 10 * MS) for n, channel in enumerate(("/a", "/b", "/a", "/b"))]
    subscriptions = [
        subscription(5, "/a", 0, 15 * MS, life=0),
        subscription(5, "/b", 15 * MS, None, life=1, acknowledged_ns=T0 + SECOND + 15 * MS),
        subscription(6, "/other"),
        subscription(7, "/*", 5 * MS, acknowledged_ns=T0 + SECOND + 5 * MS),
    ]
    deliveries = [delivery(each, number) for each in events for number in (5, 6, 7, 8)]
    found = found_in(run_of(tmp_path, events, subscriptions, deliveries))
    by_event = {n: found.expected_rows.tolist()[4 * n : 4 * n + 4] for n in range(4)}
    assert by_event == {
        0: [True, False, False, False],
        1: [False, False, True, False],
        2: [False, False, True, False],
        3: [True, False, True, False],
    }
    assert found.outside_live_window == 11
    assert found.arrived_by_subscription.tolist() == [2, 0, 3]


def test_what_is_late_is_late_by_event_and_by_subscription(tmp_path: Path) -> None:
    events = [event(1, n, "/a", n * MS) for n in range(3)]
    subscriptions = [subscription(number, "/a") for number in (5, 6)]
    latencies = {(0, 5): LATE_NS, (0, 6): LATE_NS + 1, (1, 5): LATE_NS + 1, (1, 6): 2 * LATE_NS, (2, 5): 1}
    deliveries = [delivery(events[n], number, ns) for (n, number), ns in latencies.items()]
    found = found_in(run_of(tmp_path, events, subscriptions, deliveries))
    assert found.late.tolist() == [1, 2, 0]
    assert found.late_by_subscription.tolist() == [1, 2]
    assert [part.tolist() for part in found.incomplete] == [[2], [5]]


def test_of_arrivals_known_as_an_interval_the_least_and_the_most_are_late(tmp_path: Path) -> None:
    events = [event(1, n, "/a", n * MS) for n in range(3)]
    subscriptions = [subscription(number, "/a") for number in (5, 6)]
    off = {
        (0, 5): (LATE_NS + 5, 4),
        (0, 6): (LATE_NS + 5, 5),
        (1, 5): (LATE_NS, 9),
        (1, 6): (7 * MS, 3),
        (2, 6): (9 * MS, 0),
    }
    deliveries = [delivery(events[n], who, ns, uncertain_ns=early) for (n, who), (ns, early) in off.items()]
    run = run_of(tmp_path, events, subscriptions, deliveries)
    found = found_in(run)
    assert (found.late.tolist(), found.late_least.tolist(), found.late_most.tolist()) == (
        [2, 0, 0],
        [1, 0, 0],
        [2, 0, 0],
    )
    for end, first, last in (
        (found.ranks_ns, [LATE_NS + 5, 7 * MS, 9 * MS], [LATE_NS + 5, LATE_NS, 9 * MS]),
        (found.ranks_low_ns, [LATE_NS, 7 * MS - 3, 9 * MS], [LATE_NS + 1, LATE_NS - 9, 9 * MS]),
        (found.ranks_high_ns, [LATE_NS + 5, 7 * MS, 9 * MS], [LATE_NS + 5, LATE_NS, 9 * MS]),
    ):
        assert (end["first_ns"].tolist(), end["last_ns"].tolist()) == (first, last)
    ledger_of = settled_in(run).ledger
    assert (ledger_of.late, ledger_of.late_least, ledger_of.late_most) == (2, 1, 2)


def of_another_kernel(folder: Path, events: list[Row], deliveries: list[Row]) -> Run:
    """Write a run whose receiver is on another machine; 200 pings determine its clock to ±1 ms."""
    one = {"hostname": "h", "pid": 1, "finished": True}
    workers = [
        {"worker": 0, "id": "a", **one, "boot_id": "mine"},
        {"worker": 1, "id": "b", **one, "boot_id": "x"},
    ]
    host = {"hostname": "h", "cpus": 2, "kernel": "k", "platform": "linux", "machine": "m", "boot_id": "mine"}
    tables: dict[str, list[Row]] = {
        "events": events,
        "subscriptions": [subscription(5, "/a", worker=1)],
        "deliveries": [{**row, "worker": 1} for row in deliveries],
    }
    tables["clock"] = pings(1, MS)
    write_run(folder, tables, workers=workers, host=host, late_after_ns=LATE_NS)
    return analysis.load(folder)


def test_a_clock_that_is_known_to_a_millisecond_leaves_that_much_open_on_either_side(tmp_path: Path) -> None:
    events = [event(1, n, "/a", n * MS) for n in range(4)]
    latencies = (LATE_NS - 2 * MS, LATE_NS - MS // 2, LATE_NS + MS // 2, LATE_NS + 2 * MS)
    deliveries = [delivery(each, 5, ns) for each, ns in zip(events, latencies, strict=True)]
    run = of_another_kernel(tmp_path, events, deliveries)
    settled = settled_in(run)
    assert (settled.ledger.late, settled.ledger.late_least, settled.ledger.late_most) == (2, 1, 3)
    assert settled.ends_known
    assert settled.whole.ranks_ns["last_ns"].tolist() == pytest.approx(list(latencies), abs=2_000)
    for ends, sign in ((settled.whole.ranks_low_ns, -1), (settled.whole.ranks_high_ns, 1)):
        off = (ends["last_ns"] - settled.whole.ranks_ns["last_ns"]) * sign
        assert off.tolist() == pytest.approx([MS] * 4, rel=0.05)


def reordered(rows: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return the rows (publisher, sequence, subscription) that come after a later event of the same publisher.

    Only rows of the same subscription are compared.
    """
    highest: dict[tuple[int, int], int] = {}
    found = []
    for publisher, sequence, number in rows:
        stream = (publisher, number)
        if sequence < highest.get(stream, -1):
            found.append((publisher, sequence, number))
        highest[stream] = max(highest.get(stream, -1), sequence)
    return sorted(found)


ORDERS = st.permutations([(p, s, n) for p in (1, 2) for s in range(4) for n in (5, 6)])


@settings(max_examples=8, deadline=None)
@given(ORDERS, st.integers(1, 5), st.booleans())
def test_a_row_is_out_of_order_if_a_later_event_of_its_publisher_came_before_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], size: int, many: bool
) -> None:
    folder = tmp_path_factory.mktemp("run")
    # Sort only the first four rows by sequence, so that some rows are in order and some are not.
    rows = sorted(rows[:4], key=lambda row: row[1]) + rows[4:]
    # Refused events are not expected and cannot be out of order.
    events = [
        event(p, s, "/a", s * MS, "rejected" if s == 3 else "accepted") for p in (1, 2) for s in range(4)
    ]
    by_key = {(row["publisher"], row["sequence"]): row for row in events}
    write_run(
        folder,
        {
            "events": events,
            "subscriptions": [subscription(number, "/a") for number in (5, 6)],
            "deliveries": [delivery(by_key[p, s], number) for p, s, number in rows],
        },
        late_after_ns=LATE_NS,
    )
    path = folder / "deliveries.parquet"
    pq.write_table(pq.read_table(path), path, row_group_size=size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE_ROWS", 3)
        if many:
            # Use the code path for more pairs of subscription and publisher than fit into an array.
            patch.setattr(order, "_STREAMS_MAX", 3)
        settled = settled_in(analysis.load(folder))
    assert settled.ledger.reordered == len(reordered([row for row in rows if row[1] != 3]))
    by_subscription = settled.breakdown.by("subscription")["reordered"]
    expected = [row[2] for row in reordered([row for row in rows if row[1] != 3])]
    assert {str(key): int(count) for key, count in by_subscription.items()} == {
        str(number): expected.count(number) for number in (5, 6)
    }


def test_what_is_cut_into_slices_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event(1, n, "/a", n * 10 * MS, "rejected" if n == 4 else "accepted") for n in range(8)]
    strangers = [event(9, n, "/a", n * 10 * MS) for n in (1, 6)]
    deliveries = [
        delivery(each, 5, (n % 3) * 40 * MS, uncertain_ns=n) for n, each in enumerate([*events, *events[:3]])
    ]
    deliveries += [delivery(each, 5, MS, uncertain_ns=0) for each in strangers]
    deliveries += [delivery(events[5], 6, MS, uncertain_ns=0), delivery(events[7], 6, MS, uncertain_ns=0)]
    subscriptions = [subscription(5, "/a"), subscription(6, "/a", 0, 60 * MS)]
    run = run_of(tmp_path, events, subscriptions, deliveries)
    whole = found_in(run)
    monkeypatch.setattr(slices, "SLICE_ROWS", 2)
    cut = found_in(run)
    assert (whole.rows, whole.unrecorded, whole.not_acknowledged, whole.outside_live_window) == (15, 2, 1, 1)
    for name in ("rows", "unrecorded", "not_acknowledged", "outside_live_window"):
        assert getattr(cut, name) == getattr(whole, name)
    for name in (
        "arrived",
        "late",
        "late_least",
        "late_most",
        "expected_rows",
        "arrived_by_subscription",
        "late_by_subscription",
    ):
        assert getattr(cut, name).tolist() == getattr(whole, name).tolist()
    for name in ("duplicates", "incomplete"):
        assert sorted(zip(*(part.tolist() for part in getattr(cut, name)), strict=True)) == sorted(
            zip(*(part.tolist() for part in getattr(whole, name)), strict=True)
        )
    assert len(whole.duplicates[0]) == 3
    for name in ("ranks_ns", "ranks_low_ns", "ranks_high_ns"):
        for rank in RANKS:
            assert getattr(cut, name)[rank].tolist() == getattr(whole, name)[rank].tolist()


def test_a_run_without_deliveries_matches_nothing(tmp_path: Path) -> None:
    found = found_in(run_of(tmp_path, [event(1, 0, "/a", 0)], [subscription(5, "/a")], []))
    assert (found.rows, found.arrived.tolist(), found.expected_rows.tolist()) == (0, [0], [])
    assert [part.tolist() for part in (*found.duplicates, *found.incomplete)] == [[], [], [], []]
