"""The points of a run at which a worker's users wait, and the calls that let them go on."""

from gevent import Greenlet
from gevent.event import AsyncResult, Event

from loadgen.resolve import ClientPlan
from loadgen.run.worker.clock import Clock
from loadgen.run.worker.master_time import MasterTime
from loadgen.users.worker import Timeline


class Barriers:
    """The barriers at which a worker's users wait: start of the ramp, start of the load, and end of the run.

    ``ramp_ns`` is the length of the ramp.
    """

    def __init__(self, clock: Clock, time: MasterTime, ramp_ns: int) -> None:
        self._clock = clock
        self._time = time
        self._ramp_length_ns = ramp_ns
        #: Set when the ramp's start is known, or when the run ends before that.
        self._ramping = Event()
        self._ramp_ns = 0
        self._timeline: AsyncResult = AsyncResult()
        #: Set once the drain has ended: clients then close their connections.
        self.over = Event()
        #: Greenlets to start at the end of the run.
        self._resting: list[Greenlet] = []
        self.over.rawlink(self._start_resting)
        #: True once the master has ended the run, or this worker has ended its part early.
        self.finishing = False

    @property
    def starting(self) -> bool:
        """True until the phases' start times are known, or the run ends without them."""
        return not self._timeline.ready()

    @property
    def ramp_over(self) -> bool:
        """True once all clients have had their turn to connect."""
        end_ns = self._ramp_ns + self._ramp_length_ns
        return self._ramp_ns > 0 and self._clock.now_ns() >= self._time.local_ns(end_ns)

    def begin_ramp(self, ramp_ns: int) -> None:
        """Start the ramp at ``ramp_ns`` on the master's clock; each user then connects at its own time."""
        self._ramp_ns = ramp_ns
        self._ramping.set()

    def open(self, timeline: Timeline) -> None:
        """Give the users the start and end of each phase; publishers wait for this before they send."""
        self._timeline.set(timeline)

    def finish(self) -> bool:
        """Release the users that wait to connect or for the start of the load; return False if already called."""
        if self.finishing:
            return False
        self.finishing = True
        if not self._timeline.ready():
            self._timeline.set(None)
        self._ramping.set()
        return True

    def wait_for_ramp(self, client: ClientPlan) -> bool:
        """Wait until it is the client's turn to connect; return False if the run ended first."""
        self._ramping.wait()
        # The ramp is scheduled on the master's clock, so wait until the offset to that clock is known.
        self._time.wait_until_known()
        if self._ramp_ns:
            self._time.wait_until(self._ramp_ns + client.ramp_offset_ns)
        return bool(self._ramp_ns) and not self.over.is_set()

    def wait_for_timeline(self) -> Timeline | None:
        """Wait until all subscribers are ready; return the phases' times, or None if the run ended first."""
        timeline: Timeline | None = self._timeline.get()
        return timeline

    def start_at_end(self, greenlet: Greenlet) -> None:
        """Start a greenlet once the run is over, or at once if it is over already."""
        if self.over.is_set():
            greenlet.start()
        else:
            self._resting.append(greenlet)

    def _start_resting(self, over: Event) -> None:
        resting, self._resting = self._resting, []
        for greenlet in resting:
            greenlet.start()
