"""What happens again and again beside the load."""

import time
from collections.abc import Iterator

import gevent

#: Between two writes of what a worker has recorded.
FLUSH_INTERVAL_S = 1.0


def every(interval_s: float) -> Iterator[None]:
    """Wait cooperatively, without end, until an interval after the last time, however long what was done took.

    What took longer than the interval is followed at once; what was missed is not made up for.
    """
    next_s = time.monotonic()
    while True:
        next_s = max(next_s + interval_s, time.monotonic())
        gevent.sleep(next_s - time.monotonic())
        yield
