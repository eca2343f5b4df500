"""Word the errors about rows of data files: rows that cannot be used, and rows that cannot be read or stored."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from loadgen.config.text import dotted
from loadgen.data.errors import DataError
from loadgen.scenario.data import Data

if TYPE_CHECKING:
    # This import loads pyarrow, which a scenario without files does not need.
    from loadgen.data.readers import Row
    from loadgen.data.table import Table

_MOST_PROBLEMS: Final = 10


def kept(rows: "Iterable[Row]", columns: Sequence[str], name: str, what: str) -> "Table":
    """Return the rows of a file as a table.

    ``name`` and ``what`` are the words for the file and for its rows (such as "rows") in error messages.

    Raises:
        DataError: the file cannot be read, the rows cannot be kept, or there are none.
    """
    from loadgen.data.table import Table

    try:
        table = Table.write(rows, columns)
    except ValueError:  # a null character in the path
        raise DataError([f"{name}: no file can have this name"]) from None
    except OSError as error:
        raise DataError([f"{name}: its {what} cannot be kept: {error.strerror or error}"]) from None
    if not len(table):
        table.close()
        raise DataError([f"{name}: the file has no {what}"])
    return table


def with_row(data: Data, table: "Table", row: int, path: Sequence[str | int], why: str) -> tuple[str, str]:
    """Return (data file, error); the error says why the row cannot be used for the scenario's key at ``path``."""
    place = f"{data.file}:{'row ' if data.kind == 'parquet' else ''}{table.line(row)}"
    return data.file, f"{place}: {dotted(path)} cannot be used with this row: {why}"


def first_ten(found: Iterator[tuple[str, str]]) -> Iterator[str]:
    """Yield the sentences of the first ten (file, sentence) pairs; if there are ten, add that there may be more."""
    shown = list(islice(found, _MOST_PROBLEMS))
    yield from (sentence for _, sentence in shown)
    if len(shown) == _MOST_PROBLEMS:
        yield f"{shown[-1][0]}: and perhaps more"
