"""A load curve: the rate of requests over time, its integral, and the inverse of that integral."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Point:
    """A corner of a load curve: ``at_ns`` after the start, the load is ``load`` times the nominal rate."""

    at_ns: int
    load: float


@dataclass(frozen=True, slots=True)
class _Segment:
    start_ns: int
    length_ns: float
    start_rate: float
    slope: float  # change of the rate, in requests per second².
    before: Fraction  # requests due before the segment begins.

    def requests_within(self, elapsed_ns: int) -> Fraction:
        seconds = Fraction(elapsed_ns, _NS_PER_S)
        return Fraction(self.start_rate) * seconds + Fraction(self.slope) * seconds * seconds / 2


class Curve:
    """A rate over time that is linear between points, and constant before the first and after the last.

    Two points at the same time form a step.
    """

    def __init__(self, rate_per_s: float, points: Sequence[Point]) -> None:
        """Scale the points' loads by ``rate_per_s``.

        Raises:
            ValueError: there is no point, a load or time is negative, or the points are not in order of time.
        """
        if not points:
            raise ValueError("a load curve needs at least one point")
        if any(point.load < 0 or point.at_ns < 0 for point in points):
            raise ValueError("a load curve's loads and times must not be negative")
        if any(later.at_ns < earlier.at_ns for earlier, later in pairwise(points)):
            raise ValueError("a load curve's points must be in order of time")
        self._segments = tuple(_segments(rate_per_s, points))
        self._before = [float(segment.before) for segment in self._segments]

    def requests_before(self, offset_ns: int) -> Fraction:
        """Return the integral of the rate from 0 to ``offset_ns``, in requests, without a rounding error."""
        segment = self._segments[bisect_right(self._segments, offset_ns, key=lambda each: each.start_ns) - 1]
        return segment.before + segment.requests_within(offset_ns - segment.start_ns)

    def offsets_ns(self, positions: Iterable[float]) -> Iterator[int]:
        """Yield, for each of the ascending ``positions``, the time (ns) at which the curve's integral passes it.

        Nothing is due while the rate is zero: a position that is reached when the rate falls to zero is due when the
        rate rises again. The iterator ends at the first position that the curve never passes.
        """
        last = len(self._segments) - 1
        current = -1
        upto = -math.inf
        latest_ns = 0
        segment = self._segments[0]
        start = 0.0
        for position in positions:
            if position >= upto:
                # Several segments can begin at the same number of requests, if no request is due in all but the last.
                # Take the last.
                current = bisect_right(self._before, position, lo=max(current, 0)) - 1
                segment = self._segments[current]
                start = self._before[current]
                upto = self._before[current + 1] if current < last else math.inf
                if segment.start_rate == 0 and segment.slope == 0:
                    return
            elapsed_ns = _time_for(position - start, segment.start_rate, segment.slope) * _NS_PER_S
            # Rounding may move the last request of a segment past the segment's end, or swap two requests that are
            # close together.
            elapsed_ns = min(elapsed_ns, segment.length_ns)
            if elapsed_ns == math.inf:
                return
            offset_ns = segment.start_ns + int(elapsed_ns)
            if offset_ns > latest_ns:
                latest_ns = offset_ns
            yield latest_ns


def _time_for(requests: float, rate: float, slope: float) -> float:
    """Solve ``rate·t + slope·t²/2 = requests`` for the smaller ``t`` (s), in a form that avoids cancellation."""
    if requests <= 0:
        return 0.0
    if slope == 0:
        return requests / rate
    both = rate + math.sqrt(max(0.0, rate * rate + 2 * slope * requests))
    return 2 * requests / both if both else math.inf


def _segments(rate_per_s: float, points: Sequence[Point]) -> Iterator[_Segment]:
    corners = [Point(0, points[0].load), *points]
    before = Fraction(0)
    for corner, following in pairwise(corners):
        length_ns = following.at_ns - corner.at_ns
        if length_ns == 0:
            continue
        start_rate = corner.load * rate_per_s
        slope = (following.load * rate_per_s - start_rate) / (length_ns / _NS_PER_S)
        segment = _Segment(corner.at_ns, length_ns, start_rate, slope, before)
        yield segment
        before += segment.requests_within(length_ns)
    yield _Segment(corners[-1].at_ns, math.inf, corners[-1].load * rate_per_s, 0.0, before)
