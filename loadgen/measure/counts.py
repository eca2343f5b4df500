"""Counts how often each integer occurs in an array."""

import numpy as np
import numpy.typing as npt

#: Greatest difference between values for which bincount is used: its array is as long as this difference, and received
#: values may be arbitrarily far apart.
_NEAR = 100_000


def occurrences(values: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return [(value, count)], ordered by value."""
    if not len(values):
        return []
    least, greatest = int(values.min()), int(values.max())
    if greatest - least > _NEAR:
        found, counts = np.unique(values, return_counts=True)
        return list(zip(found.tolist(), counts.tolist(), strict=True))
    # bincount takes a tenth of the time that sorting takes.
    counted = np.bincount(values - least)
    places = np.flatnonzero(counted)
    return list(zip((places + least).tolist(), counted[places].tolist(), strict=True))
