"""The tables that the analysis adds to a run's folder: fan-out by event, and the ledger by its dimensions."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analysis import fanout, files
from analysis.ledger import settle
from analysis.run import Run
from analysis.tables import TableError, check_made

NAMES = ("fanout", "ledger")


def tables(run: Run) -> dict[str, pa.Table]:
    """Return the tables by name; none of a run that measured nothing."""
    window = run.measure
    if window is None or window.seconds <= 0:
        return {}
    settled = settle(run, window)
    frames = {"fanout": fanout.by_event(settled), "ledger": settled.breakdown.frame}
    return {name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in frames.items()}


def write(run: Run) -> None:
    """Write the tables, each whole or not at all.

    A file that holds the same rows is left alone: another version of pyarrow writes the same table in other bytes.
    """
    for name, table in tables(run).items():
        path = run.path / f"{name}.parquet"
        if same(path, table):
            continue
        with files.replacing(path) as temporary:
            pq.write_table(table, temporary)


def same(path: Path, table: pa.Table) -> bool:
    """Return whether a Parquet file holds the columns and rows of a table, however it encodes them."""
    try:
        return bool(read(path).equals(plain(table)))
    except (TableError, pa.ArrowException, OSError):
        return False


def read(path: Path) -> pa.Table:
    """Return what is written in such a file, by :func:`plain`; raises TableError, pa.ArrowException or OSError."""
    check_made(path)
    return plain(pq.read_table(path))


def plain(table: pa.Table) -> pa.Table:
    """Return a table with one encoding of text, as files of several versions of pandas and pyarrow have several."""
    for place, column in enumerate(table.column_names):
        values = table.column(column)
        if pa.types.is_dictionary(values.type):
            values = pa.chunked_array(
                [chunk.dictionary_decode() for chunk in values.chunks], values.type.value_type
            )
        if pa.types.is_string(values.type) or pa.types.is_string_view(values.type):
            values = values.cast(pa.large_string())
        table = table.set_column(place, column, values)
    return table.replace_schema_metadata(None)
