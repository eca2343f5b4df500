"""Test the correction of workers' times to the master's clock."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import analysis
from analysis.loading.clocks import WorkerClocks
from analysis.loading.parquet import Tables
from tests.analysis.synthetic import MS, SECOND, T0, delivery, event, pings, subscription, write_run

AHEAD_NS = 5 * MS
"""The clock of worker 1 is ahead of the master's by this. Worker 0 shares the master's host, and so its clock."""
WORKERS = [
    {"worker": 0, "id": "local", "hostname": "h", "pid": 1, "finished": True},
    {"worker": 1, "id": "w", "hostname": "g", "pid": 1, "boot_id": "other", "finished": True},
]
HOST = {
    "hostname": "h", "cpus": 2, "kernel": "k", "platform": "linux", "machine": "m", "boot_id": "mine"
}  # fmt: skip
PHASES = {"measure": (T0 + SECOND, T0 + 2 * SECOND)}
#: Publisher 1 is on worker 0, publisher 2 on worker 1, and publisher 3 is not on record.
EVENTS = [event(1, 0, "/a", 0), event(2, 0, "/a", 0, worker=1)]
EVENT_3 = event(3, 0, "/a", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tables = {
        "events": EVENTS,
        "clock": pings(1, MS // 10, AHEAD_NS),
        "subscriptions": [subscription(1, "/a"), subscription(2, "/a", worker=1)],
        "deliveries": [
            delivery(EVENTS[0], 2, worker=1),
            delivery(EVENTS[1], 1),
            delivery(EVENT_3, 1),
        ],
    }
    return write_run(tmp_path / "run", tables, workers=WORKERS, host=HOST)


def clocks_of(folder: Path, phases: Any = PHASES, workers: Any = WORKERS) -> WorkerClocks:
    return WorkerClocks(Tables(folder), {"workers": workers, "host": HOST}, phases)


def test_a_worker_on_the_masters_host_shares_its_clock_and_another_has_an_offset(folder: Path) -> None:
    fits = clocks_of(folder).fits
    assert fits[0].shared
    assert not fits[1].shared
    assert fits[1].error_ns is not None
    moved_ns = fits[1].correction_ns(np.array([T0 + SECOND]))
    assert abs(moved_ns[0] + AHEAD_NS) <= fits[1].error_ns


def test_a_worker_of_the_same_kernel_without_pings_shares_the_masters_clock(folder: Path) -> None:
    same = [{**WORKERS[1], "worker": 2, "boot_id": "mine"}]
    assert clocks_of(folder, workers=same).fits[2].shared


def test_columns_by_the_workers_clock_need_their_worker(folder: Path) -> None:
    clocks = clocks_of(folder)
    assert clocks.needed("events", ("sent_ns", "intended_ns")) == {"worker"}
    assert clocks.needed("deliveries", ("sent_ns",)) == {"worker", "publisher"}
    assert not clocks.needed("events", ("intended_ns", "channel")), "the schedule is by the master's clock"
    assert not clocks.needed("clock", ("sent_ns",)), "the pings themselves"


def test_nothing_needs_a_correction_while_all_share_one_clock(folder: Path) -> None:
    assert not clocks_of(folder, workers=WORKERS[:1]).needed("events", ("sent_ns",))


def test_the_workers_of_publishers_are_found_and_unknown_ones_are_minus_one(folder: Path) -> None:
    found = clocks_of(folder).worker_of(np.array([2, 1, 3, 0, 2]))
    assert found.tolist() == [1, 0, -1, -1, 1]
    empty = write_run(folder.parent / "empty", {})
    assert clocks_of(empty).worker_of(np.array([1, 2])).tolist() == [-1, -1]


def test_each_time_is_corrected_by_the_clock_it_was_read_from(folder: Path) -> None:
    clocks = clocks_of(folder)
    columns = ("worker", "publisher", "intended_ns", "sent_ns", "arrival_ns")
    before = Tables(folder).read("deliveries", columns)
    after = clocks.corrected("deliveries", before)
    assert after.column_names == list(columns)
    error_ns = clocks.fits[1].error_ns
    assert error_ns is not None

    def moved(column: str) -> list[int | None]:
        pairs = zip(before[column].to_pylist(), after[column].to_pylist(), strict=True)
        return [None if now is None else now - was for was, now in pairs]

    assert moved("intended_ns") == [0, 0, 0]
    # The first delivery was received by worker 1. The second was sent by publisher 2, on worker 1. The third was sent
    # by a publisher that is not on record.
    arrivals, sent = moved("arrival_ns"), moved("sent_ns")
    assert arrivals[1:] == [0, 0]
    assert sent[::2] == [0, None]
    assert arrivals[0] is not None
    assert sent[1] is not None
    assert abs(arrivals[0] + AHEAD_NS) <= error_ns
    assert abs(sent[1] + AHEAD_NS) <= error_ns


def test_a_missing_time_stays_missing(folder: Path) -> None:
    table = pa.table({"worker": pa.array([1, 1]), "sent_ns": pa.array([None, T0], type=pa.int64())})
    after = clocks_of(folder).corrected("events", table)
    assert after["sent_ns"].is_null().to_pylist() == [True, False]


def test_a_run_reads_all_its_tables_by_the_masters_clock(folder: Path) -> None:
    run = analysis.load(folder)
    error_ns = run.clocks[1].error_ns
    assert error_ns is not None
    (_, of_worker_1) = run.table("subscriptions", ("ready_ns",))["ready_ns"].to_pylist()
    assert abs(of_worker_1 - (T0 + SECOND - AHEAD_NS)) <= error_ns
    _, deliveries = run.deliveries_in(("arrival_ns",))
    assert deliveries.column_names == ["arrival_ns"]
    assert abs(deliveries["arrival_ns"][0].as_py() - (T0 + SECOND + 500_000 - AHEAD_NS)) <= error_ns
    assert abs(int(run.subscriptions["ready_ns"][1]) - (T0 + SECOND - AHEAD_NS)) <= error_ns


@pytest.mark.parametrize("end_ns", [T0 + 2 * SECOND, None])
def test_a_run_that_broke_off_is_fitted_over_its_pings(folder: Path, end_ns: int | None) -> None:
    fits = clocks_of(folder, {"measure": (T0 + SECOND, end_ns)}).fits
    assert fits[1].error_ns is not None
    moved_ns = fits[1].correction_ns(np.array([T0 + 3 * SECOND]))
    assert abs(moved_ns[0] + AHEAD_NS) <= 2 * fits[1].error_ns
