"""Make a record's Parquet tables from batches of rows, as workers wrote them during a run."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.record import files
from analysis.record.schemas import SCHEMAS, TABLES

#: Tables with one row for each life of a subscription or connection, and the columns that identify a life. Workers
#: write several rows for a life, of which the table keeps the last. A reconnect begins a new life.
_LIVES = {"subscriptions": ("subscription", "life", "turn"), "connections": ("connection", "life")}


def write_tables(folder: Path, batches: Callable[[str], Iterator[pa.RecordBatch]]) -> None:
    """Write all tables to a folder, each atomically; ``batches`` returns the batches of a table.

    Raises:
        OSError: a table cannot be written.
        pa.ArrowException: a batch does not fit its table.
    """
    for table in TABLES:
        found = batches(table)
        if table in _LIVES:
            found = last_of_each_life(found, _LIVES[table])
        with files.replacing(folder / f"{table}.parquet") as temporary:
            _copy(temporary, SCHEMAS[table], found)


def last_of_each_life(
    batches: Iterator[pa.RecordBatch], numbers: tuple[str, ...]
) -> Iterator[pa.RecordBatch]:
    """Yield the last row of each life, which the columns ``numbers`` identify.

    Workers write a row when a life begins and when it ends.
    """
    kept = [batch for batch in batches if batch.num_rows]
    if not kept:
        return
    table = pa.Table.from_batches(kept)
    columns = np.stack([table[name].to_numpy() for name in numbers])
    # The sort is stable, so a life's rows stay in writing order. Arrow has grouping functions for this, but merely
    # loading them would take as long as the sort.
    order = np.lexsort(columns)
    last = np.append(np.any(np.diff(columns[:, order]), axis=0), True)
    yield from table.take(pa.array(np.sort(order[last]))).to_batches()


def _copy(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """Write batches to a file.

    Row groups have about a million rows: enough to compress well, few enough to read one by one.
    """
    pending: list[pa.RecordBatch] = []
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def flush() -> None:
            if pending:
                writer.write_table(pa.Table.from_batches(pending).cast(schema))
                pending.clear()

        for batch in batches:
            pending.append(batch)
            rows += len(batch)
            if rows >= 1_000_000:
                flush()
                rows = 0
        flush()
