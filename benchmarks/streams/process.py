"""Run our receiver in a separate process, and read its CPU time and memory."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from streams import sender

HERE = Path(__file__).resolve().parent
READY_TIMEOUT_S = 90
END_TIMEOUT_S = 60
#: If a receiver has recorded nothing for this long (s), assume that it has nothing more to record.
PATIENCE_S = 20


class StreamError(RuntimeError):
    """A receiver failed."""


@dataclass(frozen=True)
class Shape:
    """The connections, subscriptions and channels of a receiver, with the meanings given in `receiver.py`."""

    connections: int
    subscriptions: int = 1
    channels: int = 1


class Receiver:
    """A running receiver."""

    def __init__(self, process: "subprocess.Popen[str]", recorded: Path) -> None:
        self._process = process
        self._recorded = recorded
        self._watched = psutil.Process(process.pid)

    @property
    def cpu_s(self) -> float:
        """The receiver's CPU time so far (s)."""
        return cpu_s(self._watched)

    @property
    def rss_bytes(self) -> int:
        """The receiver's current memory."""
        return self._watched.memory_info().rss

    def settled_cpu_s(self) -> float:
        """Wait until the receiver has processed everything, and return its CPU time (s)."""
        last = self.cpu_s
        while True:
            time.sleep(0.5)
            now = self.cpu_s
            if now - last < 0.05:
                return now
            last = now

    def wait_for(self, deliveries: int) -> None:
        """Wait until the given number of deliveries is recorded, or none was recorded for `PATIENCE_S`.

        An idle receiver may still have deliveries to record, since it may be waiting for its disk.
        """
        last, since_s = -1, time.monotonic()
        while last < deliveries and time.monotonic() - since_s < PATIENCE_S:
            time.sleep(0.2)
            now = int(self._recorded.read_text() or 0) if self._recorded.exists() else 0
            if now != last:
                last, since_s = now, time.monotonic()

    def stop(self) -> int:
        """End the receiver; return how many deliveries it has recorded."""
        try:
            said, _ = self._process.communicate("", timeout=END_TIMEOUT_S)
            return int(json.loads(said.splitlines()[-1])["deliveries"])
        except (subprocess.TimeoutExpired, ValueError, IndexError):
            raise StreamError("the receiver did not end as it should") from None


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU time of all living threads of a process (s), to the nanosecond; `cpu_times` is only to 10 ms.

    It is the first figure in `/proc/PID/task/TID/schedstat` (Linux, Documentation/scheduler/sched-stats.rst).
    """
    tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def receiving(shape: Shape, url: str, folder: Path, api_key: str | None = None) -> Iterator[Receiver]:
    """Start a receiver and wait until it has subscribed; raises StreamError."""
    recorded = folder / "recorded"
    asked: dict[str, Any] = {
        "url": url,
        "connections": shape.connections,
        "subscriptions": shape.subscriptions,
        "channels": shape.channels,
        "folder": str(folder),
        "recorded": str(recorded),
    }
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    if api_key is not None:
        environment["BENCH_API_KEY"] = api_key
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "receiver.py"), json.dumps(asked)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise StreamError(f"the receiver did not subscribe: {(folder / 'stderr').read_text()[-500:]}")
        yield Receiver(process, recorded)
    finally:
        process.kill()
        process.wait()


@contextmanager
def sending(shape: Shape) -> Iterator[tuple[str, Connection]]:
    """Start a sender; yield its URL and a pipe on which the sender says "ready" and then takes orders."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(
        target=sender.serve, args=(there, shape.connections, shape.subscriptions), daemon=True
    )
    process.start()
    there.close()
    try:
        yield f"http://127.0.0.1:{here.recv()}/event", here
    finally:
        process.kill()
        process.join()
