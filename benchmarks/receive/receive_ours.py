"""Receive with our receive path, set up and recording as in a worker: `receive_ours.py PORT SUBSCRIBERS FOLDER`.

Environment variables change what is received and how:

    BENCH_TLS=1         receive over TLS
    BENCH_TARGET=URL    receive from another service, such as mqtt://127.0.0.1:{port}
    BENCH_RECORD=0      decode and stamp deliveries, but discard them once a second
    BENCH_LIVE=1        add live displays (receive_live.py)
    BENCH_BURN=1        add Python code that keeps the interpreter busy (receive_burn.py)

When the sender disconnects, the program prints a line of JSON; the record is in FOLDER.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from our_worker import OurWorker  # noqa: E402

from loadgen.measure.health import HealthSampler  # noqa: E402
from loadgen.measure.recorder import Interval, Recorder  # noqa: E402
from loadgen.measure.sinks import Sinks  # noqa: E402
from loadgen.resolve import ClientPlan, SubscriptionPlan  # noqa: E402


class ThrownAway(Recorder):
    """A recorder that counts the rows of the receive path and discards them."""

    def flush(self, health: HealthSampler | None = None) -> Any:
        """Discard the rows since the last call."""
        self.deliveries += sum(map(len, self._buffer.take()))

    def _on_backpressure(self) -> None:
        self.deliveries += sum(map(len, self._buffer.take_oldest()))


def main() -> None:
    """Receive until the sender closes all connections; print the number of recorded deliveries."""
    port, count, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    scheme = "https" if os.environ.get("BENCH_TLS") == "1" else "http"
    kind = ThrownAway if os.environ.get("BENCH_RECORD") == "0" else Recorder
    displays = None
    if os.environ.get("BENCH_LIVE") == "1":
        # A module in this script's folder.
        from receive_live import LiveDisplays  # type: ignore[import-not-found]

        displays = LiveDisplays(count, folder)
    sinks = Sinks() if displays is None else displays.sinks
    if os.environ.get("BENCH_BURN") == "1":
        import receive_burn  # type: ignore[import-not-found]

        receive_burn.begin(folder)
    target = os.environ.get("BENCH_TARGET", f"{scheme}://127.0.0.1:{{port}}/event")
    worker = OurWorker(target.format(port=port), folder, kind, sinks)
    plans = [
        ClientPlan(number, "g", number, (SubscriptionPlan(number, "/default/bench"),), None, 0)
        for number in range(count)
    ]
    connections = worker.connected(plans, 30.0)

    def show(interval: Interval) -> None:
        if displays is not None:
            displays.second(interval)

    with worker.flushing(show):
        for connection in connections:
            connection.ended.wait()
    worker.print_received()


main()
