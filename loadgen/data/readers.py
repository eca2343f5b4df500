"""Read rows from CSV, JSON Lines and Parquet files one after another, and report each mistake with its line."""

import csv
import math
import os
import stat
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple

import msgspec

from loadgen.config.text import nearest, shown
from loadgen.data.cells import Cell, at_path
from loadgen.data.errors import DataError

Kind = Literal["csv", "jsonl", "parquet"]

#: Name of the column that stands for a whole line of a JSON Lines file.
WHOLE_LINE: Final = "#line"
#: Maximum number of characters of a cell, and of bytes of a line.
LONGEST: Final = 4 << 20
_SEPARATORS = (",", ";", "\t", "|")
_MOST_PROBLEMS = 10
_BOM = b"\xef\xbb\xbf"

#: A row: its line in the file, from 1 (in a Parquet file its number), and its values in the order of the columns.
Row = tuple[int, tuple[Cell, ...]]


class _WrongRow(Exception):  # noqa: N818  collected as one of the file's problems
    """A row cannot be used; the message completes a sentence that begins with the number of the line or row."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def rows(
    path: Path, kind: Kind, columns: Sequence[str], *, name: str, separator: str | None = None
) -> Iterator[Row]:
    """Yield the rows of a file, each with the values of ``columns``; the memory used does not grow with the file.

    A CSV file's first line has the names of its columns, and its values are texts, exactly as written. ``separator`` is
    taken from that line if it is None. ``name`` is the file's name for messages.

    Raises:
        DataError: the file cannot be read, has no such column, or has unusable rows, of which it names the first ten.
    """
    read: Callable[[BinaryIO], Generator[Row | _WrongRow]] = {
        "csv": lambda binary: _csv(binary, name, columns, separator),
        "jsonl": lambda binary: _jsonl(binary, name, columns),
        "parquet": lambda binary: _parquet(binary, name, columns),
    }[kind]
    wrong: list[str] = []
    place = "row " if kind == "parquet" else ""
    try:
        with _opened(path, name) as binary, closing(read(binary)) as found:
            before = _state(binary)
            for row in found:
                if not isinstance(row, _WrongRow):
                    if not wrong:
                        yield row
                    continue
                wrong.append(f"{name}:{place}{row.line}: {row}")
                if len(wrong) == _MOST_PROBLEMS:
                    raise DataError([*wrong, f"{name}: and perhaps more"])
            if _state(binary) != before:
                raise DataError(
                    [f"{name}: the file changed while it was read; try again when it is complete"]
                )
    except OSError as error:
        raise DataError([f"{name}: the file cannot be read: {error.strerror or error}"]) from None
    if wrong:
        raise DataError(wrong)


def _opened(path: Path, name: str) -> BinaryIO:
    """Open a regular file: a pipe or a device might never end."""
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        what = "a directory" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise DataError([f"{name}: this is {what}, not a file; name a file of rows"])
    return os.fdopen(descriptor, "rb")


def _state(binary: BinaryIO) -> tuple[int, int]:
    found = os.fstat(binary.fileno())
    return found.st_size, found.st_mtime_ns


def csv_header(path: Path, name: str, separator: str | None = None) -> list[str]:
    """Return the names in the first line of a CSV file, each once and without empty ones.

    Raises:
        DataError: the line cannot be read.
        OSError: the file cannot be read.
    """
    with _opened(path, name) as binary:
        names = _begun(binary, name, separator).header
    return [each for each in dict.fromkeys(names) if each]


class _Csv(NamedTuple):
    """A CSV file whose line of column names was read."""

    header: list[str]
    separator: str
    #: Reads the rows; its `line_num` counts from the line of the column names.
    table: Any
    #: Number of lines before the line of the column names.
    skipped: int


def _begun(binary: BinaryIO, name: str, separator: str | None) -> _Csv:
    """Read the beginning of a CSV file; raises DataError if it has no line of column names."""
    csv.field_size_limit(LONGEST)
    texts = iter(_Lines(binary, name))
    first = next(texts, "")
    skipped = 0
    if first.lower().startswith("sep=") and len(first.rstrip("\r\n")) == 5:
        # Spreadsheet programs write and understand a first line such as `sep=;`, which names the separator.
        separator, first, skipped = separator or first[4], next(texts, ""), 1
    if not first.strip():
        what = (
            f"{name}:{skipped + 1}: the line is blank"
            if first or next(texts, None)
            else f"{name}: the file is empty"
        )
        raise DataError([f"{what}; the first line has the names of the columns"])
    separator = separator or _separator(first, name)

    def rest() -> Iterator[str]:
        yield first
        yield from texts

    table = csv.reader(rest(), delimiter=separator, strict=True)
    try:
        header = [each.strip() for each in next(table)]
    except csv.Error as error:
        raise DataError(
            [f"{name}:{skipped + 1}: the line of the column names is not valid CSV: {error}"]
        ) from None
    return _Csv(header, separator, table, skipped)


def _csv(
    binary: BinaryIO, name: str, columns: Sequence[str], separator: str | None
) -> Generator[Row | _WrongRow]:
    header, separator, table, skipped = _begun(binary, name, separator)
    places = _places(header, columns, name, skipped + 1)
    while True:
        line = skipped + table.line_num + 1
        try:
            cells = next(table, None)
        except csv.Error as error:
            # After a broken row, the start of the next row is unknown, so no more rows are checked.
            raise DataError([f"{name}:{line}: the row is not valid CSV: {error}"]) from None
        if cells is None:
            return
        if not cells:
            continue
        if len(cells) != len(header):
            yield _WrongRow(
                line,
                f"the row has {_count(len(cells), 'value')}, and the first line names"
                f" {_count(len(header), 'column')}; a value that holds a {_word(separator)} stands in double"
                " quotes",
            )
            continue
        yield line, tuple(cells[place] for place in places)


def _separator(header: str, name: str) -> str:
    """Return the separator that a line of column names has outside quotes, or a comma if it has none.

    Raises:
        DataError: the line has two of the usual separators.
    """
    bare = "".join(header.split('"')[::2])
    found = [each for each in _SEPARATORS if each in bare]
    if len(found) > 1:
        raise DataError(
            [
                f"{name}:1: the line of the column names has both {_word(found[0])} and {_word(found[1])};"
                " write the file's 'separator' into the scenario"
            ]
        )
    return found[0] if found else ","


def _word(separator: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar '|'"}.get(separator, shown(separator))


def _places(header: Sequence[str], columns: Sequence[str], name: str, line: int) -> list[int]:
    """Return the index of each column in the header."""
    problems = []
    for column in columns:
        if header.count(column) > 1:
            problems.append(
                f"{name}:{line}: the column {shown(column)} is there {header.count(column)} times"
            )
        elif column not in header:
            problems.append(f"{name}:{line}: there is no column {shown(column)}{_known(column, header)}")
    if problems:
        raise DataError(problems)
    return [header.index(column) for column in columns]


def _known(column: str, known: Sequence[str]) -> str:
    return nearest(column, [each if each.isprintable() else shown(each) for each in known if each][:50])


def _jsonl(binary: BinaryIO, name: str, columns: Sequence[str]) -> Generator[Row | _WrongRow]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    whole = WHOLE_LINE in columns
    for line, text in enumerate(_Lines(binary, name), 1):
        if not text.strip():
            continue
        try:
            row = decode(text)
        except (msgspec.MsgspecError, RecursionError) as error:
            yield _WrongRow(line, f"the line is no JSON object: {_decoding(error)}")
            continue
        try:
            yield (
                line,
                tuple(text.strip() if each == WHOLE_LINE else at_path(row, each) for each in columns)
                if whole
                else tuple(at_path(row, each) for each in columns),
            )
        except KeyError as error:
            column = error.args[0]
            yield _WrongRow(line, f"the object has no member {shown(column)}{_known(column, list(row))}")


def _decoding(error: Exception) -> str:
    # Errors must not repeat a value of the file: msgspec's message gives only the position and the kind of value.
    return str(error) if isinstance(error, msgspec.DecodeError) else "it is nested too deep"


def _parquet(binary: BinaryIO, name: str, columns: Sequence[str]) -> Generator[Row | _WrongRow]:
    # Imported late: only Parquet files need pyarrow.
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(binary) as file:
            known = file.schema_arrow.names
            tops = {column: column if column in known else column.partition(".")[0] for column in columns}
            problems = [
                f"{name}: there is no column {shown(column)}{_known(column, known)}"
                for column, top in tops.items()
                if top not in known
            ]
            if problems:
                raise DataError(problems)
            number = 0
            for batch in file.iter_batches(batch_size=4096, columns=list(dict.fromkeys(tops.values()))):
                for row in batch.to_pylist():
                    number += 1
                    try:
                        yield number, tuple(_plain(at_path(row, each)) for each in columns)
                    except KeyError as error:
                        yield _WrongRow(number, f"the row has no value {shown(error.args[0])}")
                    except TypeError as error:
                        yield _WrongRow(number, str(error))
    except (pa.ArrowException, UnicodeDecodeError):
        raise DataError([f"{name}: the file is no valid Parquet file"]) from None


def _plain(value: Any) -> Cell:
    """Return a Parquet value as a JSON value: times in ISO 8601, decimals as text; raises TypeError for bytes."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError("the row has a number that is not finite, which JSON cannot hold")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"the row has a value of type {type(value).__name__}, which JSON cannot hold")


def _other_kind(line: bytes) -> str | None:
    """Return what is wrong with a file that begins with this line, or None if the line shows no known fault."""
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or line[:4].count(0) == 2:
        return "the file is UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)"
    if line.startswith(b"PK\x03\x04"):
        return "the file is an Excel workbook or a ZIP archive; save the sheet as CSV UTF-8"
    if line.startswith(b"\x1f\x8b"):
        return "the file is compressed with gzip; unpack it"
    if line.startswith(b"PAR1"):
        return "the file is Parquet; name it with 'parquet'"
    if b"\r" in line.rstrip(b"\r\n") and not line.endswith(b"\n") and b'"' not in line:
        return "its lines end with a carriage return alone; save it with the line ends of Windows or Unix"
    return None


class _Lines:
    """The lines of a UTF-8 file with their ends, without a byte order mark at the beginning.

    Iterating raises DataError for a line that is not UTF-8 or is too long.
    """

    def __init__(self, binary: Any, name: str) -> None:
        self._binary, self._name = binary, name

    def __iter__(self) -> Iterator[str]:
        number = 0
        while line := self._binary.readline(LONGEST + 1):
            number += 1
            if number == 1:
                if (why := _other_kind(line)) is not None:
                    raise DataError([f"{self._name}: {why}"])
                line = line.removeprefix(_BOM)
            if len(line) > LONGEST:
                raise DataError([f"{self._name}:{number}: the line is longer than {LONGEST >> 20} MiB"])
            if b"\0" in line:
                raise DataError([f"{self._name}:{number}: the line has a null character; remove it"])
            try:
                yield line.decode()
            except UnicodeDecodeError:
                raise DataError(
                    [f"{self._name}:{number}: the line is not UTF-8; save the file as UTF-8"]
                ) from None


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
