"""Read all column names of a data file: a journey (the user's own Python code) may use any column."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from loadgen.data import readers
from loadgen.data.errors import DataError
from loadgen.data.readers import WHOLE_LINE, Kind, rows

_MOST: Final = 500


def header(path: Path, kind: Kind, *, name: str, separator: str | None = None) -> Sequence[str]:
    """Return the names of the columns; for JSON Lines, the members of the first object.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        if kind == "parquet":
            return _parquet(path, name)
        if kind == "jsonl":
            return _jsonl(path, name)
        return readers.csv_header(path, name, separator)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "no file can have this name"
        raise DataError([f"{name}: the file cannot be read: {said}"]) from None


def _jsonl(path: Path, name: str) -> Sequence[str]:
    import msgspec

    for _, cells in islice(rows(path, "jsonl", [WHOLE_LINE], name=name), 1):
        return [each for each in msgspec.json.decode(cells[0], type=dict[str, msgspec.Raw]) if _usable(each)]
    return []


def _parquet(path: Path, name: str) -> Sequence[str]:
    import pyarrow as pa
    from pyarrow.parquet import read_schema

    try:
        return [each for each in read_schema(path).names if _usable(each)]
    except pa.ArrowInvalid:
        raise DataError([f"{name}: the file is no valid Parquet file"]) from None


def _usable(column: str) -> bool:
    return bool(column) and column.isprintable() and len(column) <= 200
