"""Compute one tidy DataFrame with a row for each second of a run."""

from typing import TYPE_CHECKING

import numpy as np

from analysis import extras
from analysis.figures.bands import BANDS
from analysis.figures.latencies import SECOND_NS, latencies
from analysis.figures.offered import events_by_second
from analysis.loading.run import Ints, Run

if TYPE_CHECKING:
    import pandas as pd


def by_second(run: Run) -> "pd.DataFrame":
    """Return one row for each second from the first publish on.

    Columns:
        start_ns: start of the second
        phase: the phase in which the second began
        offered, accepted: number of events by intended time; if the service does not acknowledge publishes, accepted
            counts the events sent
        arrived: number of deliveries by arrival
        p50_ns, p90_ns, p99_ns, max_ns: headline latency of the events due in the second, null if there are none
    """
    extras.require("pandas", "a table as DataFrame")
    import pandas as pd

    start_ns, found = run.first_publish_ns, latencies(run)
    events = events_by_second(run, start_ns)
    arrived = found.arrivals if found else np.zeros(0, dtype=np.int64)
    count = max(len(events.due), len(arrived))
    starts_ns = start_ns + np.arange(count, dtype=np.int64) * SECOND_NS
    frame = pd.DataFrame(
        {
            "start_ns": starts_ns,
            "phase": _phases(run, starts_ns),
            "offered": _padded(events.due, count),
            "accepted": _padded(events.accepted, count),
            "arrived": _padded(arrived, count),
        }
    )
    for percent in BANDS:
        values = pd.array(np.zeros(count, dtype=np.int64), dtype="Int64")
        values[:] = pd.NA
        if found is not None:
            inside = (found.seconds >= 0) & (found.seconds < count)
            values[found.seconds[inside]] = found.bands_ns[percent][inside]
        frame["max_ns" if percent == 100 else f"p{percent}_ns"] = values
    return frame


def _padded(counts: Ints, length: int) -> Ints:
    return np.pad(counts, (0, length - len(counts)))


def _phases(run: Run, starts_ns: Ints) -> list[str | None]:
    found: list[str | None] = [None] * len(starts_ns)
    for name, (begin_ns, _) in sorted(run.phases.items(), key=lambda phase: phase[1][0]):
        for place in np.flatnonzero(starts_ns >= begin_ns).tolist():
            found[place] = name
    return found
