"""Ten thousand subscribers of the embedded server at once, and the effect of slow readers on the others.

The first line shows the server's memory per connection (with one subscription each) and the rate of connecting; then
all subscribers receive one event. The second line compares the latency of a healthy subscriber with and without clients
that never read, in one run, and shows the memory that these clients take until they are dropped.

    python benchmarks/server_connections.py
"""

import argparse
import multiprocessing
import socket
import statistics
import time
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

import psutil
from server_fanout import CHANNEL, subscribe

from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.server.process import Announcement, ServerProcess

SLOW_LIMIT_BYTES = 2 * 1024 * 1024
EVENT = '"' + "e" * 4_000 + '"'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subscribers", type=int, default=10_000)
    parser.add_argument("--slow", type=int, default=50, help="clients that never read")
    options = parser.parse_args()
    print(many(options.subscribers), flush=True)
    print(slow_readers(options.slow), flush=True)


def many(subscribers: int) -> str:
    """Measure a server with many connections; return the line to print."""
    context = multiprocessing.get_context("spawn")
    with ServerProcess() as server:
        process = psutil.Process(server.announcement.pid)
        before = process.memory_info().rss
        cpu_before = sum(process.cpu_times()[:2])
        here, there = context.Pipe()
        arguments = (there, server.announcement, subscribers)
        holder = context.Process(target=hold, args=arguments, daemon=True)
        holder.start()
        connect_s = here.recv()
        after = process.memory_info().rss
        cpu_s = sum(process.cpu_times()[:2]) - cpu_before
        publisher = Publisher(server.announcement)
        publisher.publish('"hello"')
        reached = here.recv()
        holder.join()
    assert reached == subscribers, f"{reached} of {subscribers} got the event"
    return (
        f"{subscribers:,} subscribers at once: {(after - before) / subscribers / 1024:.1f} KB of the server's memory"
        " each"
        f" ({after / 2**20:.0f} MiB in all), connected and subscribed in {connect_s:.1f} s"
        f" = {subscribers / cpu_s:,.0f}/server-CPU-s; one event reached {reached:,}"
    )


def hold(pipe: Connection, server: Announcement, subscribers: int) -> None:
    """Open all subscribers and send to ``pipe`` how long it took, then how many of them received the event."""
    began = time.monotonic()
    sockets = [subscribe(server, number) for number in range(subscribers)]
    pipe.send(time.monotonic() - began)
    reached = 0
    for client in sockets:
        client.settimeout(20)
        reached += b'"event":"\\"hello\\""' in client.recv(4096)
    pipe.send(reached)


class Publisher:
    """A connection that publishes and waits for the answer."""

    def __init__(self, server: Announcement) -> None:
        self._socket = subscribe(server, 10**9, "/default/nobody")
        self._authorization = ApiKey(server.api_key).frame_authorization(urlsplit(server.http_url).netloc, "")

    def publish(self, event: str) -> None:
        payload = messages.publish("p", CHANNEL, [event], self._authorization)
        self._socket.sendall(b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload)
        answer = b""
        while b"publish_success" not in answer:
            answer += self._socket.recv(65536)


def slow_readers(slow: int) -> str:
    """Measure a server with ``slow`` clients that never read; return the line to print."""
    with ServerProcess(["--write-buffer-limit", str(SLOW_LIMIT_BYTES)]) as server:
        process = psutil.Process(server.announcement.pid)
        publisher = Publisher(server.announcement)
        healthy = subscribe(server.announcement, 0)
        alone = latencies(publisher, healthy, 1_000)
        before = peak = process.memory_info().rss
        sockets = [subscribe(server.announcement, number) for number in range(1, slow + 1)]
        among: list[float] = []
        for _ in range(30):
            among += latencies(publisher, healthy, 100)
            peak = max(peak, process.memory_info().rss)
        dropped = sum(is_dropped(client) for client in sockets)
        settled = process.memory_info().rss
    bound = slow * SLOW_LIMIT_BYTES
    return (
        f"{slow} clients that never read, among {len(among):,} events of 4 KB: a healthy one waits"
        f" {statistics.median(among) * 1e6:.0f} µs (p99 {quantile(among) * 1e6:.0f} µs), before them"
        f" {statistics.median(alone) * 1e6:.0f} µs (p99 {quantile(alone) * 1e6:.0f} µs); memory grew by"
        f" {(peak - before) / 2**20:.0f} MiB at most (limit {bound / 2**20:.0f} MiB), {dropped} of {slow} dropped,"
        f" then {(settled - before) / 2**20:+.0f} MiB"
    )


def latencies(publisher: Publisher, healthy: socket.socket, events: int) -> list[float]:
    """Publish one event after another; return how long each took to reach the subscriber (s)."""
    found = []
    for _ in range(events):
        began = time.perf_counter()
        publisher.publish(EVENT)
        received = 0
        while received < len(EVENT):
            received += len(healthy.recv(65536))
        found.append(time.perf_counter() - began)
    return found


def quantile(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def is_dropped(client: socket.socket) -> bool:
    """Read the received bytes; return True if the server has ended the connection."""
    client.settimeout(5)
    try:
        while client.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


if __name__ == "__main__":
    main()
