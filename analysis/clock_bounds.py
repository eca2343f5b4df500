"""Bounds of the offset between two clocks, from pings. Pure numpy; the running worker uses it, too.

A ping leaves at t0 and returns at t3 on the worker's clock; the master reads its own clock between the two and gets m.
The master read it after the ping had left, so its offset (master minus worker) was at most m − t0 when the ping left.
It read it before the answer was back, so the offset was at least m − t3 when the answer came. Each ping gives these two
points, whatever the network did (the bound of RFC 5905, section 8, at the moments at which it holds). Between points a
bound widens by the fastest credible rate at which the two clocks part.

Times are nanoseconds. Rates are dimensionless (1e-6 is one part per million).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: A kernel slews its clock by at most 500 ppm: NTP_MAXFREQ in Linux's include/linux/timex.h, MAXFREQ in RFC 5905.
SLEW: Final = 500e-6
#: Two clocks part by at most so much where both are slewed.
PART: Final = 2 * SLEW
#: The rate between two steady clocks that nothing slews stays so close to its mean over a run. Quartz crystals change
#: by less than 1 ppm a degree Celsius; this allows each of the two to warm or cool by several degrees.
WANDER: Final = 10e-6
#: A reading of the wall clock and the steady clock is accepted if both happened within this time.
READING_NS: Final = 5_000
#: The wall clock was stepped if it moved against the steady clock by more than slewing explains plus this.
STEP_NS: Final = 100_000
#: Pings that the rate is taken of: the quickest of so many stretches.
_STRETCHES = 128
#: Beyond the first and last ping, the bounds are drawn out to so far.
_FAR_NS = 86_400e9
#: Rounding to whole nanoseconds, and in floating-point arithmetic.
_ROUNDING_NS = 4.0
_MOST_JUMPS = 200
#: How long a jump was is known to the width of a ping.
_MARGIN_NS = 5e6


@dataclass(frozen=True, slots=True)
class Pings:
    """Answered pings of one worker, arrays of one length; the `raw` ones are None if the record has none.

    `raw` times are of CLOCK_MONOTONIC_RAW, which nothing steps or slews. They were read together with `sent_ns`,
    `received_ns` and `master_sent_ns`.
    """

    sent_ns: Ints
    master_received_ns: Ints
    master_sent_ns: Ints
    received_ns: Ints
    sent_raw_ns: Ints | None = None
    received_raw_ns: Ints | None = None
    master_raw_ns: Ints | None = None

    def __len__(self) -> int:
        return len(self.sent_ns)

    @property
    def round_trip_ns(self) -> Ints:
        """How long each was on its way, without the master's part."""
        return (self.received_ns - self.sent_ns) - (self.master_sent_ns - self.master_received_ns)

    @property
    def raw(self) -> tuple[Ints, Ints, Ints] | None:
        """Return (sent, received, master's) steady times, or None if the record has none."""
        if self.sent_raw_ns is None or self.received_raw_ns is None or self.master_raw_ns is None:
            return None
        return self.sent_raw_ns, self.received_raw_ns, self.master_raw_ns


@dataclass(frozen=True, slots=True)
class Jump:
    """A moment at which two clocks moved apart by more than a credible rate explains, between two times."""

    from_ns: float
    to_ns: float
    #: By how much the master's clock moved ahead of the worker's; its middle estimate.
    moved_ns: float


@dataclass(frozen=True, slots=True)
class WallJump:
    """A jump by the worker's wall clock."""

    from_ns: int
    to_ns: int
    moved_ns: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The lowest and highest credible value at each time, linear between nodes. Times and values count from a base."""

    at_ns: Floats
    low_ns: Floats
    high_ns: Floats
    base_at_ns: int
    base_ns: int

    def interval(self, times_ns: Ints) -> tuple[Floats, Floats]:
        """Return (lowest, highest) at these times, counted from `base_ns`."""
        at = (times_ns - self.base_at_ns).astype(np.float64)
        return np.interp(at, self.at_ns, self.low_ns), np.interp(at, self.at_ns, self.high_ns)

    @property
    def middle_ns(self) -> Floats:
        """The middle of the interval at each node, counted from `base_ns`."""
        return (self.low_ns + self.high_ns) / 2

    @property
    def half_ns(self) -> Floats:
        """Half the width of the interval at each node."""
        return (self.high_ns - self.low_ns) / 2


@dataclass(frozen=True, slots=True)
class Points:
    """Upper and lower bounds at moments of their own, each in order of time; counted from a base."""

    upper_at: Floats
    upper: Floats
    lower_at: Floats
    lower: Floats

    def between(self, begin: float, end: float) -> "Points":
        """Return the points in [begin, end]."""
        u = slice(*np.searchsorted(self.upper_at, (begin, np.nextafter(end, np.inf))))
        v = slice(*np.searchsorted(self.lower_at, (begin, np.nextafter(end, np.inf))))
        return Points(self.upper_at[u], self.upper[u], self.lower_at[v], self.lower[v])

    def forward(self, at: Floats, least: float, most: float) -> tuple[Floats, Floats]:
        """Return (lowest, highest) at times that follow from the points up to each."""
        highest = _carried(np.minimum, self.upper_at, self.upper, most, at, np.inf)
        lowest = _carried(np.maximum, self.lower_at, self.lower, least, at, -np.inf)
        return lowest, highest

    def backward(self, at: Floats, least: float, most: float) -> tuple[Floats, Floats]:
        """Return (lowest, highest) at times that follow from the points from each on."""
        back = Points(-self.upper_at[::-1], self.upper[::-1], -self.lower_at[::-1], self.lower[::-1])
        return back.forward(-at, -most, -least)

    def both(self, at: Floats, least: float, most: float) -> tuple[Floats, Floats]:
        """Return (lowest, highest) at times that follow from all points."""
        lowest, highest = self.forward(at, least, most)
        low, high = self.backward(at, least, most)
        return np.maximum(lowest, low), np.minimum(highest, high)


def _carried(
    best: np.ufunc, points_at: Floats, points: Floats, rate: float, at: Floats, nothing: float
) -> Floats:
    """Return the best bound at each time of those before it, each grown by the rate since its moment."""
    kept = np.concatenate(([nothing], best.accumulate(points - rate * points_at)))
    return np.asarray(kept[np.searchsorted(points_at, at, side="right")] + rate * at, dtype=np.float64)


def find_jumps(points: Points, least: float = -PART, most: float = PART) -> list[Jump]:
    """Return the jumps between points that no rate in [least, most] explains, in order of time.

    Each lies between the last point that contradicts what follows and the first that contradicts what was before.
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
        # Back from the later part: the last point that does not go with it.
        back = slice(before, end)
        bad = _contradicts(-at[back][::-1], upper[back][::-1], lower[back][::-1], -most, -least, end - begin)
        last = before + len(bad) - 1 - int(np.argmax(bad)) if bad.any() else begin - 1
        edge = np.array([at[last], at[begin]])
        earlier = points.between(float(at[before]), float(at[last])).forward(edge[:1], least, most)
        later = points.between(float(at[begin]), float(at[end - 1])).backward(edge[1:], least, most)
        jumps.append(Jump(float(edge[0]), float(edge[1]), _middle(later) - _middle(earlier)))
    return _merged(points, jumps)


def _merged(points: Points, jumps: list[Jump]) -> list[Jump]:
    """Join jumps that overlap, or between which there is not a bound of either kind: the time between must have one."""
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


def _drawn_out(points: Points, jumps: list[Jump]) -> list[Jump]:
    """Give jumps in which the master's clock stood still the time that this took on the worker's."""
    drawn = []
    for jump in jumps:
        long = 0.0 if jump.moved_ns >= 0 else 1.1 * -jump.moved_ns + _MARGIN_NS
        drawn.append(Jump(jump.from_ns - long, jump.to_ns + long, jump.moved_ns))
    return _merged(points, drawn)


def _middle(interval: tuple[Floats, Floats]) -> float:
    low, high = float(interval[0][0]), float(interval[1][0])
    return (low + high) / 2 if np.isfinite(low) and np.isfinite(high) else low if np.isfinite(low) else high


def _contradicts(
    at: Floats, upper: Floats, lower: Floats, least: float, most: float, known: int = 0
) -> npt.NDArray[np.bool_]:
    """Return which points lie outside what those before them allow.

    With `known`, only the first so many points are believed, and the others are held against these.
    """
    believed_upper, believed_lower = upper, lower
    if known:
        believed_upper, believed_lower = upper.copy(), lower.copy()
        believed_upper[known:], believed_lower[known:] = np.inf, -np.inf
    highest = np.minimum.accumulate(believed_upper - most * at) + most * at
    lowest = np.maximum.accumulate(believed_lower - least * at) + least * at
    bad: npt.NDArray[np.bool_] = (lower > highest + _ROUNDING_NS) | (upper < lowest - _ROUNDING_NS)
    return bad


def rates(points: Points, jumps: list[Jump]) -> tuple[float, float] | None:
    """Return the (least, greatest) rate that the points allow to steady clocks, or None if they allow none."""
    least, most = _mean_rate(points, jumps)
    if least - WANDER > most + WANDER:
        return None
    return max(-PART, least - 2 * WANDER), min(PART, most + 2 * WANDER)


def _mean_rate(points: Points, jumps: list[Jump]) -> tuple[float, float]:
    """Return the (least, greatest) mean rate between any two of the quickest pings on one side of all jumps."""
    count = min(len(points.upper), len(points.lower))
    # The n-th upper and the n-th lower bound are of one ping: pings are answered in their order.
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
        # What lies within a jump's doubt belongs to neither side.
        u = np.where(upper_at <= jump.from_ns, 0, np.where(upper_at >= jump.to_ns, 2, 1))
        v = np.where(lower_at <= jump.from_ns, 0, np.where(lower_at >= jump.to_ns, 2, 1))
        together &= (u == v) & (u != 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = (upper - lower) / apart
    most = np.min(rate, where=together & (apart > 0), initial=PART)
    least = np.max(rate, where=together & (apart < 0), initial=-PART)
    return float(least), float(most)


def steady_offset(points: Points) -> tuple[Curve, list[Jump], tuple[float, float]]:
    """Return the offset between two clocks that nothing slews, the jumps in it, and its (least, greatest) rate.

    The curve counts from zero. A steady clock jumps against another where a machine stood still, clock and all.
    """
    jumps = find_jumps(points)
    kept, jumps = _whole(points, _drawn_out(points, jumps))
    allowed = rates(kept, jumps)
    if allowed is not None:
        at, low, high = _pieces(kept, jumps, *allowed)
        if bool((low <= high + _ROUNDING_NS).all()):
            return Curve(at, np.minimum(low, high), np.maximum(low, high), 0, 0), jumps, allowed
    # No steady rate explains the pings, and no jump is large enough to be seen: it may be between any two.
    return Curve(*_neighbours(points), 0, 0), jumps, (-PART, PART)


def _whole(points: Points, jumps: list[Jump]) -> tuple[Points, list[Jump]]:
    """Leave out what lies before the first jump or after the last, if it has not a bound of either kind."""
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
    """Return (times, lowest, highest): of both sides between jumps; within one's doubt, of either."""
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
            # A nanosecond beside each point: bounds change there at once.
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
    """Return the times between which the bounds of all points are linear: the points, and where two bounds meet."""
    known = np.concatenate((points.upper_at, points.lower_at))
    ends = [
        begin if np.isfinite(begin) else known.min() - _FAR_NS,
        end if np.isfinite(end) else known.max() + _FAR_NS,
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


def _neighbours(points: Points) -> tuple[Floats, Floats, Floats]:
    """Return (times, lowest, highest) of either neighbouring ping: the n-th points of both kinds are of one ping."""
    begin, upper, end, lower = points.upper_at, points.upper, points.lower_at, points.lower
    edges = np.concatenate((begin, end))
    at = np.concatenate((edges - 1, edges, edges + 1, [begin[0] - _FAR_NS, end[-1] + _FAR_NS]))
    # Between two pings, the earlier one's bound widens and the later one's narrows: where they meet lies a corner.
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
    return at, np.minimum(*lows), np.maximum(*highs)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """How a wall clock stood to the steady clock of its machine (wall minus steady), as read at each ping.

    A discipline changes the rate once a second. So between two readings the clock strays from the straight line by no
    more than the interval's movement differs from that of the intervals before and after. Where it moved by more than
    it can be slewed, it was stepped at an unknown moment: before and after are both possible.
    """

    #: Steady times of the readings, and wall minus steady at each, counted from the first.
    at_ns: Floats
    value_ns: Floats
    base_at_ns: int
    base_ns: int
    #: Of each interval between two readings: how far the clock may have strayed from the straight line, and whether
    #: it moved by more than it can be slewed.
    strays_ns: Floats
    stepped: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, wall_ns: Ints, raw_ns: Ints) -> "Adjustment":
        """Take readings of both clocks of one machine; there must be one."""
        order = np.argsort(raw_ns, kind="stable")
        wall_ns, raw_ns = wall_ns[order], raw_ns[order]
        fresh = np.concatenate(([True], np.diff(raw_ns) > 0))
        wall_ns, raw_ns = wall_ns[fresh], raw_ns[fresh]
        base_at, base = int(raw_ns[0]), int(wall_ns[0] - raw_ns[0])
        at = (raw_ns - base_at).astype(np.float64)
        value = (wall_ns - raw_ns - base).astype(np.float64)
        length, moved = np.diff(at), np.diff(value)
        stepped = np.abs(moved) > SLEW * length + READING_NS
        return cls(at, value, base_at, base, _strays(length, moved, stepped), stepped)

    @property
    def rate(self) -> float:
        """The rate of the last interval in which it was not stepped."""
        kept = np.flatnonzero(~self.stepped)
        if not len(kept):
            return 0.0
        last = int(kept[-1])
        return float(
            (self.value_ns[last + 1] - self.value_ns[last]) / (self.at_ns[last + 1] - self.at_ns[last])
        )

    def wall_ns(self, number: int) -> int:
        """Return what the wall clock showed at the n-th reading."""
        return self.base_at_ns + self.base_ns + round(float(self.at_ns[number] + self.value_ns[number]))

    def steps(self) -> list[tuple[int, int, float]]:
        """Return the steps worth a name: (reading before, reading after, by how much the wall clock moved)."""
        edges = np.flatnonzero(np.diff(np.concatenate(([False], self.stepped, [False])).astype(np.int8)))
        found = []
        for begin, end in edges.reshape(-1, 2).tolist():
            moved = float(self.value_ns[end] - self.value_ns[begin])
            if abs(moved) > SLEW * float(self.at_ns[end] - self.at_ns[begin]) + STEP_NS:
                found.append((begin, end, moved))
        return found

    def curve(self) -> Curve:
        """Return the bounds of wall minus steady by steady time."""
        reading = READING_NS / 2 + _ROUNDING_NS
        # At a reading, the greater doubt of the intervals on both sides, so that it covers either in full.
        strays = np.where(self.stepped, 0.0, self.strays_ns)
        doubt = reading + np.maximum(np.append(strays, 0.0), np.insert(strays, 0, 0.0))
        at, low, high = [self.at_ns], [self.value_ns - doubt], [self.value_ns + doubt]
        for number in np.flatnonzero(self.stepped):
            begin, end = self.at_ns[number], self.at_ns[number + 1]
            slewed = SLEW * (end - begin) + reading
            values = self.value_ns[number : number + 2]
            at.append(np.array([begin + 1, end - 1]))
            low.append(np.full(2, values.min() - slewed))
            high.append(np.full(2, values.max() + slewed))
        ends = np.array([self.at_ns[0] - _FAR_NS, self.at_ns[-1] + _FAR_NS])
        values = self.value_ns[[0, -1]]
        at.append(ends)
        low.append(values - SLEW * _FAR_NS)
        high.append(values + SLEW * _FAR_NS)
        joined = np.concatenate(at)
        order = np.argsort(joined, kind="stable")
        return Curve(
            joined[order],
            np.concatenate(low)[order],
            np.concatenate(high)[order],
            self.base_at_ns,
            self.base_ns,
        )


def _strays(length: Floats, moved: Floats, stepped: npt.NDArray[np.bool_]) -> Floats:
    """Return how far the clock may have strayed from the straight line in each interval between readings.

    Slewed as fast as can be there and back, it strays by S/2 · (1 − (r/S)²) of the interval, where S is the largest
    slew and r the interval's rate. A step strays by its height, by which the interval differs from both neighbours.
    """
    rate = np.where(stepped, np.nan, moved / length)
    with np.errstate(invalid="ignore"):
        slewed = np.nan_to_num(SLEW / 2 * np.maximum(0.0, 1 - (rate / SLEW) ** 2)) * length
        if len(length) < 2:
            return slewed
        change = np.abs(np.diff(rate))
        before, after = np.insert(change, 0, np.nan), np.append(change, np.nan)
        least, most = np.fmin(before, after) * length, np.fmax(before, after) * length
        return np.where(np.isnan(most), slewed, np.minimum(most, np.maximum(least, slewed)))


def by_pings_alone(pings: Pings) -> tuple[Curve, list[WallJump]]:
    """Return the bounds of the offset by the worker's wall clock, and the jumps in it, without any other evidence.

    A step of either clock could be between any two pings: at each moment the offset is what the ping before shows, or
    what the ping after shows.
    """
    order = np.argsort(pings.sent_ns, kind="stable")
    sent, received = pings.sent_ns[order], pings.received_ns[order]
    base_at, base = int(sent[0]), int(pings.master_received_ns[order][0] - sent[0])
    upper = (pings.master_received_ns[order] - sent - base).astype(np.float64)
    lower = (pings.master_sent_ns[order] - received - base).astype(np.float64)
    back = np.maximum.accumulate((received - base_at).astype(np.float64))
    points = Points((sent - base_at).astype(np.float64), upper, back, lower)
    at, low, high = _neighbours(points)
    jumps = [
        WallJump(base_at + int(jump.from_ns), base_at + int(jump.to_ns), jump.moved_ns)
        for jump in find_jumps(points)
    ]
    # If the worker's clock was set back, its times occur twice, and either may be meant.
    twice = [
        (jump.from_ns - base_at - moved, jump.to_ns - base_at + moved)
        for jump in jumps
        if (moved := 1.1 * jump.moved_ns + _MARGIN_NS) > _MARGIN_NS
    ]
    return Curve(*_either(at, low, high, twice), base_at, base), jumps


@dataclass(frozen=True, slots=True)
class Bounds:
    """All that pings with steady times say of two clocks."""

    #: Master minus worker by the worker's wall clock.
    curve: Curve
    #: Jumps between the steady clocks, by the worker's wall clock: a machine stood still.
    jumps: list[WallJump]
    #: The readings of the worker's and the master's machine.
    worker: Adjustment
    master: Adjustment
    #: The offset between the steady clocks by the worker's, and its (least, greatest) rate.
    steady: Curve
    rates: tuple[float, float]

    def master_wall_ns(self, number: int) -> int:
        """Return what the master's wall clock showed at the n-th reading of the worker's clocks."""
        raw_ns = self.worker.base_at_ns + round(float(self.worker.at_ns[number]))
        low, high = self.steady.interval(np.array([raw_ns]))
        master_raw_ns = raw_ns + self.steady.base_ns + round(float(low[0] + high[0]) / 2)
        since = float(master_raw_ns - self.master.base_at_ns)
        value = float(np.interp(since, self.master.at_ns, self.master.value_ns))
        return master_raw_ns + self.master.base_ns + round(value)


def steady_points(sent: Ints, received: Ints, master: Ints) -> tuple[Points, int, int]:
    """Return the points that pings give by steady times, with the bases of their times and of their values."""
    base_at, base = int(sent.min()), int(master[0] - sent[0])
    upper_order, lower_order = np.argsort(sent, kind="stable"), np.argsort(received, kind="stable")
    return (
        Points(
            (sent[upper_order] - base_at).astype(np.float64),
            (master[upper_order] - sent[upper_order] - base).astype(np.float64) + _ROUNDING_NS,
            (received[lower_order] - base_at).astype(np.float64),
            (master[lower_order] - received[lower_order] - base).astype(np.float64) - _ROUNDING_NS,
        ),
        base_at,
        base,
    )


def by_steady_clocks(pings: Pings) -> Bounds:
    """Return the bounds of the offset from pings that carry steady times; there must be one.

    The steady clocks are bounded against each other, then each wall clock against the steady clock of its machine.
    """
    raw = pings.raw
    assert raw is not None
    sent, received, master = raw
    points, base_at, base = steady_points(sent, received, master)
    found, jumps, allowed = steady_offset(points)
    steady = Curve(found.at_ns, found.low_ns, found.high_ns, base_at, base)
    worker = Adjustment.of(pings.received_ns, received)
    of_master = Adjustment.of(pings.master_sent_ns, master)
    own, theirs = worker.curve(), of_master.curve()
    # All on the worker's steady time, counted from the base of the steady curve.
    own_at = own.at_ns + (own.base_at_ns - base_at)
    shown = steady.at_ns + steady.middle_ns  # the master's steady time, counted from base_at + base
    theirs_at = np.interp(
        theirs.at_ns + (theirs.base_at_ns - base_at - base), np.maximum.accumulate(shown), steady.at_ns
    )
    at = np.unique(np.concatenate((steady.at_ns, own_at, theirs_at)))
    steady_low, steady_high = (np.interp(at, steady.at_ns, y) for y in (steady.low_ns, steady.high_ns))
    own_low, own_high = (np.interp(at, own_at, y) for y in (own.low_ns, own.high_ns))
    master_at = at + (steady_low + steady_high) / 2 - (theirs.base_at_ns - base_at - base)
    their_low, their_high = (np.interp(master_at, theirs.at_ns, y) for y in (theirs.low_ns, theirs.high_ns))
    # While the steady offset is in doubt, so is at which moment the master's clock was slewed.
    doubt = SLEW * (steady_high - steady_low) / 2
    low = steady_low + their_low - own_high - doubt
    high = steady_high + their_high - own_low + doubt
    wall = at + (own_low + own_high) / 2
    curve = _by_wall_clock(wall, low, high, worker, own_at)
    offset = base + theirs.base_ns - own.base_ns
    moved = []
    for jump in jumps:
        edges = np.array([jump.from_ns, jump.to_ns])
        since = np.rint(edges + np.interp(edges, own_at, (own.low_ns + own.high_ns) / 2)).astype(np.int64)
        walls = since + (base_at + own.base_ns)
        moved.append(WallJump(int(walls[0]), int(walls[1]), jump.moved_ns))
    return Bounds(Curve(*curve, base_at + own.base_ns, offset), moved, worker, of_master, steady, allowed)


def _by_wall_clock(
    wall: Floats, low: Floats, high: Floats, worker: Adjustment, own_at: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return nodes in order of the wall clock. Where it was set back, a time occurs twice, and either may be meant."""
    twice = []
    shift = own_at[0] - (worker.at_ns[0] - _FAR_NS)
    for number in np.flatnonzero(worker.stepped):
        begin, end = worker.at_ns[number] + shift, worker.at_ns[number + 1] + shift
        before, after = worker.value_ns[number], worker.value_ns[number + 1]
        if after < before:
            twice.append((begin + after, end + before))
    order = np.argsort(wall, kind="stable")
    return _either(wall[order], low[order], high[order], twice)


def _either(
    at: Floats, low: Floats, high: Floats, twice: list[tuple[float, float]]
) -> tuple[Floats, Floats, Floats]:
    """Return the nodes with the hull of all bounds within each of these stretches of time."""
    for begin, end in twice:
        edges = np.array([begin - 1, begin, end, end + 1])
        joined = np.concatenate((at, edges))
        order = np.argsort(joined, kind="stable")
        low, high = (np.concatenate((y, np.interp(edges, at, y)))[order] for y in (low, high))
        at = joined[order]
        inside = (at >= begin) & (at <= end)
        low[inside], high[inside] = low[inside].min(), high[inside].max()
    return at, low, high
