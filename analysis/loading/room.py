"""Keep arrays in memory up to a limit, and in a temporary file beyond it."""

import os
import tempfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
#: An array, or its place in the file: offset, length and type.
Kept = Numbers | tuple[int, int, np.dtype[Any]]
_KINDS: tuple[type[np.signedinteger[Any]], ...] = (np.int8, np.int16, np.int32, np.int64)
#: Default for the number of bytes that a `Room` keeps in memory before it writes arrays to its file.
KEPT_BYTES = 1_200_000_000


def narrow(values: Numbers) -> Numbers:
    """Return integers in the smallest type that holds all of them."""
    if not len(values):
        return values.astype(np.int8)
    low, high = int(values.min()), int(values.max())
    kind = next(kind for kind in _KINDS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return values.astype(kind)


class Room:
    """A limited amount of memory for arrays of several parts of the analysis, and a file for those that do not fit.

    The file is in the folder that TMPDIR names. `get` is safe to use from several threads.
    """

    def __init__(self, kept_bytes: int | None = None) -> None:
        """Create an empty store that keeps up to ``kept_bytes`` in memory, by default `KEPT_BYTES`."""
        self._left = KEPT_BYTES if kept_bytes is None else kept_bytes
        self._file: BinaryIO | None = None
        self._end = 0

    def put(self, values: Numbers) -> Kept:
        """Keep an array; return the array, or its place in the file. Raises OSError if the file cannot be written."""
        if values.nbytes <= self._left:
            self._left -= values.nbytes
            return values
        if self._file is None:
            # The file is closed, and thereby deleted, when this object is garbage-collected.
            self._file = tempfile.TemporaryFile(prefix="loadgen-", buffering=0)  # noqa: SIM115
        begin, rest = self._end, np.ascontiguousarray(values).data.cast("B")
        while rest:
            written = os.pwrite(self._file.fileno(), rest, self._end)
            self._end += written
            rest = rest[written:]
        return begin, len(values), values.dtype

    def get(self, kept: Kept) -> Numbers:
        """Return an array that was kept."""
        if isinstance(kept, np.ndarray):
            return kept
        begin, count, kind = kept
        assert self._file is not None
        values = np.empty(count, dtype=kind)
        rest = values.data.cast("B")
        while rest:
            read = os.preadv(self._file.fileno(), [rest], begin)
            if not read:
                raise OSError("a temporary file of the analysis was cut short")
            begin += read
            rest = rest[read:]
        return values

    def put_all(self, arrays: Mapping[str, Numbers]) -> dict[str, Kept]:
        """Keep arrays of integers by name, each in the smallest integer type that holds its values."""
        return {name: self.put(narrow(values)) for name, values in arrays.items()}

    def get_all(self, kept: Mapping[str, Kept]) -> dict[str, npt.NDArray[np.int64]]:
        """Return the arrays that `put_all` stored, as int64."""
        return {name: self.get(each).astype(np.int64) for name, each in kept.items()}
