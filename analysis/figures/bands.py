"""Percentiles of latency in each second."""

import numpy as np

from analysis.figures.percentiles import rank_of
from analysis.loading.lookup import grouping
from analysis.loading.room import narrow
from analysis.loading.run import Ints

#: The percentiles that are computed for each second; 100 is the maximum.
BANDS = (50, 90, 99, 100)


def by_second(second: Ints, latency_ns: Ints) -> tuple[Ints, dict[int, Ints]]:
    """Return the seconds that have samples, and the percentiles of latency in each of these seconds."""
    if not len(second):
        return second, dict.fromkeys(BANDS, second)
    first = int(second.min())
    counts = np.bincount(second - first)
    present = np.flatnonzero(counts)
    counts = counts[present]
    # Narrow the samples first: numpy selects twice as fast among numbers of half the size.
    samples = narrow(latency_ns)[grouping(second - first)]
    bands_ns = {percent: np.empty(len(present), dtype=np.int64) for percent in BANDS}
    for place, group in enumerate(np.split(samples, np.cumsum(counts)[:-1])):
        done = 0
        for percent in BANDS:
            # The previous percentile's partition moved the smaller samples to the front: look only among the rest.
            rank = rank_of(len(group), percent) - 1
            rest = group[done:]
            rest.partition(rank - done)
            bands_ns[percent][place], done = rest[rank - done], rank
    return present + first, bands_ns


def joined(seconds: list[Ints], bands_ns: list[dict[int, Ints]]) -> tuple[Ints, dict[int, Ints]]:
    """Return the seconds and percentiles of several slices in the order of the seconds."""
    together = np.concatenate(seconds)
    order = np.argsort(together, kind="stable")
    return together[order], {
        percent: np.concatenate([part[percent] for part in bands_ns])[order] for percent in BANDS
    }
