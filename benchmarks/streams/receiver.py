"""Our receive path as a worker has it, with everything recorded: a JSON object of what to be on the command line.

`url`, `connections`, `subscriptions` (of each), `channels` (of all subscriptions, the first that many each have one of
their own and the others share one), `folder`, `recorded` (a file that says how many are by now). Says "ready" when it
has subscribed, and at the end what was recorded.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from types import SimpleNamespace  # noqa: E402
from typing import cast  # noqa: E402

import gevent  # noqa: E402
from gevent.pool import Pool  # noqa: E402
from gevent.socket import wait_read  # noqa: E402

from loadgen.measure.health import HealthSampler  # noqa: E402
from loadgen.measure.recorder import Recorder  # noqa: E402
from loadgen.measure.spool import SpoolWriter  # noqa: E402
from loadgen.payloads.stamping import Stamping  # noqa: E402
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


def main() -> None:
    asked = json.loads(sys.argv[1])
    service = AppSyncEvents(
        Endpoints.from_url(asked["url"]), ApiKey(os.environ.get("BENCH_API_KEY", "da2-benchmark"))
    )
    recorder = Recorder(TOKEN, SpoolWriter(Path(asked["folder"]), 0), run_in_thread, native_lock())
    health = HealthSampler(gevent.sleep)
    progress = Progress()
    run = SimpleNamespace(
        recorder=recorder,
        stamping=Stamping(),
        service=service,
        address=Address(service.connect_url),
        readiness=SettledReadiness(0),
        progress=progress,
        publishing_over=False,
        stopping=False,
        report_error=lambda reason, fatal: print(reason, file=sys.stderr),
    )
    each, channels = asked["subscriptions"], asked["channels"]

    def plan(number: int) -> ClientPlan:
        subscriptions = tuple(
            SubscriptionPlan(place, channel(place, channels))
            for place in range(number * each, (number + 1) * each)
        )
        return ClientPlan(number, "g", number, subscriptions, None, 0)

    worker_process.set_up()
    recorded = Path(asked["recorded"])
    connections = [
        ClientConnection(cast(WorkerRun, run), plan(number)) for number in range(asked["connections"])
    ]
    gevent.spawn(health.watch)
    Pool(50).map(lambda connection: connection.open(60.0), connections)
    while progress.ready < asked["connections"] * each:
        gevent.sleep(0.05)
    print("ready", flush=True)

    def flush() -> None:
        for _ in every(FLUSH_INTERVAL_S):
            recorder.flush(health)
            recorded.write_text(str(recorder.deliveries))

    flusher = gevent.spawn(flush)
    # To read it would block the hub: it is waited for.
    wait_read(sys.stdin.fileno())
    flusher.kill()
    recorder.flush(health)
    print(
        json.dumps({"deliveries": recorder.deliveries, "undecodable": recorder.undecodable.count}), flush=True
    )
    os._exit(0)


def channel(subscription: int, channels: int) -> str:
    """Return what a subscription is to."""
    return f"/default/growth/{subscription}" if subscription < channels else "/default/growth/idle"


main()
