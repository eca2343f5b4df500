"""Our receive path as in a worker, with recording: `receive_ours.py PORT SUBSCRIBERS FOLDER`.

BENCH_TLS=1 receives over TLS, and BENCH_TARGET=mqtt://127.0.0.1:{port} or another URL from another kind of service.
BENCH_RECORD=0 decodes and stamps deliveries, but discards them once a second. BENCH_LIVE=1 adds live displays, see
receive_live.py, and BENCH_BURN=1 Python code that burns time, see receive_burn.py.
When the sender disconnects, it prints a line of JSON, and the record is in FOLDER.
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
    """Takes the rows from the receive path like a recorder, but only counts them."""

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
