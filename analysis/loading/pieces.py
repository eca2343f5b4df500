"""Read the deliveries of successive windows of time, decoding each row group only once even if several windows need it.

The record holds one worker's rows after another's, each in order of receipt. So a window takes a part of one or two row
groups of each worker, and the next window mostly takes the next part of the same row groups.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.loading.run import Ints, RowGroup, Run, Window, ints
from analysis.loading.slices import in_turn

#: Maximum size, in bytes, of the decoded row groups kept for later time windows. If the row groups of all workers do
#: not fit, some are decoded again for each time window.
KEPT_BYTES = 600_000_000
_Column = npt.NDArray[Any]
_Columns = dict[str, _Column]
_Result = TypeVar("_Result")


def in_windows(
    run: Run,
    columns: Sequence[str],
    windows: Sequence[Window],
    work: Callable[[Window, Ints, Mapping[str, Ints]], _Result],
) -> Iterator[_Result]:
    """Yield the result of each window in order, working on two at a time.

    ``work`` gets a window, the position in the file of each of its rows, and their columns as int64, with -1 for null.
    ``windows`` must be ascending and must not overlap. Within one subscription on one worker, the rows are in order of
    receipt.
    """
    reader = _Reader(run, columns, windows)
    return in_turn(lambda window: work(window, *reader.of(window)), windows)


class _Reader:
    """Reads the rows that lie in given windows of time; safe to use from several threads."""

    def __init__(self, run: Run, columns: Sequence[str], windows: Sequence[Window]) -> None:
        self._run, self._columns = run, tuple(dict.fromkeys(columns))
        starts_ns = np.array([window.start_ns for window in windows], dtype=np.int64)
        ends_ns = np.array([window.end_ns for window in windows], dtype=np.int64)
        #: Number of windows that still need each row group.
        self._uses = {
            group.number: int(
                np.searchsorted(starts_ns, group.end_ns, side="left")
                - np.searchsorted(ends_ns, group.start_ns, side="right")
            )
            for group in run.row_groups
        }
        self._lock = Lock()
        self._kept: dict[int, Future[_Columns]] = {}
        self._kept_bytes = 0

    def of(self, window: Window) -> tuple[Ints, dict[str, Ints]]:
        """Return, for the rows in a window, each row's position in the file, and the columns by name."""
        pieces: list[tuple[RowGroup, Any, int, _Columns]] = []
        for group in self._run.row_groups:
            if group.overlaps(window):
                at = self._decoded(group)
                chosen, count = _rows_in(group, at["intended_ns"], window)
                if count:
                    pieces.append((group, chosen, count, at))
        total = sum(count for _, _, count, _ in pieces)
        rows = np.empty(total, dtype=np.int64)
        found = {name: np.empty(total, dtype=np.int64) for name in self._columns}
        begin = 0
        for group, chosen, count, at in pieces:
            end = begin + count
            if isinstance(chosen, slice):
                rows[begin:end] = np.arange(chosen.start, chosen.stop)
            else:
                rows[begin:end] = chosen
            rows[begin:end] += group.first_row
            for name, values in found.items():
                values[begin:end] = at[name][chosen]
            begin = end
        return rows, found

    def _decoded(self, group: RowGroup) -> _Columns:
        """Return the columns of a row group, and forget them if no later window needs them."""
        with self._lock:
            self._uses[group.number] -= 1
            last = self._uses[group.number] <= 0
            kept = self._kept.get(group.number)
            if kept is not None and last:
                del self._kept[group.number]
                self._kept_bytes -= self._size(group)
            ours = kept is None
            if kept is None:
                kept = Future()
                if not last and self._kept_bytes + self._size(group) <= KEPT_BYTES:
                    self._kept[group.number] = kept
                    self._kept_bytes += self._size(group)
        if ours:
            try:
                kept.set_result(self._decode(group))
            except BaseException as error:
                kept.set_exception(error)
        return kept.result()

    def _decode(self, group: RowGroup) -> _Columns:
        names = tuple(dict.fromkeys((*self._columns, "intended_ns")))
        _, table = self._run.deliveries_in(names, group=group)
        return {name: _values(table, name) for name in names}

    def _size(self, group: RowGroup) -> int:
        """Return an upper bound on the memory that a decoded row group takes, in bytes."""
        return 8 * group.rows * (len(self._columns) + 1)


def _values(table: pa.Table, name: str) -> _Column:
    """Return a column in its own type, or as int64 with -1 for null if it has nulls."""
    values = table.column(name)
    if values.null_count or not pa.types.is_integer(values.type):
        return ints(table, name)
    return np.asarray(values.to_numpy())


def _rows_in(group: RowGroup, intended_ns: Ints, window: Window) -> tuple[Any, int]:
    """Return an index (a slice if possible) of a row group's rows that lie in a window, and the number of the rows."""
    if window.start_ns <= group.start_ns and group.end_ns <= window.end_ns:
        return slice(0, len(intended_ns)), len(intended_ns)
    inside = np.flatnonzero((intended_ns >= window.start_ns) & (intended_ns < window.end_ns))
    if len(inside) and inside[-1] - inside[0] + 1 == len(inside):
        return slice(int(inside[0]), int(inside[-1]) + 1), len(inside)
    return inside, len(inside)
