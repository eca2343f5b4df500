"""Rows of publishes as in the record, for tests without a recorder."""

from collections.abc import Sequence
from typing import Any, overload

from loadgen.measure.publishes import Events, buffer
from loadgen.measure.rows import EventRow


class Recorded(Sequence[EventRow]):
    """The rows of the publishes recorded with :attr:`publish`, in order."""

    def __init__(self) -> None:
        self._buffer = buffer()
        self._rows: list[EventRow] = []
        #: Stands in for `Recorder.publish`.
        self.publish = self._buffer.add

    @property
    def _all(self) -> list[EventRow]:
        self._rows += Events(*self._buffer.take())
        return self._rows

    def __len__(self) -> int:
        return len(self._all)

    @overload
    def __getitem__(self, index: int) -> EventRow: ...

    @overload
    def __getitem__(self, index: slice) -> list[EventRow]: ...

    def __getitem__(self, index: Any) -> Any:
        return self._all[index]
