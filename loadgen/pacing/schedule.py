"""The due times of each client's publish requests, as offsets from the start."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from itertools import count
from random import Random

from loadgen.pacing.curve import Curve, Point

_NS_PER_S = 1_000_000_000


class Arrival(StrEnum):
    """The arrival process: how requests are spread over time at a given mean rate."""

    CONSTANT = "constant"
    POISSON = "poisson"
    BURSTS = "bursts"


@dataclass(frozen=True)
class Pace:
    """The offered load of a whole group of clients.

    Args:
        requests_per_s: publish requests per second of the whole group; above 0.
        arrival: how the requests are spread over time.
        burst: requests that one client sends at once; 1 unless ``arrival`` is bursts.
        curve: points of a load curve, as multiples of ``requests_per_s``; empty for a steady load.
    """

    requests_per_s: float
    arrival: Arrival = Arrival.CONSTANT
    burst: int = 1
    curve: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        if not (self.requests_per_s > 0 and math.isfinite(self.requests_per_s)):
            raise ValueError(f"requests_per_s must be above 0, not {self.requests_per_s!r}")
        if self.burst < 1:
            raise ValueError(f"burst must be at least 1, not {self.burst}")
        if self.burst > 1 and self.arrival is not Arrival.BURSTS:
            raise ValueError(f"burst has no meaning with {self.arrival} arrival")

    @cached_property
    def integral(self) -> Curve:
        """The load curve in requests per second; cached, because many clients share a curve that may be long."""
        return Curve(self.requests_per_s, self.curve or (Point(0, 1.0),))


def offsets_ns(pace: Pace, *, clients: int, index: int, seed: int | str, duration_ns: int) -> Iterator[int]:
    """Yield the due time of each publish request of client ``index`` of ``clients``, in ns after the start.

    The offsets ascend (a burst repeats its offset) and stay below ``duration_ns``.

    With constant arrival, requests are numbered over the whole group: client k takes every ``clients``-th request from
    the k-th on, so that the group's requests are exactly evenly spaced. Each offset is computed from the request's
    number, so rounding errors do not add up. Poisson gaps are summed in units of requests, with compensation, and only
    then converted to time. ``seed`` affects Poisson arrival only; give each group a different one.

    Raises:
        ValueError: ``index`` is not from 0 to ``clients`` - 1.
    """
    if not 0 <= index < clients:
        raise ValueError(f"client index must be in 0..{clients - 1}, not {index}")
    if pace.arrival is Arrival.POISSON:
        times = _timed(pace, _poisson_positions(clients, Random(f"{seed}/arrival/{index}")))
    elif pace.curve:
        times = _timed(pace, (float(number) for number in count(index * pace.burst, clients * pace.burst)))
    else:
        times = _even_times(pace.requests_per_s, index * pace.burst, clients * pace.burst)
    return _within(times, pace.burst, duration_ns)


def request_count(pace: Pace, duration_ns: int) -> int:
    """Return how many requests of the group are due before ``duration_ns``; for Poisson arrival, the mean number."""
    if pace.curve:
        due = pace.integral.requests_before(duration_ns)
    else:
        due = Fraction(pace.requests_per_s) * duration_ns / _NS_PER_S
    return math.ceil(due / pace.burst) * pace.burst


def _even_times(requests_per_s: float, first: int, step: int) -> Iterator[int]:
    """Yield ``floor(number / rate)`` in ns for the requests ``first``, ``first + step``, ….

    The values are exact, because only integers are used.
    """
    rate = Fraction(requests_per_s)
    scale = rate.denominator * _NS_PER_S
    divisor = rate.numerator
    return (position // divisor for position in count(first * scale, step * scale))


def _timed(pace: Pace, positions: Iterator[float]) -> Iterator[int]:
    return pace.integral.offsets_ns(positions)


def _poisson_positions(clients: int, random: Random) -> Iterator[float]:
    """Yield the positions of one client's requests in a Poisson process.

    The unit is the mean distance between two requests of the group.
    """
    draw, log = random.random, math.log
    total = 0.0
    lost = 0.0  # rounding error of the sum so far (Kahan summation)
    while True:
        # random.expovariate is not used, since Python does not guarantee its algorithm across versions.
        gap = -log(1.0 - draw()) * clients - lost
        following = total + gap
        lost = (following - total) - gap
        total = following
        yield total


def _within(times: Iterator[int], burst: int, duration_ns: int) -> Iterator[int]:
    for time_ns in times:
        if time_ns >= duration_ns:
            return
        for _ in range(burst):
            yield time_ns
