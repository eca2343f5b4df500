"""What this process is allowed now: CPUs, a CPU quota, memory; and how often the kernel killed for want of memory."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadgen.measure.surroundings import parsing
from loadgen.measure.surroundings.cgroups import Groups, Place, find

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a process may use. None: there is no such limit, or the system does not tell."""

    cpus: frozenset[int]
    """By affinity and cpuset; empty: not known."""
    machine_cpus: int | None
    quota_cores: float | None
    """The tightest CPU quota of its cgroups."""
    memory_bytes: int | None
    """The smaller of the machine's memory and the tightest limit of its cgroups."""
    memory_limited: bool
    """Whether that is a limit of a cgroup."""

    @property
    def cores(self) -> float | None:
        """For how many cores' time it may use CPU; None: not known."""
        known = [float(len(self.cpus))] if self.cpus else []
        if self.quota_cores is not None:
            known.append(self.quota_cores)
        return min(known, default=None if self.machine_cpus is None else float(self.machine_cpus))


def groups_here(proc: Path = _PROC) -> Groups:
    """Return where this process stands; no places where the system has no cgroups."""
    return find(read(proc / "self/cgroup") or "", read(proc / "self/mountinfo") or "", os.getpid())


def allowed_here(groups: Groups | None = None) -> Allowed:
    """Return what this process is allowed now."""
    groups = groups_here() if groups is None else groups
    limit = tightest_memory(groups.places.get("memory"))
    total: int | None
    try:
        total = int(psutil.virtual_memory().total)
    except (OSError, RuntimeError):
        total = None
    known = [value for value in (limit, total) if value is not None]
    quota = tightest_quota(groups.places.get("cpu"))
    return Allowed(
        cpus=cpus_here(groups.places.get("cpuset")),
        machine_cpus=os.cpu_count(),
        quota_cores=None if quota is None else quota[0],
        memory_bytes=min(known, default=None),
        memory_limited=limit is not None and limit == min(known),
    )


def cpus_here(cpuset: Place | None) -> frozenset[int]:
    """Return the CPUs on which this thread may run; empty: not known."""
    if not hasattr(os, "sched_getaffinity"):
        return frozenset()
    cpus = frozenset(os.sched_getaffinity(0))
    if cpuset is not None:
        name = "cpuset.cpus.effective" if cpuset.version == 2 else "cpuset.effective_cpus"
        of_group = parsing.cpu_list(read(cpuset.own / name))
        # The kernel has already taken the one from the other; where it is not told, nothing is taken.
        cpus = cpus & of_group or cpus
    return cpus


def tightest_quota(cpu: Place | None) -> tuple[float, Path] | None:
    """Return the smallest quota in cores and the cgroup that has it; None: there is none that is visible."""
    if cpu is None:
        return None
    quotas = ((quota_of(folder, cpu.version), folder) for folder in cpu.folders)
    return min(
        ((cores, folder) for cores, folder in quotas if cores is not None),
        key=lambda each: each[0],
        default=None,
    )


def quota_of(folder: Path, version: int) -> float | None:
    """Return the cores that one cgroup allows; None: it has no quota, or it is not known."""
    if version == 2:
        return parsing.quota_v2(read(folder / "cpu.max"))
    return parsing.quota_v1(read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us"))


def tightest_memory(memory: Place | None) -> int | None:
    """Return the smallest memory limit (`max` or `high`) of a process's cgroups in bytes; None: none is visible."""
    if memory is None:
        return None
    names = ["memory.max", "memory.high"] if memory.version == 2 else ["memory.limit_in_bytes"]
    limits = (parsing.memory_limit(read(folder / name)) for folder in memory.folders for name in names)
    return min((limit for limit in limits if limit is not None), default=None)


def oom_kills(groups: Groups | None = None, proc: Path = _PROC) -> int | None:
    """Return how many processes the kernel has killed for want of memory, as far as this process can see.

    Counted are those of its own cgroup (v2: and below); where no cgroup tells, those of the whole machine. None: not
    known.
    """
    groups = groups_here() if groups is None else groups
    memory = groups.places.get("memory")
    if memory is not None:
        name = "memory.events" if memory.version == 2 else "memory.oom_control"
        kills = parsing.keyed(read(memory.own / name)).get("oom_kill")
        if kills is not None:
            return kills
    return parsing.keyed(read(proc / "vmstat")).get("oom_kill")


def read(path: Path) -> str | None:
    """Return the text of a small file of the kernel; None: it is not there or cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
