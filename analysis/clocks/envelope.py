"""Compute upper and lower bounds on the offset between two clocks over time, from bounds at single moments.

The given bounds, called points, come from pings. Between two points, the offset changes at a rate within a credible
range. Times are nanoseconds. Rates are dimensionless (1e-6 is one part per million). Only numpy is needed.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: A kernel slews its clock by at most 500 ppm: NTP_MAXFREQ in Linux's include/linux/timex.h, MAXFREQ in RFC 5905.
SLEW: Final = 500e-6
#: Largest rate at which the offset between two clocks changes if both are slewed, in opposite directions.
PART: Final = 2 * SLEW
#: Largest deviation of the rate between two steady (never slewed) clocks from its mean over a run. A quartz crystal's
#: rate changes by less than 1 ppm per degree Celsius, so each of the two crystals may warm or cool by several degrees.
WANDER: Final = 10e-6
#: Bounds are extended this far beyond the first and the last point.
FAR_NS: Final = 86_400e9
#: Tolerance for rounding to whole nanoseconds and for floating-point arithmetic.
ROUNDING_NS: Final = 4.0
#: The run is cut into this many stretches of time; the mean rate is computed from the quickest ping of each.
_STRETCHES = 128
_MOST_JUMPS = 200
#: Uncertainty of a jump's size, since each ping bounds the offset only to within its round trip.
_MARGIN_NS = 5e6


@dataclass(frozen=True, slots=True)
class Jump:
    """A jump of two clocks' offset between two times: the offset changed by more than any credible rate explains."""

    from_ns: float
    to_ns: float
    #: Distance by which the master's clock moved ahead of the worker's: the middle of the jump's bounds.
    moved_ns: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Lowest and highest credible value over time, linear between nodes.

    Times are relative to `base_at_ns`, values to `base_ns`. The estimate lies between lowest and highest, usually in
    the middle. If the middle jumps from one ping to the next, corrected times would jump too, so the estimate follows a
    smoother line there.
    """

    at_ns: Floats
    low_ns: Floats
    high_ns: Floats
    estimate_ns: Floats
    base_at_ns: int = 0
    base_ns: int = 0

    def interval(self, times_ns: Ints) -> tuple[Floats, Floats]:
        """Return (lowest, highest) at these times, relative to `base_ns`."""
        at = (times_ns - self.base_at_ns).astype(np.float64)
        return np.interp(at, self.at_ns, self.low_ns), np.interp(at, self.at_ns, self.high_ns)

    @property
    def error_ns(self) -> Floats:
        """Distance from the estimate to `low_ns` or `high_ns` at each node, whichever is farther."""
        return np.maximum(self.high_ns - self.estimate_ns, self.estimate_ns - self.low_ns)

    def estimate(self, times_ns: Ints) -> Ints:
        """Return the estimate at these times, including `base_ns`."""
        since = (times_ns - self.base_at_ns).astype(np.float64)
        return np.rint(np.interp(since, self.at_ns, self.estimate_ns)).astype(np.int64) + self.base_ns


@dataclass(frozen=True, slots=True)
class Points:
    """Upper and lower bounds, each with its own times in ascending order.

    As in `Curve`, times and bounds are relative to a base time and a base value, but this class does not store them.
    """

    upper_at: Floats
    upper: Floats
    lower_at: Floats
    lower: Floats

    def between(self, begin: float, end: float) -> "Points":
        """Return the points at times in [begin, end]."""
        u = slice(*np.searchsorted(self.upper_at, (begin, np.nextafter(end, np.inf))))
        v = slice(*np.searchsorted(self.lower_at, (begin, np.nextafter(end, np.inf))))
        return Points(self.upper_at[u], self.upper[u], self.lower_at[v], self.lower[v])

    def forward(self, at: Floats, least: float, most: float) -> tuple[Floats, Floats]:
        """Return (lowest, highest) value at each time in ``at`` that earlier points allow at rates in [least, most]."""
        highest = _carried(np.minimum, self.upper_at, self.upper, most, at, np.inf)
        lowest = _carried(np.maximum, self.lower_at, self.lower, least, at, -np.inf)
        return lowest, highest

    def backward(self, at: Floats, least: float, most: float) -> tuple[Floats, Floats]:
        """Return (lowest, highest) value at each time in ``at`` that later points allow at rates in [least, most]."""
        back = Points(-self.upper_at[::-1], self.upper[::-1], -self.lower_at[::-1], self.lower[::-1])
        return back.forward(-at, -most, -least)

    def both(self, at: Floats, least: float, most: float) -> tuple[Floats, Floats]:
        """Return (lowest, highest) value at each time in ``at`` that all points allow at rates in [least, most]."""
        lowest, highest = self.forward(at, least, most)
        low, high = self.backward(at, least, most)
        return np.maximum(lowest, low), np.minimum(highest, high)


def _carried(
    best: np.ufunc, points_at: Floats, points: Floats, rate: float, at: Floats, nothing: float
) -> Floats:
    """Return the best bound at each time in ``at`` that follows from earlier points, if bounds change at ``rate``.

    ``best`` is the maximum or the minimum. ``nothing`` is the bound at times before the first point.
    """
    kept = np.concatenate(([nothing], best.accumulate(points - rate * points_at)))
    return np.asarray(kept[np.searchsorted(points_at, at, side="right")] + rate * at, dtype=np.float64)


def find_jumps(points: Points, least: float = -PART, most: float = PART) -> list[Jump]:
    """Return the jumps in order of time: changes of the bounds that no drift rate in [least, most] explains.

    Each jump lies between the last point that contradicts later points and the first that contradicts earlier points.
    """
    at = np.concatenate((points.upper_at, points.lower_at))
    upper = np.concatenate((points.upper, np.full(len(points.lower), np.inf)))
    lower = np.concatenate((np.full(len(points.upper), -np.inf), points.lower))
    order = np.argsort(at, kind="stable")
    at, upper, lower = at[order], upper[order], lower[order]
    starts = [0]
    while len(starts) <= _MOST_JUMPS:
        begin = starts[-1]
        bad = _contradicts(at[begin:], upper[begin:], lower[begin:], least, most)
        if not bad.any():
            break
        starts.append(begin + int(np.argmax(bad)))
    jumps = []
    for number, begin in enumerate(starts[1:], start=1):
        before = starts[number - 1]
        end = starts[number + 1] if number + 1 < len(starts) else len(at)
        # The earlier part ends at its last point that contradicts the later part: search backwards in time for it.
        back = slice(before, end)
        bad = _contradicts(-at[back][::-1], upper[back][::-1], lower[back][::-1], -most, -least, end - begin)
        last = before + len(bad) - 1 - int(np.argmax(bad)) if bad.any() else begin - 1
        edge = np.array([at[last], at[begin]])
        earlier = points.between(float(at[before]), float(at[last])).forward(edge[:1], least, most)
        later = points.between(float(at[begin]), float(at[end - 1])).backward(edge[1:], least, most)
        jumps.append(Jump(float(edge[0]), float(edge[1]), _middle(later) - _middle(earlier)))
    return _merged(points, jumps)


def _merged(points: Points, jumps: list[Jump]) -> list[Jump]:
    """Merge successive jumps that overlap, or that lack an upper or a lower bound between them."""
    merged: list[Jump] = []
    for jump in jumps:
        if merged:
            own = points.between(merged[-1].to_ns, jump.from_ns)
            if merged[-1].to_ns >= jump.from_ns or not (len(own.upper) and len(own.lower)):
                before = merged.pop()
                jump = Jump(
                    min(before.from_ns, jump.from_ns),
                    max(before.to_ns, jump.to_ns),
                    before.moved_ns + jump.moved_ns,
                )
        merged.append(jump)
    return merged


def at_most(jump_ns: float) -> float:
    """Return the largest possible size (ns) of a jump, given its estimated size ``jump_ns``."""
    return 1.1 * jump_ns + _MARGIN_NS


def _drawn_out(points: Points, jumps: list[Jump]) -> list[Jump]:
    """Extend the intervals of jumps in which the master's clock stood still.

    Each interval grows at both ends by the largest size that its jump may have: the clock may have stood still for that
    long.
    """
    drawn = []
    for jump in jumps:
        long = 0.0 if jump.moved_ns >= 0 else at_most(-jump.moved_ns)
        drawn.append(Jump(jump.from_ns - long, jump.to_ns + long, jump.moved_ns))
    return _merged(points, drawn)


def _middle(interval: tuple[Floats, Floats]) -> float:
    low, high = float(interval[0][0]), float(interval[1][0])
    return (low + high) / 2 if np.isfinite(low) and np.isfinite(high) else low if np.isfinite(low) else high


def _contradicts(
    at: Floats, upper: Floats, lower: Floats, least: float, most: float, known: int = 0
) -> npt.NDArray[np.bool_]:
    """Return a mask of the points whose bound contradicts that of an earlier point at every rate in [least, most].

    If ``known`` is not 0, compare all points with the first ``known`` points only.
    """
    believed_upper, believed_lower = upper, lower
    if known:
        believed_upper, believed_lower = upper.copy(), lower.copy()
        believed_upper[known:], believed_lower[known:] = np.inf, -np.inf
    highest = np.minimum.accumulate(believed_upper - most * at) + most * at
    lowest = np.maximum.accumulate(believed_lower - least * at) + least * at
    bad: npt.NDArray[np.bool_] = (lower > highest + ROUNDING_NS) | (upper < lowest - ROUNDING_NS)
    return bad


def rates(points: Points, jumps: list[Jump]) -> tuple[float, float] | None:
    """Return the (lowest, highest) rate between two steady clocks that the points allow, or None if none fits."""
    least, most = _mean_rate(points, jumps)
    if least - WANDER > most + WANDER:
        return None
    return max(-PART, least - 2 * WANDER), min(PART, most + 2 * WANDER)


def _mean_rate(points: Points, jumps: list[Jump]) -> tuple[float, float]:
    """Return the (lowest, highest) mean rate at which two clocks drift apart.

    The rates follow from pairs of pings with no jump in between. The pings are divided into `_STRETCHES` groups in
    order of time, and only the quickest ping of each group is used.
    """
    count = min(len(points.upper), len(points.lower))
    # Pings are answered in order, so the n-th upper and the n-th lower bound belong to one ping.
    width = points.upper[:count] - points.lower[:count]
    stretch = np.arange(count) * _STRETCHES // max(count, _STRETCHES)
    order = np.lexsort((width, stretch))
    _, first = np.unique(stretch[order], return_index=True)
    kept = np.sort(order[first])
    upper_at, upper = points.upper_at[kept][:, None], points.upper[kept][:, None]
    lower_at, lower = points.lower_at[kept][None, :], points.lower[kept][None, :]
    apart = upper_at - lower_at
    together = np.ones(apart.shape, dtype=bool)
    for jump in jumps:
        # Points within a jump belong to neither side of it.
        u = np.where(upper_at <= jump.from_ns, 0, np.where(upper_at >= jump.to_ns, 2, 1))
        v = np.where(lower_at <= jump.from_ns, 0, np.where(lower_at >= jump.to_ns, 2, 1))
        together &= (u == v) & (u != 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = (upper - lower) / apart
    most = np.min(rate, where=together & (apart > 0), initial=PART)
    least = np.max(rate, where=together & (apart < 0), initial=-PART)
    return float(least), float(most)


def steady_offset(points: Points) -> tuple[Curve, list[Jump], tuple[float, float]]:
    """Return the offset between two steady clocks, the jumps in it, and its (lowest, highest) rate.

    The curve is in ns from zero (`base_ns` is 0). A jump between steady clocks means that one of the machines was
    suspended, and its clock with it.
    """
    jumps = find_jumps(points)
    kept, jumps = _whole(points, _drawn_out(points, jumps))
    allowed = rates(kept, jumps)
    if allowed is not None:
        at, low, high = _pieces(kept, jumps, *allowed)
        if bool((low <= high + ROUNDING_NS).all()):
            return (
                Curve(at, np.minimum(low, high), np.maximum(low, high), (low + high) / 2),
                jumps,
                allowed,
            )
    # No steady rate explains the pings, and the jumps are too small to find. So assume one between any two pings.
    return neighbours(points), jumps, (-PART, PART)


def _whole(points: Points, jumps: list[Jump]) -> tuple[Points, list[Jump]]:
    """Drop jumps at the start and end, with all points beyond them, while those lack upper or lower bounds."""
    while jumps:
        first, last = points.between(-np.inf, jumps[0].from_ns), points.between(jumps[-1].to_ns, np.inf)
        if not (len(first.upper) and len(first.lower)):
            points, jumps = points.between(jumps[0].to_ns, np.inf), jumps[1:]
        elif not (len(last.upper) and len(last.lower)):
            points, jumps = points.between(-np.inf, jumps[-1].from_ns), jumps[:-1]
        else:
            break
    return points, jumps


def _pieces(points: Points, jumps: list[Jump], least: float, most: float) -> tuple[Floats, Floats, Floats]:
    """Return (times, lowest, highest) over the whole time: the jumps, and the stretches of time between them.

    The bounds in a stretch follow from its own points. Within a jump, the bounds span those of the stretches on both
    sides.
    """
    edges = [-np.inf, *(edge for jump in jumps for edge in (jump.from_ns, jump.to_ns)), np.inf]
    ats, lows, highs = [], [], []
    for number in range(len(edges) - 1):
        begin, end = edges[number], edges[number + 1]
        own = points.between(begin, end)
        if number % 2 == 0:
            at = _nodes(own, least, most, begin, end)
            low, high = own.both(at, least, most)
        else:
            earlier = points.between(edges[number - 1], end)
            later = points.between(begin, edges[number + 2])
            inner = np.concatenate((own.upper_at, own.lower_at))
            inner = inner[(inner > begin) & (inner < end)]
            # The bounds change abruptly at each point, so evaluate them also a nanosecond before and after it.
            at = np.unique(np.concatenate(([begin + 1, end - 1], inner - 1, inner, inner + 1)))
            at = at[(at > begin) & (at < end)]
            low_a, high_a = earlier.forward(at, least, most)
            low_b, high_b = later.backward(at, least, most)
            low, high = np.minimum(low_a, low_b), np.maximum(high_a, high_b)
        ats.append(at)
        lows.append(low)
        highs.append(high)
    return np.concatenate(ats), np.concatenate(lows), np.concatenate(highs)


def _nodes(points: Points, least: float, most: float, begin: float, end: float) -> Floats:
    """Return the times between which the bounds are linear: the points, and the times at which two bounds cross."""
    known = np.concatenate((points.upper_at, points.lower_at))
    ends = [
        begin if np.isfinite(begin) else known.min() - FAR_NS,
        end if np.isfinite(end) else known.max() + FAR_NS,
    ]
    at = np.unique(np.concatenate((known, ends)))
    from_low, from_high = points.forward(at[:-1], least, most)
    to_low, to_high = points.backward(at[1:], least, most)
    here, there = at[:-1], at[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        meet_high = (to_high - from_high + most * here - least * there) / (most - least)
        meet_low = (from_low - to_low - least * here + most * there) / (most - least)
    meets = np.concatenate((meet_high, meet_low))
    inside = np.isfinite(meets) & (meets > np.tile(here, 2)) & (meets < np.tile(there, 2))
    return np.unique(np.concatenate((at, meets[inside])))


def neighbours(points: Points) -> Curve:
    """Return a curve that at each time covers the bounds of both neighbouring pings, the one before and the one after.

    The n-th upper and the n-th lower point must belong to one ping. The estimate is based on all pings and breaks only
    at visible jumps.
    """
    begin, upper, end, lower = points.upper_at, points.upper, points.lower_at, points.lower
    edges = np.concatenate((begin, end))
    at = np.concatenate((edges - 1, edges, edges + 1, [begin[0] - FAR_NS, end[-1] + FAR_NS]))
    # Between two pings the bound from the earlier ping widens, and the bound from the later ping narrows. The curve
    # has a corner where these two bounds cross.
    for shown_at, shown in ((begin, upper), (end, -lower)):
        corner = (shown_at[:-1] + shown_at[1:]) / 2 + np.diff(shown) / (2 * PART)
        at = np.concatenate((at, np.clip(corner, end[:-1], np.maximum(end[:-1], begin[1:]))))
    at = np.unique(at)
    before = np.searchsorted(end, at, side="right") - 1
    after = np.searchsorted(begin, at, side="left")
    highs, lows = [], []
    for number in (before, after):
        known = (number >= 0) & (number < len(begin))
        place = np.clip(number, 0, len(begin) - 1)
        highs.append(np.where(known, upper[place] + PART * np.abs(at - begin[place]), -np.inf))
        lows.append(np.where(known, lower[place] - PART * np.abs(at - end[place]), np.inf))
    low, high = np.minimum(*lows), np.maximum(*highs)
    kept, jumps = _whole(points, find_jumps(points))
    smooth_at, *smooth = _pieces(kept, jumps, -PART, PART)
    between = (at, smooth_at[(smooth_at > at[0]) & (smooth_at < at[-1])])
    nodes = np.unique(np.concatenate(between))
    low, high = np.interp(nodes, at, low), np.interp(nodes, at, high)
    estimate = np.interp(nodes, smooth_at, (smooth[0] + smooth[1]) / 2)
    return Curve(nodes, low, high, np.clip(estimate, low, high))
