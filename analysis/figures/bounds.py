"""Percentiles of samples whose true values are known only as intervals, and bounds on the true percentiles.

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

from analysis.figures.percentiles import rank_of, ranks_of_curve
from analysis.figures.samples import AtRanks, Samples, at_ranks, ranks_of_figures
from analysis.loading.room import Room
from analysis.loading.run import Ints

Floats = npt.NDArray[np.float64]


class Between(NamedTuple):
    """A figure with the two ends of its error interval; an end is None if it is not known."""

    low: float | None
    value: float
    high: float | None


class End:
    """One end (low or high) of the intervals of all samples.

    Only samples that differ from this end of their interval are stored, together with that end.
    """

    def __init__(self, room: Room) -> None:
        self._away, self._to = Samples(room), Samples(room)
        self._known = AtRanks()

    def __len__(self) -> int:
        """Return the number of samples that differ from this end."""
        return len(self._to)

    def add(self, values: Ints, to: Ints) -> None:
        """Add samples: ``values``, and in ``to`` for each of them this end of its interval."""
        moved = to != values
        if not moved.all():
            values, to = values[moved], to[moved]
        self._away.add(values)
        self._to.add(to)
        self._known.clear()

    @property
    def shift(self) -> int:
        """Sum of (end − sample) over all samples, from which the mean of the ends follows."""
        return self._to.total - self._away.total

    def at_ranks(self, samples: Samples, ranks: Ints) -> Ints:
        """Return the value at each rank (from 1) among this end's values for all ``samples``; cache what was found."""
        parts = [(samples, 1), (self._away, -1), (self._to, 1)]
        return self._known.get(ranks, lambda missing: at_ranks(parts, missing))


class Collector:
    """Collects samples, each with the lowest and the highest value that the true one may have."""

    def __init__(self, known: bool = True, room: Room | None = None) -> None:
        """``known`` is False if the samples' error intervals are not known; ``room`` limits the memory used."""
        self._known = known
        room = Room() if room is None else room
        #: The samples so far.
        self.samples = Samples(room)
        self._low, self._high = End(room), End(room)

    def add(self, values: Ints, early: Ints | None = None, late: Ints | None = None) -> None:
        """Add samples; each true value may be ``early`` lower or ``late`` higher than its sample (None means zero)."""
        self.samples.add(values)
        if self._known and early is not None:
            self._low.add(values, values - early)
        if self._known and late is not None:
            self._high.add(values, values + late)

    def done(self) -> "Bounded":
        """Return the samples and their ends."""
        low, high = (end if len(end) else None for end in (self._low, self._high))
        return Bounded(self.samples, low, high, self._known)


@dataclass(frozen=True)
class Bounded:
    """Samples, each with an interval that holds the true value.

    ``low`` holds the lower ends and ``high`` the upper ends; each is None if all those ends equal their samples. If the
    intervals are unknown, ``known`` is False and both are None.
    """

    samples: Samples
    low: End | None = None
    high: End | None = None
    known: bool = True

    @classmethod
    def of(
        cls, values: Ints, early: Ints | None = None, late: Ints | None = None, known: bool = True
    ) -> Self:
        """Return the samples, given in any order, with their error bounds; see `Collector.add` for the arguments."""
        collector = Collector(known)
        collector.add(values, early, late)
        found = collector.done()
        return cls(found.samples, found.low, found.high, found.known)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def at_rank(self, rank: int) -> Between:
        """Return the sample at a rank (1 is the smallest), with the bounds on the true value."""
        value = int(self.samples.at_ranks(np.array([rank]))[0])
        low, high = (self._end_at(end, np.array([rank]), value) for end in (self.low, self.high))
        return self._between(low, value, high)

    def percentile(self, percent: float) -> Between:
        """Return a percentile with its low and high end; needs at least one sample."""
        return self.at_rank(rank_of(len(self), percent))

    def mean(self) -> Between:
        """Return the mean with its low and high end; needs at least one sample."""
        value = self.samples.mean
        low, high = (value if end is None else value + end.shift / len(self) for end in (self.low, self.high))
        return self._between(low, value, high)

    def percentiles(self) -> dict[str, Any]:
        """Return the fields of `Percentiles`, with those of both ends as `low` and `high` (None if unknown)."""
        values = self.samples.percentiles()
        return {**values.to_dict(), "low": self._fields(self.low), "high": self._fields(self.high)}

    def curve(self) -> tuple[Floats, Ints] | None:
        """Return points of a percentile curve, or None if there are fewer than two samples.

        As from `percentiles.curve`, a point is a value and the fraction of samples at or above it: (fractions, values).
        """
        if len(self) < 2:
            return None
        above, ranks = ranks_of_curve(len(self))
        return above, self.samples.at_ranks(ranks)

    def foresee_curve(self) -> None:
        """Find all values that `percentiles`, `curve` and `curve_of` will need, in a single reading of the samples."""
        if len(self) < 2:
            return
        ranks = np.concatenate((ranks_of_figures(len(self)), ranks_of_curve(len(self))[1]))
        self.samples.at_ranks(ranks)
        for end in (self.low, self.high):
            if end is not None:
                end.at_ranks(self.samples, ranks)

    def curve_of(self, end: End | None) -> Ints | None:
        """Return the percentile curve of one end (`low` or `high`) of the samples' error intervals.

        Return None if it equals the curve of the samples, or if the errors are unknown.
        """
        if end is None or not self.known or len(self) < 2:
            return None
        return end.at_ranks(self.samples, ranks_of_curve(len(self))[1])

    def _fields(self, end: End | None) -> dict[str, Any] | None:
        if not self.known or not len(self):
            return None
        ranks = ranks_of_figures(len(self))
        at = self.samples.at_ranks(ranks) if end is None else end.at_ranks(self.samples, ranks)
        mean = self.samples.mean + (end.shift / len(self) if end is not None else 0.0)
        names = ("min", "p50", "p90", "p99", "p999", "max")
        return {**dict(zip(names, map(int, at), strict=True)), "mean": mean}

    def _end_at(self, end: End | None, rank: Ints, value: float) -> float:
        return value if end is None else float(end.at_ranks(self.samples, rank)[0])

    def _between(self, low: float, value: float, high: float) -> Between:
        return Between(low, value, high) if self.known else Between(None, value, None)
