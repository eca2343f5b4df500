"""Append-only tables on disk while a run goes on: one Arrow IPC stream a table and worker.

A stream is readable up to its last whole batch however its writer ended, so a killed process loses what it had not
yet flushed and nothing else. At the end of the run the streams become the record's Parquet files.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.record import files
from loadgen.measure.surroundings import Around

#: A file in the spool that holds the run's token: a worker that can read it writes where the master reads.
MARKER = "shared-with"

_TEXT = pa.dictionary(pa.int32(), pa.string())

#: The record's tables, as documented in results/README.md. Text columns are plain strings in the spool: a stream's
#: dictionaries would have to be replaced with every batch.
SCHEMAS: Mapping[str, pa.Schema] = {
    "deliveries": pa.schema(
        [
            ("worker", pa.int16()),
            ("subscription", pa.int32()),
            ("publisher", pa.int32()),
            ("sequence", pa.int64()),
            ("intended_ns", pa.int64()),
            ("sent_ns", pa.int64()),
            ("arrival_ns", pa.int64()),
            ("read_ns", pa.int64()),
            ("uncertain_ns", pa.int64()),
        ]
    ),
    "events": pa.schema(
        [
            ("worker", pa.int16()),
            ("publisher", pa.int32()),
            ("sequence", pa.int64()),
            ("batch", pa.int64()),
            ("channel", _TEXT),
            ("intended_ns", pa.int64()),
            ("slot_ns", pa.int64()),
            ("sent_ns", pa.int64()),
            ("acked_ns", pa.int64()),
            ("status", _TEXT),
            ("error", _TEXT),
            ("bytes", pa.int32()),
            ("connection_wait_ns", pa.int64()),
            ("remote_address", _TEXT),
        ]
    ),
    "subscriptions": pa.schema(
        [
            ("worker", pa.int16()),
            ("subscription", pa.int32()),
            ("connection", pa.int32()),
            ("life", pa.int16()),
            ("group", _TEXT),
            ("channel", _TEXT),
            ("requested_ns", pa.int64()),
            ("acknowledged_ns", pa.int64()),
            ("probed_ns", pa.int64()),
            ("ready_ns", pa.int64()),
            ("ended_ns", pa.int64()),
            ("error", _TEXT),
            ("turn", pa.int32()),
            ("intent", _TEXT),
            ("refusal", _TEXT),
        ]
    ),
    "connections": pa.schema(
        [
            ("worker", pa.int16()),
            ("connection", pa.int32()),
            ("life", pa.int16()),
            ("group", _TEXT),
            ("started_ns", pa.int64()),
            ("opened_ns", pa.int64()),
            ("acknowledged_ns", pa.int64()),
            ("closed_ns", pa.int64()),
            ("close_code", pa.int32()),
            ("error", _TEXT),
            ("kernel_timestamps", pa.bool_()),
            ("tls", pa.bool_()),
            ("intent", _TEXT),
            ("slow", pa.bool_()),
            ("remote_address", _TEXT),
            ("silent_since_ns", pa.int64()),
            ("refusal", _TEXT),
        ]
    ),
    "clock": pa.schema(
        [
            ("worker", pa.int16()),
            ("sent_ns", pa.int64()),
            ("master_received_ns", pa.int64()),
            ("master_sent_ns", pa.int64()),
            ("received_ns", pa.int64()),
            ("sent_raw_ns", pa.int64()),
            ("master_raw_ns", pa.int64()),
            ("received_raw_ns", pa.int64()),
            ("bound_ns", pa.int64()),
            ("master_bound_ns", pa.int64()),
        ]
    ),
    "health": pa.schema(
        [
            ("worker", pa.int16()),
            ("time_ns", pa.int64()),
            ("interval_ns", pa.int64()),
            ("cpu_ns", pa.int64()),
            ("lag_max_ns", pa.int64()),
            ("late_max_ns", pa.int64()),
            ("queue_max_ns", pa.int64()),
            ("deliveries", pa.int64()),
            ("published", pa.int64()),
            ("gc_ns", pa.int64()),
            ("rss_bytes", pa.int64()),
            ("open_files", pa.int32()),
            ("open_files_limit", pa.int32()),
            ("ports", pa.int32()),
            ("ports_limit", pa.int32()),
            ("clock_moved_ns", pa.int64()),
            ("paused_ns", pa.int64()),
            ("paused_until_ns", pa.int64()),
            ("suspended_ns", pa.int64()),
            *((name, pa.int64()) for name in Around._fields),
        ]
    ),
    "echo": pa.schema(
        [
            ("worker", pa.int16()),
            ("sequence", pa.int64()),
            ("intended_ns", pa.int64()),
            ("sent_ns", pa.int64()),
            ("arrival_ns", pa.int64()),
            ("read_ns", pa.int64()),
        ]
    ),
    # One row an interval, worker and tag; becomes histograms.hlog.
    "histograms": pa.schema(
        [
            ("worker", pa.int16()),
            ("tag", pa.string()),
            ("start_ns", pa.int64()),
            ("end_ns", pa.int64()),
            ("encoded", pa.string()),
            ("highest", pa.int64()),
            ("negative", pa.int64()),
            ("beyond", pa.int64()),
        ]
    ),
}


def spool_schema(table: str) -> pa.Schema:
    """Return the table's schema as it is in the spool: dictionary columns are plain strings."""
    return pa.schema(
        [
            (field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type)
            for field in SCHEMAS[table]
        ]
    )


def spool_name(table: str, worker: int) -> str:
    """Return the file name of a table's stream."""
    return f"{table}-{worker:04d}.arrows"


class SpoolWriter:
    """Writes the tables of one worker into a folder; raises OSError where the disk does not take them."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.folder = folder
        self.worker = worker
        self._streams: dict[str, tuple[pa.OSFile, pa.RecordBatchStreamWriter]] = {}
        self._written: dict[str, Path] = {}
        #: Rows written so far, by table.
        self.rows: Counter[str] = Counter()
        folder.mkdir(parents=True, exist_ok=True)

    def _stream(self, table: str) -> pa.RecordBatchStreamWriter:
        if table not in self._streams:
            path = self._written.setdefault(table, self.folder / spool_name(table, self.worker))
            file = pa.OSFile(str(files.fresh(path)), "wb")
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._streams[table] = (file, pa.ipc.new_stream(file, spool_schema(table), options=options))
        return self._streams[table][1]

    def write(self, batch: pa.RecordBatch, table: str) -> None:
        """Append a batch; it is with the operating system when this returns."""
        self._stream(table).write_batch(batch)
        self.rows[table] += batch.num_rows

    def write_rows(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows given as tuples in the order of the schema, without the leading worker column."""
        if not rows:
            return
        schema = spool_schema(table)
        columns = list(zip(*rows, strict=True))
        arrays = [pa.array([self.worker] * len(rows), type=schema.field(0).type)]
        arrays += [
            pa.array(values, type=field.type) for values, field in zip(columns, list(schema)[1:], strict=True)
        ]
        self.write(pa.RecordBatch.from_arrays(arrays, schema=schema), table)

    def files(self) -> list[Path]:
        """Return the streams written so far."""
        return list(self._written.values())

    def close(self) -> None:
        """End the streams; on a full disk without their end marks, which readers do not need."""
        for file, stream in self._streams.values():
            with contextlib.suppress(OSError):
                stream.close()
            with contextlib.suppress(OSError):
                file.close()
        self._streams.clear()


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield a stream's batches up to the last whole one; a torn end is not an error."""
    try:
        with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
            yield from reader
    except (pa.ArrowInvalid, EOFError, OSError):
        return
