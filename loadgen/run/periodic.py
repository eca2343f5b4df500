"""What happens again and again beside the load, and how long before a moment those who wait for it are told."""

import time
from collections.abc import Callable, Iterator
from typing import Final

import gevent

#: Between two writes of what a worker has recorded.
FLUSH_INTERVAL_S = 1.0
#: Between two reports of a worker's counts.
STATUS_INTERVAL_S: Final = 0.25
_LOOK_S: Final = 0.02
_LEAD_MOST_NS: Final = 500_000_000
_LEAD_HERE_NS: Final = 50_000_000
_LEAD_CLIENT_NS: Final = 100_000


def lead_ns(clients: int, *, elsewhere: bool) -> int:
    """Return how long before clients begin together (the ramp, the timed phases) they are told when.

    Long enough for the message to reach a worker that is ``elsewhere`` than in this process, and for each client to
    have its turn: who begins late is behind its schedule from the start.
    """
    return _LEAD_MOST_NS if elsewhere else min(_LEAD_MOST_NS, _LEAD_HERE_NS + clients * _LEAD_CLIENT_NS)


def wait_for_status(
    counts: Callable[[], object],
    starting: Callable[[], bool],
    sleep: Callable[[float], object] = gevent.sleep,
) -> None:
    """Wait until a worker's next report is due: `STATUS_INTERVAL_S`, or less when a run starts.

    The master goes on when all clients have got there. So while the run is ``starting``, counts that have changed since
    the last report and have come to rest are reported at once; while they change, the interval holds.
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


def every(interval_s: float) -> Iterator[None]:
    """Wait cooperatively, without end, until an interval after the last time, however long what was done took.

    What took longer than the interval is followed at once; what was missed is not made up for.
    """
    next_s = time.monotonic()
    while True:
        next_s = max(next_s + interval_s, time.monotonic())
        gevent.sleep(next_s - time.monotonic())
        yield
