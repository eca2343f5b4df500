"""Measure the cost of receiving as one dimension (axis) grows, such as connections, at a constant total rate.

The CPU time that the idle process takes is subtracted.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import psutil
from server_fanout import subscribe
from streams.process import Receiver, Shape, StreamError, cpu_s, receiving, sending
from streams.sender import TOKEN, Order

from growth.axis import Axis, Measure, as_it_is, each_times_n
from loadgen.payloads.stamping import plain, stamped
from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.server.process import Announcement, ServerProcess

RATE_PER_S = 4_000.0
PAYLOAD_RATE_PER_S = 400.0
BATCH = 5
SIZE_BYTES = 200
IDLE_S = 3.0
#: Length of the warm-up. The record is flushed every second, so the warm-up contains at least one flush.
WARMUP_S = 2.0
_ANSWER = b"publish_success"
CPU = Measure("generator CPU a delivery", "µs", each_times_n)
RSS = Measure("generator memory", "MB", as_it_is, less_the_first=True)
SERVER = Measure("server CPU a delivery", "µs", each_times_n)


def connections(quick: bool) -> Axis:
    """Vary connections with one subscription each."""
    axis = Axis(
        "connections", "connections", (CPU, RSS), f"{RATE_PER_S:,.0f} deliveries/s of {SIZE_BYTES} B in all"
    )
    for n in (100, 1_000, 5_000) if quick else (100, 300, 1_000, 3_000, 7_000, 15_000):
        axis.points.append((n, list(_from_sender(Shape(n), RATE_PER_S, SIZE_BYTES, quick))))
    return axis


def payload(quick: bool) -> Axis:
    """Vary the size of an event."""
    cpu = Measure("generator CPU a KB", "µs", each_times_n)
    axis = Axis(
        "payload",
        "bytes an event",
        (
            Measure("generator CPU a delivery", "µs", as_it_is),
            cpu,
            Measure("generator memory", "MB", as_it_is),
        ),
        f"{PAYLOAD_RATE_PER_S:,.0f} deliveries/s, 100 connections",
    )
    for n in (100, 4_000, 240_000) if quick else (100, 1_000, 5_000, 20_000, 80_000, 240_000):
        each, rss = _from_sender(Shape(100), PAYLOAD_RATE_PER_S, n, quick)
        axis.points.append((n, [each, each / (n / 1_000), rss]))
    return axis


def _from_sender(shape: Shape, rate: float, size_bytes: int, quick: bool) -> tuple[float, float]:
    """Return the receiver's CPU time per delivery (µs) and memory (MB)."""
    seconds = 3.0 if quick else 6.0
    with (
        tempfile.TemporaryDirectory(prefix="loadgen-growth-") as folder,
        sending(shape) as (url, pipe),
        receiving(shape, url, Path(folder)) as receiver,
    ):
        pipe.recv()

        def send(seconds: float) -> int:
            pipe.send(Order(rate, seconds, size_bytes))
            sent: int = pipe.recv()
            return sent

        warmed_up = send(WARMUP_S)
        idle = _idle(receiver)
        before, began = receiver.cpu_s, time.monotonic()
        sent = send(seconds)
        rss = receiver.rss_bytes
        used = receiver.settled_cpu_s() - before - idle * (time.monotonic() - began)
        if receiver.stop() != warmed_up + sent:
            raise StreamError(f"{shape}: not all of {sent:,} deliveries were recorded")
    return used / sent * 1e6, rss / 1e6


def _idle(receiver: Receiver) -> float:
    """Return the share of a core that a receiver uses while nothing arrives.

    Call this only after deliveries have arrived: their first flush to disk imports modules, and the time for that must
    not count as idle cost.
    """
    time.sleep(WARMUP_S)
    receiver.settled_cpu_s()
    before, began = receiver.cpu_s, time.monotonic()
    time.sleep(IDLE_S)
    return (receiver.cpu_s - before) / (time.monotonic() - began)


def channels(quick: bool) -> Axis:
    """Vary the number of channels at a constant number of subscriptions."""
    axis = Axis(
        "channels",
        "channels",
        (CPU, RSS, SERVER),
        "10,000 subscriptions on 50 connections; each delivery is of a publish of its own, five in a request; "
        f"{RATE_PER_S / 2:,.0f}/s in all",
    )
    for n in (1, 100, 10_000) if quick else (1, 10, 100, 1_000, 10_000):
        axis.points.append((n, list(_from_server(Shape(50, 200, n), quick))))
    return axis


def subscriptions(quick: bool) -> Axis:
    """Vary the subscriptions of a connection."""
    axis = Axis(
        "subscriptions",
        "subscriptions a connection",
        (CPU, RSS, SERVER),
        f"50 connections, each subscription to a channel of its own; {RATE_PER_S / 2:,.0f} deliveries/s in all",
    )
    for n in (1, 20, 200) if quick else (1, 5, 20, 50, 100, 200):
        axis.points.append((n, list(_from_server(Shape(50, n, 50 * n), quick))))
    return axis


def _from_server(shape: Shape, quick: bool) -> tuple[float, float, float]:
    """Return (generator's CPU time per delivery in µs, its memory in MB, server's CPU time per delivery in µs)."""
    seconds = 3.0 if quick else 6.0
    with tempfile.TemporaryDirectory(prefix="loadgen-growth-") as folder, ServerProcess() as server:
        announced = server.announcement
        serving = psutil.Process(announced.pid)
        with receiving(shape, announced.http_url, Path(folder), announced.api_key) as receiver:
            with multiprocessing.get_context("spawn").Pool(1) as pool:

                def send(seconds: float) -> int:
                    return pool.apply(_publish, (announced, shape.channels, RATE_PER_S / 2, seconds))

                warmed_up = send(WARMUP_S)
                idle = _idle(receiver)
                before, began, server_before = receiver.cpu_s, time.monotonic(), cpu_s(serving)
                sent = send(seconds)
            rss = receiver.rss_bytes
            settled = receiver.settled_cpu_s()
            used = settled - before - idle * (time.monotonic() - began)
            served = cpu_s(serving) - server_before
            if receiver.stop() != warmed_up + sent:
                raise StreamError(f"{shape}: not all of {sent:,} deliveries were recorded")
    return used / sent * 1e6, rss / 1e6, served / sent * 1e6


def _publish(server: Announcement, count: int, rate: float, seconds: float) -> int:
    """Publish batches to one channel after another; return the number of published events."""
    connection = subscribe(server, 10**9, "/default/nobody")
    authorization = ApiKey(server.api_key).frame_authorization(urlsplit(server.http_url).netloc, "")
    began_s, sent = time.monotonic(), 0
    answered, rest = 0, b""
    connection.setblocking(False)
    # Take large steps from channel to channel, so that successive channels are not neighbours in a table of the
    # generator or the server.
    step = 1 if count == 1 else next(step for step in (7_919, 7_907, 7_901) if count % step)
    while (elapsed_s := time.monotonic() - began_s) < seconds or answered < sent // BATCH:
        try:
            data = rest + connection.recv(1 << 16)
            answered += data.count(_ANSWER)
            # Keep the last bytes, which may be the beginning of an answer.
            rest = data[-len(_ANSWER) + 1 :]
        except BlockingIOError:
            time.sleep(0.0005)
        if elapsed_s > seconds + 10:
            raise StreamError("the server did not answer all publishes")
        if elapsed_s >= seconds or sent + BATCH > elapsed_s * rate:
            continue
        now_ns = time.time_ns()
        numbers = range(sent, sent + BATCH)
        events, _ = stamped(TOKEN, 1, numbers, now_ns, now_ns, [plain(SIZE_BYTES)] * BATCH)
        channel = f"/default/growth/{sent // BATCH * step % count}"
        # The declared type of `stamped` also allows other events, but events that contain their stamp are texts.
        texts = cast(Sequence[str], events)
        message = messages.publish(f"p{sent}", channel, texts, authorization)
        connection.setblocking(True)
        connection.sendall(b"\x81\xfe" + len(message).to_bytes(2, "big") + bytes(4) + message)
        connection.setblocking(False)
        sent += BATCH
    connection.close()
    return sent
