"""Rows in an unnamed file that processes map into memory, so that a million rows take no memory of their own.

The file is Arrow's IPC format. Each cell is JSON text. It has no name, so no other user can open it and nothing is left
when the last process that has it open ends; a child process may inherit its descriptor.
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


class Table:
    """The used columns of a data file; rows are numbered from 0."""

    def __init__(self, descriptor: int) -> None:
        """Map the file that :meth:`write` has written; takes over the descriptor.

        Raises:
            ValueError: the file is none of those.
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
            OSError: the disk does not take it.
        """
        schema = pa.schema([(_LINES, pa.int64()), *((name, pa.large_string()) for name in columns)])
        file = tempfile.TemporaryFile(prefix="loadgen-rows-")  # noqa: SIM115  its descriptor outlives it
        source = iter(rows)
        with file:
            with pa.ipc.new_file(pa.PythonFile(file, mode="w"), schema) as writer:
                while chunk := list(islice(source, _BATCH)):
                    cells = zip(*(cells for _, cells in chunk), strict=True) if columns else ()
                    writer.write_batch(
                        pa.record_batch(
                            [
                                pa.array([line for line, _ in chunk], type=pa.int64()),
                                *(pa.array(map(json_of, column), type=pa.large_string()) for column in cells),
                            ],
                            schema=schema,
                        )
                    )
            file.flush()
            descriptor = os.dup(file.fileno())
        return cls(descriptor)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows

    def cell(self, column: str, row: int) -> Cell:
        """Return a value.

        Raises:
            KeyError: there is no such column.
            IndexError: there is no such row.
        """
        return _decode(self.json(column, row))

    def json(self, column: str, row: int) -> str:
        """Return a value as JSON text; raises as :meth:`cell`."""
        return str(self._value(column, row))

    def values(self, column: str) -> Iterator[Cell]:
        """Yield the values of a column, row by row; raises KeyError if there is none of that name."""
        for chunk in self._chunks(column):
            yield from map(_decode, chunk.to_pylist())

    def line(self, row: int) -> int:
        """Return the line of the file, from 1, in which a row begins; in a Parquet file the row's number."""
        return int(self._value(_LINES, row))

    def longest(self, column: str) -> int:
        """Return the number of characters of the longest value of a column as JSON text, or as its text if a string."""
        import pyarrow.compute as pc

        lengths = [pc.max(pc.utf8_length(each)).as_py() for each in self._chunks(column)]
        # Texts stand in quotes, and a character that JSON escapes counts more than once.
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
