"""Run a receiver with a sender of its own; read the receiver's costs and the number of frames that arrived."""

import contextlib
import json
import multiprocessing
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from analysis.record.schemas import spool_name
from loadgen.measure.spool import read_batches
from receive import sender
from receive.receivers import HERE, Receiver
from receive.sender import Order, Sent

READY_TIMEOUT_S = 60
#: Time that the sender may take to start.
START_TIMEOUT_S = 60
END_TIMEOUT_S = 60
#: Time that a receiver may lag behind its sender.
SEND_TIMEOUT_S = 45
#: Time (s) to wait after sending. Our recorder writes to disk once a second; as this is longer, a write is measured
#: too.
SETTLE_S = 1.3
_MARKER = "BENCH_RUN"


class ReceiverError(RuntimeError):
    """A receiver failed; the message contains its output."""


@dataclass(frozen=True)
class Phase:
    """The figures of a receiver during one sending of events."""

    sent: Sent
    cpu_s: float
    rss_bytes: int
    #: Number of cores that were used by processes other than the receiver and the sender.
    others: float
    #: The part of `cpu_s` that was spent in the kernel.
    system_s: float

    @property
    def seconds(self) -> float:
        """Duration of the sending."""
        return (self.sent.ended_ns - self.sent.began_ns) / 1e9

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.sent.frames / self.seconds

    @property
    def busy(self) -> float:
        """CPU seconds of the receiver per second of sending, including its work after the sending ended."""
        return self.cpu_s / self.seconds

    @property
    def cpu_per_frame_s(self) -> float:
        """CPU seconds of the receiver for each frame."""
        return self.cpu_s / self.sent.frames


class Running:
    """A receiver that has subscribed, and its sender."""

    def __init__(self, receiver: Receiver, subscribers: int, scratch: Path) -> None:
        """Start receiver and sender; raises ReceiverError if the receiver does not subscribe."""
        self.name = receiver.name
        self.subscribers = subscribers
        self.folder = Path(tempfile.mkdtemp(dir=scratch))
        self.sent = self.sent_bytes = 0
        #: Total number of frames that arrived; known after `stop`.
        self.received = 0.0
        self._lines: list[dict[str, Any]] = []
        self._marker = uuid.uuid4().hex
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        authority = self.folder / "authority.pem" if receiver.tls else None
        self._sender = context.Process(
            target=sender.serve, args=(there, subscribers, authority, receiver.service), daemon=True
        )
        self._sender.start()
        there.close()
        port = self._from_sender(START_TIMEOUT_S)
        self._environment = {
            **os.environ,
            **receiver.environment,
            "PYTHONPATH": str(HERE.parents[1]),
            "BENCH_PORT": str(port),
            "BENCH_SUBSCRIBERS": str(subscribers),
            _MARKER: self._marker,
        }
        if authority is not None:
            self._environment["SSL_CERT_FILE"] = str(authority)
        core = receiver.core
        with (self.folder / "stdout").open("w") as out, (self.folder / "stderr").open("w") as errors:
            self._process = subprocess.Popen(
                receiver.command(port, subscribers, self.folder),
                env=self._environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
            )  # fmt: skip
        try:
            self._handshake_bytes: int = self._subscribed()
            self.settled()
        except BaseException:
            self.kill()
            raise

    def send(self, order: Order, settle_s: float = SETTLE_S) -> Phase:
        """Send events, then wait at least ``settle_s`` and until the receiver has processed everything."""
        system_s = self.system_s()
        began_s, machine_s, before_s = time.monotonic(), machine_cpu_s(), self.cpu_s()
        sent: Sent = self.begin(order)()
        cpu_s = self.settled(settle_s) - before_s
        others_s = machine_cpu_s() - machine_s - cpu_s - sent.cpu_s
        others = max(0.0, others_s / (time.monotonic() - began_s))
        return Phase(sent, cpu_s, self.rss_bytes(), others, self.system_s() - system_s)

    def begin(self, order: Order) -> Callable[[], Sent]:
        """Tell the sender to begin; return a function that waits until everything is sent and returns the counts."""
        self._pipe.send(order)

        def end() -> Sent:
            sent: Sent = self._from_sender(order.seconds + SEND_TIMEOUT_S)
            self.sent += sent.frames
            self.sent_bytes += sent.bytes
            return sent

        return end

    def _subscribed(self) -> Any:
        """Wait until all subscribers have subscribed; return the message in which the sender says so.

        Raises:
            ReceiverError: the receiver ended before all had subscribed, or the time is over.
        """
        until_s = time.monotonic() + READY_TIMEOUT_S
        while not self._pipe.poll(0.2):
            if (code := self._process.poll()) is not None:
                raise self._failed(f"it ended with {code} before it had subscribed")
            if time.monotonic() > until_s:
                raise self._failed(f"not all subscribed within {READY_TIMEOUT_S} s")
        return self._from_sender(READY_TIMEOUT_S)

    def _from_sender(self, timeout_s: float) -> Any:
        """Return the sender's next message; raises ReceiverError if none arrives within ``timeout_s``."""
        try:
            if self._pipe.poll(timeout_s):
                return self._pipe.recv()
        except (EOFError, OSError):
            raise self._failed("its connections broke while events were sent") from None
        raise self._failed(f"it did not take what was sent within {timeout_s:.0f} s")

    def stop(self) -> None:
        """Disconnect, and read how many frames the receiver reports."""
        self._pipe.send(None)
        try:
            self._process.wait(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise self._failed("it did not end when the sender hung up") from None
        said = (self.folder / "stdout").read_text().splitlines()
        self._lines = [json.loads(line) for line in said if line.startswith("{")]
        if not self._lines:
            raise self._failed("it did not say what it has received")
        last = self._lines[-1]
        if "deliveries" in last:
            # Each thread of the receiver prints a line with its own count.
            self.received = sum(line["deliveries"] for line in self._lines)
        else:
            counted = last.get("bytes", last.get("bytes_with_handshakes", 0))
            if "bytes" not in last:
                counted -= self._handshake_bytes
            self.received = self.sent * counted / self.sent_bytes

    def frames_per_read(self, phase: Phase) -> float | None:
        """Return the mean number of frames per read in a phase, or None if the receiver does not report it.

        Call it after `stop`.
        """
        since_ns, until_ns = phase.sent.began_ns, phase.sent.ended_ns + int(SETTLE_S * 1e9)
        if self._lines and "reads" in self._lines[-1]:
            before = max((line["reads"] for line in self._lines if line["at_ns"] < since_ns), default=0)
            after = max((line["reads"] for line in self._lines if line["at_ns"] < until_ns), default=0)
            return phase.sent.frames / (after - before) if after > before else None
        rows = self.recorded(since_ns, until_ns)
        # Deliveries that were read together have the same time. Each connection has one subscription, so each pair of
        # time and subscription stands for one read.
        return len(rows) / len(np.unique(rows, axis=0)) if len(rows) else None

    def recorded(self, since_ns: int, until_ns: int) -> npt.NDArray[np.int64]:
        """Return (time of the read, subscription) of the deliveries that our receiver recorded between two times."""
        taken = [np.empty((0, 2), dtype=np.int64)]
        for batch in read_batches(self.folder / spool_name("deliveries", 0)):
            times = batch.column("read_ns").to_numpy()
            inside = (times >= since_ns) & (times < until_ns)
            subscriptions = batch.column("subscription").to_numpy().astype(np.int64)
            taken.append(np.column_stack((times[inside], subscriptions[inside])))
        return np.concatenate(taken)

    def kill(self) -> None:
        """Kill the remaining processes of the receiver and the sender."""
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait()
        self._sender.kill()
        self._sender.join()

    def _failed(self, what: str) -> ReceiverError:
        files = (self.folder / name for name in ("stderr", "stdout"))
        said = next(
            (text for file in files if file.exists() and (text := file.read_text(errors="replace"))), ""
        )
        return ReceiverError(f"{self.name}: {what}. {said.strip()[-500:]}")

    def settled(self, at_least_s: float = SETTLE_S) -> float:
        """Wait until the receiver uses less than a tenth of a core; return its CPU seconds."""
        time.sleep(at_least_s)
        last = self.cpu_s()
        for _ in range(60):
            time.sleep(0.3)
            now = self.cpu_s()
            if now - last < 0.03:
                return now
            last = now
        raise self._failed("it is busy without being sent anything")

    def _processes(self) -> list[psutil.Process]:
        """Return all processes of the receiver: those whose environment has the run's marker."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid == self._process.pid or process.environ().get(_MARKER) == self._marker:
                    found.append(process)
        return found

    def cpu_s(self) -> float:
        """Return the CPU seconds of all of the receiver's processes."""
        return self._total(lambda process: sum(process.cpu_times()[:2]))

    def system_s(self) -> float:
        """Return the part of :meth:`cpu_s` that was spent in the kernel."""
        return self._total(lambda process: process.cpu_times().system)

    def rss_bytes(self) -> int:
        """Return the resident memory (bytes) of all of the receiver's processes."""
        return int(self._total(lambda process: process.memory_info().rss))

    def _total(self, figure: Callable[[psutil.Process], float]) -> float:
        """Return the sum of a figure over the receiver's processes; skip a process that ends meanwhile."""
        total = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                total += figure(process)
        return total


def machine_cpu_s() -> float:
    """Return the busy seconds of all cores together, including time that the host took (steal)."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


@contextlib.contextmanager
def running(receiver: Receiver, subscribers: int, scratch: Path) -> Iterator[Running]:
    """Run a receiver with its sender, and end both in any case."""
    one = Running(receiver, subscribers, scratch)
    try:
        yield one
    finally:
        one.kill()


def not_received(one: Running) -> str | None:
    """Return an error text if a stopped receiver did not receive all frames, else None."""
    if one.received == one.sent:
        return None
    return f"{one.name}: received {one.received:,.10g} of {one.sent:,}"
