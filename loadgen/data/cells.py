"""The values of data rows, each any JSON value, and their text form for channels and headers."""

from collections.abc import Mapping
from typing import Any

import msgspec

#: A value of a row: text, a number, true or false, null, a list or a mapping.
Cell = Any

_encode = msgspec.json.Encoder(order="deterministic").encode


def text_of(cell: Cell) -> str:
    """Return a value in the form in which templates insert it: a string unchanged, anything else as JSON."""
    return cell if isinstance(cell, str) else json_of(cell)


def json_of(cell: Cell) -> str:
    """Return a value as JSON text.

    Raises:
        TypeError: JSON has no such value, such as bytes.
    """
    return _encode(cell).decode()


def at_path(row: Mapping[str, Cell], column: str) -> Cell:
    """Return the value of a column; dots lead into nested mappings, unless a column has exactly this name.

    Raises:
        KeyError: the row has no such value.
    """
    if column in row:
        return row[column]
    head, dot, rest = column.partition(".")
    nested = row[head] if dot else None
    if not isinstance(nested, Mapping):
        raise KeyError(column)
    return at_path(nested, rest)
