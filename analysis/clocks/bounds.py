"""Bound the offset between two clocks by pings. Pure numpy.

A ping leaves at t0 and returns at t3 on the worker's clock; in between the master reads its own clock as m. The ping
left before the reading, so at t0 the offset (master minus worker) was at most m − t0. The answer arrived after the
reading, so at t3 the offset was at least m − t3. Each ping gives these two bounds, whatever the network did. RFC 5905,
section 8, applies both bounds to the whole ping; here each applies only at its own time, t0 or t3. Between the times of
two pings a bound widens by the fastest credible rate at which the two clocks drift apart (`analysis.clocks.envelope`).
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.clocks.envelope import (
    FAR_NS,
    ROUNDING_NS,
    SLEW,
    Curve,
    Floats,
    Ints,
    Points,
    at_most,
    find_jumps,
    neighbours,
    steady_offset,
)

#: The wall clock and the steady clock are read together. The two readings are used only if they are at most this far
#: apart (ns).
READING_NS: Final = 5_000
#: A wall clock counts as stepped if it moved against the steady clock by more than the largest slew plus this (ns).
STEP_NS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Pings:
    """Answered pings of one worker, as arrays of equal length; the `raw` arrays are None if the run's record has none.

    `raw` times are of CLOCK_MONOTONIC_RAW, which is never stepped or slewed. They were read together with `sent_ns`,
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
        """Round-trip time of each ping, without the time that the master took."""
        return (self.received_ns - self.sent_ns) - (self.master_sent_ns - self.master_received_ns)

    @property
    def raw(self) -> tuple[Ints, Ints, Ints] | None:
        """Return the steady times (sent, received, master's) of the pings, or None if the run's record has none."""
        if self.sent_raw_ns is None or self.received_raw_ns is None or self.master_raw_ns is None:
            return None
        return self.sent_raw_ns, self.received_raw_ns, self.master_raw_ns


@dataclass(frozen=True, slots=True)
class WallJump:
    """A jump of the offset by `moved_ns`, somewhere between two times of the worker's wall clock."""

    from_ns: int
    to_ns: int
    moved_ns: float


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Difference between a machine's wall clock and its steady clock (wall minus steady), as read at each ping.

    A clock discipline such as NTP changes the clock's rate only once a second. So between two readings the difference
    strays only a little from a straight line: at most by the interval's length times the change of rate from or to a
    neighbouring interval, whichever is larger. If the difference moved by more than the largest slew, the wall clock
    was stepped at an unknown moment in the interval. Then both the value before and the value after are possible.
    """

    #: At each reading: the steady time (`at_ns`), and wall clock minus steady clock (`value_ns`). Both are relative to
    #: the first reading.
    at_ns: Floats
    value_ns: Floats
    base_at_ns: int
    base_ns: int
    #: For each interval between two readings: how far the clock may have strayed from the straight line (`strays_ns`),
    #: and whether it moved by more than the largest slew (`stepped`).
    strays_ns: Floats
    stepped: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, wall_ns: Ints, raw_ns: Ints) -> "Adjustment":
        """Compute a wall clock's offset from the steady clock of its machine, from at least one reading of both."""
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
        """Rate of change of the wall clock minus the steady clock, in the last interval without a step.

        0.0 if every interval has a step.
        """
        kept = np.flatnonzero(~self.stepped)
        if not len(kept):
            return 0.0
        last = int(kept[-1])
        return float(
            (self.value_ns[last + 1] - self.value_ns[last]) / (self.at_ns[last + 1] - self.at_ns[last])
        )

    def wall_ns(self, number: int) -> int:
        """Return the wall-clock time at reading ``number`` of the clocks, counted from 0."""
        return self.base_at_ns + self.base_ns + round(float(self.at_ns[number] + self.value_ns[number]))

    def steps(self) -> list[tuple[int, int, float]]:
        """Return steps above `STEP_NS` as (reading before, reading after, movement of the wall clock in ns)."""
        edges = np.flatnonzero(np.diff(np.concatenate(([False], self.stepped, [False])).astype(np.int8)))
        found = []
        for begin, end in edges.reshape(-1, 2).tolist():
            moved = float(self.value_ns[end] - self.value_ns[begin])
            if abs(moved) > SLEW * float(self.at_ns[end] - self.at_ns[begin]) + STEP_NS:
                found.append((begin, end, moved))
        return found

    def curve(self) -> Curve:
        """Return the bounds of the offset (wall clock minus steady clock) over the steady clock's time."""
        reading = READING_NS / 2 + ROUNDING_NS
        # An error is known for each interval between two readings, but the curve needs one at each reading and is
        # linear in between. So each reading gets the larger error of its two intervals.
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
        ends = np.array([self.at_ns[0] - FAR_NS, self.at_ns[-1] + FAR_NS])
        values = self.value_ns[[0, -1]]
        at.append(ends)
        low.append(values - SLEW * FAR_NS)
        high.append(values + SLEW * FAR_NS)
        joined = np.concatenate(at)
        order = np.argsort(joined, kind="stable")
        lowest, highest = np.concatenate(low)[order], np.concatenate(high)[order]
        return Curve(joined[order], lowest, highest, (lowest + highest) / 2, self.base_at_ns, self.base_ns)


def _strays(length: Floats, moved: Floats, stepped: npt.NDArray[np.bool_]) -> Floats:
    """Return how far (ns) the clock may have strayed from the straight line in each interval between readings.

    A clock slewed at the largest rate S, first in one direction and then in the other, strays by S/2 · (1 − (r/S)²)
    times the interval's length, where r is its mean rate in the interval. A step too small to be detected makes the
    clock stray by the step's height. The interval's rate then differs from the rates of both neighbouring intervals,
    and the smaller difference times the length covers the step.
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
    """Return the bounds of the offset over the worker's wall-clock time, from pings without steady times.

    The result also has the offset's jumps. Either clock may be stepped between any two pings. So at each moment the
    offset lies within the bounds from the ping before or within those from the ping after.
    """
    order = np.argsort(pings.sent_ns, kind="stable")
    sent, received = pings.sent_ns[order], pings.received_ns[order]
    base_at, base = int(sent[0]), int(pings.master_received_ns[order][0] - sent[0])
    upper = (pings.master_received_ns[order] - sent - base).astype(np.float64)
    lower = (pings.master_sent_ns[order] - received - base).astype(np.float64)
    back = np.maximum.accumulate((received - base_at).astype(np.float64))
    points = Points((sent - base_at).astype(np.float64), upper, back, lower)
    found = neighbours(points)
    jumps = [
        WallJump(base_at + int(jump.from_ns), base_at + int(jump.to_ns), jump.moved_ns)
        for jump in find_jumps(points)
    ]
    # Times of the worker's clock occur twice if it was set back: the bounds must cover both occurrences.
    twice = [
        (jump.from_ns - base_at - moved, jump.to_ns - base_at + moved)
        for jump in jumps
        if (moved := at_most(jump.moved_ns)) > at_most(0)
    ]
    return replace(_either(found, twice), base_at_ns=base_at, base_ns=base), jumps


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds and jumps of the offset between two machines' clocks, from pings with steady times."""

    #: Offset (master minus worker) over the worker's wall-clock time.
    curve: Curve
    #: Jumps of one machine's steady clock against the other's, because one machine was suspended; their times are on
    #: the worker's wall clock.
    jumps: list[WallJump]
    #: Wall clock minus steady clock: on the worker's machine (`worker`), and on the master's (`master`).
    worker: Adjustment
    master: Adjustment
    #: `steady` is the offset between the two machines' steady clocks, over the worker's steady time. `rates` are the
    #: lowest and the highest rate at which it changes.
    steady: Curve
    rates: tuple[float, float]

    def master_wall_ns(self, number: int) -> int:
        """Return the master's wall-clock time at reading ``number`` of the worker's clocks, counted from 0."""
        raw_ns = self.worker.base_at_ns + round(float(self.worker.at_ns[number]))
        master_raw_ns = raw_ns + int(self.steady.estimate(np.array([raw_ns]))[0])
        since = float(master_raw_ns - self.master.base_at_ns)
        value = float(np.interp(since, self.master.at_ns, self.master.value_ns))
        return master_raw_ns + self.master.base_ns + round(value)


def steady_points(sent: Ints, received: Ints, master: Ints) -> tuple[Points, int, int]:
    """Return the pings' bounds in steady time, and the base time and base offset that were subtracted from them."""
    base_at, base = int(sent.min()), int(master[0] - sent[0])
    upper_order, lower_order = np.argsort(sent, kind="stable"), np.argsort(received, kind="stable")
    return (
        Points(
            (sent[upper_order] - base_at).astype(np.float64),
            (master[upper_order] - sent[upper_order] - base).astype(np.float64) + ROUNDING_NS,
            (received[lower_order] - base_at).astype(np.float64),
            (master[lower_order] - received[lower_order] - base).astype(np.float64) - ROUNDING_NS,
        ),
        base_at,
        base,
    )


def by_steady_clocks(pings: Pings) -> Bounds:
    """Return the bounds of the offset from pings with steady times; at least one ping is needed.

    First the offset between the two steady clocks is bounded, then that of each wall clock from the steady clock of its
    machine.
    """
    raw = pings.raw
    assert raw is not None
    sent, received, master = raw
    points, base_at, base = steady_points(sent, received, master)
    found, jumps, allowed = steady_offset(points)
    steady = replace(found, base_at_ns=base_at, base_ns=base)
    worker = Adjustment.of(pings.received_ns, received)
    of_master = Adjustment.of(pings.master_sent_ns, master)
    own, theirs = worker.curve(), of_master.curve()
    # From here on, all times are in the worker's steady time, minus the `base_at_ns` of the curve `steady`.
    own_at = own.at_ns + (own.base_at_ns - base_at)
    shown = steady.at_ns + steady.estimate_ns  # curve points in the master's steady time, less base_at + base
    theirs_at = np.interp(
        theirs.at_ns + (theirs.base_at_ns - base_at - base), np.maximum.accumulate(shown), steady.at_ns
    )
    at = np.unique(np.concatenate((steady.at_ns, own_at, theirs_at)))
    steady_low, steady_high = (np.interp(at, steady.at_ns, y) for y in (steady.low_ns, steady.high_ns))
    own_low, own_high = (np.interp(at, own_at, y) for y in (own.low_ns, own.high_ns))
    estimate = np.interp(at, steady.at_ns, steady.estimate_ns)
    master_at = at + estimate - (theirs.base_at_ns - base_at - base)
    their_low, their_high = (np.interp(master_at, theirs.at_ns, y) for y in (theirs.low_ns, theirs.high_ns))
    # The offset between the steady clocks is uncertain, and so is the time at which the master's clock was read. Allow
    # for the largest slew of the master's wall clock within that uncertainty.
    doubt = SLEW * (steady_high - steady_low) / 2
    low = steady_low + their_low - own_high - doubt
    high = steady_high + their_high - own_low + doubt
    wall = at + (own_low + own_high) / 2
    estimate = estimate + (their_low + their_high) / 2 - (own_low + own_high) / 2
    curve = _by_wall_clock(Curve(wall, low, high, estimate), worker, own_at)
    offset = base + theirs.base_ns - own.base_ns
    moved = []
    for jump in jumps:
        edges = np.array([jump.from_ns, jump.to_ns])
        since = np.rint(edges + np.interp(edges, own_at, own.estimate_ns)).astype(np.int64)
        walls = since + (base_at + own.base_ns)
        moved.append(WallJump(int(walls[0]), int(walls[1]), jump.moved_ns))
    curve = replace(curve, base_at_ns=base_at + own.base_ns, base_ns=offset)
    return Bounds(curve, moved, worker, of_master, steady, allowed)


def _by_wall_clock(curve: Curve, worker: Adjustment, own_at: Floats) -> Curve:
    """Return the curve with its points in order of the worker's wall-clock time.

    Where the worker's clock was set back, it shows the same times twice; there the bounds cover both occurrences.
    """
    twice = []
    shift = own_at[0] - (worker.at_ns[0] - FAR_NS)
    for number in np.flatnonzero(worker.stepped):
        begin, end = worker.at_ns[number] + shift, worker.at_ns[number + 1] + shift
        before, after = worker.value_ns[number], worker.value_ns[number + 1]
        if after < before:
            twice.append((begin + after, end + before))
    order = np.argsort(curve.at_ns, kind="stable")
    return _either(
        Curve(curve.at_ns[order], curve.low_ns[order], curve.high_ns[order], curve.estimate_ns[order]), twice
    )


def _either(curve: Curve, twice: list[tuple[float, float]]) -> Curve:
    """Return ``curve`` with wider bounds in each interval of ``twice`` (begin, end).

    Throughout such an interval, the bounds are the lowest and the highest that ``curve`` has anywhere in it.
    """
    for begin, end in twice:
        edges = np.array([begin - 1, begin, end, end + 1])
        joined = np.concatenate((curve.at_ns, edges))
        order = np.argsort(joined, kind="stable")
        low, high, estimate = (
            np.concatenate((values, np.interp(edges, curve.at_ns, values)))[order]
            for values in (curve.low_ns, curve.high_ns, curve.estimate_ns)
        )
        at = joined[order]
        inside = (at >= begin) & (at <= end)
        low[inside], high[inside] = low[inside].min(), high[inside].max()
        curve = Curve(at, low, high, estimate)
    return curve
