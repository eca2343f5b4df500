"""Mark rows of deliveries.parquet in memory that does not grow with their number.

The rows are marked in slices of time. Each slice marks the next part of one or two row groups of each worker, so a few
successive slices mark most row groups completely. A completely marked row group needs no memory. Row groups that the
last slice marked in part are stored as bytes and all others as bits; bits beyond `ROOM_BYTES` go to a temporary file.
"""

from collections.abc import Sequence

import numpy as np

from analysis.ledger.windows import Flags
from analysis.loading.room import Kept, Room
from analysis.loading.run import Ints, RowGroup

#: Maximum size of the masks kept in memory, in bytes; further masks go to a temporary file.
ROOM_BYTES = 64_000_000


class Marks:
    """A mask of all deliveries on record; reading it is safe from several threads."""

    def __init__(self, groups: Sequence[RowGroup]) -> None:
        """Begin with no row marked; ``groups`` are the row groups in the file's order."""
        self._groups = groups
        self._first = np.array([group.first_row for group in groups], dtype=np.int64)
        self._end = np.array([group.first_row + group.rows for group in groups], dtype=np.int64)
        self._place = {group.number: place for place, group in enumerate(groups)}
        #: Number of marked rows of each row group.
        self._count = np.zeros(len(groups), dtype=np.int64)
        self._open: dict[int, Flags] = {}
        self._closed: dict[int, Kept] = {}
        self._room = Room(ROOM_BYTES)

    def add(self, rows: Ints) -> None:
        """Mark rows that are not marked yet, given by their positions in the file in any order."""
        if len(rows) and (rows[1:] < rows[:-1]).any():
            rows = np.sort(rows)
        begins, ends = np.searchsorted(rows, self._first), np.searchsorted(rows, self._end)
        touched = np.flatnonzero(ends > begins).tolist()
        for place in touched:
            group = self._groups[place]
            self._count[place] += ends[place] - begins[place]
            if self._count[place] == group.rows:
                self._open.pop(place, None)
                self._closed.pop(place, None)
                continue
            if place not in self._open:
                self._open[place] = self._unpacked(place)
                self._closed.pop(place, None)
            self._open[place][rows[begins[place] : ends[place]] - group.first_row] = True
        for place in set(self._open) - set(touched):
            self._closed[place] = self._room.put(np.packbits(self._open.pop(place)))

    def of(self, group: RowGroup) -> Flags:
        """Return a mask of the marked rows of a row group."""
        return self._unpacked(self._place[group.number])

    def some(self, group: RowGroup) -> bool:
        """Return True if any row of a row group is marked."""
        return bool(self._count[self._place[group.number]])

    def tolist(self) -> list[bool]:
        """Return a bool for each row, in the order of the file: True if it is marked."""
        return [flag for group in self._groups for flag in self.of(group).tolist()]

    def _unpacked(self, place: int) -> Flags:
        rows = self._groups[place].rows
        if self._count[place] == rows:
            return np.ones(rows, dtype=bool)
        if place in self._open:
            return self._open[place]
        if place in self._closed:
            return np.unpackbits(self._room.get(self._closed[place]), count=rows).astype(bool)
        return np.zeros(rows, dtype=bool)
