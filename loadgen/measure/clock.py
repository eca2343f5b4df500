"""The clock that everything is stamped with.

Kernel receive timestamps are CLOCK_REALTIME, so that is the clock of every stamp. A step of it during a run would
shift every figure, so the offset to the monotonic clock is watched (see :class:`ClockWatch`).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

#: Nanoseconds since the Unix epoch (CLOCK_REALTIME).
now_ns: Callable[[], int] = time.time_ns

#: Two clocks were read together if it took no longer than this. The analysis believes it: analysis.clocks.bounds.
TOGETHER_NS: Final = 5_000
_READINGS: Final = 20
_RAW: Final[int | None] = getattr(time, "CLOCK_MONOTONIC_RAW", None)


class Reading(NamedTuple):
    """The wall clock, and the steady clock that nothing slews (CLOCK_MONOTONIC_RAW) at the same moment."""

    real_ns: int
    #: None if the system has no such clock, or the process was put aside at each of several readings.
    raw_ns: int | None


def read_both() -> Reading:
    """Read the wall clock and the steady clock together, to within half of `TOGETHER_NS`."""
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
    """Return what identifies the running kernel, whose clock its processes share; None where it is not known."""
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
        """Realtime minus monotonic; of three readings the one with the narrowest bracket."""
        best_width = best_offset = -1
        for _ in range(3):
            before = self._monotonic_ns()
            real = self._realtime_ns()
            after = self._monotonic_ns()
            if best_width < 0 or after - before < best_width:
                best_width, best_offset = after - before, real - (before + after) // 2
        return best_offset

    def moved_ns(self) -> int:
        """How far the wall clock moved against the monotonic one since the last call, signed."""
        offset_ns = self._read_offset_ns()
        moved, self._offset_ns = offset_ns - self._offset_ns, offset_ns
        return moved
