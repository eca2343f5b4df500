"""Test that the derived tables are written without pandas, and that pandas reads them as its own."""

import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

import analysis
from analysis.figures import derived
from analysis.figures.fanout import Fanout, by_event
from analysis.ledger.reconcile import Reconciled, reconcile
from tests.analysis.ledger.test_reconcile import LATE_NS, Situation, situations, tables_of
from tests.analysis.synthetic import write_run
from tests.paths import REPO

SAMPLE = REPO / "results" / "sample"


def frames_of(folder: Path) -> dict[str, pd.DataFrame]:
    settled = settled_of(folder)
    return {"fanout": by_event(settled), "ledger": settled.breakdown.frame}


def settled_of(folder: Path) -> Reconciled:
    run = analysis.load(folder)
    assert run.measure is not None
    return reconcile(run, run.measure)


def check(folder: Path, written: Path) -> None:
    """Check that the tables and their metadata equal those that pandas writes, and that pandas reads them."""
    frames, tables = frames_of(folder), derived.tables(analysis.load(folder))
    assert set(tables) == set(derived.NAMES)
    for name, table in tables.items():
        of_pandas = pa.Table.from_pandas(frames[name], preserve_index=False)
        assert table.schema.equals(of_pandas.schema, check_metadata=True), name
        assert table.equals(of_pandas), name
        pq.write_table(table, written / "ours.parquet")
        pq.write_table(of_pandas, written / "theirs.parquet")
        pd.testing.assert_frame_equal(
            pd.read_parquet(written / "ours.parquet"), pd.read_parquet(written / "theirs.parquet")
        )


def test_the_tables_of_the_sample_are_those_that_pandas_would_write(tmp_path: Path) -> None:
    check(SAMPLE, tmp_path)


def test_they_read_as_the_files_that_pandas_has_written(tmp_path: Path) -> None:
    # The tables in the sample run's folder were written with pandas, by an earlier version of `derived`.
    for name, table in derived.tables(analysis.load(SAMPLE)).items():
        pq.write_table(table, tmp_path / "now.parquet")
        now, before = pd.read_parquet(tmp_path / "now.parquet"), pd.read_parquet(SAMPLE / f"{name}.parquet")
        assert len(now) > 100
        pd.testing.assert_frame_equal(now, before)


@settings(max_examples=12, deadline=None)
@given(situations())
def test_whatever_was_lost_the_tables_are_those_that_pandas_would_write(situation: Situation) -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as written:
        write_run(Path(folder), tables_of(situation), late_after_ns=LATE_NS)
        check(Path(folder), Path(written))
        # Compare the worst rows of each dimension with those that pandas finds.
        settled = settled_of(Path(folder))
        frame = settled.breakdown.frame
        lost = frame[["lost_before_ready", "lost_in_reconnect", "lost_otherwise"]].sum(axis=1)
        for dimension in ("publisher", "channel", "subscription"):
            its = lost[frame["dimension"] == dimension]
            worst = its[its > 0].sort_values(ascending=False, kind="stable").head(5)
            assert [row["key"] for row in settled.breakdown.worst(dimension)] == list(
                frame.loc[worst.index, "key"]
            )


@pytest.mark.parametrize(
    ("channels", "codes"), [(0, pa.int8()), (126, pa.int8()), (127, pa.int16()), (32_767, pa.int32())]
)
def test_channels_are_numbered_as_pandas_numbers_its_categories(channels: int, codes: pa.DataType) -> None:
    # Empty the table's rows: the numbers' type depends only on the number of channels.
    rows = Fanout.of(settled_of(SAMPLE).whole)
    few = {name: getattr(rows, name)[:0] for name in ("publisher", "sequence", "channel", "intended_ns")}
    few |= {name: getattr(rows, name)[:0] for name in ("expected", "arrived")}
    ranks = {name: values[:0] for name, values in rows.ranks_ns.items()}
    made = Fanout(**few, channels=[f"/default/{n}" for n in range(channels)], ranks_ns=ranks)
    table = derived.of_fanout(made)
    of_pandas = pa.Table.from_pandas(made.frame, preserve_index=False)
    assert table.schema.field("channel").type.index_type == codes
    assert table.schema.equals(of_pandas.schema, check_metadata=True)
