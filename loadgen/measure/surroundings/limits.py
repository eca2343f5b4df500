"""The CPUs, CPU quota and memory that this process may use now, and the number of OOM kills."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadgen.measure.surroundings import parsing
from loadgen.measure.surroundings.cgroups import Groups, Place, find

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Allowed:
    """CPU and memory that a process may use; a value is None if there is no such limit or it is unknown."""

    cpus: frozenset[int]
    """CPUs allowed by affinity and cpuset, or empty if unknown."""
    machine_cpus: int | None
    quota_cores: float | None
    """The tightest CPU quota of the process's cgroups."""
    memory_bytes: int | None
    """The smaller of the machine's memory and the tightest limit of the process's cgroups."""
    memory_limited: bool
    """True if a limit of a cgroup, not the machine's memory, determines `memory_bytes`."""

    @property
    def cores(self) -> float | None:
        """CPU time that the process may use, as a number of cores, or None if unknown."""
        known = [float(len(self.cpus))] if self.cpus else []
        if self.quota_cores is not None:
            known.append(self.quota_cores)
        return min(known, default=None if self.machine_cpus is None else float(self.machine_cpus))


def groups_here(proc: Path = _PROC) -> Groups:
    """Return the cgroups of this process; `places` is empty if the system has no cgroups."""
    return find(read(proc / "self/cgroup") or "", read(proc / "self/mountinfo") or "", os.getpid())


def allowed_here(groups: Groups | None = None) -> Allowed:
    """Return the CPU and memory that this process may use now."""
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
    """Return the CPUs on which this thread may run, or an empty set if unknown."""
    if not hasattr(os, "sched_getaffinity"):
        return frozenset()
    cpus = frozenset(os.sched_getaffinity(0))
    if cpuset is not None:
        name = "cpuset.cpus.effective" if cpuset.version == 2 else "cpuset.effective_cpus"
        of_group = parsing.cpu_list(read(cpuset.own / name))
        # The kernel keeps the affinity within the cpuset, so the two have CPUs in common. If they have none, the cpuset
        # was not read correctly, and is ignored.
        cpus = cpus & of_group or cpus
    return cpus


def tightest_quota(cpu: Place | None) -> tuple[float, Path] | None:
    """Return the smallest CPU quota, in cores, and the cgroup that has it; or None if no quota is visible."""
    if cpu is None:
        return None
    quotas = ((quota_of(folder, cpu.version), folder) for folder in cpu.folders)
    return min(
        ((cores, folder) for cores, folder in quotas if cores is not None),
        key=lambda each: each[0],
        default=None,
    )


def quota_of(folder: Path, version: int) -> float | None:
    """Return the CPU quota of one cgroup, in cores, or None if there is no quota or it is unknown."""
    if version == 2:
        return parsing.quota_v2(read(folder / "cpu.max"))
    return parsing.quota_v1(read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us"))


def tightest_memory(memory: Place | None) -> int | None:
    """Return the smallest memory limit (`max` or `high`) of a process's cgroups in bytes; None if none is visible."""
    if memory is None:
        return None
    names = ["memory.max", "memory.high"] if memory.version == 2 else ["memory.limit_in_bytes"]
    limits = (parsing.memory_limit(read(folder / name)) for folder in memory.folders for name in names)
    return min((limit for limit in limits if limit is not None), default=None)


def oom_kills(groups: Groups | None = None, proc: Path = _PROC) -> int | None:
    """Return how many processes the kernel's OOM killer has killed, as far as this process can see.

    The count covers this process's own cgroup (in v2 also those below it), or the whole machine if the cgroup has no
    such count. Return None if neither has one.
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
    """Return the text of a small file of the kernel, or None if it is missing or unreadable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
