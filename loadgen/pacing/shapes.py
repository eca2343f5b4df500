"""Points of common load curves: steps, ramps, bursts, a daily cycle, and a recorded series."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from loadgen.pacing.curve import Point

#: Points of a daily cycle: one every 5 minutes of a day of 24 hours.
POINTS_A_DAY = 288


def steps(loads: Sequence[float], each_ns: int) -> tuple[Point, ...]:
    """Return the points of flat steps of equal length; consecutive steps of equal load are not merged."""
    points = []
    for number, load in enumerate(loads):
        points += [Point(number * each_ns, load), Point((number + 1) * each_ns, load)]
    return tuple(points)


def even_loads(first: float, last: float, count: int) -> tuple[float, ...]:
    """Return ``count`` (2 or more) evenly spaced loads from ``first`` to ``last``; both ends are exact."""
    inner = (first + (last - first) * number / (count - 1) for number in range(1, count - 1))
    return (first, *inner, last)


def bursts(
    base: float, peak: float, *, every_ns: int, lasting_ns: int, first_ns: int, until_ns: int
) -> tuple[Point, ...]:
    """Return the points of flat bursts from ``base`` to ``peak``: every burst that begins before ``until_ns``."""
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
    """Return the points of a repeated daily cycle: a raised cosine with its peak and its minimum half a day apart.

    ``load(t) = low + (peak − low) · (1 + cos(2π · (t/day + starts_at − peak_at))) / 2``, with t counted from the start;
    ``peak_at`` and ``starts_at`` are fractions of the day. The curve is linear between `POINTS_A_DAY` samples a day,
    which are counted from the peak so that the peak itself is a sample. The error of this linear interpolation is at
    most ``h²/8 · max|f''|`` [1], here ``(peak − low) · π² / (4 · 288²)``: 0.003 % of the swing.

    [1] K. Atkinson, An Introduction to Numerical Analysis, section 3.1.
    """
    length_ns = day_ns * days
    from_peak = starts_at - peak_at
    # Numbers of the first and last sample within the curve; sample 0 is at the peak. The curve's two ends, 0 and
    # `length_ns`, become points too.
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
    """Return the points of a recorded series of two or more rows.

    With ``flat``, the load stays constant from each row to the next, and the last row lasts as long as the one before
    it. Otherwise the load is linear between rows, and the series ends at the last row.
    """
    if not flat:
        return tuple(Point(at, load) for at, load in zip(at_ns, loads, strict=True))
    ends_ns = [*at_ns[1:], at_ns[-1] + (at_ns[-1] - at_ns[-2])]
    points: list[Point] = []
    for begin_ns, end_ns, load in zip(at_ns, ends_ns, loads, strict=True):
        points += [Point(begin_ns, load), Point(end_ns, load)]
    return tuple(points)


def load_at(points: Sequence[Point], at_ns: int) -> float:
    """Return the load of a curve at ``at_ns``; at a step, the load after it."""
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
    """Return True if the load changes only in steps."""
    return all(a.load == b.load or a.at_ns == b.at_ns for a, b in pairwise(points))
