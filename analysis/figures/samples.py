"""Keep any number of samples in bounded memory, and find the exact sample at any rank.

Samples are appended to a store: in memory at first, and then in a temporary file (see `analysis.loading.room`). Sorting
them would take most of the time of a large report, and all of them in memory. So they are counted in narrow buckets
when they are added. To find the samples at some ranks, the store is read again and only the samples in those ranks'
buckets are sorted (see `analysis.figures.selection`).
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
    """Remembers which number stands at which rank, since finding any means reading all samples again."""

    def __init__(self) -> None:
        self._at: dict[int, int] = {}

    def get(self, ranks: Ints, find: Callable[[Ints], Ints]) -> Ints:
        """Return the numbers at ``ranks``; ``find`` is called with those that are not known yet, if any."""
        wanted = ranks.tolist()
        missing = sorted({rank for rank in wanted if rank not in self._at})
        if missing:
            found = find(np.array(missing, dtype=np.int64))
            self._at.update(zip(missing, found.tolist(), strict=True))
        return np.array([self._at[rank] for rank in wanted], dtype=np.int64)

    def clear(self) -> None:
        """Forget all numbers, since there are further samples."""
        self._at.clear()


class Samples:
    """Integers, with their count, sum and extremes, and the integer at each rank."""

    def __init__(self, room: Room | None = None) -> None:
        self.store = Store(room)
        self.histogram = Histogram()
        self._total = self._negative = 0
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
        self.histogram.add(self.store.add(values))
        self._total += int(values.sum(dtype=np.int64))
        self._negative += int(np.count_nonzero(values < 0))
        self._known.clear()

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.histogram.count

    def blocks(self) -> Iterator[Numbers]:
        """Yield the samples in the order in which they were added."""
        return self.store.blocks()

    @property
    def total(self) -> int:
        """The sum."""
        return self._total

    @property
    def mean(self) -> float:
        """The mean of at least one sample."""
        return self._total / len(self)

    def at_ranks(self, ranks: Ints) -> Ints:
        """Return the samples at ranks from 1 on, the smallest sample being at rank 1.

        All samples are read once: ask for several ranks at a time. What was found is remembered.
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
    """Return the ranks of minimum, percentiles and maximum among ``count`` samples, of which one is needed."""
    return np.array([1, *(rank_of(count, percent) for percent in POINTS), count], dtype=np.int64)


def at_ranks(parts: list[tuple[Samples, int]], ranks: Ints) -> Ints:
    """Return the numbers at ranks from 1 on of several samples together.

    Each part has the weight 1, or -1 if its numbers are to be taken away from those of the other parts.
    """
    chosen = Selection([(samples.histogram, weight) for samples, weight in parts], ranks)
    while not chosen.done:
        for samples, weight in parts:
            for block in samples.blocks():
                chosen.take(block, weight)
        chosen.turn()
    return chosen.found
