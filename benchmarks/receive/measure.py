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
from receive.payloads import PADDING, REAL, REAL_2KB, Payload
from receive.receivers import HERE, Receiver
from receive.sender import Order, Sent

READY_TIMEOUT_S = 60
#: Time that the sender may take to start.
START_TIMEOUT_S = 60
END_TIMEOUT_S = 60
#: Time that a receiver may lag behind its sender.
SEND_TIMEOUT_S = 45
#: CPU load (share of a core) at which receivers are measured: a nearly idle receiver wakes up for each frame, and a
#: late receiver reads in bursts.
BUSY = 0.5
#: Frames per second at which the search for the rate begins; every receiver can receive this many.
FIRST_RATE = 5_000.0
TRIAL_S, TRIALS = 1.0, 4
#: The search for the rate ends when the load is this close to `BUSY`.
NEAR = 0.1
FEWEST_EVENTS = 4
#: Time to wait after sending: longer than the second between two flushes of our recorder, so that a flush is measured.
SETTLE_S = 1.3
_MARKER = "BENCH_RUN"


@dataclass(frozen=True)
class Pattern:
    """How events reach a subscriber: frames per write, and the most frames per read at which a figure is valid."""

    name: str
    frames_per_write: int
    most_per_read: float | None = None
    payload: Payload = PADDING


FAN_OUT = Pattern("fan-out", 1, 1.15)
BURST = Pattern("burst", 20)
FAN_OUT_REAL = Pattern("fan-out, real payload", 1, 1.15, REAL)
BURST_REAL = Pattern("burst, real payload", 20, None, REAL)
FAN_OUT_2KB = Pattern("fan-out, real payload of 2 KB", 1, 1.15, REAL_2KB)


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
    #: The part of `cpu_s` that the kernel took.
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
        """Begin to send; return a function that waits for the end."""
        self._pipe.send(order)

        def end() -> Sent:
            sent: Sent = self._from_sender(order.seconds + SEND_TIMEOUT_S)
            self.sent += sent.frames
            self.sent_bytes += sent.bytes
            return sent

        return end

    def _subscribed(self) -> Any:
        """Wait until all have subscribed; return the sender's message. Raises ReceiverError if the receiver ends."""
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
            # Each thread of the receiver prints a line.
            self.received = sum(line["deliveries"] for line in self._lines)
        else:
            counted = last.get("bytes", last.get("bytes_with_handshakes", 0))
            if "bytes" not in last:
                counted -= self._handshake_bytes
            self.received = self.sent * counted / self.sent_bytes

    def frames_per_read(self, phase: Phase) -> float | None:
        """Return the frames per read in a phase, or None if the receiver cannot tell; call it after `stop`."""
        since_ns, until_ns = phase.sent.began_ns, phase.sent.ended_ns + int(SETTLE_S * 1e9)
        if self._lines and "reads" in self._lines[-1]:
            before = max((line["reads"] for line in self._lines if line["at_ns"] < since_ns), default=0)
            after = max((line["reads"] for line in self._lines if line["at_ns"] < until_ns), default=0)
            return phase.sent.frames / (after - before) if after > before else None
        rows = self.recorded(since_ns, until_ns)
        # Each connection has one subscription, so a pair of time and subscription stands for one read.
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
        """Wait until the receiver has little to do; return its CPU seconds."""
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
        """Return the part of :meth:`cpu_s` that the kernel took."""
        return self._total(lambda process: process.cpu_times().system)

    def rss_bytes(self) -> int:
        """Return the memory of all of the receiver's processes."""
        return int(self._total(lambda process: process.memory_info().rss))

    def _total(self, figure: Callable[[psutil.Process], float]) -> float:
        """Return the sum of a figure over the receiver's processes, without those that have just ended."""
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


def frames(one: Running, pattern: Pattern) -> int:
    """Return the number of frames that one event makes for all subscribers."""
    return pattern.frames_per_write * one.subscribers


def half_busy_rate(one: Running, pattern: Pattern, first: float | None = None) -> float:
    """Return the events per second at which the receiver is about half busy, found by trials from ``first``."""
    rate = first or FIRST_RATE / frames(one, pattern)
    for _ in range(TRIALS):
        phase = one.send(paced(rate, pattern, TRIAL_S), settle_s=0)
        if abs(phase.busy - BUSY) < NEAR:
            break
        # CPU time is counted in ticks of 10 ms: assume at least one tick, so that the divisor is not zero.
        rate *= BUSY / max(phase.busy, 0.01 / phase.seconds)
    one.settled()
    return rate


def paced(rate: float, pattern: Pattern, seconds: float) -> Order:
    """Return the order for ``rate`` events per second, for at least ``seconds`` and at least a few events."""
    seconds = max(FEWEST_EVENTS, math.ceil(seconds * rate)) / rate
    return Order(rate, pattern.frames_per_write, seconds, pattern.payload)


@dataclass
class Row:
    """The results of one receiver in one pattern, one phase per round."""

    name: str
    pattern: Pattern
    phases: list[Phase] = field(default_factory=list)
    frames_per_read: list[float] = field(default_factory=list)

    def add(self, one: Running, phase: Phase) -> str | None:
        """Add the phase of a round, after the receiver has stopped; return why the figure is wrong, or None."""
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
        """Frames per CPU second, from the mean cost of a frame."""
        return 1 / fmean(phase.cpu_per_frame_s for phase in self.phases)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the most frames per CPU second in any round."""
        each = [1 / phase.cpu_per_frame_s for phase in self.phases]
        return min(each), max(each)

    @property
    def busy(self) -> float:
        """CPU seconds of the receiver per second of sending."""
        return fmean(phase.busy for phase in self.phases)

    @property
    def system(self) -> float:
        """The share of the CPU seconds that the kernel took."""
        return sum(phase.system_s for phase in self.phases) / sum(phase.cpu_s for phase in self.phases)

    @property
    def rate(self) -> float:
        """Frames a second."""
        return fmean(phase.rate for phase in self.phases)

    @property
    def rss_bytes(self) -> float:
        """The memory of the receiver's processes."""
        return fmean(phase.rss_bytes for phase in self.phases)

    @property
    def others(self) -> float:
        """The most cores that other processes used in any round."""
        return max(phase.others for phase in self.phases)

    @property
    def shown_frames_per_read(self) -> str:
        """Frames per read as text, if the receiver can tell."""
        return f"{fmean(self.frames_per_read):.2f}" if self.frames_per_read else "–"


@dataclass
class Compared:
    """The rows of receivers by (name, pattern), and the errors in them."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    #: True if Ctrl-C ended the measurement.
    interrupted: bool = False


def compare(
    receivers: Sequence[Receiver],
    patterns: Sequence[Pattern],
    rounds: int,
    subscribers: int,
    seconds: float,
    scratch: Path,
) -> Compared:
    """Measure each receiver once per round, alone, at the rate at which it is half busy.

    Other tools are measured in the first round only, in the first patterns of each payload. A receiver that failed is
    named and not tried again. Ctrl-C ends the measurement, and keeps the rows so far.
    """
    compared = Compared()
    try:
        _compare(compared, receivers, patterns, rounds, subscribers, seconds, scratch)
    except KeyboardInterrupt:
        compared.interrupted = True
    return compared


def _compare(
    compared: Compared,
    receivers: Sequence[Receiver],
    patterns: Sequence[Pattern],
    rounds: int,
    subscribers: int,
    seconds: float,
    scratch: Path,
) -> None:
    rows, wrong = compared.rows, compared.wrong
    rates: dict[tuple[str, str], float] = {}
    #: By receiver and frames per write: the rate found for the previous pattern, at which the next search begins.
    similar: dict[tuple[str, int], float] = {}
    failed: set[str] = set()
    for number in range(1, rounds + 1):
        for receiver in receivers:
            if receiver.name in failed or (receiver.peer and number > 1):
                continue
            phases: list[tuple[Pattern, Phase]] = []
            try:
                with running(receiver, subscribers, scratch) as one:
                    for pattern in patterns if not receiver.peer else filter(_for_peers, patterns):
                        key = (receiver.name, pattern.name)
                        if key not in rates:
                            like = (receiver.name, pattern.frames_per_write)
                            rates[key] = similar[like] = half_busy_rate(
                                one, pattern, similar.get(like, receiver.first_rate / frames(one, pattern))
                            )
                        phases.append((pattern, one.send(paced(rates[key], pattern, seconds))))
                    one.stop()
            except ReceiverError as error:
                wrong.append(str(error))
                failed.add(receiver.name)
                continue
            except Exception as error:  # if a tool fails in any way, still measure the others
                wrong.append(f"{receiver.name}: {type(error).__name__}: {error}")
                failed.add(receiver.name)
                continue
            if lost := not_received(one):
                wrong.append(f"{lost} (round {number})")
            for pattern, phase in phases:
                row = rows.setdefault((receiver.name, pattern.name), Row(receiver.name, pattern))
                if late := row.add(one, phase):
                    wrong.append(f"{late} (round {number})")


def _for_peers(pattern: Pattern) -> bool:
    """Return True for the patterns in which other tools are measured: one event a write, in small frames."""
    return pattern in (FAN_OUT, FAN_OUT_REAL)


def in_turn(
    receivers: Sequence[Receiver],
    pattern: Pattern,
    rounds: int,
    subscribers: int,
    seconds: float,
    scratch: Path,
) -> tuple[list[Row], list[str]]:
    """Measure receivers that run at the same time and receive in turn, so they must use hardly any CPU while idle.

    The machine's speed varies from minute to minute, so the turns are short. All receive at the rate at which the first
    receiver is half busy. Returns one row per receiver, and the errors in the rows.

    Raises:
        ReceiverError: a receiver failed.
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
    """Return a note on the CPU use of other processes, which raises the measured costs."""
    most = max((row.others for row in rows), default=0.0)
    return f"Other processes took at most {most:.0%} of a core meanwhile."


def not_received(one: Running) -> str | None:
    """Return an error text if a stopped receiver did not receive all frames, else None."""
    if one.received == one.sent:
        return None
    return f"{one.name}: received {one.received:,.10g} of {one.sent:,}"
