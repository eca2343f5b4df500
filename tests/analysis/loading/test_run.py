"""Test that small tables, which are cached, and large ones, which are read in parts, give the same rows."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis.loading import parquet
from analysis.loading.run import ReadError, Window, ints
from tests.analysis.synthetic import SECOND, T0, event, simple_run, write_run
from tests.paths import REPO

SAMPLE = REPO / "results" / "sample"


@pytest.mark.parametrize("folder", ["sample", "made up"])
def test_a_summary_is_the_same_whether_tables_are_kept_or_read_each_time(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = SAMPLE if folder == "sample" else simple_run(tmp_path / "run")
    kept = analysis.load(path)
    summary = analysis.summarise(kept)
    assert kept._tables._kept
    monkeypatch.setattr(parquet, "_FEW_ROWS", -1)
    read = analysis.load(path)
    assert json.dumps(analysis.summarise(read)) == json.dumps(summary)
    assert not read._tables._kept


def test_a_small_table_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = analysis.load(simple_run(tmp_path / "run"))
    opened: list[str] = []
    real = parquet.opened

    def counted(path: Path, name: str, metadata: pq.FileMetaData) -> pq.ParquetFile:
        opened.append(name)
        return real(path, name, metadata)

    monkeypatch.setattr(parquet, "opened", counted)
    for columns in (("sequence",), ("sequence", "channel"), ("status", "acked_ns")):
        assert run.table("events", columns).column_names == list(columns)
    assert opened.count("events") == 1


@pytest.mark.parametrize("few", [-1, 20_000])
def test_a_window_has_the_rows_that_begin_in_it_and_none_of_an_unknown_time(
    few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_FEW_ROWS", few)
    events = [event(1, n, "/a", n * 10) for n in range(4)]
    events[2]["intended_ns"] = None
    run = analysis.load(write_run(tmp_path / "run", {"events": events}))
    start = T0 + SECOND
    for window, found in (
        (Window(start, start + 10), [0]),
        (Window(start, start + 31), [0, 1, 3]),
        (Window(start - 5, start), []),
    ):
        assert ints(run.table("events", ("sequence",), window), "sequence").tolist() == found


@pytest.mark.parametrize("few", [-1, 20_000])
def test_a_table_without_a_column_is_said_in_a_sentence(
    few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_FEW_ROWS", few)
    folder = simple_run(tmp_path / "run")
    path = folder / "events.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["status"]), path)
    run = analysis.load(folder)
    with pytest.raises(
        ReadError, match=r"events\.parquet cannot be read as Parquet: it has no column status"
    ):
        run.table("events", ("status",))
    # Columns that records of earlier versions lack are null.
    assert run.table("events", ("connection_wait_ns",))["connection_wait_ns"].null_count == 10


@pytest.mark.parametrize("few", [-1, 20_000])
def test_row_groups_without_a_known_range_are_read_and_not_an_error(
    few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_FEW_ROWS", few)
    path = simple_run(tmp_path / "run")
    whole = analysis.load(simple_run(tmp_path / "whole"))
    for name in ("deliveries", "events"):
        table = pq.read_table(path / f"{name}.parquet")
        # The second row group has no times, so its statistics have no minimum and maximum.
        empty = table.slice(0, 1).set_column(
            table.column_names.index("intended_ns"), "intended_ns", pa.nulls(1, pa.int64())
        )
        with pq.ParquetWriter(path / f"{name}.parquet", table.schema) as writer:
            writer.write_table(table)
            writer.write_table(empty)
    run = analysis.load(path)
    assert [group.rows for group in run.row_groups] == [whole.row_groups[0].rows, 1]
    assert run.row_groups[1].overlaps(Window(T0, T0 + 1))
    window = run.measure
    assert window is not None
    for name in ("deliveries", "events"):
        assert len(run.table(name, ("sequence",), window)) == len(whole.table(name, ("sequence",), window))
    rows, _ = run.deliveries_in(("sequence",), window)
    assert len(rows) == len(whole.deliveries_in(("sequence",), window)[0])
