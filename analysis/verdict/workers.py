"""The workers of a run: the share and figures of each, and deliveries unobserved because a worker was gone.

A worker that is killed, cut off or told to end takes its subscriptions with it. The service can neither deliver nor
lose events that are published to them later. Such deliveries are counted separately as unobserved, and the run is
invalid. The same holds for deliveries to a connection that a failure of the harness ended.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.ledger.events import Events, by_code
from analysis.ledger.receivers import receivers_of
from analysis.ledger.reconcile import Reconciled
from analysis.ledger.windows import FOREVER, Patterns
from analysis.loading.run import Ints, Run, Window, codes, ints
from analysis.verdict.cpu import CPU, cpu_share, receive_share

_ODD = ("foreign", "undecodable", "unknown_subscription")
#: Keys copied from each worker's entry in the manifest; records of earlier versions lack some, such as `weight`.
_SAID = ("address", "weight", "clients", "subscriptions", "deliveries", "events", "gathered_by", "left")


def summarise(run: Run, window: Window | None, settled: Reconciled | None) -> dict[str, Any]:
    """Return the summary's `workers`."""
    workers = run.manifest["workers"]
    gone = [] if settled is None else _gone(run, settled)
    return {
        "count": len(workers),
        "unfinished": [worker["worker"] for worker in workers if not worker["finished"]],
        "hosts": sorted({worker["hostname"] for worker in workers}),
        **{name: sum(worker.get(name, 0) for worker in workers) for name in _ODD},
        "deviations": dict(
            sum((Counter(worker.get("deviations", {})) for worker in workers), Counter()).most_common()
        ),
        "asides": dict(
            sum((Counter(worker.get("asides", {})) for worker in workers), Counter()).most_common()
        ),
        "network": dict(
            sum((Counter(worker.get("network", {})) for worker in workers), Counter()).most_common()
        ),
        "each": _each(run, window),
        "gone": gone,
        "undecodable_kinds": _undecodable(workers),
        "unobserved": sum(entry["unobserved_deliveries"] for entry in gone)
        + (0 if settled is None else settled.ledger.unobserved),
        "late": run.manifest.get("late_workers", []),
    }


def _undecodable(workers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the kinds of unreadable messages, most frequent first; records of earlier versions have none."""
    kinds: dict[str, dict[str, Any]] = {}
    for worker in workers:
        for entry in worker.get("undecodable_kinds", ()):
            kind = str(entry["kind"])
            known = kinds.setdefault(kind, {"kind": kind, "count": 0, "example": entry["example"]})
            known["count"] += entry["count"]
    return sorted(kinds.values(), key=lambda entry: -entry["count"])


def _each(run: Run, window: Window | None) -> list[dict[str, Any]]:
    names = ("worker", "time_ns", "deliveries", *CPU)
    table = run.table("health", names)
    columns = {name: ints(table, name) for name in names}
    worker, time_ns, deliveries = columns["worker"], columns["time_ns"], columns["deliveries"]
    busy, receiving = cpu_share(columns), receive_share(columns)
    inside = np.zeros(len(worker), dtype=bool)
    if window is not None:
        inside = (time_ns > window.start_ns) & (time_ns <= window.end_ns + 1_000_000_000)
    rows = []
    for entry in run.manifest["workers"]:
        its = worker == entry["worker"]
        cpu, fit = busy[its & inside], run.clocks[entry["worker"]]
        received = receiving[its & inside & ~np.isnan(receiving)]
        said: Mapping[str, Any] = {name: entry.get(name) for name in _SAID}
        rows.append(
            {
                "worker": entry["worker"],
                "hostname": entry["hostname"],
                "pid": entry["pid"],
                "finished": entry["finished"],
                **said,
                # A worker that was lost reported no total: add up the deliveries in its health rows.
                "deliveries": int(deliveries[its].sum())
                if said["deliveries"] is None
                else said["deliveries"],
                "cpu_mean": float(cpu.mean()) if cpu.size else None,
                "cpu_worst": float(cpu.max()) if cpu.size else None,
                "receive_cpu_mean": float(received.mean()) if received.size else None,
                "receive_cpu_worst": float(received.max()) if received.size else None,
                "clock_shared": fit.shared,
                "clock_offset_ns": fit.offset_ns,
                "clock_error_ns": fit.error_ns,
            }
        )
    return rows


def _gone(run: Run, settled: Reconciled) -> list[dict[str, Any]]:
    """Return for each worker that ended early how many deliveries its subscriptions would have received afterwards."""
    if not run.broken_off_ns:
        return []
    table = run.table("subscriptions", ("worker", "subscription", "life", "turn", "channel", "ended_ns"))
    # Leave out members of shared subscriptions: the service gives their events to other members, so none is missed.
    table = table.filter(pa.array(~np.isin(ints(table, "subscription"), receivers_of(run).members)))
    pattern, patterns = codes(table, "channel")
    order = np.lexsort((ints(table, "turn"), ints(table, "life"), ints(table, "subscription")))
    subscription = ints(table, "subscription")[order]
    last = np.ones(len(subscription), dtype=bool)
    last[:-1] = subscription[1:] != subscription[:-1]
    order = order[last]
    worker, pattern = ints(table, "worker")[order], pattern[order]
    ended_ns = ints(table, "ended_ns", missing=FOREVER)[order]
    since_ns = np.minimum(ended_ns, [run.broken_off_ns.get(number, FOREVER) for number in worker.tolist()])
    unobserved: Counter[int] = Counter()
    for part in settled.parts:
        for code, sent_ns in _sent_by_pattern(part.events, patterns).items():
            for number in run.broken_off_ns:
                its = since_ns[(worker == number) & (pattern == code)]
                unobserved[number] += int((len(sent_ns) - np.searchsorted(sent_ns, its, side="left")).sum())
    rows = []
    for number, end_ns in run.broken_off_ns.items():
        its = worker == number
        rows.append(
            {
                "worker": number,
                "last_sign_ns": end_ns,
                "subscriptions": int(np.count_nonzero(its)),
                "unobserved_deliveries": unobserved[number],
            }
        )
    return rows


def _sent_by_pattern(events: Events, patterns: list[str | None]) -> dict[int, Ints]:
    """Return, by the index of each pattern, the ascending sending times of the accepted events that match it."""
    found: dict[int, list[Ints]] = {}
    known = Patterns(patterns)
    for code, rows in by_code(np.where(events.accepted, events.channel, -1), len(events.channels)):
        name = events.channels[code]
        if name is not None:
            for pattern in known.matching(name):
                found.setdefault(pattern, []).append(events.sent_ns[rows])
    return {pattern: np.sort(np.concatenate(parts)) for pattern, parts in found.items()}
