"""How a worker's clock stands to the master's while the run goes on.

The schedule is on the master's clock. A worker pings the master all through the run. Each ping bounds the offset
between the steady clocks of the two machines (CLOCK_MONOTONIC_RAW, which nothing slews or steps); between pings the
bounds part at credible rates only. The worker's wall clock is read against its steady clock each time that a time is
converted, so that a slew or a step of it counts at once. The analysis bounds the offset in the same way
(`analysis.clocks.bounds`), and uses the pings that came later, too.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gevent.event import Event

from analysis.clocks.envelope import PART, SLEW, WANDER
from loadgen.measure.clock import TOGETHER_NS, Reading, read_both
from loadgen.measure.rows import ClockRow

#: How many of the last pings bound the offset; at four a second, 20 seconds.
_RECENT = 80
#: The rate is taken of the quickest ping of each stretch of so many.
_STRETCH = 8
_MOST_STRETCHES = 40
#: Pings before the first estimate is used.
_ENOUGH = 8
#: So long the last reading of the clocks is used again: times are converted for each publish.
_FRESH_NS = 2_000_000


@dataclass(frozen=True, slots=True)
class _Now:
    """The master's clock minus this process's at a reading of this process's, and its rate."""

    read_ns: int
    wall_ns: int
    offset_ns: int
    error_ns: int
    rate: float


@dataclass(slots=True)
class _Wall:
    """A wall clock against the steady clock of its machine: wall minus steady when last read, and its rate."""

    value_ns: int = 0
    at_ns: int = 0
    rate: float = 0.0

    def read(self, value_ns: int, at_ns: int) -> None:
        since = at_ns - self.at_ns
        if since <= 0:
            return
        rate = (value_ns - self.value_ns) / since
        # Faster is a step, after which the rate is as before.
        if self.at_ns and abs(rate) <= SLEW:
            self.rate = rate
        self.value_ns, self.at_ns = value_ns, at_ns


@dataclass(frozen=True, slots=True)
class _Bound:
    """What a ping says: the offset was at most `upper` when it left, and at least `lower` when it was back."""

    sent_ns: int
    upper_ns: int
    received_ns: int
    lower_ns: int

    @property
    def width_ns(self) -> int:
        return self.upper_ns - self.lower_ns


class WorkerClock:
    """Converts between the master's clock and this process's; identity where they are one clock."""

    def __init__(
        self,
        same_machine: bool,
        same_process: bool = False,
        read: Callable[[], Reading] = read_both,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._same_machine = same_machine
        self._read, self._monotonic_ns = read, monotonic_ns
        self._recent: deque[_Bound] = deque(maxlen=_RECENT)
        self._quickest: deque[_Bound] = deque(maxlen=_MOST_STRETCHES)
        self._count = 0
        self._apart = False
        #: Whether the bounds are of steady clocks; else of the wall clocks.
        self._steady = False
        self._least, self._most = -PART, PART
        # At the time of the last ping, on this machine's steady clock (or its wall clock).
        self._at_ns = 0
        self._low_ns = self._high_ns = 0.0
        self._own, self._masters = _Wall(), _Wall()
        self._now: _Now | None = None
        #: Set when there is an estimate.
        self.ready = Event()
        if same_process:
            self.ready.set()

    @property
    def apart(self) -> bool:
        """Whether this process's clock is another than the master's."""
        return self._count > 0 and (self._apart or not self._same_machine)

    @property
    def offset_ns(self) -> int:
        """The master's clock minus this process's, now."""
        return self._current().offset_ns if self.apart else 0

    @property
    def error_ns(self) -> int:
        """By how much `offset_ns` may be wrong, to either side."""
        return self._current().error_ns if self.apart else 0

    def add(self, row: ClockRow) -> None:
        """Take a ping that was answered."""
        # One ping that cannot be explained by its round trip shows that the clocks are two, whatever the kernel.
        self._apart |= row.master_received_ns < row.sent_ns or row.master_sent_ns > row.received_ns
        sent, received, master = row.sent_raw_ns, row.received_raw_ns, row.master_raw_ns
        if sent is not None and received is not None and master is not None:
            if not self._steady:
                self._forget()
                self._steady = True
            self._masters.read(row.master_sent_ns - master, master)
            self._own.read(row.received_ns - received, received)
            self._bound(_Bound(sent, master - sent, received, master - received))
        elif not self._steady:
            upper, lower = row.master_received_ns - row.sent_ns, row.master_sent_ns - row.received_ns
            self._bound(_Bound(row.sent_ns, upper, row.received_ns, lower))
        self._count += 1
        self._now = None
        if self._count >= _ENOUGH:
            self.ready.set()

    def local_ns(self, master_ns: int) -> int:
        """Return what this process's clock shows when the master's shows ``master_ns``."""
        if not self.apart:
            return master_ns
        now = self._current()
        ahead_ns = master_ns - now.offset_ns - now.wall_ns
        return master_ns - now.offset_ns - (round(now.rate * ahead_ns) if ahead_ns > 0 else 0)

    def _current(self) -> _Now:
        read_ns = self._monotonic_ns()
        if self._now is None or read_ns - self._now.read_ns > _FRESH_NS:
            self._now = self._look(read_ns)
        return self._now

    def _look(self, read_ns: int) -> _Now:
        wall_ns, raw_ns = self._read()
        rate = (self._least + self._most) / 2
        if not self._steady:
            middle, half = self._bounds_at(wall_ns)
            return _Now(read_ns, wall_ns, round(middle), round(half), rate)
        if raw_ns is None:
            # Not to be read just now: as at the last ping.
            raw_ns = wall_ns - self._own.value_ns
        middle, half = self._bounds_at(raw_ns)
        age_ns = raw_ns + middle - self._masters.at_ns
        offset_ns = round(middle) + self._masters.value_ns + round(self._masters.rate * age_ns)
        return _Now(
            read_ns,
            wall_ns,
            offset_ns - (wall_ns - raw_ns),
            # The master may have been slewed otherwise since; and either machine's clocks were read a little apart.
            round(half + (SLEW + abs(self._masters.rate)) * max(0.0, age_ns)) + TOGETHER_NS,
            rate + self._masters.rate - self._own.rate,
        )

    def _bounds_at(self, at_ns: int) -> tuple[float, float]:
        """Return (middle, half the width) of the offset between the clocks that are bounded."""
        since = at_ns - self._at_ns
        low, high = self._low_ns + self._least * since, self._high_ns + self._most * since
        return (low + high) / 2, max(0.0, (high - low) / 2)

    def _bound(self, new: _Bound) -> None:
        self._recent.append(new)
        if not self._hold():
            # A machine stood still or a clock was set: what was before says nothing of now.
            self._forget()
            self._recent.append(new)
            self._hold()
        if not self._quickest or self._count % _STRETCH == 0:
            self._quickest.append(new)
        elif new.width_ns < self._quickest[-1].width_ns:
            self._quickest[-1] = new

    def _hold(self) -> bool:
        """Take the bounds of the recent pings to the last one's time; return whether they leave anything."""
        new = self._recent[-1]
        if self._steady:
            self._narrow(new)
        at_ns = new.received_ns
        high = min(each.upper_ns + self._most * (at_ns - each.sent_ns) for each in self._recent)
        low = max(each.lower_ns + self._least * (at_ns - each.received_ns) for each in self._recent)
        if low > high or self._least > self._most:
            return False
        self._at_ns, self._low_ns, self._high_ns = at_ns, low, high
        return True

    def _narrow(self, new: _Bound) -> None:
        """Narrow the rate between the steady clocks by what a ping and the quickest before it say."""
        for each in self._quickest:
            if (apart := new.sent_ns - each.received_ns) > 0:
                self._most = min(self._most, (new.upper_ns - each.lower_ns) / apart + 2 * WANDER)
            if (apart := new.received_ns - each.sent_ns) > 0:
                self._least = max(self._least, (new.lower_ns - each.upper_ns) / apart - 2 * WANDER)

    def _forget(self) -> None:
        self._recent.clear()
        self._quickest.clear()
        self._least, self._most = -PART, PART
