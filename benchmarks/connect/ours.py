"""Connect users of the harness, as a worker does while it records: `ours.py PORT FEW MANY AT_ONCE FOLDER [tls|resume]`.

CPU time, duration and memory are measured while the number of connected users grows from FEW to MANY.

Users are started as Locust starts them: AT_ONCE at first, then one after each acknowledged subscribe. So AT_ONCE users
are connecting at any time. Each connection is kept open. If BENCH_PROFILE names a file, cProfile's profile of the
counted connects is written to it.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gevent  # noqa: E402
from gevent.event import Event  # noqa: E402
from gevent.pool import Group  # noqa: E402
from locust.env import Environment  # noqa: E402
from our_worker import OurWorker  # noqa: E402

from connect.process import CHANNEL, cpu_s, pss_kb  # noqa: E402
from loadgen.measure.clock import now_ns  # noqa: E402
from loadgen.resolve import ClientPlan, SubscriptionPlan  # noqa: E402
from loadgen.run import worker_process  # noqa: E402
from loadgen.transport.address import Address  # noqa: E402
from loadgen.users.roles import Subscriber, attach  # noqa: E402

#: Time to wait before each of the two readings of memory. The record is flushed every second. This wait is longer, so
#: that both readings include the buffers of a flush.
SETTLE_S = 1.5


class Ramp(OurWorker):
    """A worker whose users connect at once.

    It also replaces the worker's `Readiness`, which notes when a channel is ready.
    """

    def __init__(self, url: str, folder: Path, at_once: int) -> None:
        super().__init__(url, folder)
        self.readiness = self
        self._at_once, self._begun, self._most, self._acknowledged = at_once, 0, 0, 0
        self._over, self._reached = Event(), Event()
        #: Greenlets that users register to start at the end of the run. This run does not end, so they never start.
        self._resting: list[gevent.Greenlet] = []
        self._users = Group()
        self._environment = Environment(user_classes=[Subscriber])
        attach(self._environment, self.run)

    def connect_up_to(self, most: int) -> None:
        """Start users, and wait until ``most`` have subscribed."""
        self._most = most
        self._reached.clear()
        for _ in range(self._at_once):
            self._begin()
        self._reached.wait(60)
        assert self.progress.ready == most, f"{self.progress.ready} of {most} subscribed"

    def _begin(self) -> None:
        if self._begun < self._most:
            self._begun += 1
            Subscriber(self._environment).start(self._users)

    # Methods of `WorkerRun` that users call.

    def claim(self, role: str) -> ClientPlan | None:
        number = self._begun - 1
        return ClientPlan(number, "g", number, (SubscriptionPlan(number, CHANNEL),), None, 0)

    def wait_for_ramp(self, client: ClientPlan) -> bool:
        return True

    def joined(self) -> None:
        pass

    def left(self) -> None:
        pass

    def wait_for_end(self) -> None:
        self._over.wait()

    def start_at_end(self, greenlet: gevent.Greenlet) -> None:
        self._resting.append(greenlet)

    # The methods of `Readiness`. A channel counts as ready in the hub's next turn after its subscription's
    # acknowledgement.

    def watch(self, channel: str, on_ready: Callable[[int], None]) -> None:
        gevent.get_hub().loop.run_callback(self._ready, on_ready)

    def proven(self, channel: str) -> None:
        pass

    def probed_since_ns(self, channel: str) -> int | None:
        return None

    def withdraw(self, channel: str) -> None:
        pass

    def _ready(self, on_ready: Callable[[int], None]) -> None:
        on_ready(now_ns())
        self._acknowledged += 1
        self._begin()
        if self._acknowledged == self._most:
            self._reached.set()


def main() -> None:
    """Connect and print the figures as a line of JSON."""
    port, few, many, at_once = map(int, sys.argv[1:5])
    folder, kind = Path(sys.argv[5]), sys.argv[6] if len(sys.argv) > 6 else ""
    ramp = Ramp(f"{'https' if kind else 'http'}://127.0.0.1:{port}/event", folder, at_once)
    if kind == "resume":
        tls = replace(ramp.service.tls, resumption=True)
        ramp.address = Address(ramp.service.connect_url, tls, ramp.dialer)
    worker_process.set_up()
    profiler = None
    with ramp.flushing():
        ramp.connect_up_to(few)
        if path := os.environ.get("BENCH_PROFILE"):
            import cProfile

            profiler = cProfile.Profile()
            profiler.enable()
        gevent.sleep(SETTLE_S)
        before_kb, before_s, began_s = pss_kb(), cpu_s(), time.monotonic()
        ramp.connect_up_to(many)
        seconds, used_s = time.monotonic() - began_s, cpu_s() - before_s
        gevent.sleep(SETTLE_S)
        if profiler is not None and path:
            profiler.disable()
            profiler.dump_stats(path)
        sessions = ramp.address.sessions
        resumed = 0 if sessions is None else sessions.resumed
        result = {"cpu_s": used_s, "seconds": seconds, "kb": pss_kb() - before_kb, "resumed": resumed}
    print(json.dumps(result), flush=True)
    os._exit(0)


main()
