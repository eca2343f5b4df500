"""Give a user's tasks the rows of data files assigned to its client, as in `self.data.people["article"]`."""

from collections.abc import Iterator, Mapping
from typing import Any

from analysis.text import clean
from loadgen.data.cells import Cell


class Row(Mapping[str, Cell]):
    """One row: its values by column."""

    def __init__(self, name: str, values: Mapping[str, Cell]) -> None:
        self._name, self._values = name, values

    def __getitem__(self, column: str) -> Cell:
        """Return the value of a column; raises KeyError if there is none."""
        if column not in self._values:
            raise KeyError(f"the data {self._name!r} has no column {column!r}: {_known(self._values)}")
        return self._values[column]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the columns."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._values)


class OwnRows:
    """A client's row of each data source of the run, as in ``rows.people`` or ``rows["people"]``."""

    def __init__(self, values: Mapping[str, Cell]) -> None:
        """``values`` maps names in templates, such as ``people.id``, to the client's values."""
        rows: dict[str, dict[str, Cell]] = {}
        for name, value in values.items():
            source, _, column = name.partition(".")
            rows.setdefault(source, {})[column] = value
        self._rows = {source: Row(source, row) for source, row in rows.items()}

    def __getitem__(self, source: str) -> Row:
        """Return the client's row of the data with this name; raises KeyError if the run has no such data."""
        if source not in self._rows:
            raise KeyError(f"the run has no data {source!r}: {_known(self._rows)}")
        return self._rows[source]

    def __getattr__(self, source: str) -> Row:
        """Return the client's row of the data with this name; raises AttributeError if the run has no such data."""
        if source.startswith("_"):
            raise AttributeError(source)
        try:
            return self[source]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None


def _known(names: Mapping[str, Any]) -> str:
    return (
        f"there is {', '.join(clean(name)[:60] for name in list(names)[:20])}" if names else "there is none"
    )
