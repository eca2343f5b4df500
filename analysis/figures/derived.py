"""Write the tables that the analysis adds to a run folder.

`fanout` has a row for each event with its expected and arrived deliveries. `ledger` counts the deliveries and losses of
each publisher, channel and subscription. `replies` is written only if clients reply to events.
"""

import importlib.metadata
import json
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.figures import fanout, reactions
from analysis.ledger.breakdown import ALTERED, Breakdown
from analysis.ledger.reconcile import reconcile
from analysis.loading.run import Run
from analysis.record import files
from analysis.record.tables import TableError, check_made

NAMES = ("fanout", "ledger")
#: Columns of replies.parquet, which is written only if clients of the run reply to events that they receive.
REPLIES: Final = pa.schema(
    [
        *(
            (name, pa.int64())
            for name in ("cause_publisher", "cause_sequence", "cause_subscription", "number")
        ),
        *((name, pa.int64()) for name in ("publisher", "sequence", "requested_ns", "intended_ns")),
        *((name, pa.bool_()) for name in ("accepted", "cut_off")),
        *((name, pa.int64()) for name in ("expected", "arrived", "lost", "disordered", "arrival_ns")),
    ]
)


def tables(run: Run) -> dict[str, pa.Table]:
    """Return the tables by name; empty if the run measured nothing. `replies` is missing if no client replies."""
    return {name: pa.concat_tables(parts()) for name, parts in _parts(run).items()}


def _parts(run: Run) -> dict[str, Callable[[], Iterator[pa.Table]]]:
    """Map each table's name to a function that yields the table in parts, so that only one part need be in memory."""
    window = run.measure
    if window is None or window.seconds <= 0:
        return {}
    settled = reconcile(run, window)
    made: dict[str, Callable[[], Iterator[pa.Table]]] = {
        "fanout": lambda: (of_fanout(fanout.Fanout.of(part)) for part in settled.parts),
        "ledger": lambda: iter([of_ledger(settled.breakdown)]),
    }
    found = reactions.reactions(run)
    if found is not None:
        made["replies"] = lambda: iter([of_replies(found)])
    return made


def of_fanout(rows: fanout.Fanout) -> pa.Table:
    """Return the fan-out by event as a table, as pandas would write `Fanout.frame`."""
    count = len(rows.channels)
    # Use the code type that pandas would choose, so that pandas reads this file like one that pandas wrote.
    codes = next(kind for kind in (np.int8, np.int16, np.int32, np.int64) if count < np.iinfo(kind).max)
    names = pa.array(rows.channels, pa.large_string() if rows.channels else pa.null())
    channel = pa.DictionaryArray.from_arrays(rows.channel.astype(codes), names)
    columns: dict[str, Any] = {
        "publisher": rows.publisher,
        "sequence": rows.sequence,
        "channel": channel,
        "intended_ns": rows.intended_ns,
        "expected": rows.expected,
        "arrived": rows.arrived,
    }
    for name, values in rows.ranks_ns.items():
        columns[name] = pa.array(values, pa.int64(), mask=~rows.reached)
    notes = {"channel": _note("categorical", np.dtype(codes).name, num_categories=count, ordered=False)}
    return _noted(columns, notes | dict.fromkeys(rows.ranks_ns, _note("int64", "Int64")))


def of_replies(found: reactions.Reactions) -> pa.Table:
    """Return the replies as a table, one row each."""
    columns: dict[str, Any] = {
        name: pa.array(getattr(found, name), REPLIES.field(name).type) for name in REPLIES.names
    }
    columns["arrival_ns"] = pa.array(found.arrival_ns, pa.int64(), mask=found.arrival_ns < 0)
    return _noted(columns, {"arrival_ns": _note("int64", "Int64")})


def of_ledger(breakdown: Breakdown) -> pa.Table:
    """Return the ledger by publisher, channel and subscription, as pandas would write `Breakdown.frame`."""
    columns: dict[str, Any] = dict(breakdown.columns)
    texts = ("dimension", "key")
    columns |= {name: pa.array(columns[name], pa.large_string()) for name in texts}
    columns[ALTERED] = pa.array(columns.get(ALTERED, [None] * len(columns["key"])), pa.int64())
    return _noted(columns, dict.fromkeys(texts, _note("object", "str")) | {ALTERED: _note("int64", "Int64")})


def _noted(columns: dict[str, Any], notes: dict[str, dict[str, Any]]) -> pa.Table:
    """Return a table with the column metadata that `pandas.read_parquet` uses.

    ``notes`` holds the metadata of columns whose pandas type differs from their array's. The pandas documentation
    specifies the form ("Storing pandas DataFrame objects in Apache Parquet format"). This function does not use pandas,
    so that a run need not load it.
    """
    table = pa.table(columns)
    found = {
        "index_columns": [],
        "column_indexes": [],
        "columns": [
            {"name": field.name, "field_name": field.name}
            | notes.get(field.name, _note(str(field.type), str(field.type)))
            for field in table.schema
        ],
        "attributes": {},
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": _pandas_version(),
    }
    return table.replace_schema_metadata({"pandas": json.dumps(found)})


@cache
def _pandas_version() -> str:
    """Return the version of pandas for the metadata: the installed one, or the oldest that writes the same metadata."""
    try:
        return importlib.metadata.version("pandas")
    except importlib.metadata.PackageNotFoundError:
        return "2.2.0"


def _note(pandas_type: str, numpy_type: str, **more: Any) -> dict[str, Any]:
    return {"pandas_type": pandas_type, "numpy_type": numpy_type, "metadata": more or None}


def write(run: Run) -> None:
    """Write the tables, each whole or not at all.

    Leaves a file alone if it holds the same rows: another version of pyarrow writes the same table as different bytes.
    """
    for name, parts in _parts(run).items():
        path = run.path / f"{name}.parquet"
        first, *more = islice(parts(), 2)
        if not more and same(path, first):
            continue
        with files.replacing(path) as temporary, pq.ParquetWriter(temporary, first.schema) as writer:
            for table in parts() if more else (first,):
                writer.write_table(table)


def same(path: Path, table: pa.Table) -> bool:
    """Return True if a Parquet file holds the columns and rows of a table, however it encodes them."""
    try:
        return bool(read(path).equals(plain(table)))
    except (TableError, pa.ArrowException, OSError):
        return False


def read(path: Path) -> pa.Table:
    """Return the table in a file that :func:`write` made, normalised by :func:`plain`.

    Raises:
        TableError: the file is not safe to read; see `check_made`.
        pa.ArrowException, OSError: the file cannot be read.
    """
    check_made(path)
    return plain(pq.ParquetFile(path).read())


def plain(table: pa.Table) -> pa.Table:
    """Return the table without metadata and with all texts as `large_string`, to compare it with another table.

    Metadata and the type of texts vary with the versions of pandas and pyarrow.
    """
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
