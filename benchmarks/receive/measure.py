"""Measure receivers at the rate at which each is half busy: one at a time, or several that receive in turn."""

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from receive.payloads import PADDING, REAL, REAL_2KB, Payload
from receive.receivers import Receiver
from receive.running import Phase, ReceiverError, Running, not_received, running
from receive.sender import Order

#: CPU load (share of a core) at which receivers are measured. A nearly idle receiver wakes up for each frame, so each
#: costs more than usual; a receiver that falls behind reads in bursts, so each costs less.
BUSY = 0.5
#: Frames per second at which the search for the rate begins; every receiver can receive this many.
FIRST_RATE = 5_000.0
TRIAL_S, TRIALS = 1.0, 4
#: The search for the rate ends when the load is this close to `BUSY`.
NEAR = 0.1
FEWEST_EVENTS = 4


@dataclass(frozen=True)
class Pattern:
    """How events reach a subscriber: frames per write, and the most frames per read in a valid measurement."""

    name: str
    frames_per_write: int
    most_per_read: float | None = None
    payload: Payload = PADDING


FAN_OUT = Pattern("fan-out", 1, 1.15)
BURST = Pattern("burst", 20)
FAN_OUT_REAL = Pattern("fan-out, real payload", 1, 1.15, REAL)
BURST_REAL = Pattern("burst, real payload", 20, None, REAL)
FAN_OUT_2KB = Pattern("fan-out, real payload of 2 KB", 1, 1.15, REAL_2KB)


def frames(one: Running, pattern: Pattern) -> int:
    """Return how many frames the sender sends to all subscribers in total for each event that it is told to send."""
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
    """Return the order to send ``rate`` events per second for ``seconds``, or longer until `FEWEST_EVENTS` are sent."""
    seconds = max(FEWEST_EVENTS, math.ceil(seconds * rate)) / rate
    return Order(rate, pattern.frames_per_write, seconds, pattern.payload)


@dataclass
class Row:
    """The results of one receiver in one pattern; `phases` has one result for each time that it was sent events.

    `limits` has the results of the limit, if it was sent the same events in turn with the receiver.
    """

    name: str
    pattern: Pattern
    phases: list[Phase] = field(default_factory=list)
    limits: list[Phase] = field(default_factory=list)
    frames_per_read: list[float] = field(default_factory=list)

    def add(self, one: Running, phase: Phase) -> str | None:
        """Add a result, once the receiver has stopped; return an error if the receiver was late."""
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
    def of_limit(self) -> float | None:
        """Frames per CPU second as a share of the limit's, measured in turns at the same rate; None if it was not."""
        if not self.limits:
            return None
        return fmean(phase.cpu_per_frame_s for phase in self.limits) * self.per_cpu_s

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
    """The results of the receivers by (receiver, pattern), and the errors that make results wrong."""

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
    limit: Receiver | None = None,
) -> Compared:
    """Measure each receiver once per round, at the rate at which it is half busy.

    With ``limit``, each of our receivers and the limit are sent the same events in turns, at our receiver's rate: the
    machine's speed varies from minute to minute, and the cost of a frame with the rate. All others are measured alone.
    Other tools are measured in the first round only, and only in the patterns that `_for_peers` accepts. A receiver
    that failed is named in the errors and not tried again. Ctrl-C ends the measurement, and keeps the rows so far.
    """
    measuring = _Measuring(subscribers, seconds, scratch, limit)
    try:
        for number in range(1, rounds + 1):
            for receiver in receivers:
                if not (receiver.peer and number > 1):
                    measuring.measure(receiver, patterns, number)
    except KeyboardInterrupt:
        measuring.compared.interrupted = True
    return measuring.compared


class _Measuring:
    """Measures one receiver after the other, and keeps the results and the rates at which they are half busy."""

    def __init__(self, subscribers: int, seconds: float, scratch: Path, limit: Receiver | None) -> None:
        self.compared = Compared()
        self._subscribers, self._seconds, self._scratch, self._limit = subscribers, seconds, scratch, limit
        self._rates: dict[tuple[str, str], float] = {}
        #: Start of the search for a rate, by (receiver, frames per write): the rate found for the last such pattern.
        self._similar: dict[tuple[str, int], float] = {}
        self._failed: set[str] = set()

    def measure(self, receiver: Receiver, patterns: Sequence[Pattern], number: int) -> None:
        """Measure a receiver in round ``number``, unless it has failed before."""
        if receiver.name in self._failed:
            return
        try:
            self._measure(receiver, patterns, number)
        except ReceiverError as error:
            self.compared.wrong.append(str(error))
            self._failed.add(receiver.name)
        except Exception as error:  # if a tool fails in any way, still measure the others
            self.compared.wrong.append(f"{receiver.name}: {type(error).__name__}: {error}")
            self._failed.add(receiver.name)

    def _measure(self, receiver: Receiver, patterns: Sequence[Pattern], number: int) -> None:
        rows, wrong = self.compared.rows, self.compared.wrong
        with contextlib.ExitStack() as stack:
            one = stack.enter_context(running(receiver, self._subscribers, self._scratch))
            beside = None
            if self._limit is not None and not receiver.peer and receiver.name != self._limit.name:
                beside = stack.enter_context(running(self._limit, self._subscribers, self._scratch))
            sent = [
                (pattern, *_sent(one, beside, self._rate(receiver, one, pattern), pattern, self._seconds))
                for pattern in patterns
                if not receiver.peer or _for_peers(pattern)
            ]
            everyone = [one] if beside is None else [one, beside]
            for each in everyone:
                each.stop()
        wrong += [f"{lost} (round {number})" for each in everyone if (lost := not_received(each))]
        for pattern, phases, limits in sent:
            row = rows.setdefault((receiver.name, pattern.name), Row(receiver.name, pattern))
            row.limits += limits
            wrong += [f"{late} (round {number})" for phase in phases if (late := row.add(one, phase))]

    def _rate(self, receiver: Receiver, one: Running, pattern: Pattern) -> float:
        key, like = (receiver.name, pattern.name), (receiver.name, pattern.frames_per_write)
        if key not in self._rates:
            first = self._similar.get(like, receiver.first_rate / frames(one, pattern))
            self._rates[key] = self._similar[like] = half_busy_rate(one, pattern, first)
        return self._rates[key]


def _sent(
    one: Running, beside: Running | None, rate: float, pattern: Pattern, seconds: float
) -> tuple[list[Phase], list[Phase]]:
    """Send to a receiver for ``seconds``; return its results, and those of the limit ``beside`` it, if any.

    The turns are limit, receiver, receiver, limit: a steady change of the machine's speed then cancels out.
    """
    if beside is None:
        return [one.send(paced(rate, pattern, seconds))], []
    order = paced(rate, pattern, seconds / 2)
    first, ours, again = beside.send(order), one.send(order), one.send(order)
    return [ours, again], [first, beside.send(order)]


def _for_peers(pattern: Pattern) -> bool:
    """Return True if other load testing tools are measured in this pattern, too: one small frame per write."""
    return pattern in (FAN_OUT, FAN_OUT_REAL)


def in_turn(
    receivers: Sequence[Receiver],
    pattern: Pattern,
    rounds: int,
    subscribers: int,
    seconds: float,
    scratch: Path,
) -> tuple[list[Row], list[str]]:
    """Measure receivers that run at the same time and receive in turn.

    A receiver must use hardly any CPU while it waits for its turn. The machine's speed varies from minute to minute, so
    the turns are short. All receive at the rate at which the first receiver is half busy. Returns one row per receiver,
    and the errors in the rows.

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
