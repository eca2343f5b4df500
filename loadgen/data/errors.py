"""The error of a data file that cannot be used."""

from collections.abc import Iterable


class DataError(Exception):
    """A data file cannot be used.

    ``problems`` has a sentence for each mistake, with its line number but without the text of any cell.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type["DataError"], tuple[tuple[str, ...]]]:
        """Support pickling between processes: by default the joined text would be passed to ``__init__``."""
        return DataError, (self.problems,)
