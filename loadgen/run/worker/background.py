"""Run a worker's background work: greenlets that report, and threads that watch the process and the machine."""

from collections.abc import Callable
from functools import partial

import gevent

from loadgen.measure.health import HealthSampler
from loadgen.measure.pauses import PauseWatch
from loadgen.run.threads import native_sleep, start_native_thread
from loadgen.transport.poller import thread_cpu_ns


class Background:
    """The watchers of one worker process."""

    def __init__(self) -> None:
        self._pauses = PauseWatch(native_sleep)
        #: Samples this process's health at each flush.
        self.health = HealthSampler(gevent.sleep, self._pauses, thread_cpu_ns)
        self._loops: list[gevent.Greenlet] = []

    def start(self, *loops: Callable[[], object]) -> None:
        """Start watching the process and the machine, and start each of the ``loops`` in a greenlet."""
        start_native_thread(self._pauses.watch)
        start_native_thread(partial(self.health.surroundings.allowances.watch, native_sleep))
        self._loops += [gevent.spawn(loop) for loop in (self.health.watch, *loops)]

    def end(self) -> None:
        """Tell the watchers to end; return at once."""
        self.health.running = self._pauses.running = False

    def stop(self) -> None:
        """Stop all loops and wait until they have stopped."""
        gevent.killall(self._loops, block=True)
        self.health.surroundings.close()
