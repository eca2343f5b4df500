"""Measure receivers: start each with its own sender, send to it, and read its cost and the number of arrived frames."""

import contextlib
import json
import math
import multiprocessing
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from loadgen.measure.spool import read_batches, spool_name
from receive import sender
from receive.receivers import HERE, Receiver
from receive.sender import FRAME_BYTES, Order, Sent

READY_TIMEOUT_S = 60
END_TIMEOUT_S = 60
#: A receiver's share of a core at which it is measured. Idle it wakes up for each frame, late it reads in bursts.
BUSY = 0.5
#: Frames a second that every receiver can take, with which the search for the rate begins.
FIRST_RATE = 5_000.0
TRIAL_S, TRIALS = 1.5, 4
#: How far from half busy is near enough.
NEAR = 0.1
FEWEST_EVENTS = 4
#: More than the second between two flushes of our recorder, which belong to what is measured.
SETTLE_S = 1.3
_MARKER = "BENCH_RUN"


@dataclass(frozen=True)
class Pattern:
    """How events reach a subscriber: frames in one write, and at most how many frames a read should bring."""

    name: str
    frames_per_write: int
    most_per_read: float | None = None


FAN_OUT = Pattern("fan-out", 1, 1.15)
BURST = Pattern("burst", 20)


class ReceiverError(RuntimeError):
    """A receiver did not do what it should; the message says what it said."""


@dataclass(frozen=True)
class Phase:
    """What a receiver did while it was sent to."""

    sent: Sent
    cpu_s: float
    rss_bytes: int
    #: Cores that neither the receiver nor the sender took, nor were idle: something else ran.
    others: float

    @property
    def seconds(self) -> float:
        """How long it was sent to."""
        return (self.sent.ended_ns - self.sent.began_ns) / 1e9

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.sent.frames / self.seconds

    @property
    def busy(self) -> float:
        """CPU seconds of the receiver for each second that it was sent to; where it was late, more than it had."""
        return self.cpu_s / self.seconds

    @property
    def cpu_per_frame_s(self) -> float:
        """CPU seconds of the receiver for each frame."""
        return self.cpu_s / self.sent.frames


class Running:
    """A receiver that has subscribed, and its sender."""

    def __init__(self, receiver: Receiver, subscribers: int, scratch: Path) -> None:
        """Start both; raises ReceiverError where it does not subscribe."""
        self.name = receiver.name
        self.subscribers = subscribers
        self.folder = Path(tempfile.mkdtemp(dir=scratch))
        self.sent = 0
        #: Frames that arrived in all, known when it has stopped.
        self.received = 0.0
        self._lines: list[dict[str, Any]] = []
        self._marker = uuid.uuid4().hex
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        authority = self.folder / "authority.pem" if receiver.tls else None
        self._sender = context.Process(target=sender.serve, args=(there, subscribers, authority), daemon=True)
        self._sender.start()
        there.close()
        port = self._pipe.recv()
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
            if not self._pipe.poll(READY_TIMEOUT_S):
                raise self._failed(f"not all subscribed within {READY_TIMEOUT_S} s")
            self._handshake_bytes: int = self._pipe.recv()
            self.settled()
        except BaseException:
            self.kill()
            raise

    def send(self, order: Order) -> Phase:
        """Send, and wait until what was sent is dealt with."""
        began_s, machine_s, before_s = time.monotonic(), machine_cpu_s(), self.cpu_s()
        sent: Sent = self.begin(order)()
        cpu_s = self.settled() - before_s
        others_s = machine_cpu_s() - machine_s - cpu_s - sent.cpu_s
        return Phase(sent, cpu_s, self.rss_bytes(), max(0.0, others_s / (time.monotonic() - began_s)))

    def begin(self, order: Order) -> Callable[[], Sent]:
        """Begin to send; return what waits for the end of it."""
        self._pipe.send(order)

        def end() -> Sent:
            sent: Sent = self._pipe.recv()
            self.sent += sent.frames
            return sent

        return end

    def stop(self) -> None:
        """Hang up, and take what the receiver says it has received."""
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
            # A line of each of its threads.
            self.received = sum(line["deliveries"] for line in self._lines)
        elif "bytes_with_handshakes" in last:
            self.received = (last["bytes_with_handshakes"] - self._handshake_bytes) / FRAME_BYTES
        else:
            self.received = last["bytes"] / FRAME_BYTES

    def frames_per_read(self, phase: Phase) -> float | None:
        """Return how many frames a read brought in a phase, where the receiver can tell; when it has stopped."""
        since_ns, until_ns = phase.sent.began_ns, phase.sent.ended_ns + int(SETTLE_S * 1e9)
        if self._lines and "reads" in self._lines[-1]:
            before = max((line["reads"] for line in self._lines if line["at_ns"] < since_ns), default=0)
            after = max((line["reads"] for line in self._lines if line["at_ns"] < until_ns), default=0)
            return phase.sent.frames / (after - before) if after > before else None
        rows = self.recorded(since_ns, until_ns)
        # One read has one time and one connection, and there is a subscription a connection.
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
        """End what still runs of both."""
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait()
        self._sender.kill()
        self._sender.join()

    def _failed(self, what: str) -> ReceiverError:
        said = (self.folder / "stderr").read_text() or (self.folder / "stdout").read_text()
        return ReceiverError(f"{self.name}: {what}. {said.strip()[-500:]}")

    def settled(self) -> float:
        """Wait until the receiver has little to do; return its CPU seconds."""
        time.sleep(SETTLE_S)
        last = self.cpu_s()
        for _ in range(60):
            time.sleep(0.3)
            now = self.cpu_s()
            if now - last < 0.03:
                return now
            last = now
        raise self._failed("it is busy without being sent anything")

    def _processes(self) -> list[psutil.Process]:
        """Return all processes of the receiver, also those that left its tree: they have the run's marker."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid == self._process.pid or process.environ().get(_MARKER) == self._marker:
                    found.append(process)
        return found

    def cpu_s(self) -> float:
        """Return the CPU seconds of all of the receiver's processes."""
        total = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def rss_bytes(self) -> int:
        """Return the memory of all of the receiver's processes."""
        total = 0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total


def machine_cpu_s() -> float:
    """Return the CPU seconds of all cores together that were not idle, what the host took included."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


@contextlib.contextmanager
def running(receiver: Receiver, subscribers: int, scratch: Path) -> Iterator[Running]:
    """Run a receiver with its sender, and end both however it goes."""
    one = Running(receiver, subscribers, scratch)
    try:
        yield one
    finally:
        one.kill()


def half_busy_rate(one: Running, pattern: Pattern) -> float:
    """Return the events a second at which the receiver is about half busy, found by trials from below."""
    frames = pattern.frames_per_write * one.subscribers
    rate = FIRST_RATE / frames
    for _ in range(TRIALS):
        phase = one.send(paced(rate, pattern, TRIAL_S))
        if abs(phase.busy - BUSY) < NEAR:
            break
        # A tick of the CPU clock at least.
        rate *= BUSY / max(phase.busy, 0.01 / phase.seconds)
    return rate


def paced(rate: float, pattern: Pattern, seconds: float) -> Order:
    """Return the order for so many events a second, for so long at least, and for a few events and their periods."""
    return Order(rate, pattern.frames_per_write, max(FEWEST_EVENTS, math.ceil(seconds * rate)) / rate)


@dataclass
class Row:
    """What one receiver did in one pattern, a phase a round."""

    name: str
    pattern: Pattern
    phases: list[Phase] = field(default_factory=list)
    frames_per_read: list[float] = field(default_factory=list)

    def add(self, one: Running, phase: Phase) -> str | None:
        """Add what the receiver, which has stopped, did in a round; return what makes the figure wrong."""
        self.phases.append(phase)
        per_read = one.frames_per_read(phase)
        if per_read is None:
            return None
        self.frames_per_read.append(per_read)
        if self.pattern.most_per_read is None or per_read <= self.pattern.most_per_read:
            return None
        return (
            f"{self.name}, {self.pattern.name}: {per_read:.2f} frames a read, more than "
            f"{self.pattern.most_per_read}: it was late, and a read of many is cheaper"
        )

    @property
    def per_cpu_s(self) -> float:
        """Frames for each CPU second: of the mean of what a frame costs."""
        return 1 / fmean(phase.cpu_per_frame_s for phase in self.phases)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the most frames for each CPU second of a round."""
        each = [1 / phase.cpu_per_frame_s for phase in self.phases]
        return min(each), max(each)

    @property
    def busy(self) -> float:
        """CPU seconds of the receiver for each second that it was sent to."""
        return fmean(phase.busy for phase in self.phases)

    @property
    def rate(self) -> float:
        """Frames a second."""
        return fmean(phase.rate for phase in self.phases)

    @property
    def rss_bytes(self) -> float:
        """The memory of its processes."""
        return fmean(phase.rss_bytes for phase in self.phases)

    @property
    def others(self) -> float:
        """The most cores that something else took in a round."""
        return max(phase.others for phase in self.phases)

    @property
    def shown_frames_per_read(self) -> str:
        """Frames that a read brought, where the receiver can tell."""
        return f"{fmean(self.frames_per_read):.2f}" if self.frames_per_read else "–"


def compare(
    receivers: Sequence[Receiver],
    patterns: Sequence[Pattern],
    rounds: int,
    subscribers: int,
    seconds: float,
    scratch: Path,
) -> tuple[dict[tuple[str, str], Row], list[str]]:
    """Measure all receivers, one at a time, all in each round, each at the rate at which it is half busy.

    Returns the rows by (name, pattern), and what is wrong with them; a receiver that failed is not tried again.
    """
    rows: dict[tuple[str, str], Row] = {}
    wrong: list[str] = []
    rates: dict[tuple[str, str], float] = {}
    failed: set[str] = set()
    for number in range(1, rounds + 1):
        for receiver in receivers:
            if receiver.name in failed:
                continue
            phases: list[tuple[Pattern, Phase]] = []
            try:
                with running(receiver, subscribers, scratch) as one:
                    for pattern in patterns:
                        key = (receiver.name, pattern.name)
                        if key not in rates:
                            rates[key] = half_busy_rate(one, pattern)
                        phases.append((pattern, one.send(paced(rates[key], pattern, seconds))))
                    one.stop()
            except ReceiverError as error:
                wrong.append(str(error))
                failed.add(receiver.name)
                continue
            if lost := not_received(one):
                wrong.append(f"{lost} (round {number})")
            for pattern, phase in phases:
                row = rows.setdefault((receiver.name, pattern.name), Row(receiver.name, pattern))
                if late := row.add(one, phase):
                    wrong.append(f"{late} (round {number})")
    return rows, wrong


def in_turn(
    receivers: Sequence[Receiver],
    pattern: Pattern,
    rounds: int,
    subscribers: int,
    seconds: float,
    scratch: Path,
) -> tuple[list[Row], list[str]]:
    """Measure receivers that cost next to nothing while they wait: all run, and are sent to in turn.

    What a frame costs changes with the machine's temper from minute to minute, so that the turns follow closely. All
    are sent to at the rate at which the first is half busy. Returns a row each, and what is wrong with them.

    Raises:
        ReceiverError: one did not do what it should.
    """
    wrong: list[str] = []
    with contextlib.ExitStack() as stack:
        everyone = [stack.enter_context(running(one, subscribers, scratch)) for one in receivers]
        order = paced(half_busy_rate(everyone[0], pattern), pattern, seconds)
        phases = [[one.send(order) for one in everyone] for _ in range(rounds)]
        rows = [Row(one.name, pattern) for one in everyone]
        for place, (one, row) in enumerate(zip(everyone, rows, strict=True)):
            one.stop()
            if lost := not_received(one):
                wrong.append(lost)
            for number, turn in enumerate(phases, 1):
                if late := row.add(one, turn[place]):
                    wrong.append(f"{late} (round {number})")
    return rows, wrong


def others_note(rows: Iterable[Row]) -> str:
    """Say how much else ran: it makes what is measured dearer, though not in proportion."""
    most = max((row.others for row in rows), default=0.0)
    return f"Other processes took at most {most:.0%} of a core meanwhile."


def not_received(one: Running) -> str | None:
    """Return what a receiver that has stopped did not receive of what it was sent."""
    if one.received == one.sent:
        return None
    return f"{one.name}: received {one.received:,.10g} of {one.sent:,}"
