"""Do two worker processes with a core each receive twice as much as one? Each receives as fast as it can.

Each receiver has its own sender in C, which fills writes of 64 KB with as many frames as fit; nearly all CPU time of a
sender is the kernel's. Two native receivers and their senders need more than two cores. So on fewer than four cores,
native receivers are compared by frames per CPU-second. On four or more cores they are also compared by frames per
second. There are also rows with more than two workers if each worker and its sender have a core each. The table
shows the CPU time of receivers, senders and other processes.

A receiver that may use two cores uses slightly more than one, because a separate thread writes the record. Two
receivers have no spare core for these threads. For a fair comparison the single receiver is restricted to one core too;
a further row shows it without this restriction.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import fmean

from receive import payloads, saturating
from receive.payloads import Payload
from receive.receivers import OURS, Receiver
from receive.running import ReceiverError, Running, machine_cpu_s, not_received, running
from receive.sender import FRAME_BYTES, Order, Sent

from loadgen import native
from speed.section import OWN, REAL, Bar, Figure, Options, Section

ROUNDS = 3
#: Connections of each process: few, because a process ends only after it has emptied the buffers of all connections.
CONNECTIONS = 20
FRAMES_PER_WRITE = 65_536 // FRAME_BYTES
#: Cores for each process and its sender.
CORES_EACH = 2
#: Seconds of sending before the measurement begins: by then all socket buffers are full.
LEAD_S = 1.0
#: The most cores that other processes may use; if they use more, frames per second of wall time are not comparable.
OTHERS = 0.1
ONE, TWO, FREE = "one, on one core", "two, a core each", "one, both cores free"
PYTHON, NATIVE = "in Python", "native"
COLUMNS = (
    *("receive path", "payload", "worker processes", "frames/s", "least–most", "per CPU-s", "their CPU"),
    *("the senders'", "others'", "memory"),
)


@dataclass(frozen=True)
class _Figure:
    """Figures of all processes together; CPU in cores."""

    frames_per_s: float
    cpu: float
    sender_cpu: float
    other_cpu: float
    rss_bytes: int


def run(options: Options) -> Section:
    """Measure one process and two, in turn."""
    note = f"Saturated: {CONNECTIONS} connections a process, {FRAMES_PER_WRITE} frames of {FRAME_BYTES} bytes a write."
    section = Section("Worker processes", COLUMNS, note=note)
    in_python = _compare(
        options, section, PYTHON, replace(OURS, environment={"LOADGEN_NATIVE": "0"}), payloads.REAL
    )
    natively: _Figures = {}
    if native.available:
        natively = _compare(options, section, NATIVE, OURS, payloads.REAL)
        _compare(options, section, NATIVE, OURS, payloads.PADDING)
    else:
        section.missing.append("the native receive path")
    if not saturating.available():
        section.missing.append("a C compiler for the senders, which are slower in Python")
    section.bars = [
        Bar("workers: two processes ÷ one, in Python", _ratio(in_python, _per_s), 1.8),
        Bar("workers: two processes, per CPU-second of one, native", _ratio(natively, _per_cpu_s), 0.9),
    ]
    if len(os.sched_getaffinity(0)) >= 2 * CORES_EACH:
        section.bars.append(Bar("workers: two processes ÷ one, native", _ratio(natively, _per_s), 1.8))
    return section


def _counts(cores: int) -> list[int]:
    """Return the numbers of processes to compare: 1 and 2, and larger ones if there are two cores for each process.

    Each process needs a core for itself and one for its sender.
    """
    return [
        1,
        *(count for count in (2, 4, 8, 16) if count <= cores and (count == 2 or CORES_EACH * count <= cores)),
    ]


def _named(count: int) -> str:
    return {1: ONE, 2: TWO}.get(count, f"{count}, a core each")


_Figures = dict[str, list["_Figure"]]


def _compare(options: Options, section: Section, path: str, receiver: Receiver, payload: Payload) -> _Figures:
    """Measure a receiver in one process, in two and in more, and add a table row for each to the section."""
    cores = sorted(os.sched_getaffinity(0))
    counts = _counts(len(cores))
    figures: _Figures = {**{_named(count): [] for count in counts}, FREE: []}
    if len(cores) < 2:
        section.missing.append("a second core")
    try:
        with ExitStack() as stack:
            *pinned, free = (
                stack.enter_context(running(one, CONNECTIONS, options.scratch))
                for one in (*(replace(receiver, core=core) for core in cores[: counts[-1]]), receiver)
            )
            # Keep all processes running and let them receive in short turns, because the machine's speed varies from
            # minute to minute.
            for _ in range(ROUNDS):
                for count in counts:
                    figures[_named(count)].append(_measure(pinned[:count], options, payload))
                figures[FREE].append(_measure([free], options, payload))
            for worker in (*pinned, free):
                worker.stop()
                if lost := not_received(worker):
                    section.failures.append(f"workers: {lost}")
    except ReceiverError as error:
        section.failures.append(str(error))
    for name, measured in figures.items():
        if measured:
            section.rows.append((path, payload.name, *_shown(name, measured)))
            section.figures.append(
                Figure(
                    what=f"saturated workers, {path}",
                    tool=name,
                    payload=OWN if payload.own_padding else REAL,
                    value=_per_s(measured),
                    unit="frames per second",
                    each=tuple(figure.frames_per_s for figure in measured),
                    details={"per_cpu_s": _per_cpu_s(measured)},
                )
            )
        if measured and fmean(figure.other_cpu for figure in measured) > OTHERS:
            section.failures.append(
                f"workers, {path}, {name}: something else ran meanwhile, and took the cores' time"
            )
    return figures


def _ratio(figures: _Figures, figure: Callable[[list["_Figure"]], float]) -> float | None:
    return figure(figures[TWO]) / figure(figures[ONE]) if figures.get(TWO) else None


def _measure(workers: Sequence[Running], options: Options, payload: Payload) -> _Figure:
    # Let all senders send for half a second more than the measurement takes, so that none stops before its end.
    order = Order(None, FRAMES_PER_WRITE, LEAD_S + options.seconds / 2 + 0.5, payload)
    ends: list[Callable[[], Sent]] = [worker.begin(order) for worker in workers]
    time.sleep(LEAD_S)
    since_ns, before_s, all_before_s = time.time_ns(), _cpu_s(workers), machine_cpu_s()
    time.sleep(options.seconds / 2)
    until_ns, after_s, all_after_s = time.time_ns(), _cpu_s(workers), machine_cpu_s()
    rss_bytes = sum(worker.rss_bytes() for worker in workers)
    sent = [end() for end in ends]
    for worker in workers:
        worker.settled()
    seconds = (until_ns - since_ns) / 1e9
    cpu = (after_s - before_s) / seconds
    sender_cpu = sum(one.cpu_s / (one.ended_ns - one.began_ns) * 1e9 for one in sent)
    return _Figure(
        sum(len(worker.recorded(since_ns, until_ns)) for worker in workers) / seconds,
        cpu,
        sender_cpu,
        max(0.0, (all_after_s - all_before_s) / seconds - cpu - sender_cpu),
        rss_bytes,
    )


def _cpu_s(workers: Sequence[Running]) -> float:
    return sum(worker.cpu_s() for worker in workers)


def _per_s(figures: list[_Figure]) -> float:
    return fmean(figure.frames_per_s for figure in figures)


def _per_cpu_s(figures: list[_Figure]) -> float:
    return sum(figure.frames_per_s for figure in figures) / sum(figure.cpu for figure in figures)


def _shown(name: str, figures: list[_Figure]) -> tuple[str, ...]:
    each = [figure.frames_per_s for figure in figures]
    return (
        name,
        f"{fmean(each):,.0f}",
        f"{min(each):,.0f}–{max(each):,.0f}",
        f"{_per_cpu_s(figures):,.0f}",
        f"{fmean(figure.cpu for figure in figures):.0%}",
        f"{fmean(figure.sender_cpu for figure in figures):.0%}",
        f"{fmean(figure.other_cpu for figure in figures):.0%}",
        f"{fmean(figure.rss_bytes for figure in figures) / 1e6:.0f} MB",
    )
