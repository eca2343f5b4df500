"""Offset of each worker's clock from the master's over the run, with a bound of its error.

`analysis.clocks.bounds` turns pings into an interval that holds the true offset at each moment. An estimate within the
interval, usually its middle, corrects the worker's times; the error is the distance from the estimate to the farther
end. It is therefore a bound and not a standard deviation: it covers drift, slew, steps too small to be reported, and a
network that is slower in one direction.
"""

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from analysis.clocks.bounds import STEP_NS, Bounds, Pings, WallJump, by_pings_alone, by_steady_clocks
from analysis.clocks.envelope import Curve, Floats, Ints
from analysis.clocks.vouched import narrowed

_ENOUGH = 3
#: A corrected time may be off by this much: the time and the correction are each rounded to whole nanoseconds.
_ROUNDING_NS = 1


@dataclass(frozen=True)
class Step:
    """A step of the wall clock of a worker, or of the master if `worker` is None."""

    worker: int | None
    #: Time on the master's clock at which the step was seen. The step happened up to `within_ns` earlier.
    time_ns: int
    moved_ns: int
    within_ns: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True)
class Jump:
    """A jump between two machines' clocks: one machine was suspended, or a clock was set and no record shows it."""

    worker: int
    #: Times on the master's clock between which the clocks jumped: `from_ns` and `to_ns`.
    from_ns: int
    to_ns: int
    #: Distance by which the master's clock moved ahead of the worker's.
    moved_ns: int
    #: True if the jump also shows on the steady clocks, which cannot be set. So no clock was set: a machine was
    #: suspended.
    steady: bool


@dataclass(frozen=True)
class ClockFit:
    """Offset and error of one worker's clock; if `error_ns` is None, neither is known and no time was corrected."""

    worker: int
    #: True if the worker shares the master's clock: both run on the same kernel, and no ping contradicts this.
    shared: bool
    pings: int
    #: `offset_ns` is the master's clock minus the worker's at the start of the measurement. `drift_ppm` is the median
    #: rate at which this offset grows.
    offset_ns: int | None
    drift_ppm: float | None
    #: Largest error of any corrected time in the measurement.
    error_ns: int | None
    best_round_trip_ns: int | None = None
    #: True if worker and master recorded their steady clocks with each ping.
    steady: bool = False
    curve: Curve | None = field(default=None, repr=False, compare=False)
    steps: tuple[Step, ...] = ()
    jumps: tuple[Jump, ...] = ()

    def correction_ns(self, time_ns: Ints) -> Ints:
        """Return the nanoseconds to add to times of this worker's clock to get the master's."""
        if self.curve is None:
            return np.zeros(len(time_ns), dtype=np.int64)
        return self.curve.estimate(time_ns)

    def error_ns_at(self, times_ns: Ints) -> Ints:
        """Return the largest error (ns) of each corrected time, to either side.

        ``times_ns`` are on the master's clock, as `Run.table` returns them. All errors are zero if the worker shares
        the master's clock.

        Raises:
            ValueError: the error of this clock is not known (`error_ns` is None).
        """
        if self.error_ns is None:
            raise ValueError(f"nothing is known of worker {self.worker}'s clock")
        if self.curve is None:
            return np.zeros(len(times_ns), dtype=np.int64)
        since = (times_ns - (self.curve.base_at_ns + self.curve.base_ns)).astype(np.float64)
        return np.ceil(np.interp(since, *self._error_by_masters_clock)).astype(np.int64) + _ROUNDING_NS

    @cached_property
    def _error_by_masters_clock(self) -> tuple[Floats, Floats]:
        """Return (times on the master's clock, error at each) for interpolation.

        The correction can fall as fast as time passes. Then several times of the worker's clock are corrected to one
        time,
        and the largest of their errors applies.
        """
        assert self.curve is not None
        shown, half = self.curve.at_ns + self.curve.estimate_ns, self.curve.error_ns
        before, after = np.maximum.accumulate(shown), np.minimum.accumulate(shown[::-1])[::-1]
        # Points of the curve are joined if the corrected time rises from one to the next by no more than their errors
        # differ. All joined points get the largest of their errors.
        apart = after[1:] - before[:-1] > np.maximum(4 * _ROUNDING_NS, np.abs(np.diff(half)))
        begins = np.flatnonzero(np.concatenate(([True], apart)))
        ends = np.append(begins[1:], len(shown)) - 1
        worst = np.maximum.reduceat(half, begins)
        edges = np.column_stack((after[begins] - _ROUNDING_NS, before[ends] + _ROUNDING_NS))
        return edges.ravel(), np.repeat(worst, 2)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of this clock fit that the run's summary shows."""
        left_out = ("curve", "steps", "jumps")
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in left_out}


def shared_clock(worker: int, pings: int = 0) -> ClockFit:
    """Return the fit of a worker that shares the master's clock."""
    return ClockFit(worker, True, pings, 0, 0.0, 0)


def fit(
    worker: int,
    same_kernel: bool,
    pings: Pings,
    window: tuple[int, int] | None = None,
    vouched_ns: Ints | None = None,
) -> ClockFit:
    """Bound the offset of a worker's clock by its pings.

    ``vouched_ns`` is the sum of the bounds that the ClockBound daemons of both hosts reported at each ping, or -1 if
    one of them reported none. `error_ns` and `offset_ns` apply to ``window`` (start and end on the master's clock), or
    to the time of the pings if it is None.
    """
    count = len(pings)
    agree = (pings.master_received_ns >= pings.sent_ns) & (pings.master_sent_ns <= pings.received_ns)
    if same_kernel and bool(agree.all()):
        return shared_clock(worker, count)
    if count < _ENOUGH:
        return ClockFit(worker, False, count, None, None, None)
    steps: tuple[Step, ...] = ()
    if pings.raw is None:
        curve, jumps = by_pings_alone(pings)
    else:
        bounds = by_steady_clocks(pings)
        curve, jumps = bounds.curve, bounds.jumps
        steps = _steps(worker, bounds)
    if vouched_ns is not None:
        curve = narrowed(curve, pings.sent_ns, vouched_ns)
    shown = _shown(curve)
    if window is None:
        edges = np.array([pings.sent_ns.min(), pings.received_ns.max()]) - curve.base_at_ns
    else:
        edges = np.interp(np.array(window) - (curve.base_at_ns + curve.base_ns), shown, curve.at_ns)
    inside = (curve.at_ns >= edges[0]) & (curve.at_ns <= edges[1])
    half = curve.error_ns
    worst = max(float(half[inside].max(initial=0.0)), float(np.interp(edges, curve.at_ns, half).max()))
    return ClockFit(
        worker=worker,
        shared=False,
        pings=count,
        offset_ns=round(float(np.interp(edges[0], curve.at_ns, curve.estimate_ns))) + curve.base_ns,
        drift_ppm=_drift_ppm(curve, pings),
        error_ns=int(np.ceil(worst)) + _ROUNDING_NS,
        best_round_trip_ns=int(pings.round_trip_ns.min()),
        steady=pings.raw is not None,
        curve=curve,
        steps=steps,
        jumps=tuple(_jump(worker, curve, jump, pings.raw is not None) for jump in jumps),
    )


def _shown(curve: Curve) -> Floats:
    """Return the master's time at each point of the curve, minus (`base_at_ns` + `base_ns`), made non-decreasing."""
    return np.asarray(np.maximum.accumulate(curve.at_ns + curve.estimate_ns), dtype=np.float64)


def _on_masters_clock(curve: Curve, times_ns: tuple[int, ...]) -> Ints:
    """Convert times of the worker's clock to the master's."""
    at = np.array(times_ns, dtype=np.int64)
    return at + curve.estimate(at)


def _jump(worker: int, curve: Curve, jump: WallJump, steady: bool) -> Jump:
    """Express a jump of a worker's wall clock in the master's time.

    The begin and the end of the result are equal if the master's time did not advance between them.
    """
    from_ns, to_ns = _on_masters_clock(curve, (jump.from_ns, jump.to_ns)).tolist()
    return Jump(worker, min(from_ns, to_ns), to_ns, round(jump.moved_ns), steady)


def _steps(worker: int, bounds: Bounds) -> tuple[Step, ...]:
    """Return the steps of the worker's and of the master's wall clock, timed by the master's clock."""
    found = []
    for adjustment, number in ((bounds.worker, worker), (bounds.master, None)):
        for begin, end, moved_ns in adjustment.steps():
            time_ns = adjustment.wall_ns(end) if number is None else bounds.master_wall_ns(end)
            within_ns = round(float(adjustment.at_ns[end] - adjustment.at_ns[begin]))
            found.append(Step(number, time_ns, round(moved_ns), within_ns))
    return tuple(found)


def _drift_ppm(curve: Curve, pings: Pings) -> float:
    """Return the rate (ppm) at which the offset grew: the median over eight equal parts of the time of the pings."""
    edges = np.linspace(int(pings.sent_ns.min()), int(pings.received_ns.max()), 9) - curve.base_at_ns
    if edges[-1] <= edges[0]:
        return 0.0
    middle = np.interp(edges, curve.at_ns, curve.estimate_ns)
    return float(np.median(np.diff(middle) / np.diff(edges))) * 1e6


def steps_of_health(worker: Ints, time_ns: Ints, interval_ns: Ints, moved_ns: Ints) -> list[Step]:
    """Return the wall-clock steps that the rows of the health table show.

    Each row has the movement of the wall clock against CLOCK_MONOTONIC. NTP slews both clocks alike, but steps only the
    wall clock.
    """
    stepped = np.abs(moved_ns) > STEP_NS
    return [
        Step(int(w), int(t), int(m), int(i))
        for w, t, m, i in zip(
            worker[stepped], time_ns[stepped], moved_ns[stepped], interval_ns[stepped], strict=True
        )
    ]
