from pathlib import Path

import pytest

from loadgen.measure.recorder import EventRow, Recorder
from loadgen.measure.spool import SCHEMAS, SpoolWriter, read_batches


def _event(sequence: int) -> EventRow:
    return EventRow(1, sequence, sequence, "/default/a", 10, 10, 11, 12, "accepted", None, 200)


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
    recorder = Recorder(77, SpoolWriter(tmp_path, 0))
    recorder.deliver(5, 1_500, 1_600, (77, 2, 0, 1_000, 1_100))
    recorder.deliver(5, 1_500, 1_600, (78, 2, 0, 1_000, 1_100))  # another run's
    recorder.deliver(5, 1_500, 1_600, (77, -1, 0, 1_000, 1_100))  # a probe
    interval = recorder.flush()
    assert (interval.deliveries, recorder.deliveries, recorder.foreign) == (1, 1, 1)
    assert interval.latencies_ns.tolist() == [500]
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
        }
    ]


def test_a_full_disk_is_an_oserror_not_a_silence(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, 0)
    (tmp_path / "events-0000.arrows").symlink_to("/dev/full")
    rows = [_event(n) for n in range(20_000)]
    with pytest.raises(OSError, match="No space"):
        spool.write_rows("events", rows)


def test_every_documented_table_has_a_schema() -> None:
    text = (Path(__file__).parents[2] / "results" / "README.md").read_text()
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
