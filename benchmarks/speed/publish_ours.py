"""Publish with our publishers, set up and recording as in a worker.

Usage: `publish_ours.py PORT VIA REQUESTS_PER_S SECONDS FOLDER padding|real`.

The clients and their schedule come from a scenario, and requests are sent when they are due, as in a run.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gevent  # noqa: E402
from our_worker import OurWorker  # noqa: E402

from analysis.record.schemas import spool_name  # noqa: E402
from loadgen.measure.clock import now_ns  # noqa: E402
from loadgen.measure.spool import read_batches  # noqa: E402
from loadgen.resolve import ClientPlan, Clients  # noqa: E402
from loadgen.resolve.resolver import run_of  # noqa: E402
from loadgen.run import worker_process  # noqa: E402
from loadgen.run.worker_clock import WorkerClock  # noqa: E402
from loadgen.transport.http import GeventHttpClient  # noqa: E402
from loadgen.transport.timer import PreciseTimer  # noqa: E402
from loadgen.users.code import UserCode  # noqa: E402
from loadgen.users.connection import ClientConnection  # noqa: E402
from loadgen.users.publishing import OpenLoopPublisher  # noqa: E402
from loadgen.users.senders import ConnectionSender, HttpSender, Sender  # noqa: E402
from loadgen.users.worker import Timeline, WorkerRun  # noqa: E402
from speed.messages import messages  # noqa: E402

CLIENTS = 20
BATCH = 5
PAYLOADS = {"padding": "200B", "real": "{file: messages.jsonl}"}
LEAD_NS = 500_000_000
#: Length of the warm-up: enough to connect and for the first flush, which imports modules. Neither is measured.
WARMUP_S = 2
#: Longest time to wait for outstanding answers at the end: longer than the timeout of a publish.
SETTLE_S = 12.0
SCENARIO = """
version: 1
clients:
  publishers:
    count: {clients}
    publish: {{channel: /default/bench, rate: {events}/s, batch: {batch}, via: {via}, payload: {payload}}}
  # A scenario needs somebody who subscribes; not played here.
  readers: {{count: 1, subscribe: /default/nobody}}
phases: {{ready: {{settle: 0s}}, warmup: {warmup}s, measure: {seconds}s, drain: 1s}}
"""


class Publishing(OurWorker):
    """The worker, with the clock and the timer that publishing by a schedule needs."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, folder)
        self._timer = PreciseTimer()
        self._clock = WorkerClock(same_machine=True, same_process=True)

    def wait_until(self, due_ns: int) -> None:
        self._timer.wait_until(self._clock.local_ns(due_ns))

    def local_ns(self, master_ns: int) -> int:
        return self._clock.local_ns(master_ns)


def main() -> None:
    port, via, requests_per_s, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    folder = Path(sys.argv[5])
    written = folder / "scenario.yaml"
    (folder / "messages.jsonl").write_text("\n".join(messages()) + "\n")
    events_per_s = round(requests_per_s) * BATCH
    written.write_text(
        SCENARIO.format(
            clients=CLIENTS,
            events=events_per_s,
            batch=BATCH,
            via=via,
            payload=PAYLOADS[sys.argv[6]],
            warmup=WARMUP_S,
            seconds=f"{seconds:g}",
        )
    )
    plan = Clients(*run_of(str(written)))
    worker = Publishing(f"http://127.0.0.1:{port}/event", folder)
    worker_process.set_up()
    publishers = [_publisher(worker.run, plan.client(number)) for number in range(CLIENTS)]
    with worker.flushing():
        begin_ns = now_ns() + LEAD_NS
        measure_ns = begin_ns + WARMUP_S * 1_000_000_000
        end_ns = measure_ns + int(seconds * 1e9)
        timeline = Timeline(begin_ns, measure_ns, end_ns, end_ns)
        busy = [gevent.spawn(publisher.publish_all, timeline) for publisher in publishers]
        worker.wait_until(measure_ns)
        cpu_s, before = time.process_time(), worker.progress.sent
        gevent.joinall(busy)
        took_s = (now_ns() - measure_ns) / 1e9
        progress = worker.progress
        deadline = time.monotonic() + SETTLE_S
        while progress.accepted + progress.rejected < progress.sent and time.monotonic() < deadline:
            gevent.sleep(0.01)
            progress.accepted += worker.recorder.take_accepted()
    cpu_s = time.process_time() - cpu_s
    for publisher in publishers:
        publisher.give_up()
    statuses, p50_ns, p99_ns = _recorded(folder, measure_ns)
    result: dict[str, Any] = {
        "requests": (progress.sent - before) // BATCH,
        "cpu_s": cpu_s,
        "seconds": took_s,
        "events": progress.sent,
        "accepted": statuses["accepted"],
        "late_p50_us": p50_ns / 1e3,
        "late_p99_us": p99_ns / 1e3,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }
    print(json.dumps(result))


class Plain:
    """A user whose hooks do nothing."""

    def on_start(self) -> None:
        pass

    def on_stop(self) -> None:
        pass

    def payload(self) -> None:
        pass

    def on_delivery(self, channel: str, event: str) -> None:
        pass


def _publisher(run: WorkerRun, client: ClientPlan) -> OpenLoopPublisher:
    """Return a client's publisher as `loadgen.users.roles` makes it."""
    assert client.publish is not None
    sender: Sender
    if not client.publish.over_http:
        connection = ClientConnection(run, client)
        connection.open(10.0)
        sender, in_flight = ConnectionSender(connection), 0
    else:
        in_flight = client.publish.in_flight or 1
        assert run.service.http_url is not None
        sender = HttpSender(
            run.service, GeventHttpClient(run.service.http_url, in_flight), run.recorder.undecodable
        )
    return OpenLoopPublisher(run, client, sender, in_flight, UserCode(Plain(), Plain, run))


def _recorded(folder: Path, since_ns: int) -> tuple[Counter[str], int, int]:
    """Return the number of events by status, and the median and 99th percentile of the lateness, from the record."""
    statuses: Counter[str] = Counter()
    late: list[int] = []
    for batch in read_batches(folder / spool_name("events", 0)):
        statuses.update(batch.column("status").to_pylist())
        sent, slot = batch.column("sent_ns").to_pylist(), batch.column("slot_ns").to_pylist()
        late += [after - due for after, due in zip(sent, slot, strict=True) if due >= since_ns]
    late.sort()
    return statuses, *((late[len(late) // 2], late[len(late) * 99 // 100]) if late else (0, 0))


main()
