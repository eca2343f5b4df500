"""Gather a run's rows at its end: from the spool in its folder, and from the place where workers stored theirs."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.record.parts import Found, Part, StoredRun, StoredWorker
from analysis.record.schemas import SCHEMAS, spool_name
from analysis.record.storage import Storage
from loadgen.measure.spool import read_batches


class Gathered:
    """A run's rows. If a stream is both in the spool and stored, the longer copy is read."""

    def __init__(self, spool: Path, workers: list[dict[str, Any]]) -> None:
        """``workers`` is the manifest's list."""
        self._spool = spool
        self._numbers = sorted(entry["worker"] for entry in workers)
        #: Rows read of each stream, by its file name in the spool.
        self.rows: Counter[str] = Counter()

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Yield a table's batches, worker by worker, and count their rows; raises StorageError."""
        for path in sorted(self._spool.glob(f"{table}-*.arrows")):
            yield from self._local(path)

    def _local(self, path: Path) -> Iterator[pa.RecordBatch]:
        for batch in read_batches(path):
            self.rows[path.name] += batch.num_rows
            yield batch


class GatheredParts(Gathered):
    """The rows of a run whose workers stored them in a place."""

    def __init__(self, spool: Path, workers: list[dict[str, Any]], storage: Storage, run: str) -> None:
        super().__init__(spool, workers)
        self._stored = StoredRun(storage, run)
        #: The place, as a URI.
        self.uri = storage.place.uri
        self._parts: dict[str, Part] = {}
        self._troubles: dict[str, str] = {}
        #: True if no row was read from the spool.
        self.all_stored = True

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Yield a table's batches, worker by worker, and count their rows; raises StorageError."""
        for number in self._numbers:
            path, stored = self._spool / spool_name(table, number), self._stored.of(number)
            size = _size(path)
            if size > stored.size(table):
                self.all_stored = False
                yield from self._local(path)
            else:
                yield from self._remote(stored, table, number)

    def _remote(self, stored: StoredWorker, table: str, number: int) -> Iterator[pa.RecordBatch]:
        name, found = spool_name(table, number), Found()
        yield from stored.batches(table, found)
        self.rows[name] += found.rows
        if found.trouble is not None:
            self._troubles[name] = found.trouble
        if found.pieces:
            self._parts[name] = Part(
                worker=number,
                table=table,
                pieces=found.pieces,
                bytes=found.bytes,
                rows=found.rows,
                sha256=found.sha256,
            )

    def streams(self) -> list[Part]:
        """Return the stored streams that were read."""
        return sorted(self._parts.values(), key=lambda part: (part.worker, part.table))

    def unlike(self, worker: int, said: Mapping[str, Mapping[str, Any]]) -> str | None:
        """Return how what lies in the storage differs from what a worker said that it stored there, or None."""
        for table in SCHEMAS:
            name = spool_name(table, worker)
            told, part = said.get(name), self._parts.get(name)
            if trouble := self._troubles.get(name):
                return trouble
            if told is None or not told["bytes"]:
                continue
            if part is None:
                return f"{name} is missing"
            if (part.bytes, part.sha256) != (told["bytes"], told["sha256"]):
                return f"{name} has {part.bytes:,} of {told['bytes']:,} bytes or was altered"
        return None


def _size(path: Path) -> int:
    """Return a file's size, or 0 if there is none: a worker on this machine removes what it has stored."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
