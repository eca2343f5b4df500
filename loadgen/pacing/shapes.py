"""The usual load curves as points: steps, a ramp, bursts, the rhythm of a day, and a recorded series."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from loadgen.pacing.curve import Point

#: Points of a day's curve: one every 5 minutes of the day.
POINTS_A_DAY = 288


def steps(loads: Sequence[float], each_ns: int) -> tuple[Point, ...]:
    """Return the points of flat steps of one length; two steps of one load are two steps all the same."""
    points = []
    for number, load in enumerate(loads):
        points += [Point(number * each_ns, load), Point((number + 1) * each_ns, load)]
    return tuple(points)


def even_loads(first: float, last: float, count: int) -> tuple[float, ...]:
    """Return ``count`` loads (2 or more) from the first to the last in even strides; both ends are exact."""
    inner = (first + (last - first) * number / (count - 1) for number in range(1, count - 1))
    return (first, *inner, last)


def bursts(
    base: float, peak: float, *, every_ns: int, lasting_ns: int, first_ns: int, until_ns: int
) -> tuple[Point, ...]:
    """Return the points of flat bursts from one load to another, with all that begin before ``until_ns``."""
    points = [Point(0, base)] if first_ns > 0 else []
    for begin_ns in range(first_ns, until_ns, every_ns):
        end_ns = begin_ns + lasting_ns
        if begin_ns > 0:
            points.append(Point(begin_ns, base))
        points += [Point(begin_ns, peak), Point(end_ns, peak), Point(end_ns, base)]
    return tuple(points) or (Point(0, base),)


def daily(
    low: float, peak: float, *, day_ns: int, peak_at: float, starts_at: float, days: int
) -> tuple[Point, ...]:
    """Return the points of a day that repeats: a raised cosine, highest once a day and lowest half a day away.

    ``load(t) = low + (peak − low) · (1 + cos(2π · (t/day + starts_at − peak_at))) / 2``, t from the start; ``peak_at``
    and ``starts_at`` are shares of the day. It is sampled every 5 minutes of the day, counted from the peak, which is a
    sample therefore, and linear between. A chord of a cosine leaves it by at most ``h²/8 · max|f''|`` [1], which is
    ``(peak − low) · π² / (4 · 288²)``: 0.003 % of the swing.

    [1] The error of linear interpolation; K. Atkinson, An Introduction to Numerical Analysis, section 3.1.
    """
    length_ns = day_ns * days
    from_peak = starts_at - peak_at
    # The samples' numbers, from the peak on; half a sample or less from an end the end itself stands for them.
    first = math.ceil(from_peak * POINTS_A_DAY)
    last = math.floor((from_peak + days) * POINTS_A_DAY)
    at_ns = {0, length_ns}
    at_ns.update(
        min(max(round((number / POINTS_A_DAY - from_peak) * day_ns), 0), length_ns)
        for number in range(first, last + 1)
    )
    return tuple(
        Point(at, low + (peak - low) * (1 + math.cos(2 * math.pi * (at / day_ns + from_peak))) / 2)
        for at in sorted(at_ns)
    )


def series(at_ns: Sequence[int], loads: Sequence[float], *, flat: bool) -> tuple[Point, ...]:
    """Return the points of a recorded series of two or more rows: flat from row to row, or linear between rows.

    Flat, the last row holds as long as the one before it did; linear, the series ends with its last row.
    """
    if not flat:
        return tuple(Point(at, load) for at, load in zip(at_ns, loads, strict=True))
    ends_ns = [*at_ns[1:], at_ns[-1] + (at_ns[-1] - at_ns[-2])]
    points: list[Point] = []
    for begin_ns, end_ns, load in zip(at_ns, ends_ns, loads, strict=True):
        points += [Point(begin_ns, load), Point(end_ns, load)]
    return tuple(points)


def load_at(points: Sequence[Point], at_ns: int) -> float:
    """Return the load of a curve at a time; at a step the load after it."""
    place = bisect_left(points, at_ns + 1, key=lambda point: point.at_ns)
    if place == 0:
        return points[0].load
    before = points[place - 1]
    if place == len(points):
        return before.load
    after = points[place]
    share = (at_ns - before.at_ns) / (after.at_ns - before.at_ns)
    return before.load + (after.load - before.load) * share


def is_flat(points: Sequence[Point]) -> bool:
    """Return whether the load changes by steps alone."""
    return all(a.load == b.load or a.at_ns == b.at_ns for a, b in pairwise(points))
