from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hdrh.histogram import HdrHistogram

from analysis.record import files
from analysis.record.schemas import SCHEMAS
from loadgen import native
from loadgen.measure import recorder as recorders
from loadgen.measure.recorder import Recorder
from loadgen.measure.rows import EventRow
from loadgen.measure.running import RunningStatistics
from loadgen.measure.sinks import Sinks
from loadgen.measure.spool import SpoolWriter, read_batches
from tests.paths import REPO


def _event(sequence: int) -> EventRow:
    return EventRow(1, sequence, sequence, "/default/a", 10, 10, 11, 12, "accepted", None, 200)


def full_disk(path: Path) -> Path:
    """Stand in for `files.fresh`: the path leads to /dev/full, so each write fails as on a full disk."""
    path.symlink_to("/dev/full")
    return path


def test_a_stream_can_be_read_while_it_is_written_and_when_its_end_is_torn(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, 3)
    for sequence in range(5):
        spool.write_rows("events", [_event(sequence)])
    path = tmp_path / "events-0003.arrows"
    whole = [row for batch in read_batches(path) for row in batch.to_pylist()]
    assert [row["sequence"] for row in whole] == [0, 1, 2, 3, 4]
    assert whole[0]["worker"] == 3
    path.write_bytes(path.read_bytes()[:-20])
    torn = [row for batch in read_batches(path) for row in batch.to_pylist()]
    assert [row["sequence"] for row in torn] == [0, 1, 2, 3]
    spool.close()


def test_the_recorder_keeps_its_own_events_and_counts_the_others(tmp_path: Path) -> None:
    seen: list[tuple[list[int], list[int]]] = []

    def tally(subscriptions: npt.NDArray[np.int64], latencies: npt.NDArray[np.int64]) -> None:
        seen.append((subscriptions.tolist(), latencies.tolist()))

    recorder = Recorder(77, SpoolWriter(tmp_path, 0), sinks=Sinks(tally))
    recorder.deliver(5, 1_500, 1_600, (77, 2, 0, 1_000, 1_100))
    recorder.deliver(5, 1_500, 1_600, (78, 2, 0, 1_000, 1_100))  # an event of another run: its token is 78
    recorder.deliver(5, 1_500, 1_600, (77, 2**31, 0, 1_000, 1_100))  # an impossible publisher number
    recorder.deliver(5, 1_500, 1_600, (77, -1, 0, 1_000, 1_100))  # a probe: its publisher number is negative
    interval = recorder.flush()
    assert (interval.deliveries, recorder.deliveries, recorder.foreign) == (1, 1, 2)
    assert seen == [([5], [500])]
    assert interval.queue_max_ns == 100
    (batch,) = read_batches(tmp_path / "deliveries-0000.arrows")
    assert batch.to_pylist() == [
        {
            "worker": 0,
            "subscription": 5,
            "publisher": 2,
            "sequence": 0,
            "intended_ns": 1_000,
            "sent_ns": 1_100,
            "arrival_ns": 1_500,
            "read_ns": 1_600,
            "uncertain_ns": 0,
        }
    ]


def test_figures_are_on_the_masters_clock_and_rows_on_this_process_s(tmp_path: Path) -> None:
    running, offsets_ns = RunningStatistics(lambda channel: 1, 1), [20, 300]
    running.measure_from(0)
    sinks = Sinks(running=running, clock_offset_ns=lambda: offsets_ns.pop(0))
    recorder = Recorder(77, SpoolWriter(tmp_path, 0), sinks=sinks)
    arrivals_ns = []
    for sequence in range(2):
        recorder.deliver(5, 1_500, 1_600, (77, 2, sequence, 1_000, 1_100))
        interval = recorder.flush()
        assert interval.report is not None
        ((_, _, _, first_ns, last_ns, _),) = interval.report["sampled"]
        arrivals_ns.append((first_ns, last_ns))
        spread = interval.report["latency"]
        assert spread["min_ns"] == spread["max_ns"] == 500 + (20, 300)[sequence]
    assert arrivals_ns == [(1_520, 1_520), (1_800, 1_800)]
    batches = read_batches(tmp_path / "deliveries-0000.arrows")
    assert [row["arrival_ns"] for batch in batches for row in batch.to_pylist()] == [1_500, 1_500]


def test_an_interval_of_many_buffers_is_one(tmp_path: Path) -> None:
    tallied = 0

    def tally(subscriptions: npt.NDArray[np.int64], latencies: npt.NDArray[np.int64]) -> None:
        nonlocal tallied
        assert (latencies == subscriptions * 1_000 + 1_000_000).all()
        tallied += len(latencies)

    recorder = Recorder(77, SpoolWriter(tmp_path, 0), sinks=Sinks(tally))
    count = 150_000
    for number in range(count):
        recorder.deliver(
            number, number * 1_000 + 1_000_000, number * 1_000 + 1_000_007, (77, 2, number, 0, 500)
        )
    interval = recorder.flush()
    assert (interval.deliveries, recorder.deliveries, tallied) == (count, count, count)
    assert interval.queue_max_ns == 7
    batches = list(read_batches(tmp_path / "deliveries-0000.arrows"))
    assert [number for batch in batches for number in batch["sequence"].to_pylist()] == list(range(count))
    (histogram_rows,) = read_batches(tmp_path / "histograms-0000.arrows")
    rows = {row["tag"]: row for row in histogram_rows.to_pylist()}
    assert set(rows) == {"delivery", "service", "queue"}
    for tag, first_ns in (("delivery", 1_000_000), ("service", 999_500)):
        held = HdrHistogram.decode(rows[tag]["encoded"])
        assert held.total_count == count
        for percentile in (0.1, 50, 99.9):
            exact = first_ns + 1_000 * (count * percentile / 100 - 1)
            assert held.get_value_at_percentile(percentile) == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize(
    "natively",
    [False, pytest.param(True, marks=pytest.mark.skipif(not native.available, reason="not built"))],
)
def test_rows_that_nobody_has_written_are_bounded_and_none_is_lost(
    natively: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "available", natively)
    monkeypatch.setattr(recorders, "MOST_WAITING", 2)
    recorder = Recorder(77, SpoolWriter(tmp_path, 0))
    count = 5 * 65_536 + 10
    for number in range(count):
        recorder.deliver(1, number + 5, number + 7, (77, 2, number, number, number))
    # The last two full buffers, and the one being filled, are not written yet; earlier ones were.
    assert recorder.deliveries == 4 * 65_536
    interval = recorder.flush()
    assert (interval.deliveries, recorder.deliveries) == (count, count)
    assert recorder.flush().deliveries == 0
    batches = list(read_batches(tmp_path / "deliveries-0000.arrows"))
    assert [number for batch in batches for number in batch["sequence"].to_pylist()] == list(range(count))


def test_a_disk_that_is_full_when_rows_are_too_many_is_told_of_at_the_next_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "MOST_WAITING", 1)
    monkeypatch.setattr(files, "fresh", full_disk)
    recorder = Recorder(77, SpoolWriter(tmp_path, 0))
    for number in range(65_536):
        recorder.deliver(number, number**2, number**3, (77, 1, number, number, number**2))
    with pytest.raises(OSError, match="No space"):
        recorder.flush()


def test_a_full_disk_is_an_oserror_not_a_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = SpoolWriter(tmp_path, 0)
    monkeypatch.setattr(files, "fresh", full_disk)
    rows = [_event(n) for n in range(20_000)]
    with pytest.raises(OSError, match="No space"):
        spool.write_rows("events", rows)


def test_every_documented_table_has_a_schema() -> None:
    text = (REPO / "results" / "README.md").read_text()
    for table, schema in SCHEMAS.items():
        if table == "histograms":
            continue
        section = text.split(f"## {table}.parquet")[1].split("\n## ")[0]
        assert _names(section) == schema.names, table


def _names(section: str) -> list[str]:
    names: list[str] = []
    for line in section.splitlines():
        if line.startswith("| `"):
            first = line.split("|")[1]
            names += first.split("`")[1::2]
    return names
