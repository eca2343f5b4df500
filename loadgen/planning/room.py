"""Warnings before a run starts: the CPU quota or the memory is too small, or the machine is busy."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from analysis import text
from loadgen.measure.surroundings import Allowed, allowed_here
from loadgen.measure.surroundings.limits import read
from loadgen.measure.surroundings.parsing import pressure_average

#: Memory (bytes) reckoned for each new worker process, and for the process that makes the report.
PROCESS_BYTES = 200 * 2**20
#: Warn if tasks waited for the CPU or for memory during at least this share of the last ten seconds.
_WAITED_CPU, _WAITED_MEMORY = 0.5, 0.1


@dataclass(frozen=True, slots=True)
class Room:
    """Limits and pressure of this machine before a run; None means unknown."""

    allowed: Allowed
    waited_cpu: float | None = None
    """Share of the last ten seconds in which at least one task waited for a CPU (PSI `some avg10`)."""
    waited_memory: float | None = None
    """Share of the last ten seconds in which at least one task waited for memory (PSI `some avg10`)."""


def room_here(proc: Path = Path("/proc")) -> Room:
    """Return the current limits and pressure of this machine."""
    return Room(
        allowed_here(),
        pressure_average(read(proc / "pressure/cpu")),
        pressure_average(read(proc / "pressure/memory")),
    )


def restrained(allowed: Allowed) -> str | None:
    """Return the limit on this process's CPUs as a clause for a sentence, or None if it may use all of them."""
    cores, machine = allowed.cores, allowed.machine_cpus
    if cores is None or machine is None or cores >= machine:
        return None
    quota = allowed.quota_cores is not None and allowed.quota_cores <= cores
    return f"{'a CPU quota' if quota else 'a cpuset or affinity'} allows {text.cores(cores)} of the machine's {machine}"


def notes(room: Room, processes: int, embedded: bool) -> Iterator[str]:
    """Yield a sentence for each condition that may spoil a run of ``processes`` worker processes.

    ``embedded`` is true if the embedded server runs on this machine too.
    """
    allowed, cores = room.allowed, room.allowed.cores
    busy = processes + embedded
    limit = restrained(allowed)
    if limit is not None and cores is not None and cores < busy:
        noun = "a worker process" if processes == 1 else f"{processes} worker processes"
        also = " and the embedded server" if embedded else ""
        yield (
            f"{limit}; {noun}{also} may use up to {text.cores(busy)}. If that is used up, everything stands still"
            " until the quota's next period, and the run says so: raise the quota, or lower the load"
            if allowed.quota_cores is not None and allowed.quota_cores <= cores
            else f"{limit}; {noun}{also} may use up to {text.cores(busy)}: allow more CPUs, or lower the load"
        )
    wanted = PROCESS_BYTES * (busy + 1)
    if allowed.memory_limited and allowed.memory_bytes is not None and allowed.memory_bytes < wanted:
        yield (
            f"the container's memory limit is {text.size(allowed.memory_bytes)}, and a run of this size begins at about"
            f" {text.size(wanted)}: raise it, or the kernel may kill a process"
        )
    if room.waited_cpu is not None and room.waited_cpu >= _WAITED_CPU:
        yield (f"the machine is busy: tasks waited for a CPU in {_whole(room.waited_cpu)} of the last 10 s")
    if room.waited_memory is not None and room.waited_memory >= _WAITED_MEMORY:
        yield (f"memory is short: tasks waited for it in {_whole(room.waited_memory)} of the last 10 s")


def _whole(share: float) -> str:
    """Return a share as a whole percentage: more digits would only show differences between two readings."""
    return f"{share * 100:.0f} %"
