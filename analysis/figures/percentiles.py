"""Percentiles of raw samples.

The p-th percentile is the smallest sample that at least p % of all samples do not exceed: the nearest rank, or inverted
empirical distribution, as in HDR histograms. It is always a measured value. Percentiles are computed from all samples
and never from other percentiles.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from analysis.loading.run import Ints

POINTS = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True)
class Percentiles:
    """Reported figures of a set of samples, in nanoseconds; without samples all but the counts are None."""

    count: int
    #: Number of samples below zero, which come from clocks or stamps that disagree. They are included.
    negative: int
    min: int | None = None
    p50: int | None = None
    p90: int | None = None
    p99: int | None = None
    p999: int | None = None
    max: int | None = None
    mean: float | None = None

    @classmethod
    def of(cls, values: Ints) -> Self:
        """Compute the percentiles of samples in any order."""
        return cls.of_sorted(np.sort(values))

    @classmethod
    def of_sorted(cls, ordered: npt.NDArray[Any]) -> Self:
        """Compute the percentiles of sorted samples, of any integer type."""
        if not len(ordered):
            return cls(0, 0)
        p50, p90, p99, p999 = (nearest_rank(ordered, p) for p in POINTS)
        return cls(
            count=len(ordered),
            negative=int(np.searchsorted(ordered, 0, side="left")),
            min=int(ordered[0]),
            p50=p50,
            p90=p90,
            p99=p99,
            p999=p999,
            max=int(ordered[-1]),
            mean=float(ordered.mean()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def nearest_rank(ordered: Ints, percent: float) -> int:
    """Return a percentile of samples in ascending order; there must be at least one."""
    return int(ordered[rank_of(len(ordered), percent) - 1])


def rank_of(count: int, percent: float) -> int:
    """Return the rank of a percentile among ``count`` samples: its place in ascending order, from 1 on."""
    # The small term makes up for the rounding error of binary fractions: 99.9 % of 1000 must give rank 999.
    rank = math.ceil(percent / 100 * count - 1e-9)
    return min(max(rank, 1), count)


def curve(ordered: Ints, points: int = 400) -> tuple[np.ndarray[Any, Any], Ints]:
    """Return points of a percentile curve of sorted samples: (fractions of samples at or above the value, values).

    The fractions fall from 1 to 1/n for n samples, evenly spaced on a logarithmic axis. So a plot gives each nine
    (90 %, 99 %, ...) equal room.
    """
    above, ranks = ranks_of_curve(len(ordered), points)
    return above, ordered[ranks - 1]


def ranks_of_curve(count: int, points: int = 400) -> tuple[np.ndarray[Any, Any], Ints]:
    """Return two arrays for the points of a curve of ``count`` samples: fractions of samples, and ranks.

    A fraction is the share of samples at or above the point. A rank is the point's number, from 1 on, in ascending
    order of the samples.
    """
    above = np.geomspace(1.0, 1.0 / count, points)
    return above, np.clip(np.ceil((1 - above) * count - 1e-9).astype(np.int64), 1, count)
