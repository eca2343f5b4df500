"""Our receive path as in a worker, with recording: `receive_ours.py PORT SUBSCRIBERS FOLDER`.

BENCH_TLS=1 receives over TLS. BENCH_RECORD=0 decodes and stamps deliveries, but discards them once a second.
BENCH_LIVE=1 adds live displays, see receive_live.py. When the sender disconnects, it prints a line of JSON, and the
record is in FOLDER.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from types import SimpleNamespace  # noqa: E402
from typing import Any, cast  # noqa: E402

import gevent  # noqa: E402
from gevent.pool import Pool  # noqa: E402

from loadgen.measure.health import HealthSampler  # noqa: E402
from loadgen.measure.recorder import Recorder  # noqa: E402
from loadgen.measure.sinks import Sinks  # noqa: E402
from loadgen.measure.spool import SpoolWriter  # noqa: E402
from loadgen.protocol.appsync.auth import ApiKey  # noqa: E402
from loadgen.protocol.appsync.client import AppSyncEvents  # noqa: E402
from loadgen.protocol.appsync.endpoints import Endpoints  # noqa: E402
from loadgen.resolve import ClientPlan, SubscriptionPlan  # noqa: E402
from loadgen.run import worker_process  # noqa: E402
from loadgen.run.periodic import FLUSH_INTERVAL_S, every  # noqa: E402
from loadgen.run.readiness import SettledReadiness  # noqa: E402
from loadgen.run.threads import native_lock, run_in_thread  # noqa: E402
from loadgen.transport.address import Address  # noqa: E402
from loadgen.users.connection import ClientConnection  # noqa: E402
from loadgen.users.worker import Progress, WorkerRun  # noqa: E402

TOKEN = 7


class ThrownAway(Recorder):
    """Takes the rows from the receive path, as a recorder does, and only counts them."""

    def flush(self, health: HealthSampler | None = None) -> Any:
        """Throw away what came in since the last call."""
        self.deliveries += sum(map(len, self._buffer.take()))

    def _on_backpressure(self) -> None:
        self.deliveries += sum(map(len, self._buffer.take_oldest()))


def main() -> None:
    """Receive until the sender hangs up on everybody; print what was recorded."""
    port, count, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    scheme = "https" if os.environ.get("BENCH_TLS") == "1" else "http"
    endpoints = Endpoints.from_url(f"{scheme}://127.0.0.1:{port}/event")
    service = AppSyncEvents(endpoints, ApiKey("da2-benchmark"))
    kind = ThrownAway if os.environ.get("BENCH_RECORD") == "0" else Recorder
    displays = None
    if os.environ.get("BENCH_LIVE") == "1":
        # Beside this file, which is run by its path.
        from receive_live import LiveDisplays  # type: ignore[import-not-found]

        displays = LiveDisplays(count, folder)
    sinks = Sinks() if displays is None else displays.sinks
    recorder = kind(TOKEN, SpoolWriter(folder, 0), run_in_thread, native_lock(), sinks)
    health = HealthSampler(gevent.sleep)
    run = SimpleNamespace(
        recorder=recorder,
        service=service,
        address=Address(service.connect_url),
        readiness=SettledReadiness(0),
        progress=Progress(),
        publishing_over=False,
        stopping=False,
        report_error=lambda reason, fatal: print(reason, file=sys.stderr),
    )
    plans = [
        ClientPlan(number, "g", number, (SubscriptionPlan(number, "/default/bench"),), None, 0)
        for number in range(count)
    ]
    worker_process.set_up()
    connections = [ClientConnection(cast(WorkerRun, run), plan) for plan in plans]
    gevent.spawn(health.watch)
    pool = Pool(50)
    pool.map(lambda connection: connection.open(30.0), connections)

    def flush() -> None:
        for _ in every(FLUSH_INTERVAL_S):
            interval = recorder.flush(health)
            if displays is not None:
                displays.second(interval)

    flusher = gevent.spawn(flush)
    for connection in connections:
        connection.ended.wait()
    flusher.kill()
    recorder.flush(health)
    result: dict[str, Any] = {"deliveries": recorder.deliveries, "undecodable": recorder.undecodable.count}
    print(json.dumps(result))


main()
