"""Read the Parquet tables of a run folder as they are on record, with times on the workers' own clocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis import text
from analysis.record import schemas

_MANY_ROWS = 100_000
#: Tables of up to this many rows are read once and kept, because dozens of figures use each of them.
_FEW_ROWS = 20_000


class ReadError(Exception):
    """The folder is not a readable run; the error's text is one sentence."""


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open interval of wall-clock nanoseconds."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of a table: its number, its rows, and the half-open range of the rows' intended times in ns."""

    number: int
    first_row: int
    rows: int
    start_ns: int
    end_ns: int

    def overlaps(self, window: Window) -> bool:
        """Return True if some rows of this row group may lie in the time window."""
        return self.start_ns < window.end_ns and self.end_ns > window.start_ns


class Tables:
    """The tables of one folder; small ones are kept once they have been read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, pa.Table] = {}
        self._described: dict[str, pq.FileMetaData] = {}

    def _metadata(self, name: str) -> pq.FileMetaData:
        """Return the metadata of a table's Parquet file, which are read only once."""
        if name not in self._described:
            self._described[name] = pq.read_metadata(self._path / f"{name}.parquet")
        return self._described[name]

    def read(self, name: str, columns: Sequence[str], window: Window | None = None) -> pa.Table:
        """Read columns of a table, restricted to rows whose ``intended_ns`` lies in ``window`` if it is given.

        A missing file gives no rows, and a column that the record's format lacks is null.

        Raises:
            ReadError: the file is damaged, or lacks a column that every format has.
        """
        path = self._path / f"{name}.parquet"
        if not path.exists():
            return pa.table({column: pa.array([], type=pa.int64()) for column in columns})
        later = schemas.later_types(name) if name in schemas.SCHEMAS else {}
        try:
            if (
                name not in self._kept
                and (file := opened(path, name, self._metadata(name))).metadata.num_rows <= _FEW_ROWS
            ):
                known = schemas.columns(name)
                self._kept[name] = whole(file, [each for each in file.schema.names if each in known])
            kept = self._kept.get(name)
            names = set(file.schema.names if kept is None else kept.column_names)
            missing = (set(columns) & set(later)) - names
            there = [column for column in columns if column not in missing]
            for column in there if window is None else [*there, "intended_ns"]:
                if column not in names:
                    raise pa.ArrowInvalid(f"it has no column {column}")
            if kept is not None:
                table = (kept if window is None else inside(kept, window)).select(there)
            else:
                table = whole(file, there) if window is None else _within(file, there, window)
        except (pa.ArrowInvalid, OSError) as error:
            raise unreadable(path, error) from None
        for column in sorted(missing):
            table = table.append_column(column, pa.nulls(len(table), later[column]))
        return table.select(list(columns))

    def row_groups(self, name: str) -> list[RowGroup]:
        """Return the row groups of a table that has a column ``intended_ns``, as the function `row_groups` does.

        Raises:
            ReadError: the file is damaged.
        """
        path = self._path / f"{name}.parquet"
        try:
            return row_groups(self._metadata(name)) if path.exists() else []
        except (pa.ArrowInvalid, OSError, ValueError) as error:
            raise unreadable(path, error) from None

    def read_group(self, name: str, columns: Sequence[str], group: RowGroup) -> pa.Table:
        """Read columns of one row group; raises ReadError if the file is damaged or lacks one of the columns."""
        if name in self._kept:
            return self._kept[name].select(list(columns)).slice(group.first_row, group.rows)
        path = self._path / f"{name}.parquet"
        try:
            file = opened(path, name, self._metadata(name))
            if missing := set(columns) - set(file.schema.names):
                raise pa.ArrowInvalid(f"it has no column {min(missing)}")
            return file.read_row_group(group.number, columns=list(columns))
        except (pa.ArrowInvalid, OSError) as error:
            raise unreadable(path, error) from None

    def all_null(self, name: str, column: str) -> bool:
        """Return True if a column is missing, or null in every row according to the file's statistics."""
        path = self._path / f"{name}.parquet"
        if not path.exists():
            return True
        try:
            metadata = self._metadata(name)
        except (pa.ArrowInvalid, OSError) as error:
            raise unreadable(path, error) from None
        names = metadata.schema.names
        if column not in names:
            return True
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            known = group.column(names.index(column)).statistics
            if group.num_rows and (known is None or known.null_count != group.num_rows):
                return False
        return True


def opened(path: Path, name: str, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Open a table with its text columns dictionary-encoded, so that each text is kept once.

    ``metadata`` is the file's metadata, if the caller has read it already.
    """
    if metadata is None:
        metadata = pq.read_metadata(path)
    texts = [column for column in schemas.texts(name) if column in metadata.schema.names]
    return pq.ParquetFile(path, metadata=metadata, read_dictionary=texts)


def whole(file: pq.ParquetFile, columns: list[str] | None = None) -> pa.Table:
    """Read columns of all rows; use threads only for many rows, because for few they cost more than they save."""
    return file.read(columns=columns, use_threads=file.metadata.num_rows > _MANY_ROWS)


def _within(file: pq.ParquetFile, columns: list[str], window: Window) -> pa.Table:
    """Read the rows whose ``intended_ns`` lies in a time window, skipping row groups without any."""
    table = file.read_row_groups(
        [group.number for group in row_groups(file.metadata) if group.overlaps(window)],
        columns=[*dict.fromkeys((*columns, "intended_ns"))],
        use_threads=file.metadata.num_rows > _MANY_ROWS,
    )
    return inside(table, window).select(columns)


def row_groups(metadata: pq.FileMetaData) -> list[RowGroup]:
    """Return the row groups of a table that have rows, with the range of ``intended_ns`` (all times if unknown)."""
    column = metadata.schema.names.index("intended_ns")
    groups, first_row = [], 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        known = group.column(column).statistics
        if group.num_rows:
            bounded = known is not None and known.has_min_max
            low, high = (known.min, known.max) if bounded else (0, np.iinfo(np.int64).max - 1)
            groups.append(RowGroup(number, first_row, group.num_rows, int(low), int(high) + 1))
        first_row += group.num_rows
    return groups


def inside(table: pa.Table, window: Window) -> pa.Table:
    """Return the rows whose ``intended_ns`` is known and lies in a time window."""
    intended_ns = table.column("intended_ns")
    chosen = pc.and_(pc.greater_equal(intended_ns, window.start_ns), pc.less(intended_ns, window.end_ns))
    return table.filter(chosen)


def damaged(path: Path, error: Exception) -> ReadError:
    """Return the error for a record that lacks something, or holds something of the wrong type."""
    return ReadError(
        f"{path} holds a damaged record: no figures can be computed from it"
        f" ({type(error).__name__}: {text.clean(error)})"
    )


def unreadable(path: Path, error: Exception) -> ReadError:
    """Return the error for a file that pyarrow cannot read."""
    # pyarrow's message may span several lines.
    return ReadError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}")
