"""The buffer of deliveries: the receive path packs each delivery into it as bytes, so that no Python object is kept.

If `loadgen.native` was built, it provides the buffer, so that its fast paths write deliveries without running Python.
"""

import struct
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from loadgen import native
from loadgen.measure.stamp import Stamp

#: Columns of one row, in order; all int64.
COLUMNS = (
    "subscription",
    "arrival_ns",
    "read_ns",
    "uncertain_ns",
    "token",
    "publisher",
    "sequence",
    "intended_ns",
    "sent_ns",
)
#: The `struct` code of a 64-bit integer. CPython packs a native long in a third of the time that "q" takes.
_INT64 = "l" if struct.calcsize("l") == 8 else "q"
_ROW = struct.Struct(f"9{_INT64}")
ROW_BYTES = _ROW.size

#: Maximum number of emptied buffers kept for reuse; further ones are freed, so that memory shrinks when the rate falls.
SPARES = 2

Rows = npt.NDArray[np.int64]
_Buffer = TypeVar("_Buffer", bytearray, native.Block)


class RowBuffer:
    """Rows of int64 in a preallocated buffer; full buffers are set aside for the recorder, never dropped."""

    add: Callable[..., None]
    """Append a row, one number per column; raise struct.error (in C: OverflowError) if a number exceeds int64."""

    def __init__(self, columns: int, rows: int = 65_536) -> None:
        self._columns = columns
        self._row = struct.Struct(f"{columns}{_INT64}")
        self._capacity_bytes = rows * self._row.size
        self._buffer = bytearray(self._capacity_bytes)
        self._offset = 0
        self._full: list[tuple[bytearray, int]] = []
        self._spare: list[bytearray] = []
        self._most: int | None = None
        self.add = self._make_add()

    def _make_add(self) -> Callable[..., None]:
        pack_into, row_bytes = self._row.pack_into, self._row.size

        def add(*values: int) -> None:
            offset = self._offset
            pack_into(self._buffer, offset, *values)
            offset += row_bytes
            self._offset = offset
            if offset == self._capacity_bytes:
                self._is_full()

        return add

    def on_backpressure(self, most: int, relief: Callable[[], object]) -> None:
        """Call ``relief`` each time a buffer fills up while at least ``most`` full buffers wait to be taken.

        ``relief`` should take the oldest buffer (see :meth:`take_oldest`), which bounds the memory.
        """
        self._most, self._relief = most, relief

    def _is_full(self) -> None:
        self._rotate()
        if self._most is not None and len(self._full) >= self._most:
            self._relief()

    def _rotate(self) -> None:
        self._full.append((self._buffer, self._offset))
        self._buffer = self._spare.pop() if self._spare else bytearray(self._capacity_bytes)
        self._offset = 0

    def take(self) -> Iterator[Rows]:
        """Remove the rows added since the last call and yield them as arrays of shape (n, columns).

        The rows are removed at the call, not during the iteration. An array is valid only until the next one is
        requested, since its buffer is then reused.
        """
        if self._offset:
            self._rotate()
        taken, self._full = self._full, []
        return _pieces(taken, self._columns, self._give_back)

    def take_oldest(self) -> Iterator[Rows]:
        """Remove only the oldest full buffer, if there is one, and yield its rows as :meth:`take` does."""
        taken, self._full = self._full[:1], self._full[1:]
        return _pieces(taken, self._columns, self._give_back)

    def _give_back(self, buffer: bytearray) -> None:
        if len(self._spare) < SPARES:
            self._spare.append(buffer)


def _pieces(
    taken: list[tuple[_Buffer, int]], columns: int, give_back: Callable[[_Buffer], None]
) -> Iterator[Rows]:
    taken.reverse()
    while taken:
        buffer, end = taken.pop()
        yield np.frombuffer(memoryview(buffer), dtype=np.int64, count=end // 8).reshape(-1, columns)
        give_back(buffer)


class DeliveryBuffer(RowBuffer):
    """The buffer of the receive path; ``add`` takes (subscription, arrival_ns, read_ns, stamp) and unpacks the stamp.

    The column `uncertain_ns` is 0 unless the arrival is an `Arrival`.
    """

    add: Callable[[int, int, int, Stamp], None]

    def __init__(self, rows: int = 65_536) -> None:
        super().__init__(len(COLUMNS), rows)

    def _make_add(self) -> Callable[[int, int, int, Stamp], None]:
        pack_into = _ROW.pack_into

        def add(subscription: int, arrival_ns: int, read_ns: int, stamp: Stamp) -> None:
            offset = self._offset
            # Unpack the stamp into names, because passing `*stamp` would first build a list and a tuple.
            token, publisher, sequence, intended_ns, sent_ns = stamp
            # An arrival that is not a plain int is an `Arrival`, an interval of the length `uncertain_ns`.
            early_ns = 0 if type(arrival_ns) is int else arrival_ns.uncertain_ns  # type: ignore[attr-defined]
            pack_into(
                self._buffer, offset,
                subscription, arrival_ns, read_ns, early_ns, token, publisher, sequence, intended_ns, sent_ns,
            )  # fmt: skip
            offset += ROW_BYTES
            self._offset = offset
            if offset == self._capacity_bytes:
                self._is_full()

        return add


class NativeDeliveryBuffer:
    """A :class:`DeliveryBuffer` on top of `loadgen.native.Rows`, which the C fast paths write to directly."""

    def __init__(self, rows: int = 65_536) -> None:
        self.rows = native.Rows(len(COLUMNS), rows)
        self.add: Callable[[int, int, int, Stamp], None] = self.rows.add
        self.on_backpressure = self.rows.on_backpressure

    def take(self) -> Iterator[Rows]:
        """Remove and yield the rows added since the last call, as :meth:`RowBuffer.take` does."""
        return _pieces(self.rows.take(), len(COLUMNS), self.rows.give_back)

    def take_oldest(self) -> Iterator[Rows]:
        """Remove and yield the oldest full buffer, as :meth:`RowBuffer.take_oldest` does."""
        return _pieces(self.rows.take_oldest(), len(COLUMNS), self.rows.give_back)
