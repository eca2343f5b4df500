"""Samples a process's surroundings each second: CPU quota, memory, pressure, steal and EC2's network allowances."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from loadgen.measure.surroundings import ethtool, parsing
from loadgen.measure.surroundings.cgroups import Groups, Place, find
from loadgen.measure.surroundings.limits import cpus_here, tightest_memory, tightest_quota

_PROC = Path("/proc")
#: Interval of reading EC2's counters; not shorter, because each read is slow: the driver asks the hypervisor.
_ALLOWANCES_EVERY_S = 1.0
_MOST_BYTES = 1 << 20


class Around(NamedTuple):
    """Limits of a process's resources, and events in its cgroups and machine in an interval, such as throttling.

    The columns are documented in results/README.md. None stands for unknown or unlimited.
    """

    allowed_ns: int | None = None
    quota_ns: int | None = None
    cgroup: int | None = None
    cgroup_cpu_ns: int | None = None
    quota_periods: int | None = None
    throttled_periods: int | None = None
    throttled_ns: int | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    memory_high_events: int | None = None
    memory_max_events: int | None = None
    oom_events: int | None = None
    oom_kills: int | None = None
    pressure_cpu_ns: int | None = None
    pressure_memory_ns: int | None = None
    pressure_io_ns: int | None = None
    machine_pressure_cpu_ns: int | None = None
    machine_pressure_memory_ns: int | None = None
    machine_pressure_io_ns: int | None = None
    steal_ns: int | None = None
    bw_in_exceeded: int | None = None
    bw_out_exceeded: int | None = None
    pps_exceeded: int | None = None
    conntrack_exceeded: int | None = None
    linklocal_exceeded: int | None = None


class KernelFile:
    """A small file of the kernel that is read repeatedly: it stays open, and is reopened after an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def read(self) -> str | None:
        """Return the file's text, or None if it is missing or unreadable."""
        try:
            if self._file is None:
                self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            pieces, at = [], 0
            # One read may not return all of a long file such as /proc/stat.
            while at < _MOST_BYTES and (piece := os.pread(self._file, 65_536, at)):
                pieces.append(piece)
                at += len(piece)
            return b"".join(pieces).decode("utf-8", "replace")
        except OSError:
            self.close()
            return None

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Allowances:
    """EC2's network counters, to be read in a separate thread because the driver may wait for the hypervisor."""

    def __init__(self, allowances: Callable[[], dict[str, int] | None] = ethtool.allowances) -> None:
        self._read = allowances
        self.latest = allowances()
        self.running = self.latest is not None

    def watch(self, sleep: Callable[[float], Any]) -> None:
        """Read the counters once a second until :attr:`running` is false; return at once if there are none to read."""
        while self.running:
            sleep(_ALLOWANCES_EVERY_S)
            self.latest = self._read()


class Surroundings:
    """Samples the surroundings of this process, one interval at a time.

    ``proc`` and ``base`` are for tests: the folder to use as `/proc`, and the folder that contains the mount points.
    """

    def __init__(
        self, proc: Path = _PROC, base: Path = Path("/"), allowances: Allowances | None = None
    ) -> None:
        self._base = base
        self.allowances = Allowances() if allowances is None else allowances
        self._cgroup, self._mountinfo = KernelFile(proc / "self/cgroup"), KernelFile(proc / "self/mountinfo")
        self._stat = KernelFile(proc / "stat")
        self._machine = [KernelFile(proc / "pressure" / name) for name in ("cpu", "memory", "io")]
        self._tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 10_000_000
        self._text: str | None = None
        self._files: dict[Path, KernelFile] = {}
        self._groups = Groups()
        self._cpus: frozenset[int] = frozenset()
        self._quota: tuple[float, Path] | None = None
        self._quota_group: int | None = None
        self._memory_limit: int | None = None
        self._before: dict[str, int] = {}
        self.take(0)

    def take(self, interval_ns: int) -> Around:
        """Return the sample for the time since the last call; ``interval_ns`` is the length of this time."""
        self._locate()
        counted = {name: value for name, value in self._counters().items() if value is not None}
        before, self._before = self._before, counted
        # Ignore a counter that fell: it belongs to something else now, such as a new cgroup of the same name,
        # or covers fewer interfaces.
        grown = {
            name: value - before[name]
            for name, value in counted.items()
            if name in before and value >= before[name]
        }
        return Around(
            allowed_ns=self._allowed_ns(interval_ns),
            quota_ns=None if self._quota is None else int(self._quota[0] * interval_ns),
            cgroup=self._quota_group,
            memory_bytes=self._memory_bytes(),
            memory_limit_bytes=self._memory_limit,
            **_throttled(grown),
            **{name: grown.get(name) for name in _COUNTERS},
        )

    def close(self) -> None:
        """Close all files."""
        for file in (self._cgroup, self._mountinfo, self._stat, *self._machine, *self._files.values()):
            file.close()
        self.allowances.running = False

    def _locate(self) -> None:
        """Find the cgroups again if the process has moved, and read the limits, which may change at any time."""
        text = self._cgroup.read()
        if text != self._text:
            self._text = text
            for file in self._files.values():
                file.close()
            self._files.clear()
            self._before = {}
            self._groups = find(text or "", self._mountinfo.read() or "", os.getpid(), self._base)
        places = self._groups.places
        self._cpus = cpus_here(places.get("cpuset"))
        self._quota = tightest_quota(places.get("cpu"))
        self._quota_group = None if self._quota is None else _number_of(self._quota[1])
        self._memory_limit = tightest_memory(places.get("memory"))

    def _read(self, folder: Path, name: str) -> str | None:
        path = folder / name
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = KernelFile(path)
        return file.read()

    def _allowed_ns(self, interval_ns: int) -> int | None:
        cores = [float(len(self._cpus))] if self._cpus else []
        if self._quota is not None:
            cores.append(self._quota[0])
        return int(min(cores) * interval_ns) if cores else None

    def _memory_bytes(self) -> int | None:
        memory = self._groups.places.get("memory")
        if memory is None:
            return None
        name = "memory.current" if memory.version == 2 else "memory.usage_in_bytes"
        return parsing.number(self._read(memory.own, name))

    def _counters(self) -> dict[str, int | None]:
        """Return the counters that only grow; a value is None if unknown."""
        found: dict[str, int | None] = {}
        places, unified = self._groups.places, self._groups.unified
        cpu = places.get("cpu")
        for level, folder in enumerate(() if cpu is None else cpu.folders):
            self._take_throttling(found, level, folder, 1 if cpu is None else cpu.version)
        found["cgroup_cpu_ns"] = self._cpu_time_of_quota(cpu)
        if (memory := places.get("memory")) is not None:
            found |= self._memory_events(memory)
        for name, file in zip(("cpu", "memory", "io"), self._machine, strict=True):
            found[f"machine_pressure_{name}_ns"] = parsing.pressure_ns(file.read())
            if unified is not None:
                found[f"pressure_{name}_ns"] = parsing.pressure_ns(
                    self._read(unified.own, f"{name}.pressure")
                )
        found["steal_ns"] = parsing.steal_ns(self._stat.read(), self._cpus, self._tick_ns)
        for name, value in (self.allowances.latest or {}).items():
            found[f"{name}_exceeded"] = value
        return found

    def _take_throttling(self, found: dict[str, int | None], level: int, folder: Path, version: int) -> None:
        stat = parsing.keyed(self._read(folder, "cpu.stat"))
        throttled_ns = stat.get("throttled_time")
        if version == 2 and "throttled_usec" in stat:
            throttled_ns = stat["throttled_usec"] * 1_000
        found[f"{level} periods"] = stat.get("nr_periods")
        found[f"{level} throttled"] = stat.get("nr_throttled")
        found[f"{level} throttled_ns"] = throttled_ns

    def _cpu_time_of_quota(self, cpu: Place | None) -> int | None:
        """Return the CPU time of all processes under the tightest quota, or None if unknown.

        In cgroup v1 this counter is in another hierarchy (cpuacct) than the quota.
        """
        if cpu is None or self._quota is None:
            return None
        if cpu.version == 2:
            used = parsing.keyed(self._read(self._quota[1], "cpu.stat")).get("usage_usec")
            return None if used is None else used * 1_000
        accounts = self._groups.places.get("cpuacct")
        if accounts is None:
            return None
        # The quota is in the cpu hierarchy, the counter in the cpuacct hierarchy. In the latter, go up as many levels
        # from the process's own cgroup as the cgroup with the quota is above it in the former. Trust the cgroup found
        # there only if it has the same name as the one with the quota, or if each is the topmost of its hierarchy.
        above = cpu.folders.index(self._quota[1])
        if above >= len(accounts.folders):
            return None
        topmost = above == len(cpu.folders) - 1 == len(accounts.folders) - 1
        if not topmost and accounts.folders[above].name != self._quota[1].name:
            return None
        return parsing.number(self._read(accounts.folders[above], "cpuacct.usage"))

    def _memory_events(self, memory: Place) -> dict[str, int | None]:
        if memory.version == 2:
            events = parsing.keyed(self._read(memory.own, "memory.events"))
            return {
                "memory_high_events": events.get("high"),
                "memory_max_events": events.get("max"),
                "oom_events": events.get("oom"),
                "oom_kills": events.get("oom_kill"),
            }
        control = parsing.keyed(self._read(memory.own, "memory.oom_control"))
        return {
            "memory_max_events": parsing.number(self._read(memory.own, "memory.failcnt")),
            "oom_kills": control.get("oom_kill"),
        }


#: Columns whose value is the growth of a counter during the interval.
_COUNTERS = (
    "cgroup_cpu_ns", "memory_high_events", "memory_max_events", "oom_events", "oom_kills",
    "pressure_cpu_ns", "pressure_memory_ns", "pressure_io_ns",
    "machine_pressure_cpu_ns", "machine_pressure_memory_ns", "machine_pressure_io_ns", "steal_ns",
    *(f"{name}_exceeded" for name in ethtool.ALLOWANCES),
)  # fmt: skip


def _throttled(grown: dict[str, int]) -> dict[str, int | None]:
    """Return the throttling figures of the cgroup that was throttled longest: the process's own or one above it."""
    levels = {name.partition(" ")[0] for name in grown if name.endswith(" throttled_ns")}
    worst = max(levels, key=lambda level: (grown[f"{level} throttled_ns"], -int(level)), default=None)
    if worst is None:
        return {"quota_periods": None, "throttled_periods": None, "throttled_ns": None}
    return {
        "quota_periods": grown.get(f"{worst} periods"),
        "throttled_periods": grown.get(f"{worst} throttled"),
        "throttled_ns": grown[f"{worst} throttled_ns"],
    }


def _number_of(folder: Path) -> int | None:
    """Return a cgroup's inode number, which is the same in all namespaces of one kernel; None if unknown."""
    try:
        return folder.stat().st_ino & (1 << 63) - 1
    except OSError:
        return None
