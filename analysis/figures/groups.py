"""Compare the latencies of channels and of workers: the largest groups, and the rest as one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.figures import samples
from analysis.figures.percentiles import POINTS, rank_of
from analysis.figures.samples import Store
from analysis.figures.selection import Histogram, Selection
from analysis.loading.run import Ints

#: Maximum number of groups shown separately (`GROUPS_MAX`), and number of points on each group's curve (`SHARES`).
GROUPS_MAX = 8
SHARES = 400


@dataclass(frozen=True)
class Group:
    """Deliveries of one channel or worker (`code`), or of all that are not shown separately (`code` None)."""

    code: int | None
    #: Number of channels or workers in the group.
    members: int
    count: int
    #: Quantiles of the latency at evenly spaced shares, from the smallest to the largest sample.
    at_shares: Ints
    #: The latency's percentiles at the points in `POINTS`, each the value of a sample (nearest rank).
    percentiles_ns: tuple[int, ...] = ()


class Groups:
    """The group of each sample, as a code (the number of its channel or worker), in the order of the stored samples."""

    def __init__(self, codes: Store) -> None:
        """Begin without samples; the codes of samples added later are stored in ``codes``."""
        self._codes = codes
        self._counts = np.zeros(1, dtype=np.int64)

    def add(self, codes: Ints) -> None:
        """Append the codes of further samples; the code -1 means that a sample belongs to no group."""
        if not len(codes):
            return
        counts = np.bincount(codes + 1)
        longest = max(len(counts), len(self._counts))
        self._counts = np.pad(self._counts, (0, longest - len(self._counts)))
        self._counts[: len(counts)] += counts
        self._codes.add(codes)

    def largest(self, latencies: Store) -> list[Group]:
        """Return the largest groups, and the rest as one group, or an empty list if there are fewer than two groups.

        ``latencies`` holds the samples to which the codes belong. Those without a group are left out.
        """
        counts = self._counts[1:]
        present = [int(number) for number in np.argsort(-counts, kind="stable") if counts[number]]
        if len(present) < 2:
            return []
        alone, rest = present[:GROUPS_MAX], present[GROUPS_MAX:]
        #: The group of each code, at index code + 1, so that code -1 has an entry too.
        group_of = np.full(len(self._counts), -1, dtype=np.int8)
        for number, code in enumerate(alone):
            group_of[code + 1] = number
        group_of[np.array(rest, dtype=np.int64) + 1] = len(alone)
        sizes = [int(counts[code]) for code in alone] + ([int(counts[rest].sum())] if rest else [])
        find = self._sorted if sum(sizes) <= samples.SORTED_MAX else self._selected
        codes: list[int | None] = [*alone, *([None] if rest else [])]
        found = []
        for its, size, at_ranks in zip(codes, sizes, find(latencies, group_of, sizes), strict=True):
            at = np.searchsorted(_ranks(size), _spaced(size)), np.searchsorted(_ranks(size), _points(size))
            shares, points = (at_ranks[places] for places in at)
            found.append(Group(its, len(rest) if its is None else 1, size, shares, tuple(points.tolist())))
        return found

    def _sorted(self, latencies: Store, group_of: npt.NDArray[np.int8], sizes: list[int]) -> list[Ints]:
        """Return each group's samples at the ranks in `_ranks`, by sorting all samples of the group."""
        pieces: list[list[npt.NDArray[Any]]] = [[] for _ in sizes]
        for number, values in self._by_group(latencies, group_of, len(sizes)):
            pieces[number].append(values.astype(np.int64))
        return [
            np.sort(np.concatenate(each))[_ranks(size) - 1] for each, size in zip(pieces, sizes, strict=True)
        ]

    def _selected(self, latencies: Store, group_of: npt.NDArray[np.int8], sizes: list[int]) -> list[Ints]:
        """Return each group's samples at the ranks in `_ranks`.

        Sorting all samples would take long, so only those close to a rank are sorted.
        """
        histograms = [Histogram() for _ in sizes]
        for number, values in self._by_group(latencies, group_of, len(sizes)):
            histograms[number].add(values)
        selections = [
            Selection([(histogram, 1)], _ranks(size))
            for histogram, size in zip(histograms, sizes, strict=True)
        ]
        while not all(selection.done for selection in selections):
            for number, values in self._by_group(latencies, group_of, len(sizes)):
                if not selections[number].done:
                    selections[number].take(values)
            for selection in selections:
                if not selection.done:
                    selection.turn()
        return [selection.found for selection in selections]

    def _by_group(
        self, latencies: Store, group_of: npt.NDArray[np.int8], count: int
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield (number of a group, some of its samples) until all samples of all groups were yielded."""
        for values, codes in zip(latencies.blocks(), self._codes.blocks(), strict=True):
            group = group_of[codes.astype(np.int64) + 1]
            for number in range(count):
                yield number, values[group == number]


def _ranks(count: int) -> Ints:
    """Return the ranks of the samples that describe a group of ``count`` samples, ascending."""
    return np.unique(np.concatenate((_spaced(count), _points(count))))


def _points(count: int) -> Ints:
    return np.array([rank_of(count, point) for point in POINTS], dtype=np.int64)


def _spaced(count: int) -> Ints:
    places = (np.linspace(0, 1, SHARES) * count).astype(np.int64)
    return np.minimum(places, count - 1) + 1
