"""Send rows of data to workers in other processes: the rows from which publish requests draw values.

The values of a client's own row are not sent here, but in the message that grants the client to a worker (`Grant`). So
each worker gets these values for its own clients only. Columns that hold secrets are never among the rows sent here.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import gevent
import msgspec
from gevent.event import Event

from loadgen.data.tables import Tables
from loadgen.resolve import ResolvedRun
from loadgen.resolve.rows import request_columns, rows_of
from loadgen.run.master_messages import Rows

if TYPE_CHECKING:
    from loadgen.data.table import Table, TableWriter

#: Limits of one message: the approximate size of its cells in bytes, and the number of its rows. The first message has
#: only `_FIRST_ROWS` rows, as the rows' mean size is not known yet.
_PIECE_BYTES: Final = 1 << 20
_PIECE_ROWS: Final = 4096
_FIRST_ROWS: Final = 16


def pieces(run: ResolvedRun, tables: Tables) -> Iterator[Rows]:
    """Yield messages with all rows of data from which the run's publish requests draw values."""
    for name, columns in request_columns(run).items():
        yield from _pieces(name, columns, tables[name])


def _pieces(name: str, columns: list[str], table: "Table") -> Iterator[Rows]:
    begin, rows = 0, len(table)
    # Choose each message's number of rows so that it holds about _PIECE_BYTES, judging by the previous message's rows.
    count = _FIRST_ROWS
    while begin < rows:
        lines = table.lines(begin, begin + count)
        cells = [table.texts(column, begin, begin + count) for column in columns]
        begin += len(lines)
        yield Rows(data=name, columns=columns, lines=lines, cells=cells, last=begin == rows)
        size = sum(map(len, (text for texts in cells for text in texts)))
        count = max(1, min(_PIECE_ROWS, len(lines) * _PIECE_BYTES // max(size, 1)))
        # Yield to other greenlets, so that they can send messages and heartbeats.
        gevent.sleep(0)


class ArrivingRows:
    """The rows that a worker in another process receives for its publish requests."""

    def __init__(self, run: ResolvedRun, tables: Tables | None) -> None:
        """``tables`` are the run's data if this process holds them already, or None if they will arrive in messages."""
        self._wanted = {} if tables is not None else request_columns(run)
        self._rows = {name: rows_of(run, name) for name in self._wanted}
        self._writers: dict[str, TableWriter] = {}
        self._had = dict.fromkeys(self._wanted, 0)
        self.tables = Tables() if tables is None else tables
        #: Set when all rows have arrived.
        self.complete = Event()
        if not self._wanted:
            self.complete.set()

    def take(self, piece: Rows) -> None:
        """Store the rows of one message.

        Raises:
            ValueError: this worker does not wait for these rows, or they are incomplete.
            OSError: the rows cannot be written to disk.
        """
        from loadgen.data.table import TableWriter

        name, columns = piece.data, self._wanted.get(piece.data)
        if columns is None or name in self.tables:
            raise ValueError(f"it has rows of {name!a}, which this worker does not wait for")
        if piece.columns != columns or [len(each) for each in piece.cells] != [len(piece.lines)] * len(
            columns
        ):
            raise ValueError(f"its rows of {name!a} are incomplete")
        self._had[name] += len(piece.lines)
        if self._had[name] > self._rows[name] or (piece.last and self._had[name] != self._rows[name]):
            raise ValueError(f"it ends the rows of {name!a} at {self._had[name]:,} of {self._rows[name]:,}")
        for texts in piece.cells:
            # Check the JSON now, so that a mistake is reported before publishers use the rows during the run.
            _check("[" + ",".join(texts) + "]", len(texts))
        if name not in self._writers:
            self._writers[name] = TableWriter(columns)
        writer = self._writers[name]
        writer.add(piece.lines, piece.cells)
        if not piece.last:
            return
        self.tables.put(name, writer.finish())
        writer.close()
        if len(self.tables) == len(self._wanted):
            self.complete.set()


def _check(array: str, length: int) -> None:
    """Raise ValueError unless ``array`` is the text of a JSON array with ``length`` values."""
    if len(msgspec.json.decode(array, type=list[msgspec.Raw])) != length:
        raise ValueError("its cells are not each a JSON value")
