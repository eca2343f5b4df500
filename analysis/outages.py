"""When the target was away: times at which nobody could be connected."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis.run import Run, Window, codes, ints

_FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Outage:
    """An interval of the measure phase in which not one of the clients had a connection."""

    start_ns: int
    end_ns: int
    #: Clients whose connection was lost at its start or in it, and attempts to connect that failed in it.
    connections_lost: int
    attempts_failed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def find_outages(run: Run, window: Window) -> list[Outage]:
    """Return the outages of a window; none where nobody ever was connected, or all left by themselves."""
    table = run.table("connections", ("worker", "started_ns", "acknowledged_ns", "closed_ns", "error"))
    up_ns, down_ns = ints(table, "acknowledged_ns"), ints(table, "closed_ns", missing=_FOREVER)
    started_ns = ints(table, "started_ns")
    error, errors = codes(table, "error")
    lost = error != errors.index(None) if None in errors else np.ones(len(error), dtype=bool)
    was_up = up_ns >= 0
    # Of a worker that died nobody knows when its connections ended; it says nothing about the target.
    worker = ints(table, "worker")
    for number, end_ns in run.broken_off_ns.items():
        its = (worker == number) & (down_ns == _FOREVER)
        down_ns, lost = np.where(its, end_ns, down_ns), lost & ~its
    if not was_up.any():
        return []
    times_ns = np.concatenate((up_ns[was_up], down_ns[was_up]))
    steps = np.concatenate((np.ones(was_up.sum(), dtype=np.int64), -np.ones(was_up.sum(), dtype=np.int64)))
    order = np.lexsort((-steps, times_ns))
    times_ns, connected = times_ns[order], np.cumsum(steps[order])
    outages = []
    for place in np.flatnonzero(connected == 0).tolist():
        start_ns = int(times_ns[place])
        end_ns = int(times_ns[place + 1]) if place + 1 < len(times_ns) else _FOREVER
        begin_ns, stop_ns = max(start_ns, window.start_ns), min(end_ns, window.end_ns)
        gone = int(
            np.count_nonzero(was_up & lost & (down_ns <= start_ns) & (down_ns > start_ns - 1_000_000_000))
        )
        failed = int(np.count_nonzero(~was_up & (started_ns >= start_ns) & (started_ns < end_ns)))
        if begin_ns < stop_ns and gone and failed:
            outages.append(Outage(begin_ns, stop_ns, gone, failed))
    return outages
