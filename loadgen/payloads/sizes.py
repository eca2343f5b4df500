"""Sizes of events: drawn from a log-normal distribution, and summed up for planning."""

import math
from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from loadgen.payloads.plans import Sizes, SizeShare

#: Quantile of the standard normal distribution at 99 %.
_Z99: Final = 2.3263478740408408
#: Planning divides sizes into cells of this width, and counts all sizes in a cell as their mean. No service meters in
#: smaller units.
_CELL_BYTES: Final = 1024


def sigma_of(sizes: Sizes) -> float:
    """Return the standard deviation of the sizes' logarithms."""
    return math.log(sizes.p99_bytes / sizes.p50_bytes) / _Z99


def drawn(sizes: Sizes, seed: str) -> Callable[[], int]:
    """Return a function that draws the next size in bytes; larger values than the maximum become the maximum.

    Only `Random.random()` with a text as seed is used, because Python guarantees its sequence across versions.
    """
    draw = Random(seed).random
    mean, sigma, most = math.log(sizes.p50_bytes), sigma_of(sizes), sizes.most_bytes

    def next_size() -> int:
        # Box and Muller's transform; 1 - random() is never 0.
        normal = math.sqrt(-2 * math.log(1 - draw())) * math.cos(2 * math.pi * draw())
        exponent = mean + sigma * normal
        return most if exponent >= math.log(most) else max(1, round(math.exp(exponent)))

    return next_size


def shares_of_draws(sizes: Sizes, least_bytes: int) -> tuple[SizeShare, ...]:
    """Return the shares of drawn sizes by cells of 1 KiB; no event is smaller than ``least_bytes``.

    The mean of a cell is that of the distribution within it: (Φ(b−σ) − Φ(a−σ)) · e^(μ+σ²/2) / (Φ(b) − Φ(a)), where a
    and b are the standardised logarithms of the cell's ends.
    """
    mean, sigma = math.log(sizes.p50_bytes), sigma_of(sizes)
    if sigma == 0:
        return (SizeShare(float(max(least_bytes, sizes.p50_bytes)), 1.0),)
    found = []
    low = 0
    while low < sizes.most_bytes:
        high = min(low + _CELL_BYTES, sizes.most_bytes)
        begin = -math.inf if low == 0 else (math.log(low) - mean) / sigma
        end = (math.log(high) - mean) / sigma
        share = _phi(end) - _phi(begin)
        if share > 1e-12:
            partial = _phi(end - sigma) - _phi(begin - sigma)
            size = partial * math.exp(mean + sigma * sigma / 2) / share
            found.append((max(float(least_bytes), min(size, float(high))), share))
        low = high
    beyond = 1 - _phi((math.log(sizes.most_bytes) - mean) / sigma)
    if beyond > 1e-12:
        found.append((float(sizes.most_bytes), beyond))
    total = sum(share for _, share in found)
    return tuple(SizeShare(size, share / total) for size, share in found)


def shares_of(sizes: Iterable[tuple[int, float]]) -> tuple[SizeShare, ...]:
    """Return the shares of (size, weight) pairs by cells of 1 KiB; the weighted mean size stays exact."""
    cells: dict[int, list[float]] = {}
    total = 0.0
    for size, weight in sizes:
        if weight <= 0:
            continue
        cell = cells.setdefault(-(-size // _CELL_BYTES), [0.0, 0.0])
        cell[0] += size * weight
        cell[1] += weight
        total += weight
    return tuple(
        SizeShare(weighed / weight, weight / total) for _, (weighed, weight) in sorted(cells.items())
    )


def mean_of(shares: Iterable[SizeShare]) -> float:
    """Return the mean size in bytes."""
    return sum(each.bytes * each.share for each in shares)


def _phi(value: float) -> float:
    """Return the standard normal distribution's probability of at most ``value``."""
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))
