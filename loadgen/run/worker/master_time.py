"""The master's time in a worker: pings that bound the offset of the two clocks, and waiting by the master's clock."""

from typing import Final

import msgspec
from gevent.event import Event

from loadgen.measure import clockbound
from loadgen.measure.recorder import Recorder
from loadgen.measure.rows import ClockRow
from loadgen.run.master_messages import Pong
from loadgen.run.messages import Link
from loadgen.run.worker.clock import Clock
from loadgen.run.worker_clock import WorkerClock
from loadgen.run.worker_messages import Ping

_PING_INTERVAL_S: Final = 0.25
_FIRST_PINGS_S: Final = 0.02
_CLOCK_TIMEOUT_S: Final = 10.0
#: Longest time (ns) for which the offset to the master's clock is extrapolated; during a longer wait the offset is
#: recomputed.
_FRESH_NS: Final = 200_000_000


class MasterTime:
    """Ask for the master's time, convert between its clock and this process's, and wait by the master's clock.

    Each answered ping becomes a row of the record.
    """

    def __init__(self, link: Link, clock: Clock, estimate: WorkerClock, recorder: Recorder) -> None:
        self._link = link
        self._clock = clock
        self._estimate = estimate
        self._recorder = recorder
        self._same_process = bool(estimate.ready.is_set())

    @property
    def apart(self) -> bool:
        """True if this process's clock is not the master's."""
        return self._estimate.apart

    def ping(self) -> None:
        """Ask the master for its time."""
        bound_ns = clockbound.error_ns()
        here = self._clock.read()
        self._link.to_coordinator(Ping(bound_ns=bound_ns, sent_ns=here.real_ns, sent_raw_ns=here.raw_ns))

    def watch(self, over: Event) -> None:
        """Ping until the run is over: in quick succession at first, then throughout the run.

        Return at once if the master's process is this one.
        """
        while not (self._same_process or over.is_set()):
            self.ping()
            self._clock.sleep(_PING_INTERVAL_S if self._estimate.ready.is_set() else _FIRST_PINGS_S)

    def on_pong(self, pong: Pong) -> None:
        """Add the answered ping to the estimate of the master's clock."""
        here = self._clock.read()
        # The clock daemon may have updated its error bound since the ping left: the wider of the two bounds covers the
        # whole ping.
        bound_ns = clockbound.wider(pong.bound_ns, clockbound.error_ns())
        known = {"received_ns": here.real_ns, "received_raw_ns": here.raw_ns, "bound_ns": bound_ns}
        row = ClockRow(**{**msgspec.structs.asdict(pong), **known})
        self._estimate.add(row)
        self._recorder.clock(row)

    def local_ns(self, master_ns: int) -> int:
        """Return what this process's clock shows when the master's shows ``master_ns``."""
        return self._estimate.local_ns(master_ns)

    def master_ns(self, local_ns: int) -> int:
        """Return what the master's clock shows when this process's shows ``local_ns``."""
        # Use the same offset as `local_ns`, so that a time converted to the other clock and back is unchanged.
        return local_ns + (local_ns - self._estimate.local_ns(local_ns))

    def wait_until_known(self) -> None:
        """Wait for an estimate of the offset to the master's clock, but no longer than `_CLOCK_TIMEOUT_S`."""
        self._clock.wait(self._estimate.ready, _CLOCK_TIMEOUT_S)

    def wait_until(self, due_ns: int) -> None:
        """Wait until the master's clock shows ``due_ns``; return at once if that time is past."""
        clock, estimate = self._clock, self._estimate
        if not estimate.apart:
            clock.wait_until(estimate.local_ns(due_ns))
            return
        # The two clocks drift apart during the wait, so recompute the offset from the latest pings before the end.
        while (left_ns := estimate.local_ns(due_ns) - clock.now_ns()) > 0:
            soon = left_ns <= _FRESH_NS
            clock.wait_until(clock.now_ns() + (left_ns if soon else left_ns - _FRESH_NS // 2))
