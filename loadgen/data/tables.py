"""The data files of a run as tables, by the names that the scenario gives to them."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Loads pyarrow, which a process without data does not need.
    from loadgen.data.table import Table


class Tables(Mapping[str, "Table"]):
    """The tables of a scenario's data, by their names under `data:`. As a context manager it closes them."""

    def __init__(self, tables: Mapping[str, "Table"] | None = None) -> None:
        self._tables = dict(tables or {})

    def __getitem__(self, name: str) -> "Table":
        """Return the table of the data with the given name."""
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._tables)

    def __len__(self) -> int:
        """Return the number of tables."""
        return len(self._tables)

    def __enter__(self) -> "Tables":
        """Return the tables."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the tables."""
        self.close()

    def close(self) -> None:
        """Close all tables."""
        for table in self._tables.values():
            table.close()
        self._tables.clear()

    @classmethod
    def opened(cls, descriptors: Mapping[str, int]) -> "Tables":
        """Return the tables in open files that this process inherited; ``descriptors`` maps data names to the files.

        Raises:
            ValueError: a file does not contain a table.
        """
        if not descriptors:
            return cls()
        from loadgen.data.table import Table

        return cls({name: Table(descriptor) for name, descriptor in descriptors.items()})

    def put(self, name: str, table: "Table") -> None:
        """Add a table, such as one that the master has sent."""
        self._tables[name] = table

    @property
    def descriptors(self) -> dict[str, int]:
        """The file descriptors of the tables, by the names that the scenario gives to its data files."""
        return {name: table.descriptor for name, table in self._tables.items()}
