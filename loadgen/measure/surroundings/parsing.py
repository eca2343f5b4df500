"""Parses the kernel's texts for limits and counters; a missing or unreadable value is None, never zero.

Formats: Linux's Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, scheduler/sched-bwc.rst,
accounting/psi.rst and filesystems/proc.rst.
"""

from collections.abc import Collection

#: cgroup v1 writes "no limit" as the largest multiple of a page; no real limit reaches half of it.
_NO_LIMIT = 1 << 62


def number(text: str | None) -> int | None:
    """Return the non-negative integer that a text holds, or None if it holds something else, such as `max`."""
    try:
        value = int(text) if text is not None else None
    except ValueError:
        return None
    return None if value is None or value < 0 else value


def memory_limit(text: str | None) -> int | None:
    """Return a memory limit in bytes, or None if there is no limit or it is unknown."""
    value = number(text)
    return None if value is None or value >= _NO_LIMIT else value


def keyed(text: str | None) -> dict[str, int]:
    """Return the numbers of a flat keyed file such as cpu.stat; lines in another format are left out."""
    found = {}
    for line in (text or "").splitlines():
        name, _, rest = line.partition(" ")
        value = number(rest)
        if name and value is not None:
            found[name] = value
    return found


def quota_v2(text: str | None) -> float | None:
    """Return the cores that the text of a `cpu.max` allows, or None if there is no quota or it is unknown."""
    parts = (text or "").split()
    if len(parts) != 2:
        return None
    return quota_v1(parts[0], parts[1])


def quota_v1(quota_us: str | None, period_us: str | None) -> float | None:
    """Return the cores that cpu.cfs_quota_us and cpu.cfs_period_us allow, or None if unlimited or unknown."""
    quota, period = number(quota_us), number(period_us)
    return quota / period if quota and period else None


def cpu_list(text: str | None) -> frozenset[int]:
    """Return the CPUs of a list such as `0-3,8`, or an empty set if it is unreadable."""
    found: set[int] = set()
    for part in (text or "").strip().split(","):
        first, dash, last = part.partition("-")
        low, high = number(first), number(last if dash else first)
        if low is None or high is None or high - low > 1 << 16:
            return frozenset()
        found.update(range(low, high + 1))
    return frozenset(found)


def pressure_ns(text: str | None) -> int | None:
    """Return the total time in which some task waited, in ns, from a pressure file, or None if unknown."""
    for line in (text or "").splitlines():
        kind, *fields = line.split()[:5] or [""]
        if kind == "some":
            for entry in fields:
                name, _, value = entry.partition("=")
                if name == "total" and (total_us := number(value)) is not None:
                    return total_us * 1_000
    return None


def pressure_average(text: str | None) -> float | None:
    """Return the share (0 to 1) of the last ten seconds in which some task waited, from a pressure file."""
    for line in (text or "").splitlines():
        kind, *fields = line.split()[:5] or [""]
        if kind == "some":
            for entry in fields:
                name, _, value = entry.partition("=")
                if name == "avg10" and value.replace(".", "", 1).isdecimal():
                    return float(value) / 100
    return None


def steal_ns(stat: str | None, cpus: Collection[int], tick_ns: int) -> int | None:
    """Return the steal time per CPU, in ns: the mean over ``cpus`` of the `/proc/stat` values, or None if unknown.

    Steal is the time in which the hypervisor ran something else.
    """
    total, seen = 0, 0
    for line in (stat or "").splitlines():
        if not line.startswith("cpu"):
            break
        name, *values = line.split()
        cpu = number(name[3:])
        if cpu is None or cpu not in cpus:
            continue
        # The columns are user, nice, system, idle, iowait, irq, softirq, steal.
        stolen = number(values[7]) if len(values) > 7 else None
        if stolen is None:
            return None
        total, seen = total + stolen, seen + 1
    return total * tick_ns // seen if seen else None
