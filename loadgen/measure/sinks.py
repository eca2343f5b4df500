"""Figures that a recorder provides during a run, in addition to the record on disk."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadgen.measure.running import RunningStatistics

Values = npt.NDArray[np.int64]


def same_clock() -> int:
    """Return 0 ns, the offset if this process's clock is also the master's clock."""
    return 0


@dataclass(frozen=True, slots=True)
class Sinks:
    """The outputs of a recorder during a run; without any, the recorder only writes the rows to disk."""

    #: The writing thread calls this function for each buffer of deliveries, with their subscriptions and headline
    #: latencies (ns).
    tally: Callable[[Values, Values], None] | None = None
    #: Builds `Interval.report` for live displays; None if there are no displays.
    running: RunningStatistics | None = None
    #: True to build `Interval.shortest_histogram`, which costs as much as the other histograms.
    shortest: bool = False
    #: Returns the current estimate of the master's clock minus this process's, in ns. Histograms and live reports are
    #: corrected by it; the rows written to disk are not.
    clock_offset_ns: Callable[[], int] = same_clock
