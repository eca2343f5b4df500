"""Timing of a run's periodic tasks, such as reports, and how long in advance the start of a phase is announced."""

import time
from collections.abc import Callable, Iterator
from typing import Final

import gevent

#: Interval between flushes of a worker's recorder.
FLUSH_INTERVAL_S = 1.0
#: Interval between a worker's reports of its counts.
STATUS_INTERVAL_S: Final = 0.25
_LOOK_S: Final = 0.02
_LEAD_MOST_NS: Final = 500_000_000
_LEAD_HERE_NS: Final = 50_000_000
_LEAD_CLIENT_NS: Final = 100_000


def lead_ns(clients: int, *, elsewhere: bool) -> int:
    """Return how long in advance (ns) all clients are told when the ramp, or the timed phases, will start.

    In this time the announcement must reach workers ``elsewhere`` (outside this process), and every client in this
    process must get its turn: a client that begins late is behind its schedule from the start.
    """
    return _LEAD_MOST_NS if elsewhere else min(_LEAD_MOST_NS, _LEAD_HERE_NS + clients * _LEAD_CLIENT_NS)


def wait_for_status(
    counts: Callable[[], object],
    starting: Callable[[], bool],
    sleep: Callable[[float], object] = gevent.sleep,
) -> None:
    """Wait until a worker's next report is due: `STATUS_INTERVAL_S`, or less while a run starts.

    The master waits for the counts of all clients before it goes on. So while the run is ``starting``, counts that have
    changed since the last report are due as soon as they stop changing, and at the latest after the interval.
    """
    reported = seen = counts()
    for _ in range(round(STATUS_INTERVAL_S / _LOOK_S)):
        if not starting():
            sleep(STATUS_INTERVAL_S)
            return
        sleep(_LOOK_S)
        now = counts()
        if now == seen != reported:
            return
        seen = now


def every(
    interval_s: float,
    steady_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = gevent.sleep,
) -> Iterator[None]:
    """Yield every ``interval_s`` seconds, forever, waiting cooperatively; the first time after one interval.

    If the loop's body takes longer than the interval, the next turn follows at once, and missed turns are skipped.
    """
    next_s = steady_s()
    while True:
        next_s = max(next_s + interval_s, steady_s())
        sleep(next_s - steady_s())
        yield
