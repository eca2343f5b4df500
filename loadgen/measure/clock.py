"""The clock of all timestamps: CLOCK_REALTIME, because the kernel's receive timestamps use it.

A step of this clock during a run would shift every figure, so :class:`ClockWatch` watches its offset from the monotonic
clock.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

#: Returns nanoseconds since the Unix epoch.
Clock = Callable[[], int]

#: Nanoseconds since the Unix epoch (CLOCK_REALTIME).
now_ns: Clock = time.time_ns

#: Maximum duration of a reading of both clocks; a slower reading is repeated. analysis.clocks.bounds relies on it.
TOGETHER_NS: Final = 5_000
_READINGS: Final = 20
_RAW: Final[int | None] = getattr(time, "CLOCK_MONOTONIC_RAW", None)


class Reading(NamedTuple):
    """The times of the wall clock and of CLOCK_MONOTONIC_RAW, which is never slewed, at the same moment."""

    real_ns: int
    #: CLOCK_MONOTONIC_RAW, or None if the system lacks it or if each attempt to read both clocks at once was
    #: interrupted.
    raw_ns: int | None


def read_both() -> Reading:
    """Read the wall clock and CLOCK_MONOTONIC_RAW at the same moment, to within half of `TOGETHER_NS`."""
    if _RAW is None:
        return Reading(now_ns(), None)
    for _ in range(_READINGS):
        before_ns = time.clock_gettime_ns(_RAW)
        real_ns = now_ns()
        after_ns = time.clock_gettime_ns(_RAW)
        if after_ns - before_ns <= TOGETHER_NS:
            return Reading(real_ns, (before_ns + after_ns) // 2)
    return Reading(now_ns(), None)


def boot_id() -> str | None:
    """Return the running kernel's boot ID, or None if it is unknown; processes with the same ID share a clock."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


class ClockWatch:
    """Notices when CLOCK_REALTIME moves against CLOCK_MONOTONIC."""

    def __init__(
        self,
        realtime_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._realtime_ns = realtime_ns
        self._monotonic_ns = monotonic_ns
        self._offset_ns = self._read_offset_ns()

    def _read_offset_ns(self) -> int:
        """Return realtime minus monotonic, from the fastest of three readings."""
        best_width = best_offset = -1
        for _ in range(3):
            before = self._monotonic_ns()
            real = self._realtime_ns()
            after = self._monotonic_ns()
            if best_width < 0 or after - before < best_width:
                best_width, best_offset = after - before, real - (before + after) // 2
        return best_offset

    def moved_ns(self) -> int:
        """Return how far the wall clock has moved against the monotonic clock since the last call, in ns, signed."""
        offset_ns = self._read_offset_ns()
        moved, self._offset_ns = offset_ns - self._offset_ns, offset_ns
        return moved
