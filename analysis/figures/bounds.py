"""Samples with intervals that hold the true values: percentiles of the samples, and of the intervals' ends.

If each true value lies between a low and a high end, each true percentile lies between the percentile of all low ends
and that of all high ends, because percentiles are order statistics. The same holds for mean, minimum and maximum. Most
samples of most runs are exact, so only ends that differ from the sample are stored.

The ends of a sample are the lowest and the highest value that the true one may have. A rank is a place in ascending
order, counted from 1.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from analysis.figures.percentiles import POINTS, Percentiles, curve, rank_of, ranks_of_curve
from analysis.loading.run import Ints

Numbers = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
_KINDS: tuple[type[np.signedinteger[Any]], ...] = (np.int8, np.int16, np.int32, np.int64)


class Between(NamedTuple):
    """A figure with the two ends of its interval; an end is None if it is not known."""

    low: float | None
    value: float
    high: float | None


class Samples:
    """A growing array of integers in the smallest type that holds all of them."""

    def __init__(self, most: int) -> None:
        # Make room for all samples at once: pages of np.empty that are never written take no memory.
        self._values: Numbers = np.empty(most, dtype=np.int8)
        self._count = 0

    def add(self, values: Ints) -> None:
        """Append values."""
        if not len(values):
            return
        low, high = int(values.min()), int(values.max())
        kind = next(kind for kind in _KINDS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
        if np.dtype(kind).itemsize > self._values.dtype.itemsize:
            wider = np.empty(len(self._values), dtype=kind)
            wider[: self._count] = self._values[: self._count]
            self._values = wider
        self._values[self._count : self._count + len(values)] = values
        self._count += len(values)

    def all(self) -> Numbers:
        """Return the values in the order in which they were added."""
        return self._values[: self._count]


@dataclass(frozen=True)
class End:
    """One end (low or high) of the intervals of all samples, stored as the samples that differ from it.

    ``away`` holds these samples and ``to`` their ends; both are sorted and of one length. ``away`` is None if all
    samples differ.
    """

    away: Numbers | None
    to: Numbers
    #: Sum of (end − sample) over all samples, from which the mean of the ends follows.
    shift: float

    def at_ranks(self, ordered: Numbers, ranks: Ints) -> Ints:
        """Return the ends at these ranks (from 1) among all ends, given all samples sorted in ``ordered``."""
        if self.away is None:
            at: Ints = self.to[ranks - 1].astype(np.int64)
            return at
        # Binary search, for all ranks at once, for the least value that at least `rank` numbers do not exceed.
        low = np.full(len(ranks), min(int(ordered[0]), int(self.to[0])), dtype=np.int64)
        high = np.full(len(ranks), max(int(ordered[-1]), int(self.to[-1])), dtype=np.int64)
        while (low < high).any():
            middle = low + (high - low) // 2
            count = _up_to(ordered, middle) - _up_to(self.away, middle) + _up_to(self.to, middle)
            enough = count >= ranks
            high, low = np.where(enough, middle, high), np.where(enough, low, middle + 1)
        return low


def _up_to(ordered: Numbers, values: Ints) -> Ints:
    """Return for each value the number of sorted numbers that do not exceed it."""
    # Search in the numbers' own type: with mixed types numpy would copy them all.
    edges = np.iinfo(ordered.dtype)
    clipped = np.clip(values, edges.min, edges.max).astype(ordered.dtype)
    found: Ints = np.searchsorted(ordered, clipped, side="right")
    return np.where(values < edges.min, 0, found)


class _Moved:
    """Collects the low or the high ends of the intervals while samples are added."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._away: Samples | None = None
        self._to = Samples(most)
        self._shift = 0.0

    def add(self, values: Ints, to: Ints | None, before: Numbers) -> None:
        """Add samples with their ends, or None if these equal the samples; ``before`` holds all earlier samples."""
        if not len(values):
            return
        moved = None if to is None else to != values
        if self._away is None and (moved is None or not moved.all()):
            self._away = Samples(self._most)
            if len(self._to.all()):
                self._away.add(before.astype(np.int64))
        if to is None or moved is None or not moved.any():
            return
        self._shift += float((to - values).sum(dtype=np.float64))
        self._to.add(to[moved])
        if self._away is not None:
            self._away.add(values[moved])

    def done(self) -> End | None:
        """Return the collected (low or high) ends of the intervals, or None if every end equals its sample."""
        to = self._to.all()
        if not len(to):
            return None
        to.sort()
        if self._away is None:
            return End(None, to, self._shift)
        away = self._away.all()
        away.sort()
        return End(away, to, self._shift)


class Collector:
    """Collects samples, each with the lowest and the highest value that the true one may have."""

    def __init__(self, most: int, known: bool = True) -> None:
        """Make room for ``most`` samples; ``known`` is False if the intervals are not known."""
        self._known = known
        self._values = Samples(most)
        self._low, self._high = _Moved(most), _Moved(most)

    def add(self, values: Ints, early: Ints | None = None, late: Ints | None = None) -> None:
        """Add samples; each true value may be ``early`` lower or ``late`` higher than its sample (None means zero)."""
        before = self._values.all()
        if self._known:
            self._low.add(values, None if early is None else values - early, before)
            self._high.add(values, None if late is None else values + late, before)
        self._values.add(values)

    def values(self) -> Numbers:
        """Return the samples in the order in which they were added."""
        return self._values.all()

    def done(self) -> "Bounded":
        """Return the samples and their ends; sorts the samples in place."""
        values = self._values.all()
        values.sort()
        return Bounded(values, self._low.done(), self._high.done(), self._known)


@dataclass(frozen=True)
class Bounded:
    """Sorted samples, each with an interval that holds the true value.

    ``low`` holds the lower ends and ``high`` the upper ends; each is None if all those ends equal their samples. If the
    intervals are unknown, ``known`` is False and both are None.
    """

    ordered: Numbers
    low: End | None = None
    high: End | None = None
    known: bool = True

    @classmethod
    def of(
        cls, values: Ints, early: Ints | None = None, late: Ints | None = None, known: bool = True
    ) -> Self:
        """Build from samples in any order; see `Collector.add`."""
        collector = Collector(len(values), known)
        collector.add(values, early, late)
        found = collector.done()
        return cls(found.ordered, found.low, found.high, found.known)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.ordered)

    def at_rank(self, rank: int) -> Between:
        """Return the sample at a rank (1 is the smallest), with the bounds on the true value."""
        value = int(self.ordered[rank - 1])
        low, high = (self._end_at(end, np.array([rank]), value) for end in (self.low, self.high))
        return self._between(low, value, high)

    def percentile(self, percent: float) -> Between:
        """Return a percentile with its low and high end; needs at least one sample."""
        return self.at_rank(rank_of(len(self), percent))

    def mean(self) -> Between:
        """Return the mean with its low and high end; needs at least one sample."""
        value = float(self.ordered.mean())
        low, high = (value if end is None else value + end.shift / len(self) for end in (self.low, self.high))
        return self._between(low, value, high)

    def percentiles(self) -> dict[str, Any]:
        """Return the fields of `Percentiles`, with those of both ends as `low` and `high` (None if unknown)."""
        values = Percentiles.of_sorted(self.ordered)
        return {**values.to_dict(), "low": self._fields(self.low), "high": self._fields(self.high)}

    def curve(self) -> tuple[Floats, Ints] | None:
        """Return `percentiles.curve`, or None if there are fewer than two samples."""
        return curve(self.ordered) if len(self) > 1 else None

    def curve_of(self, end: End | None) -> Ints | None:
        """Return the curve of the low or the high ends, or None if it equals the samples' curve or is not known."""
        if end is None or not self.known or len(self) < 2:
            return None
        return end.at_ranks(self.ordered, ranks_of_curve(len(self))[1])

    def _fields(self, end: End | None) -> dict[str, Any] | None:
        if not self.known or not len(self):
            return None
        ranks = np.array([1, *(rank_of(len(self), p) for p in POINTS), len(self)])
        at = self.ordered[ranks - 1] if end is None else end.at_ranks(self.ordered, ranks)
        mean = float(self.ordered.mean()) + (end.shift / len(self) if end is not None else 0.0)
        names = ("min", "p50", "p90", "p99", "p999", "max")
        return {**dict(zip(names, map(int, at), strict=True)), "mean": mean}

    def _end_at(self, end: End | None, rank: Ints, value: float) -> float:
        return value if end is None else float(end.at_ranks(self.ordered, rank)[0])

    def _between(self, low: float, value: float, high: float) -> Between:
        return Between(low, value, high) if self.known else Between(None, value, None)
