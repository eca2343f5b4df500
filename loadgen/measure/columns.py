"""The buffer that the receive path writes a delivery into: one `pack_into` a delivery, no object kept.

Where `loadgen.native` was built the buffer is its, so that deliveries get there without Python too.
"""

import struct
from collections.abc import Callable, Iterator

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
#: A number of 64 bits. Where a native long is one, packing it takes a third of the time: CPython has a shorter way.
_INT64 = "l" if struct.calcsize("l") == 8 else "q"
_ROW = struct.Struct(f"9{_INT64}")
ROW_BYTES = _ROW.size

#: Buffers that are kept for the next rows; the others go when they are written, so that memory follows the rate.
SPARES = 2

Rows = npt.NDArray[np.int64]


class RowBuffer:
    """Rows of int64 in a preallocated buffer; full buffers are set aside for the recorder, never dropped."""

    add: Callable[..., None]
    """Append a row, one number a column; raises struct.error (natively OverflowError) where one does not fit int64."""

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
        """Call something as often as a buffer is full while there are so many, which should take the oldest."""
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
        """Set aside what was added since the last call; return it in pieces, arrays of shape (n, columns).

        A piece is valid until the next is asked for: its buffer is used again then.
        """
        if self._offset:
            self._rotate()
        taken, self._full = self._full, []
        return _pieces(taken, self._columns, self._give_back)

    def take_oldest(self) -> Iterator[Rows]:
        """Set aside the buffer that was full first, where there is one, as :meth:`take` does."""
        taken, self._full = self._full[:1], self._full[1:]
        return _pieces(taken, self._columns, self._give_back)

    def _give_back(self, buffer: bytearray) -> None:
        if len(self._spare) < SPARES:
            self._spare.append(buffer)


def _pieces(
    taken: list[tuple[bytearray, int]], columns: int, give_back: Callable[[bytearray], None]
) -> Iterator[Rows]:
    taken.reverse()
    while taken:
        buffer, end = taken.pop()
        yield np.frombuffer(buffer, dtype=np.int64, count=end // 8).reshape(-1, columns)
        give_back(buffer)


class DeliveryBuffer(RowBuffer):
    """The buffer of the receive path: a row is (subscription, arrival_ns, read_ns, stamp), the stamp unpacked.

    An arrival that is no plain int (see `Arrival`) fills the column `uncertain_ns`.
    """

    add: Callable[[int, int, int, Stamp], None]

    def __init__(self, rows: int = 65_536) -> None:
        super().__init__(len(COLUMNS), rows)

    def _make_add(self) -> Callable[[int, int, int, Stamp], None]:
        pack_into = _ROW.pack_into

        def add(subscription: int, arrival_ns: int, read_ns: int, stamp: Stamp) -> None:
            offset = self._offset
            # Unpacked by name: a call with a star makes a list and a tuple first.
            token, publisher, sequence, intended_ns, sent_ns = stamp
            # No plain int: an `Arrival`.
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
    """The same over `loadgen.native`'s rows, which its fast paths write to as well."""

    def __init__(self, rows: int = 65_536) -> None:
        self.rows = native.Rows(len(COLUMNS), rows)
        self.add: Callable[[int, int, int, Stamp], None] = self.rows.add
        self.on_backpressure = self.rows.on_backpressure

    def take(self) -> Iterator[Rows]:
        """Set aside what was added since the last call, as :meth:`RowBuffer.take` does."""
        return _pieces(self.rows.take(), len(COLUMNS), self.rows.give_back)

    def take_oldest(self) -> Iterator[Rows]:
        """Set aside the buffer that was full first, as :meth:`RowBuffer.take_oldest` does."""
        return _pieces(self.rows.take_oldest(), len(COLUMNS), self.rows.give_back)
