"""Deliveries that the embedded server makes per CPU-second of its process.

The server runs in a separate process, cheap readers (epoll and recv, without decoding) in a second one, and the
publisher in this one. One publish is under way at a time. The figure uses CPU time, so waiting does not count. Loopback
without TLS.

    python benchmarks/server_fanout.py --subscribers 500 --seconds 3
"""

import argparse
import multiprocessing
import os
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

import psutil
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.auth import SUBPROTOCOL, ApiKey
from loadgen.server.frames import text_header
from loadgen.server.process import Announcement, ServerProcess

CHANNEL = "/default/bench"
ID_CHARACTERS = 36
FRAME_BYTES = 251


@dataclass(frozen=True)
class Fanout:
    """The cost of one batch size: CPU seconds of each server process, and the part of them in user code."""

    subscribers: int
    batch: int
    deliveries: int
    elapsed_s: float
    cpu_s: Sequence[float]
    user_s: float

    @property
    def per_cpu_s(self) -> float:
        """Deliveries per CPU-second of all processes together."""
        return self.deliveries / sum(self.cpu_s)

    def __str__(self) -> str:
        shares = " + ".join(f"{cpu_s:.2f}" for cpu_s in self.cpu_s)
        return (
            f"{self.subscribers} subscribers, batch of {self.batch}, {FRAME_BYTES}-byte frames: "
            f"{self.deliveries:,} deliveries in {self.elapsed_s:.2f} s, {shares} server CPU-s "
            f"({self.user_s:.2f} in user) = {self.per_cpu_s:,.0f} deliveries/CPU-s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each batch size")
    parser.add_argument("--batch", type=int, action="append", help="events a publish, repeatable (1 and 5)")
    parser.add_argument("--processes", type=int, default=1, help="of the server")
    options = parser.parse_args()
    for batch in options.batch or (1, 5):
        print(measure(options.subscribers, batch, options.seconds, options.processes), flush=True)


def measure(subscribers: int, batch: int, seconds: float, processes: int = 1) -> Fanout:
    """Measure and return the cost of one batch size."""
    context = multiprocessing.get_context("spawn")
    with ServerProcess(["--processes", str(processes)]) as server:
        pids = server.announcement.pids
        allowed = os.sched_getaffinity(0)
        keep_apart(pids)
        here, there = context.Pipe()
        arguments = (there, server.announcement, subscribers)
        reader = context.Process(target=read_all, args=arguments, daemon=True)
        reader.start()
        if here.recv() != "ready":
            raise RuntimeError("the readers could not subscribe")
        # Witnesses are subscribers that show when a batch has been delivered. A server of one process needs none: it
        # answers a publish only after its deliveries.
        seen_by = witnesses(server.announcement) if processes > 1 else []
        before = cpu_of(pids)
        began_ns = time.monotonic_ns()
        publishes = publish_for(server.announcement, batch, seconds, seen_by)
        here.send(publishes * batch)
        here.recv()
        elapsed_s = (time.monotonic_ns() - began_ns) / 1e9
        after = cpu_of(pids)
        reader.join()
        # Restore this process's CPU affinity, because the next server is a child of this process and inherits it.
        os.sched_setaffinity(0, allowed)
    cpu_s = [sum(end) - sum(begin) for begin, end in zip(before, after, strict=True)]
    user_s = sum(end[0] - begin[0] for begin, end in zip(before, after, strict=True))
    deliveries = publishes * batch * (subscribers + len(seen_by))
    return Fanout(subscribers, batch, deliveries, elapsed_s, cpu_s, user_s)


def keep_apart(pids: Sequence[int]) -> None:
    """Give one core to the server's processes, and the others to this process and its future children.

    A process does less in a CPU-second while another process runs on the other hyper-thread of its core. Without this
    separation, several server processes would run beside each other, a single one beside the reader, and their figures
    could not be compared.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    if others:
        for pid in pids:
            os.sched_setaffinity(pid, [first])
        os.sched_setaffinity(0, others)


def cpu_of(pids: Sequence[int]) -> list[tuple[float, float]]:
    """Return the CPU seconds of each process as (user code, kernel)."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return [(one.user, one.system) for one in times]


def witnesses(server: Announcement) -> list[socket.socket]:
    """Return a subscribed socket at each of the server's processes."""
    found: dict[int, socket.socket] = {}
    while len(found) < len(server.pids):
        client = subscribe(server, 0)
        port = client.getsockname()[1]
        for pid in server.pids:
            if any(one.raddr and one.raddr.port == port for one in psutil.Process(pid).net_connections()):
                if pid in found:
                    client.close()
                found.setdefault(pid, client)
    return list(found.values())


def publish_for(server: Announcement, batch: int, seconds: float, seen_by: Sequence[socket.socket]) -> int:
    """Publish batches one at a time; return the number of batches.

    A batch is sent only after the previous batch is answered and has arrived at the sockets in ``seen_by``, one for
    each server process. Otherwise processes that do not serve the publisher could fall behind, and then deliver
    several batches with one write per subscriber, which is cheaper.
    """
    key = ApiKey(server.api_key)
    host = urlsplit(server.http_url).netloc
    events = [event_of_size()] * batch
    frame = messages.publish("bench", CHANNEL, events, key.frame_authorization(host, ""))
    publishes = 0
    subprotocols, headers = [Subprotocol(SUBPROTOCOL)], key.headers(host)
    with connect(server.ws_url, subprotocols=subprotocols, additional_headers=headers) as websocket:
        until_ns = time.monotonic_ns() + int(seconds * 1e9)
        while time.monotonic_ns() < until_ns:
            websocket.send(frame, text=True)
            answer = messages.decode_server_message(websocket.recv())
            if answer.type != "publish_success":
                raise RuntimeError(answer.describe_errors())
            publishes += 1
            for witness in seen_by:
                missing = batch * FRAME_BYTES
                while missing:
                    missing -= len(witness.recv(missing))
    return publishes


def event_of_size() -> str:
    """Return an event whose frame, header included, has FRAME_BYTES bytes."""
    empty = messages.data("x" * ID_CHARACTERS, '""')
    return '"' + "e" * (FRAME_BYTES - len(text_header(FRAME_BYTES - 4)) - len(empty)) + '"'


def read_all(pipe: Connection, server: Announcement, subscribers: int) -> None:
    """Subscribe, then read until every subscriber has as many bytes as the publisher announces through the pipe."""
    selector = selectors.DefaultSelector()
    sockets = [subscribe(server, number) for number in range(subscribers)]
    for client in sockets:
        client.setblocking(False)
        selector.register(client, selectors.EVENT_READ)
    pipe.send("ready")
    buffer = bytearray(1 << 20)
    received = 0
    expected: int | None = None
    while expected is None or received < expected:
        for key, _ in selector.select(0.05):
            received += key.fileobj.recv_into(buffer)  # type: ignore[union-attr]
        if expected is None and pipe.poll():
            expected = pipe.recv() * subscribers * FRAME_BYTES
    pipe.send("done")


def subscribe(server: Announcement, number: int, channel: str = CHANNEL) -> socket.socket:
    """Return a connected socket with an acknowledged subscription."""
    url = urlsplit(server.ws_url)
    client = socket.create_connection((url.hostname, url.port))
    client.sendall(
        f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\nx-api-key: {server.api_key}\r\n\r\n".encode()
    )
    read_until(client, b"\r\n\r\n")
    operation_id = f"{number:0{ID_CHARACTERS}d}"
    payload = messages.subscribe(operation_id, channel, {"x-api-key": server.api_key})
    # A mask of zeros leaves the payload unchanged.
    client.sendall(b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload)
    read_until(client, messages.subscribe_success(operation_id))
    return client


def read_until(client: socket.socket, end: bytes) -> None:
    """Read until the received bytes end with `end`; the server must not have sent anything after `end` yet."""
    data = b""
    while not data.endswith(end):
        chunk = client.recv(4096)
        if not chunk:
            raise RuntimeError(f"the server closed the connection after {data!r}")
        data += chunk


if __name__ == "__main__":
    main()
