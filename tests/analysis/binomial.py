"""The binomial distribution by `scipy.special`: `scipy.stats` takes a second to load, in each process that needs it."""

import math

from scipy import special


def quantile(share: float, count: int, rate: float) -> int:
    """Return the ``share`` quantile of the number of successes in ``count`` trials of probability ``rate``.

    It is the least n for which the probability of at most n successes is at least ``share``.
    """
    found = max(0, math.ceil(float(special.bdtrik(share, count, rate))) - 1)
    while special.bdtr(found, count, rate) < share:
        found += 1
    return found
