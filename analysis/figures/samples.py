"""Keep any number of samples in bounded memory, and find the exact sample at any rank.

Samples are appended to a store: in memory at first, and then in a temporary file (see `analysis.loading.room`). Up to
`SORTED_MAX` samples are simply sorted. Sorting more would take most of the time of a large report and need all samples
in memory. So every sample is counted in a narrow bucket when it is added. To find a rank, the store is read again and
only the samples in the bucket of that rank are sorted (see `analysis.figures.selection`).
"""

from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from analysis.figures.percentiles import POINTS, Percentiles, rank_of
from analysis.figures.selection import Histogram, Selection
from analysis.loading.room import Kept, Room, narrow
from analysis.loading.run import Ints

Numbers = npt.NDArray[Any]
#: Up to this many samples are sorted. Counting so few in buckets, of which there may be a million, would take longer.
SORTED_MAX = 100_000


class Store:
    """A growing list of integers, each array in the smallest type that holds it."""

    def __init__(self, room: Room | None = None) -> None:
        self._room = Room() if room is None else room
        self._kept: list[Kept] = []

    def add(self, values: Ints) -> Numbers:
        """Append integers, and return them in the type in which they are kept."""
        kept = narrow(values)
        if len(kept):
            self._kept.append(self._room.put(kept))
        return kept

    def blocks(self) -> Iterator[Numbers]:
        """Yield the arrays in the order in which they were added."""
        return map(self._room.get, self._kept)


class AtRanks:
    """A cache of the samples found at ranks, because finding another one means reading all samples again."""

    def __init__(self) -> None:
        self._at: dict[int, int] = {}

    def get(self, ranks: Ints, find: Callable[[Ints], Ints]) -> Ints:
        """Return the samples at ``ranks``; if any are not in the cache, ``find`` is called with their ranks."""
        wanted = ranks.tolist()
        missing = sorted({rank for rank in wanted if rank not in self._at})
        if missing:
            found = find(np.array(missing, dtype=np.int64))
            self._at.update(zip(missing, found.tolist(), strict=True))
        return np.array([self._at[rank] for rank in wanted], dtype=np.int64)

    def clear(self) -> None:
        """Forget all samples; call this when samples are added, because each rank may then have another sample."""
        self._at.clear()


class Samples:
    """Integers, with their count, sum and extremes, and the integer at each rank."""

    def __init__(self, room: Room | None = None) -> None:
        self.store = Store(room)
        #: The histogram is computed when there are more than `SORTED_MAX` samples, or when it is first used.
        self._histogram: Histogram | None = None
        self._count = self._total = self._negative = 0
        self._known = AtRanks()

    @classmethod
    def of(cls, values: Ints) -> Self:
        """Return samples from one array."""
        samples = cls()
        samples.add(values)
        return samples

    def add(self, values: Ints) -> None:
        """Append samples."""
        if not len(values):
            return
        kept = self.store.add(values)
        self._count += len(kept)
        if self._histogram is not None:
            self._histogram.add(kept)
        elif self._count > SORTED_MAX:
            self._histogram = self._counted()
        self._total += int(values.sum(dtype=np.int64))
        self._negative += int(np.count_nonzero(values < 0))
        self._known.clear()

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._count

    @property
    def histogram(self) -> Histogram:
        """The number of samples in each bucket."""
        if self._histogram is None:
            self._histogram = self._counted()
        return self._histogram

    def _counted(self) -> Histogram:
        found = Histogram()
        for block in self.blocks():
            found.add(block)
        return found

    def blocks(self) -> Iterator[Numbers]:
        """Yield the samples in the order in which they were added."""
        return self.store.blocks()

    @property
    def total(self) -> int:
        """The sum of all samples."""
        return self._total

    @property
    def mean(self) -> float:
        """The mean; there must be at least one sample."""
        return self._total / len(self)

    def at_ranks(self, ranks: Ints) -> Ints:
        """Return the samples at ranks from 1 on, the smallest sample being at rank 1.

        One call reads all samples once, so ask for several ranks at a time. Samples already found are remembered.
        """
        return self._known.get(ranks, lambda missing: at_ranks([(self, 1)], missing))

    def percentiles(self) -> Percentiles:
        """Return the reported figures."""
        count = len(self)
        if not count:
            return Percentiles(0, 0)
        least, p50, p90, p99, p999, most = self.at_ranks(ranks_of_figures(count)).tolist()
        return Percentiles(count, self._negative, least, p50, p90, p99, p999, most, self.mean)


def ranks_of_figures(count: int) -> Ints:
    """Return the ranks of minimum, percentiles and maximum among ``count`` samples; ``count`` is at least 1."""
    return np.array([1, *(rank_of(count, percent) for percent in POINTS), count], dtype=np.int64)


def at_ranks(parts: list[tuple[Samples, int]], ranks: Ints) -> Ints:
    """Pool several sets of samples and return the samples at ``ranks``, which count from 1.

    Each part has the weight 1, or -1 to remove its samples from the pool.
    """
    if sum(len(samples) for samples, _ in parts) <= SORTED_MAX:
        return _sorted(parts)[ranks - 1]
    chosen = Selection([(samples.histogram, weight) for samples, weight in parts], ranks)
    while not chosen.done:
        for samples, weight in parts:
            for block in samples.blocks():
                chosen.take(block, weight)
        chosen.turn()
    return chosen.found


def _sorted(parts: list[tuple[Samples, int]]) -> Ints:
    """Return the pooled numbers of all parts in ascending order; a part of weight -1 removes its numbers."""
    added, taken = (
        np.sort(
            np.concatenate(
                [
                    np.zeros(0, np.int64),
                    *(b for samples, sign in parts if sign == weight for b in samples.blocks()),
                ]
            )
        )
        for weight in (1, -1)
    )
    if not len(taken):
        return added
    # Delete each number in `taken` from `added` as often as it occurs. Equal numbers are neighbours: both are sorted.
    numbers, counts = np.unique(taken, return_counts=True)
    first = np.searchsorted(added, numbers)
    within = np.arange(len(taken)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.delete(added, np.repeat(first, counts) + within)
