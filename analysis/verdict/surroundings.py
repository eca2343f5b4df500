"""Resources that the workers' surroundings withheld: CPU quotas, memory limits, steal, EC2 network allowances.

Workers that share a CPU quota, as in one container, form one entry. So do the workers of a machine without a quota.
Each figure is that of the worker that saw the most, since all workers of a cgroup or machine see the same counters.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis import text
from analysis.limits import LIMITS
from analysis.loading.run import Ints, Run, Window, ints
from analysis.record.schemas import AROUND
from analysis.verdict.findings import Finding

_ALLOWANCES = ("bw_in", "bw_out", "pps", "conntrack", "linklocal")
_SECOND_NS = 1_000_000_000
#: A sentence names up to this many workers; if there are more, it only says how many.
_MOST_NAMED = 4


@dataclass(frozen=True)
class Surroundings:
    """Limits and resource use of one container or machine during the measurement.

    A value of None means that it is unknown, or that there is no such limit.
    """

    workers: list[int]
    hostname: str
    #: Number of health rows (one per second) of the worker that ran longest.
    seconds: int
    #: Number of cores that quota, cpuset and affinity allow together.
    allowed_cores: float | None
    quota_cores: float | None
    #: CPU time used by everything under the quota, as a share of the quota.
    quota_used: float | None
    throttled_ns: int | None
    #: Time throttled in the worst second.
    throttled_worst_ns: int | None
    #: Upper bound on the time throttled by the CPU quota, as a share of the time observed.
    throttled_share: float | None
    throttled_seconds: int | None
    #: Mean time throttled per quota period, in the second with the highest mean.
    throttled_stall_ns: int | None
    #: Maximum time throttled over consecutive seconds, each of which was throttled for at least a tenth of the second.
    throttled_stretch_ns: int | None
    memory_limit_bytes: int | None
    memory_worst_bytes: int | None
    memory_high_events: int | None
    memory_max_events: int | None
    oom_kills: int | None
    #: Share of the time in which some task waited for CPU, memory or disk: in the cgroup (`pressure`), and on the whole
    #: machine (`machine_pressure`).
    pressure: dict[str, float | None]
    machine_pressure: dict[str, float | None]
    memory_waited_worst_ns: int | None
    steal_share: float | None
    steal_worst_ns: int | None
    #: Packets that EC2 queued or dropped, by the network allowance that they exceeded.
    allowance_exceeded: dict[str, int | None]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def summarise(run: Run, window: Window) -> list[Surroundings]:
    """Return the workers' surroundings during the measurement, or an empty list if the run's record has none."""
    names = ("worker", "time_ns", "interval_ns", *AROUND)
    table = run.table("health", names)
    columns = {name: ints(table, name) for name in names}
    time_ns = columns["time_ns"]
    inside = (time_ns > window.start_ns) & (time_ns - columns["interval_ns"] < window.end_ns)
    columns = {name: values[inside] for name, values in columns.items()}
    groups: dict[tuple[str, int], list[int]] = {}
    hosts: dict[tuple[str, int], Mapping[str, Any]] = {}
    for entry in run.manifest["workers"]:
        its = columns["worker"] == entry["worker"]
        if not any((columns[name][its] >= 0).any() for name in AROUND):
            continue
        # Group workers by the cgroup of their last row with a quota, since a quota may be lifted before the run's end.
        limited = its & (columns["quota_ns"] >= 0)
        cgroups = columns["cgroup"][limited if limited.any() else its]
        key = (str(entry.get("boot_id") or entry["hostname"]), int(cgroups[-1]))
        groups.setdefault(key, []).append(entry["worker"])
        hosts[key] = entry
    return [
        _of_group(workers, hosts[key], [_rows_of(columns, columns["worker"] == worker) for worker in workers])
        for key, workers in groups.items()
    ]


def starved(run: Run, entry: Mapping[str, Any]) -> str | None:
    """Return evidence that a worker ended for lack of memory, as part of a sentence, or None.

    The worker's container may be gone, and its counters with it. So the evidence is the master's count of kills, if the
    worker was on the master's machine, or else the memory that the worker last used. ``entry`` is the worker's entry in
    the manifest.
    """
    kills, here = run.manifest.get("oom_kills"), run.manifest["host"].get("boot_id")
    if kills and here is not None and entry.get("boot_id") == here:
        what = "a process" if kills == 1 else f"{kills:,} processes"
        return f"the kernel killed {what} beside the master for lack of memory"
    table = run.table("health", ("worker", "memory_bytes", "memory_limit_bytes"))
    worker, used, limit = (ints(table, name) for name in ("worker", "memory_bytes", "memory_limit_bytes"))
    last = np.flatnonzero((worker == entry["worker"]) & (used >= 0) & (limit > 0))[-1:]
    if len(last) and used[last[0]] >= LIMITS.memory_full * limit[last[0]]:
        return (
            f"its container had used {text.size(int(used[last[0]]))} of its limit of"
            f" {text.size(int(limit[last[0]]))} of memory in its last second"
        )
    return None


def _rows_of(columns: dict[str, Ints], chosen: npt.NDArray[np.bool_]) -> dict[str, Ints]:
    order = np.argsort(columns["time_ns"][chosen], kind="stable")
    return {name: values[chosen][order] for name, values in columns.items()}


def _of_group(workers: list[int], entry: Mapping[str, Any], each: list[dict[str, Ints]]) -> Surroundings:
    def most(column: str) -> int | None:
        totals = [total for rows in each if (total := _total(rows[column])) is not None]
        return max(totals, default=None)

    def worst(column: str) -> int | None:
        values = [int(rows[column].max()) for rows in each if (rows[column] >= 0).any()]
        return max(values, default=None)

    def share(column: str) -> float | None:
        shares = [found for rows in each if (found := _share(rows, column)) is not None]
        return max(shares, default=None)

    def least_cores(column: str) -> float | None:
        cores = [
            float((rows[column][known] / np.maximum(rows["interval_ns"][known], 1)).min())
            for rows in each
            if (known := rows[column] >= 0).any()
        ]
        return None if not cores else round(min(cores), 4)

    # All workers under a quota read the same counters. Use the rows of the worker that ran longest: it counted the most
    # throttled time or, if that is equal, the most seconds.
    seen = max(each, key=lambda rows: (_total(rows["throttled_ns"]) or 0, len(rows["time_ns"])))
    held_ns = _held_back(seen, entry.get("cpus"))
    limits = [rows["memory_limit_bytes"] for rows in each]
    known_limits = [int(limit[limit >= 0].min()) for limit in limits if (limit >= 0).any()]
    waited = [worst(f"{whose}memory_ns") for whose in ("pressure_", "machine_pressure_")]
    return Surroundings(
        workers=workers,
        hostname=entry["hostname"],
        seconds=len(seen["time_ns"]),
        allowed_cores=least_cores("allowed_ns"),
        quota_cores=least_cores("quota_ns"),
        quota_used=_quota_used(seen),
        throttled_ns=_total(seen["throttled_ns"]),
        throttled_worst_ns=None if held_ns is None else int(held_ns.max()),
        throttled_share=None if held_ns is None else float(held_ns.sum() / max(1, seen["interval_ns"].sum())),
        throttled_seconds=None if held_ns is None else int(np.count_nonzero(held_ns)),
        throttled_stall_ns=_stall_ns(seen),
        throttled_stretch_ns=None if held_ns is None else _longest_stretch(held_ns, seen["interval_ns"]),
        memory_limit_bytes=min(known_limits, default=None),
        memory_worst_bytes=worst("memory_bytes"),
        memory_high_events=most("memory_high_events"),
        memory_max_events=most("memory_max_events"),
        oom_kills=most("oom_kills"),
        pressure={name: share(f"pressure_{name}_ns") for name in ("cpu", "memory", "io")},
        machine_pressure={name: share(f"machine_pressure_{name}_ns") for name in ("cpu", "memory", "io")},
        memory_waited_worst_ns=waited[0] if waited[0] is not None else waited[1],
        steal_share=share("steal_ns"),
        steal_worst_ns=worst("steal_ns"),
        allowance_exceeded={name: most(f"{name}_exceeded") for name in _ALLOWANCES},
    )


def _total(values: Ints) -> int | None:
    known = values[values >= 0]
    return int(known.sum()) if known.size else None


def _share(rows: dict[str, Ints], column: str) -> float | None:
    known = rows[column] >= 0
    if not known.any():
        return None
    return float(rows[column][known].sum() / max(1, rows["interval_ns"][known].sum()))


def _quota_used(rows: dict[str, Ints]) -> float | None:
    known = (rows["quota_ns"] > 0) & (rows["cgroup_cpu_ns"] >= 0)
    if not known.any():
        return None
    return float(rows["cgroup_cpu_ns"][known].sum() / rows["quota_ns"][known].sum())


def _periods_ns(rows: dict[str, Ints]) -> Ints:
    """Return an upper bound on the length of a quota period, for each second.

    It is the length of the second divided by the number of periods that the kernel counted. The kernel does not count
    periods in which the cgroup was idle, so a period may be shorter.
    """
    return np.asarray(rows["interval_ns"] // np.maximum(rows["quota_periods"], 1), dtype=np.int64)


def _held_back(rows: dict[str, Ints], cpus: int | None) -> Ints | None:
    """Return an upper bound on the time throttled in each second, or None if unknown.

    The kernel's counter is the sum over all ``cpus`` on which a task was throttled, so it may exceed the time that
    passed. The time throttled is at most the second minus the cgroup's CPU time divided by ``cpus``. It is also at most
    the length of the quota periods in which the quota ran out.
    """
    if not (rows["throttled_ns"] >= 0).any():
        return None
    used_ns = np.maximum(rows["cgroup_cpu_ns"], 0) // cpus if cpus else 0
    held_ns = np.minimum(np.maximum(rows["throttled_ns"], 0), np.maximum(rows["interval_ns"] - used_ns, 0))
    counted = rows["throttled_periods"] >= 0
    # Add one period: a throttled period that spans two seconds is counted in the first, but may throttle in the second.
    by_periods = (rows["throttled_periods"] + 1) * _periods_ns(rows)
    return np.asarray(np.where(counted, np.minimum(held_ns, by_periods), held_ns), dtype=np.int64)


def _stall_ns(rows: dict[str, Ints]) -> int | None:
    known = (rows["throttled_periods"] > 0) & (rows["throttled_ns"] > 0)
    if not known.any():
        return None if not (rows["throttled_ns"] >= 0).any() else 0
    each = np.minimum(rows["throttled_ns"] // np.maximum(rows["throttled_periods"], 1), _periods_ns(rows))
    return int(each[known].max())


def _longest_stretch(held_ns: Ints, interval_ns: Ints) -> int:
    """Return the maximum time throttled in one second or in consecutive seconds.

    Seconds are added up only if each was throttled for at least the share `throttled_wrong`, because unfinished work
    can then pile up from one second to the next.
    """
    longest = int(held_ns.max(initial=0))
    so_far = 0
    for held, interval in zip(held_ns.tolist(), interval_ns.tolist(), strict=True):
        so_far = so_far + held if held >= LIMITS.throttled_wrong * interval else 0
        longest = max(longest, so_far)
    return longest


def findings(around: list[Surroundings], p99_ns: int | None) -> Iterator[Finding]:
    """Yield a finding for each shortage of CPU, memory or network that affects the figures.

    ``p99_ns`` is the headline p99. Delays much shorter than the p99 do not shift it.
    """
    for group in around:
        yield from _throttling(group, p99_ns)
        yield from _memory(group)
        yield from _steal(group)
        yield from _allowances(group)


def _throttling(group: Surroundings, p99_ns: int | None) -> Iterator[Finding]:
    share, worst_ns, stall_ns = group.throttled_share, group.throttled_worst_ns, group.throttled_stall_ns
    if not share or not worst_ns:
        return
    shift_ns = stall_ns or worst_ns
    beside = float("inf") if not p99_ns or p99_ns < 0 else shift_ns / p99_ns
    in_p99 = share >= LIMITS.throttled_share and beside > LIMITS.throttled_shift
    wrong = share >= LIMITS.throttled_wrong or (
        share >= LIMITS.pause_wrong_share and beside > LIMITS.throttled_shift_wrong
    )
    if not (wrong or in_p99 or worst_ns >= LIMITS.throttled_ns):
        return
    several = len(group.workers) > 1
    quota = (
        "a CPU quota" if group.quota_cores is None else f"the CPU quota of {text.cores(group.quota_cores)}"
    )
    yield Finding(
        "invalid" if wrong else "degraded",
        "throttling",
        f"{_who(group)} {'were' if several else 'was'} throttled: {quota}{' that they share' if several else ''}"
        f" stopped everything under it in {group.throttled_seconds} of {group.seconds} s, for up to {text.ratio(share)}"
        f" of the time, up to {text.duration(worst_ns)} in a second and about {text.duration(shift_ns)} at a time,"
        f" beside a headline p99 of {text.duration(p99_ns)}",
        "raise the quota (--cpus, resources.limits.cpu) to a core for each worker and one for what else runs under it,"
        " or lower the load",
        group.throttled_stretch_ns,
    )


def _memory(group: Surroundings) -> Iterator[Finding]:
    limit = "" if group.memory_limit_bytes is None else f" (limit {text.size(group.memory_limit_bytes)})"
    if group.oom_kills:
        what = "a process" if group.oom_kills == 1 else f"{group.oom_kills:,} processes"
        yield Finding(
            "degraded",
            "memory",
            f"the kernel killed {what} beside {_who(group)} for lack of memory{limit}",
            "raise the memory limit, or lower the load: `loadgen plan` says what a scenario takes",
        )
    worst_ns = group.memory_waited_worst_ns
    own, machine = group.pressure["memory"], group.machine_pressure["memory"]
    share = own if own is not None else machine
    if worst_ns is None or share is None or worst_ns < LIMITS.waited_ns:
        return
    events = [
        f"{count:,} times over memory.{name}"
        for name, count in (("high", group.memory_high_events), ("max", group.memory_max_events))
        if count
    ]
    yield Finding(
        "invalid" if share >= LIMITS.throttled_wrong else "degraded",
        "memory",
        f"tasks around {_who(group)} waited for memory for {text.ratio(share)} of the time, up to"
        f" {text.duration(worst_ns)} in a second{limit}{', ' + ', '.join(events) if events else ''}",
        "raise the memory limit, or lower the load: `loadgen plan` says what a scenario takes",
        worst_ns,
    )


def _steal(group: Surroundings) -> Iterator[Finding]:
    share, worst_ns = group.steal_share, group.steal_worst_ns
    if share is None or worst_ns is None:
        return
    wrong = share >= LIMITS.throttled_wrong
    if wrong or worst_ns >= LIMITS.waited_ns:
        yield Finding(
            "invalid" if wrong else "degraded",
            "steal",
            f"the hypervisor took the CPUs from {_who(group)} for {text.ratio(share)} of the time, up to"
            f" {text.duration(worst_ns)} in a second (steal)",
            "use an instance type without CPU credits or one that shares its host with fewer others, and run again",
            worst_ns,
        )


def _allowances(group: Surroundings) -> Iterator[Finding]:
    exceeded = {name: count for name, count in group.allowance_exceeded.items() if count}
    if exceeded:
        shown = ", ".join(f"{name}_allowance_exceeded {count:,}" for name, count in exceeded.items())
        yield Finding(
            "degraded",
            "network",
            f"the instance of {_who(group)} used up its network allowance: EC2 queued or dropped packets ({shown})",
            "use a larger or network-optimised instance type, or more machines",
        )


def _who(group: Surroundings) -> str:
    workers = group.workers
    if len(workers) == 1:
        return f"worker {workers[0]}"
    if len(workers) <= _MOST_NAMED:
        return f"workers {', '.join(map(str, workers))}"
    return f"{len(workers)} workers on {text.clean(group.hostname)}"
