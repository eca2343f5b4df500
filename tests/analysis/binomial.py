"""The binomial distribution by `scipy.special`: `scipy.stats` takes a second to load, in each process that needs it."""

import math

from scipy import special


def quantile(share: float, count: int, rate: float) -> int:
    """Return the ``share`` quantile of the successes in ``count`` trials, of which each succeeds at ``rate``.

    This is the least number that is not exceeded with a probability of at least ``share``.
    """
    found = max(0, math.ceil(float(special.bdtrik(share, count, rate))) - 1)
    while special.bdtr(found, count, rate) < share:
        found += 1
    return found
