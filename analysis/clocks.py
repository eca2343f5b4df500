"""The clocks of a run's workers: how far each stood from the master's, and how sure that is.

A ping that left at t0, reached the master at t1, was answered at t2 and came back at t3 says that the master's clock
was ahead by θ = ((t1 − t0) + (t2 − t3)) / 2, give or take half the round trip (RFC 5905, section 8): whatever the
network did, the truth lies in that interval. Where clocks drift evenly the truth is a line that passes through all
intervals; the lines that do bound it from both sides at each moment. Where none does, the clocks wandered, and by how
much at least is added to the error. So the error is a bound and not a standard deviation.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SECOND_NS = 1_000_000_000
_MOST_PINGS = 2_000
_ENOUGH = 3
#: A jump beyond this, and beyond what a clock discipline slews (500 ppm), is a step.
_STEP_NS = 1_000_000
_SLEW = 500e-6


@dataclass(frozen=True)
class ClockFit:
    """What is known of one worker's clock; ``error_ns`` None: nothing is, and nothing was corrected."""

    worker: int
    #: One clock with the master: the same kernel, and no ping speaks against it.
    shared: bool
    pings: int
    #: Master minus worker at the start of the measurement, and how much that grows.
    offset_ns: int | None
    drift_ppm: float | None
    #: No time within the run is corrected wrongly by more than this.
    error_ns: int | None
    best_round_trip_ns: int | None = None
    #: What an even drift cannot explain; part of the error.
    wander_ns: int | None = None
    #: Reference of the line: the worker's time and the offset there.
    reference_ns: int = 0
    offset_at_reference_ns: float = 0.0

    def correction_ns(self, time_ns: Ints) -> Ints:
        """Return what to add to times of this worker to have the master's."""
        if self.shared or self.error_ns is None:
            return np.zeros(len(time_ns), dtype=np.int64)
        drift = (self.drift_ppm or 0.0) * 1e-6
        since = (time_ns - self.reference_ns).astype(np.float64)
        return np.rint(self.offset_at_reference_ns + drift * since).astype(np.int64)

    def error_ns_at(self, time_ns: Ints) -> Ints:
        """Return by how much each corrected time of this worker may be off, either way; the error must be known."""
        return np.full(len(time_ns), self.error_ns or 0, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return what is of interest in a summary."""
        fields = asdict(self)
        del fields["reference_ns"], fields["offset_at_reference_ns"]
        return fields


@dataclass(frozen=True)
class Step:
    """A jump of a worker's wall clock against its steady one."""

    worker: int
    time_ns: int
    moved_ns: int


def shared_clock(worker: int, pings: int = 0) -> ClockFit:
    """Return the fit of a clock that is the master's."""
    return ClockFit(worker, True, pings, 0, 0.0, 0)


def fit(
    worker: int,
    same_kernel: bool,
    sent_ns: Ints,
    master_received_ns: Ints,
    master_sent_ns: Ints,
    received_ns: Ints,
) -> ClockFit:
    """Fit a line to a worker's pings; arrays of one length, times of the two clocks."""
    count = len(sent_ns)
    offset_ns = ((master_received_ns - sent_ns) + (master_sent_ns - received_ns)) / 2
    half_ns = ((received_ns - sent_ns) - (master_sent_ns - master_received_ns)) / 2
    if same_kernel and bool((np.abs(offset_ns) <= half_ns).all()):
        return shared_clock(worker, count)
    if count < _ENOUGH:
        return ClockFit(worker, False, count, None, None, None)
    at_ns = (sent_ns + received_ns) // 2
    reference_ns = int(at_ns.min())
    at_s, offset, half = (at_ns - reference_ns) / _SECOND_NS, offset_ns.astype(float), half_ns.astype(float)
    kept = _quickest(at_s, half)
    slack, begin, end = _bounds(at_s[kept], offset[kept], half[kept])
    middle = [(low + high) / 2 for low, high in (begin, end)]
    length_s = float(at_s.max() - at_s.min())
    drift_ns_per_s = (middle[1] - middle[0]) / length_s if length_s > 0 else 0.0
    error_ns = max((high - low) / 2 for low, high in (begin, end)) + slack
    return ClockFit(
        worker,
        False,
        count,
        round(middle[0]),
        drift_ns_per_s / 1e3,
        round(np.ceil(error_ns)),
        round(2 * float(half.min())),
        round(slack),
        reference_ns,
        middle[0],
    )


def _quickest(at_s: Floats, half_ns: Floats) -> Ints:
    """Return which pings to fit: all, or of very many the quickest of each stretch of time."""
    if len(at_s) <= _MOST_PINGS:
        return np.arange(len(at_s))
    stretch = np.floor((at_s - at_s.min()) / (np.ptp(at_s) + 1e-9) * _MOST_PINGS).astype(np.int64)
    order = np.lexsort((half_ns, stretch))
    _, first = np.unique(stretch[order], return_index=True)
    return np.sort(order[first])


def _bounds(
    at_s: Floats, offset_ns: Floats, half_ns: Floats
) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """Return (wander, bounds at the first ping, bounds at the last) over all lines through the intervals.

    Linear programmes in (offset at the middle, drift, wander): least wander first, then the extremes with that wander.
    """
    from scipy.optimize import linprog

    middle_s, base_ns = (at_s.min() + at_s.max()) / 2, float(np.median(offset_ns))
    scale = max(1.0, float(half_ns.min()))
    x = at_s - middle_s
    y, half = (offset_ns - base_ns) / scale, half_ns / scale
    one = np.ones_like(x)
    rows = np.vstack((np.column_stack((one, x, -one)), np.column_stack((-one, -x, -one))))
    limits = np.concatenate((y + half, half - y))
    free = [(None, None), (None, None), (0, None)]
    least = linprog((0, 0, 1), A_ub=rows, b_ub=limits, bounds=free, method="highs")
    slack = float(least.fun)
    held = [(None, None), (None, None), (0, slack * (1 + 1e-9) + 1e-9)]

    def extremes(at: float) -> tuple[float, float]:
        found = []
        for sign in (1.0, -1.0):
            result = linprog((sign, sign * at, 0), A_ub=rows, b_ub=limits, bounds=held, method="highs")
            # Infeasible only by rounding: the least wander is a corner.
            found.append(sign * float(result.fun) if result.success else float(least.x[0] + least.x[1] * at))
        return base_ns + min(found) * scale, base_ns + max(found) * scale

    return slack * scale, extremes(float(x.min())), extremes(float(x.max()))


def find_steps(worker: Ints, time_ns: Ints, interval_ns: Ints, moved_ns: Ints) -> list[Step]:
    """Return the steps that the health rows of all workers show."""
    stepped = np.abs(moved_ns) > _STEP_NS + _SLEW * np.abs(interval_ns)
    return [
        Step(int(w), int(t), int(m))
        for w, t, m in zip(worker[stepped], time_ns[stepped], moved_ns[stepped], strict=True)
    ]
