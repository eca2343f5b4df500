import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.record.making import last_of_each_life
from loadgen.exits import RunError
from loadgen.measure.recorder import Recorder
from loadgen.measure.rows import EventRow
from loadgen.measure.spool import SpoolWriter
from loadgen.run.placement import Placement
from loadgen.run.record import RunFolder
from tests.measure.event_rows import record

TARGET = {"http_url": "http://x/event", "ws_url": "ws://x/", "embedded": True, "auth": "none"}


def begun_run(results: Path) -> RunFolder:
    folder = RunFolder.create(Placement(results), {"name": "made-up"}, TARGET, 5, 1_795_490_000 * 10**9)
    recorder = Recorder(5, SpoolWriter(folder.spool, 0))
    recorder.deliver(0, 1_500, 1_600, (5, 1, 0, 1_000, 1_100))
    record(
        recorder.publish, EventRow(1, 0, 0, "/default/a", 1_000, 1_000, 1_100, 2_000, "accepted", None, 99)
    )
    recorder.flush()
    recorder.deliver(0, 1_500, 1_600, (5, 1, 1, -2_000_000, 1_100))
    recorder.deliver(0, 900, 1_600, (5, 1, 2, 1_000, 1_100))
    recorder.flush()
    return folder


def test_a_spool_becomes_tables_and_a_histogram_log_and_goes(tmp_path: Path) -> None:
    folder = begun_run(tmp_path)
    folder.complete()
    assert not folder.incomplete
    assert pq.read_table(folder.path / "deliveries.parquet")["sequence"].to_pylist() == [0, 1, 2]
    assert pq.read_table(folder.path / "events.parquet")["status"].to_pylist() == ["accepted"]
    log = (folder.path / "histograms.hlog").read_text()
    assert log.count("Tag=delivery,") == 2
    # A histogram cannot hold negative samples, so the manifest counts them.
    assert json.loads((folder.path / "manifest.json").read_text())["negative"] == {
        "delivery": 1,
        "service": 1,
    }


def test_two_runs_in_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    names = {begun_run(tmp_path).path.name for _ in range(3)}
    assert len(names) == 3


def test_what_is_no_run_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run's folder"):
        RunFolder.open(tmp_path)


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=6), max_size=4))
def test_of_each_life_the_row_written_last_is_kept(batches: list[list[tuple[int, int]]]) -> None:
    last: dict[tuple[int, int], int] = {}
    written = []
    row = 0
    for lives in batches:
        numbers = list(range(row, row + len(lives)))
        last |= dict(zip(lives, numbers, strict=True))
        row += len(lives)
        columns = {
            "connection": [life[0] for life in lives],
            "life": [life[1] for life in lives],
            "row": numbers,
        }
        written.append(
            pa.RecordBatch.from_pydict(columns, pa.schema([(name, pa.int32()) for name in columns]))
        )
    kept = list(last_of_each_life(iter(written), ("connection", "life")))
    assert [number for batch in kept for number in batch["row"].to_pylist()] == sorted(last.values())
