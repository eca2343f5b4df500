"""Estimate the offset between a worker's clock and the master's during a run.

The schedule is on the master's clock. A worker pings the master throughout the run. Each ping bounds the offset between
the steady clocks of the two machines (CLOCK_MONOTONIC_RAW, which is never slewed or stepped). Between pings the bounds
widen only as fast as the clocks can plausibly drift apart. Every conversion of a time compares the worker's wall clock
with its steady clock, so a slew or step of the wall clock takes effect at once. The analysis bounds the offset in the
same way (`analysis.clocks.bounds`), but also uses later pings.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gevent.event import Event

from analysis.clocks.envelope import PART, SLEW, WANDER
from loadgen.measure.clock import TOGETHER_NS, Reading, read_both
from loadgen.measure.rows import ClockRow

#: Number of recent pings that bound the offset: 20 seconds at four a second.
_RECENT = 80
#: The quickest of this many successive pings is used to estimate the rate at which the offset changes.
_STRETCH = 8
_MOST_STRETCHES = 40
#: Number of answered pings before the estimate is used.
_ENOUGH = 8
#: Time (ns) for which a reading of the clocks is reused, since every publish converts times.
_FRESH_NS = 2_000_000


@dataclass(frozen=True, slots=True)
class _Now:
    """The offset (master's clock minus this process's) when this process's clocks were read, and its rate of change."""

    read_ns: int
    wall_ns: int
    offset_ns: int
    error_ns: int
    rate: float


@dataclass(slots=True)
class _Wall:
    """A machine's wall clock minus its steady clock when last read, and the rate at which this difference changes."""

    value_ns: int = 0
    at_ns: int = 0
    rate: float = 0.0

    def read(self, value_ns: int, at_ns: int) -> None:
        since = at_ns - self.at_ns
        if since <= 0:
            return
        rate = (value_ns - self.value_ns) / since
        # A rate above `SLEW` means that the clock was stepped and did not drift: keep the previous rate.
        if self.at_ns and abs(rate) <= SLEW:
            self.rate = rate
        self.value_ns, self.at_ns = value_ns, at_ns


@dataclass(frozen=True, slots=True)
class _Bound:
    """A ping: the offset was at most `upper_ns` when it left, and at least `lower_ns` when its answer arrived."""

    sent_ns: int
    upper_ns: int
    received_ns: int
    lower_ns: int

    @property
    def width_ns(self) -> int:
        return self.upper_ns - self.lower_ns


class WorkerClock:
    """Convert times of the master's clock to this process's clock; return them unchanged if both are the same clock."""

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
        #: True if `_low_ns` and `_high_ns` bound the offset of the steady clocks, False if that of the wall clocks.
        self._steady = False
        self._least, self._most = -PART, PART
        # `_low_ns` and `_high_ns` bound the offset at the time `_at_ns`, when the last ping's answer arrived. It is a
        # time of this machine's steady clock if `_steady` is True, else of its wall clock.
        self._at_ns = 0
        self._low_ns = self._high_ns = 0.0
        self._own, self._masters = _Wall(), _Wall()
        self._now: _Now | None = None
        #: Set when there is a usable estimate.
        self.ready = Event()
        if same_process:
            self.ready.set()

    @property
    def apart(self) -> bool:
        """True if this process and the master use different clocks."""
        return self._count > 0 and (self._apart or not self._same_machine)

    @property
    def offset_ns(self) -> int:
        """The master's clock minus this process's, now, in ns."""
        return self._current().offset_ns if self.apart else 0

    @property
    def error_ns(self) -> int:
        """Largest possible error of `offset_ns` in either direction, in ns."""
        return self._current().error_ns if self.apart else 0

    def add(self, row: ClockRow) -> None:
        """Add an answered ping."""
        # A ping whose times are impossible on a shared clock proves that the clocks differ, even on one kernel.
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
            # The steady clock could not be read now: derive its time from the wall clock and their difference at the
            # last ping.
            raw_ns = wall_ns - self._own.value_ns
        middle, half = self._bounds_at(raw_ns)
        age_ns = raw_ns + middle - self._masters.at_ns
        offset_ns = round(middle) + self._masters.value_ns + round(self._masters.rate * age_ns)
        return _Now(
            read_ns,
            wall_ns,
            offset_ns - (wall_ns - raw_ns),
            # Widen the error: since the last ping the master's clock may have been slewed at another rate, and no
            # machine reads its two clocks at exactly the same time.
            round(half + (SLEW + abs(self._masters.rate)) * max(0.0, age_ns)) + TOGETHER_NS,
            rate + self._masters.rate - self._own.rate,
        )

    def _bounds_at(self, at_ns: int) -> tuple[float, float]:
        """Return (middle, half the width) of the bounds of the offset at ``at_ns``, in ns."""
        since = at_ns - self._at_ns
        low, high = self._low_ns + self._least * since, self._high_ns + self._most * since
        return (low + high) / 2, max(0.0, (high - low) / 2)

    def _bound(self, new: _Bound) -> None:
        self._recent.append(new)
        if not self._hold():
            # A machine was suspended or a clock was set: earlier pings no longer bound the offset.
            self._forget()
            self._recent.append(new)
            self._hold()
        if not self._quickest or self._count % _STRETCH == 0:
            self._quickest.append(new)
        elif new.width_ns < self._quickest[-1].width_ns:
            self._quickest[-1] = new

    def _hold(self) -> bool:
        """Intersect the recent pings' bounds, moved to the time of the last ping; return False if they are disjoint."""
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
        """Narrow the bounds of the steady clocks' drift rate: compare a new ping with the quickest earlier pings."""
        for each in self._quickest:
            if (apart := new.sent_ns - each.received_ns) > 0:
                self._most = min(self._most, (new.upper_ns - each.lower_ns) / apart + 2 * WANDER)
            if (apart := new.received_ns - each.sent_ns) > 0:
                self._least = max(self._least, (new.lower_ns - each.upper_ns) / apart - 2 * WANDER)

    def _forget(self) -> None:
        self._recent.clear()
        self._quickest.clear()
        self._least, self._most = -PART, PART
