"""Data files of a scenario: the settings of each file, and the use of its columns in templates."""

from collections.abc import Collection, Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from loadgen.config.base import Part
from loadgen.config.text import nearest
from loadgen.config.units import problem
from loadgen.data.readers import Kind

MAX_ROWS = 100_000_000
_File = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Column = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Data(Part):
    """Rows of a file; channels, payloads and logins use a column as {name.column}, with the name of the entry under
    data."""

    csv: _File | None = None
    """A CSV file in the scenario's folder, in UTF-8. Its first line names the columns."""
    jsonl: _File | None = None
    """A JSON Lines file in the scenario's folder: one JSON object a line. {name.a.b} stands for the member b of the
    object in member a."""
    parquet: _File | None = None
    """A Parquet file in the scenario's folder."""
    separator: Literal[",", ";", "\t", "|"] | None = None
    """csv: the character between values. Without it, the character is found from the line that names the columns."""
    assign: Literal["by-client", "random", "in-turn"] = "by-client"
    """The choice of the row that a client uses. by-client: client k of its group uses row k, so each client has a row
    of its own, and the file must have enough rows. in-turn: as by-client, but after the last row the first is used
    again. random: a row is drawn. With in-turn and random, a row is chosen anew for each publish request."""
    first: int | None = Field(default=None, ge=1, le=MAX_ROWS)
    """The number of rows to use, from the beginning of the file; default is all rows. In the record of a run, this is
    the number of rows that were read."""
    secret: tuple[Column, ...] = Field(default=(), strict=False, max_length=100)
    """Columns that hold secrets. Only logins may use them, and their values appear in no record, log or report."""

    @model_validator(mode="after")
    def _one_file(self) -> Self:
        given = [kind for kind in ("csv", "jsonl", "parquet") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise problem(
                f"has both {given[0]} and {given[1]}; keep one of them"
                if given
                else "names no file; give it 'csv', 'jsonl' or 'parquet'"
            )
        if self.separator is not None and self.csv is None:
            raise problem("has a separator, which only csv takes; drop it")
        return self

    @property
    def kind(self) -> Kind:
        """The kind of the file: the key under which its path is given, such as `csv`."""
        return "csv" if self.csv is not None else "jsonl" if self.jsonl is not None else "parquet"

    @property
    def file(self) -> str:
        """The file's path as written, relative to the scenario's folder."""
        name = self.csv or self.jsonl or self.parquet
        assert name is not None
        return name


def split(name: str) -> tuple[str, str] | None:
    """Split a template's name such as ``people.id`` into the data's name and the column; return None for a variable."""
    source, dot, column = name.partition(".")
    return (source, column) if dot else None


def no_source(name: str, sources: Collection[str]) -> str:
    """Return why a template cannot use the column ``name``, whose data is none of ``sources``; completes a sentence."""
    source = name.partition(".")[0]
    if not sources:
        return (
            f"has {{{name}}}: a name with a dot is a column of data, and the scenario has no data; for a choice of a"
            " few values write {room} and, at the top of the file, variables: {room: {count: 3}}"
        )
    return f"has {{{name}}}, and {source!r} is no data{nearest(source, sources)}"


def columns_in(names: Iterator[str]) -> dict[str, list[str]]:
    """Return the columns that names such as ``people.id`` refer to, by the data's name, in the order of first use."""
    found: dict[str, list[str]] = {}
    for name in names:
        if (meant := split(name)) is not None and meant[1] not in found.setdefault(meant[0], []):
            found[meant[0]].append(meant[1])
    return found
