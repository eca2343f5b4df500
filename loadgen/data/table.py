"""Rows in an unnamed file that processes map into memory, so that a million rows take no memory in each process.

The file is Arrow's IPC format. Each cell is JSON text. The file has no name, so no other user can open it, and the
system deletes it when the last process has closed it. A child process may inherit its descriptor.
"""

import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
import pyarrow as pa

from loadgen.data.cells import Cell, json_of
from loadgen.data.readers import Row

_LINES: Final = "#at"
_BATCH: Final = 4096
_decode = msgspec.json.decode


class TableWriter:
    """Writes a table batch by batch."""

    def __init__(self, columns: Sequence[str]) -> None:
        """Create the temporary file; raises OSError if that fails."""
        self._schema = pa.schema([(_LINES, pa.int64()), *((name, pa.large_string()) for name in columns)])
        self._file = tempfile.TemporaryFile(prefix="loadgen-rows-")  # noqa: SIM115  :meth:`close` closes it
        self._writer = pa.ipc.new_file(pa.PythonFile(self._file, mode="w"), self._schema)
        self._waiting: list[pa.RecordBatch] = []
        self._count = 0

    def add(self, lines: Sequence[int], cells: Sequence[Sequence[str]]) -> None:
        """Add rows; raises OSError if the disk is full.

        ``lines`` holds the rows' line numbers in the source file, and ``cells`` the JSON texts of each column.
        """
        arrays = [
            pa.array(lines, type=pa.int64()),
            *(pa.array(each, type=pa.large_string()) for each in cells),
        ]
        self._waiting.append(pa.record_batch(arrays, schema=self._schema))
        self._count += len(lines)
        if self._count >= _BATCH:
            self._write(_BATCH)

    def finish(self) -> "Table":
        """Return the table; raises OSError if the disk is full."""
        self._write(1)
        self._writer.close()
        self._file.flush()
        return Table(os.dup(self._file.fileno()))

    def close(self) -> None:
        """Close the file for writing; a finished table stays open."""
        self._file.close()

    def _write(self, least: int) -> None:
        """While at least ``least`` rows are waiting, write a batch of up to `_BATCH` of them."""
        whole = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
        begin = 0
        while whole.num_rows - begin >= least:
            part = whole.slice(begin, _BATCH)
            self._writer.write_table(part)
            begin += part.num_rows
            if not part.num_rows:
                break
        self._waiting = whole.slice(begin).to_batches()
        self._count = whole.num_rows - begin


class Table:
    """The used columns of a data file; rows are numbered from 0."""

    def __init__(self, descriptor: int) -> None:
        """Map the file that :meth:`write` has written; takes over the descriptor.

        Raises:
            ValueError: the file does not contain a table.
        """
        self.descriptor = descriptor
        try:
            self._map = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
            self._file = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self._map)))
        except (OSError, pa.ArrowInvalid) as error:
            raise ValueError(f"the rows cannot be read: {error}") from None
        self._batches: dict[int, pa.RecordBatch] = {}
        self.columns = tuple(name for name in self._file.schema.names if name != _LINES)
        self._at = {name: self._file.schema.get_field_index(name) for name in self._file.schema.names}
        count = self._file.num_record_batches
        self._rows = 0 if not count else (count - 1) * _BATCH + self._batch(count - 1).num_rows

    @classmethod
    def write(cls, rows: Iterable[Row], columns: Sequence[str]) -> "Table":
        """Write rows, whose values are in the order of ``columns``, and return them as a table.

        Raises:
            OSError: writing failed, such as on a full disk.
        """
        writer = TableWriter(columns)
        try:
            source = iter(rows)
            while chunk := list(islice(source, _BATCH)):
                cells = zip(*(cells for _, cells in chunk), strict=True) if columns else ()
                writer.add([line for line, _ in chunk], [[json_of(cell) for cell in each] for each in cells])
            return writer.finish()
        finally:
            writer.close()

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows

    def cell(self, column: str, row: int) -> Cell:
        """Return the value of a column in a row.

        Raises:
            KeyError: there is no such column.
            IndexError: there is no such row.
        """
        return _decode(self.json(column, row))

    def json(self, column: str, row: int) -> str:
        """Return a value as JSON text; raises the same errors as :meth:`cell`."""
        return str(self._value(column, row))

    def values(self, column: str) -> Iterator[Cell]:
        """Yield the values of a column, row by row; raises KeyError if there is none of that name."""
        for chunk in self._chunks(column):
            yield from map(_decode, chunk.to_pylist())

    def line(self, row: int) -> int:
        """Return the line of the file, from 1, in which a row begins; in a Parquet file the row's number."""
        return int(self._value(_LINES, row))

    def texts(self, column: str, begin: int, end: int) -> list[str]:
        """Return the JSON texts of a column's rows from ``begin`` up to ``end``, or up to the end of a batch.

        The file consists of batches of rows. If a batch ends before ``end``, call again for the remaining rows.
        """
        found: list[str] = self._part(column, begin, end)
        return found

    def lines(self, begin: int, end: int) -> list[int]:
        """Return the numbers of the lines in the data file where the rows begin, for the same rows as :meth:`texts`."""
        found: list[int] = self._part(_LINES, begin, end)
        return found

    def _part(self, column: str, begin: int, end: int) -> list[Any]:
        batch, within = divmod(begin, _BATCH)
        part = self._batch(batch).column(self._at[column]).slice(within, end - begin)
        return list(part.to_pylist())

    def longest(self, column: str) -> int:
        """Return the length in characters of a column's longest value; a value that is no string counts as its JSON."""
        import pyarrow.compute as pc

        lengths = [pc.max(pc.utf8_length(each)).as_py() for each in self._chunks(column)]
        # The lengths are those of JSON texts. Subtract a string's two quotes. Escaped characters count more than once.
        return max(0, max(lengths, default=2) - 2)

    def distinct(self, column: str) -> bool:
        """Return whether no two rows have the same value in a column."""
        import pyarrow.compute as pc

        return int(pc.count_distinct(pa.chunked_array(self._chunks(column))).as_py()) == self._rows

    def _chunks(self, column: str) -> list[pa.Array]:
        return [self._batch(n).column(self._at[column]) for n in range(self._file.num_record_batches)]

    def close(self) -> None:
        """Close the file."""
        self._batches.clear()
        os.close(self.descriptor)

    def _value(self, column: str, row: int) -> Any:
        if not 0 <= row < self._rows:
            raise IndexError(f"rows are 0..{self._rows - 1}, not {row}")
        batch, within = divmod(row, _BATCH)
        return self._batch(batch).column(self._at[column])[within].as_py()

    def _batch(self, number: int) -> pa.RecordBatch:
        batch = self._batches.get(number)
        if batch is None:
            batch = self._batches[number] = self._file.get_batch(number)
        return batch
