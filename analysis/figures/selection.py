"""Find the exact numbers at given ranks among any number of integers, without sorting all of them.

The integers are counted in narrow buckets: a bucket's width is about 1/8192 of the values it holds (a bucket near
8,192,000 is about 1,000 wide). Each wanted rank lies in a known bucket, and in a second reading only the numbers of
these buckets are collected and sorted. If there are too many, the buckets are first divided into cells, in as many
readings as it takes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.loading.run import Ints

Numbers = npt.NDArray[Any]
#: Bits of a 32-bit float that a bucket leaves out: 13 bits of the fraction remain.
_SHIFT = 10
#: All integers below this have buckets of their own.
_EXACT = 1 << 14
#: Number of buckets between 0 and 1. They would stay empty, as only integers are counted, so bucket numbers skip them.
_FRACTIONS = int(np.float32(1).view(np.int32) >> _SHIFT) - 1
#: Maximum number of values that are collected and sorted at once (`COLLECTED_MAX`), and number of cells into which a
#: bucket is divided (`CELLS`).
COLLECTED_MAX = 8_000_000
CELLS = 4096


def bucket(values: Numbers) -> npt.NDArray[np.int32]:
    """Return the bucket of each integer; a greater integer has the same bucket or a greater one."""
    bits = values.astype(np.float32).view(np.int32)
    if bits.min(initial=0) < 0:
        # The bits of a float are a sign and a magnitude: turn them into an integer with the same order.
        bits = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
        bits >>= _SHIFT
        bits -= np.clip(bits, -_FRACTIONS, _FRACTIONS)
        return bits
    # Work in place, without copies: there may be a hundred million values.
    bits >>= _SHIFT
    bits -= _FRACTIONS
    return np.maximum(bits, 0, out=bits)


def _edges(numbers: Ints) -> npt.NDArray[np.float64]:
    """Return the smallest integer of each bucket."""
    bits = (numbers + np.sign(numbers) * _FRACTIONS) << _SHIFT
    magnitude = np.abs(bits).astype(np.int32).view(np.float32).astype(np.float64)
    return np.asarray(np.where(bits < 0, -magnitude, magnitude), dtype=np.float64)


class Histogram:
    """Counts integers by bucket."""

    def __init__(self) -> None:
        self.count = 0
        self._first = 0
        self._counts = np.zeros(0, dtype=np.int64)

    def add(self, values: Numbers) -> None:
        """Count integers."""
        if not len(values):
            return
        numbers = bucket(values)
        low, high = int(numbers.min()), int(numbers.max())
        counts = np.bincount(numbers - low)
        if not self.count:
            self._first, self._counts = low, counts
        else:
            self._reach(low, high)
            self._counts[low - self._first : high - self._first + 1] += counts
        self.count += len(values)

    def _reach(self, low: int, high: int) -> None:
        before, after = self._first - low, high - (self._first + len(self._counts) - 1)
        if before > 0 or after > 0:
            self._counts = np.pad(self._counts, (max(before, 0), max(after, 0)))
            self._first = min(self._first, low)

    @property
    def ends(self) -> tuple[int, int]:
        """Index of the first bucket, and index of the last bucket plus 1."""
        return self._first, self._first + len(self._counts)

    def add_to(self, counts: Ints, first: int) -> None:
        """Add this histogram's counts to ``counts``, an array whose first element is the bucket ``first``."""
        begin, stop = self.ends
        counts[begin - first : stop - first] += self._counts


class Selection:
    """Finds the numbers at given ranks: call `take` for all numbers, then `turn`, and repeat both until `done`."""

    def __init__(self, parts: Sequence[tuple[Histogram, int]], ranks: Ints) -> None:
        """Start the search for the numbers at ``ranks``, from histograms of all the numbers.

        ``parts`` are pairs of a histogram and its weight: 1 to add the histogram's numbers, -1 to remove them.
        ``ranks`` count from 1 on among the numbers that remain after the removal.
        """
        filled = [histogram.ends for histogram, _ in parts if histogram.count]
        first, end = min(begin for begin, _ in filled), max(stop for _, stop in filled)
        added, removed = (np.zeros(end - first, dtype=np.int64) for _ in range(2))
        for histogram, weight in parts:
            if histogram.count:
                histogram.add_to(added if weight > 0 else removed, first)
        remaining = added - removed
        self._first = first
        #: The number at each rank, as far as it is known.
        self.found = np.zeros(len(ranks), dtype=np.int64)
        #: For each rank still sought: its place in `found`, its bracket (a range of numbers that holds the sought
        #: number), and its rank within the bracket.
        self._place = np.arange(len(ranks))
        self._dividing = False
        up_to = np.cumsum(remaining)
        needed, bracket = np.unique(np.searchsorted(up_to, ranks, side="left"), return_inverse=True)
        self._bracket = bracket
        self._rank = ranks - (up_to[needed] - remaining[needed])[bracket]
        low, high = _edges(needed + first), _edges(needed + first + 1)
        # `bucket` rounds numbers to the nearest float, so some lie slightly outside the edges of their bucket.
        slack = np.spacing(np.maximum(np.abs(low), np.abs(high)).astype(np.float32)).astype(np.float64)
        exact = (np.abs(low) < _EXACT) & (np.abs(high) <= _EXACT)
        self._low = np.where(exact, low, np.floor(low - slack)).astype(np.int64)
        self._width = np.where(exact, 1, np.ceil(high + slack) - np.floor(low - slack) + 1).astype(np.int64)
        self._there, self._remaining = added[needed] + removed[needed], remaining[needed]
        #: Maps each histogram bucket to the index of its bracket, or to -1 if no sought number is in the bucket. If a
        #: bracket is still too large, a reading of all numbers divides it into cells. `_levels` then has a table that
        #: maps the cells to smaller brackets in the same way.
        self._by_bucket = np.full(end - first, -1, dtype=np.int64)
        self._by_bucket[needed] = np.arange(len(needed))
        self._levels: list[tuple[Ints, Ints, Ints]] = []
        self._values: list[Ints] = []
        self._weights: list[Ints] = []
        self._settle(self._by_bucket, needed)

    @property
    def done(self) -> bool:
        """True if the number at every rank is known."""
        return not len(self._place)

    def take(self, values: Numbers, weight: int = 1) -> None:
        """Process a batch of the numbers. Call this for all numbers of all histograms before each `turn`."""
        if not len(values):
            return
        bracket = self._by_bucket[bucket(values) - self._first]
        inside = bracket >= 0
        values, bracket = values[inside].astype(np.int64), bracket[inside]
        for low, step, table in self._levels:
            bracket = table[bracket * CELLS + (values - low[bracket]) // step[bracket]]
            inside = bracket >= 0
            values, bracket = values[inside], bracket[inside]
        if not self._dividing:
            self._values.append(values)
            self._weights.append(np.full(len(values), weight, dtype=np.int64))
            return
        cell = bracket * CELLS + (values - self._low[bracket]) // self._step[bracket]
        counts = np.bincount(cell, minlength=len(self._cells_there))
        self._cells_there += counts
        self._cells_remaining += weight * counts

    def turn(self) -> None:
        """Evaluate one complete reading, in which `take` was called for all numbers."""
        if self._dividing:
            self._divide()
        else:
            self._collect()

    def _settle(self, table: Ints, places: Ints) -> None:
        """Resolve the ranks whose bracket holds a single number, and prepare the next reading for the other ranks.

        A bracket is a range of numbers in which a sought number lies. ``table`` maps the buckets or cells of the last
        reading to brackets, and ``places`` has the index of each bracket in ``table``.
        """
        known = self._width[self._bracket] == 1
        self.found[self._place[known]] = self._low[self._bracket[known]]
        self._place, self._bracket, self._rank = (
            each[~known] for each in (self._place, self._bracket, self._rank)
        )
        table[places[self._width == 1]] = -1
        sought = self._width > 1
        self._dividing = int(self._there[sought].sum()) > COLLECTED_MAX
        if self._dividing:
            self._step = -(-self._width // CELLS)
            self._cells_there, self._cells_remaining = (
                np.zeros(len(self._low) * CELLS, dtype=np.int64) for _ in range(2)
            )

    def _divide(self) -> None:
        """Narrow the search: the next reading searches only the cells in which a sought number lies."""
        up_to = np.cumsum(self._cells_remaining.reshape(-1, CELLS), axis=1)
        cell = np.array(
            [
                np.searchsorted(up_to[bracket], rank, side="left")
                for bracket, rank in zip(self._bracket.tolist(), self._rank.tolist(), strict=True)
            ],
            dtype=np.int64,
        )
        self._rank = self._rank - up_to[self._bracket, cell]
        cells, bracket = np.unique(self._bracket * CELLS + cell, return_inverse=True)
        self._rank += self._cells_remaining[cells][bracket]
        table = np.full(len(self._low) * CELLS, -1, dtype=np.int64)
        table[cells] = np.arange(len(cells))
        self._levels.append((self._low, self._step, table))
        of = cells // CELLS
        self._low = self._low[of] + cells % CELLS * self._step[of]
        self._width = self._step[of]
        self._there, self._remaining = self._cells_there[cells], self._cells_remaining[cells]
        self._bracket = bracket
        self._settle(table, cells)

    def _collect(self) -> None:
        """Find the numbers at the remaining ranks among the values collected from their brackets."""
        values, weights = np.concatenate(self._values), np.concatenate(self._weights)
        counts = np.where(self._width > 1, self._remaining, 0)
        rank = (np.cumsum(counts) - counts)[self._bracket] + self._rank
        if (weights == 1).all():
            values.sort()
            self.found[self._place] = values[rank - 1]
        else:
            values, place = np.unique(values, return_inverse=True)
            up_to = np.cumsum(np.bincount(place, weights=weights)).astype(np.int64)
            self.found[self._place] = values[np.searchsorted(up_to, rank, side="left")]
        self._place = self._place[:0]
        self._values, self._weights = [], []
