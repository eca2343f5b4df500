"""How a worker's clock stands to the master's, while the run goes on.

The schedule is on the master's clock. A worker pings the master all through the run and waits by the offset that the
quickest of the recent pings shows: offset = ((t1 − t0) + (t2 − t3)) / 2, wrong by at most half its round trip (NTP,
RFC 5905, section 8). All pings go into the record; the analysis fits offset and drift to them afterwards.
"""

from collections import deque

from gevent.event import Event

from loadgen.measure.rows import ClockRow

#: How many of the last pings are looked at; at four a second, 20 seconds.
_RECENT = 80
#: Pings before the first estimate is used.
_ENOUGH = 8


class WorkerClock:
    """Converts between the master's clock and this process's; identity where they are one clock."""

    def __init__(self, same_machine: bool, same_process: bool = False) -> None:
        self._same_machine = same_machine
        self._recent: deque[tuple[int, int]] = deque(maxlen=_RECENT)
        self._count = 0
        self._apart = False
        self.offset_ns = 0
        #: Set when there is an estimate.
        self.ready = Event()
        if same_process:
            self.ready.set()

    def add(self, row: ClockRow) -> None:
        """Take a ping that was answered."""
        offset_ns = ((row.master_received_ns - row.sent_ns) + (row.master_sent_ns - row.received_ns)) // 2
        round_trip_ns = (row.received_ns - row.sent_ns) - (row.master_sent_ns - row.master_received_ns)
        self._recent.append((round_trip_ns, offset_ns))
        self._count += 1
        # One ping that cannot be explained by its round trip shows that the clocks are two, whatever the kernel.
        self._apart = self._apart or abs(offset_ns) > round_trip_ns / 2
        self.offset_ns = 0 if self._same_machine and not self._apart else min(self._recent)[1]
        if self._count >= _ENOUGH:
            self.ready.set()

    def local_ns(self, master_ns: int) -> int:
        """Return what this process's clock shows when the master's shows ``master_ns``."""
        return master_ns - self.offset_ns
