"""The spool: append-only tables on disk during a run, one Arrow IPC stream per table and worker.

A stream is readable up to its last complete batch even if its writer was killed, so a killed process loses only the
rows that it had not flushed yet. At the end of the run the streams become the record's Parquet files.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.record import files, schemas
from analysis.record.schemas import spool_name

#: A file in the spool that holds the run's token. A worker that can read it shares the folder with the master.
MARKER = "shared-with"


class SpoolWriter:
    """Writes the tables of one worker into a folder; raises OSError if writing fails."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.folder = folder
        self.worker = worker
        self._streams: dict[str, tuple[pa.OSFile, pa.RecordBatchStreamWriter]] = {}
        self._written: dict[str, Path] = {}
        #: Rows written so far, by table.
        self.rows: Counter[str] = Counter()
        self._closed_bytes = 0
        folder.mkdir(parents=True, exist_ok=True)

    def _stream(self, table: str) -> pa.RecordBatchStreamWriter:
        if table not in self._streams:
            path = self._written.setdefault(table, self.folder / spool_name(table, self.worker))
            file = pa.OSFile(str(files.fresh(path)), "wb")
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._streams[table] = (file, pa.ipc.new_stream(file, schemas.plain(table), options=options))
        return self._streams[table][1]

    def write(self, batch: pa.RecordBatch, table: str) -> None:
        """Append a batch and hand it to the operating system before returning."""
        self._stream(table).write_batch(batch)
        self.rows[table] += batch.num_rows

    def write_rows(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows: tuples in the order of the schema, except for its first column, the worker's number."""
        if not rows:
            return
        schema = schemas.plain(table)
        columns = list(zip(*rows, strict=True))
        arrays = [pa.array([self.worker] * len(rows), type=schema.field(0).type)]
        arrays += [
            pa.array(values, type=field.type) for values, field in zip(columns, list(schema)[1:], strict=True)
        ]
        self.write(pa.RecordBatch.from_arrays(arrays, schema=schema), table)

    def files(self) -> list[Path]:
        """Return the streams written so far."""
        return list(self._written.values())

    @property
    def written_bytes(self) -> int:
        """Bytes written so far to all streams, whether or not their files still exist.

        The master may have removed files: it does so once it no longer waits for a slow worker.
        """
        open_bytes: int = sum(file.tell() for file, _ in self._streams.values())
        return self._closed_bytes + open_bytes

    def close(self) -> None:
        """Close the streams; on a full disk they lack their end marks, which readers do not need."""
        for file, stream in self._streams.values():
            with contextlib.suppress(OSError):
                stream.close()
            self._closed_bytes += file.tell()
            with contextlib.suppress(OSError):
                file.close()
        self._streams.clear()


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield a stream's batches up to the last complete one; a truncated stream is not an error."""
    try:
        with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
            yield from reader
    except (pa.ArrowInvalid, EOFError, OSError):
        return
