"""Compute the contents of summary.json.

Every figure covers the measure phase: the events whose *intended* time lies in it, whenever they arrived. Times are
nanoseconds, rates per second. None (null) means not known or not measured, never zero.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from analysis.figures import addresses, cloudwatch, echo, fanout, reaction_figures, recovery, steps
from analysis.figures.cost import cost
from analysis.figures.latencies import latencies
from analysis.figures.outages import find_outages, find_silences
from analysis.figures.percentiles import Percentiles
from analysis.figures.samples import Samples
from analysis.ledger.breakdown import DIMENSIONS
from analysis.ledger.ranks import RANKS
from analysis.ledger.receivers import receivers_of
from analysis.ledger.reconcile import reconcile
from analysis.loading import requests
from analysis.loading.room import Room
from analysis.loading.run import Ints, Run, Window, codes, ints
from analysis.loading.slices import stretches
from analysis.loading.target import target_of
from analysis.record import revisions
from analysis.verdict import (
    checks,
    clockbound,
    disturbances,
    loops,
    silent,
    surroundings,
    throttling,
    workers,
)
from analysis.verdict.cpu import CPU, cpu_share, receive_share
from analysis.verdict.evaluate import FAILED, INCONCLUSIVE, gates_of, worst
from analysis.verdict.judgement import judge

FORMAT = 1
#: Exit codes as in the project's README.
_GATE_FAILED, _INCONCLUSIVE, _TARGET = 1, 3, 4


def summarise(run: Run) -> dict[str, Any]:
    """Return the summary of a run, computed from its folder alone."""
    manifest, window = run.manifest, run.measure
    summary: dict[str, Any] = {
        "format": FORMAT,
        "made_by": revisions.made_by(),
        "run": manifest["run"],
        "created_ns": manifest["created_ns"],
        "scenario": manifest["scenario"]["name"],
        "status": manifest["status"],
        "target": target_of(manifest),
        "faults": manifest["target"].get("faults"),
        "partial": manifest["status"] != "complete",
        "reason": manifest["reason"],
        "exit_code": manifest["exit_code"],
        "phases": [
            {
                **phase,
                "seconds": None if phase["end_ns"] is None else (phase["end_ns"] - phase["start_ns"]) / 1e9,
            }
            for phase in manifest["phases"]
        ],
        "measured_seconds": window.seconds if window else None,
        "connections": _connections(run),
        "readiness": _readiness(run),
        "throttling": throttling.summarise(run),
        "workers": None,
        "cost": cost(run),
        "checks": checks.summarise(run),
        "journeys": loops.summarise(run),
    }
    if (theirs := cloudwatch.beside(run)) is not None:
        summary["cloudwatch"] = theirs
    if (echoes := echo.summarise(run, window)) is not None:
        summary["echo"] = echoes
    if window is None or window.seconds <= 0:
        for name in ("throughput", "ledger", "losses", "delivery", "publish", "fanout", "health"):
            summary[name] = None
        summary["addresses"] = addresses.summarise(run, None)
        summary["steps"] = []
        summary["surroundings"] = []
        summary["recovery"] = recovery.summarise(run)
        summary["outages"], summary["silences"] = [], []
        summary["clock"] = _clock(run)
        summary["workers"] = workers.summarise(run, None, None)
        return _judged(run, None, summary)
    # Compute latencies before the ledger, whose arrays stay in memory: for a large run, both together would not fit.
    delivery = _delivery(run)
    settled = reconcile(run, window)
    ledger = settled.ledger
    summary["workers"] = workers.summarise(run, window, settled)
    summary["ledger"] = ledger.to_dict()
    summary["losses"] = {dimension: settled.breakdown.worst(dimension) for dimension in DIMENSIONS}
    if (without := silent.summarise(run, settled)) is not None:
        summary["silent_subscriptions"] = without
    summary["throughput"] = {
        "offered_per_s": ledger.events_due / window.seconds,
        "accepted_per_s": None if ledger.events_accepted is None else ledger.events_accepted / window.seconds,
        "delivered_per_s": ledger.delivered / window.seconds,
    }
    summary["delivery"] = delivery
    summary["publish"] = _publish(run, window)
    summary["addresses"] = addresses.summarise(run, window)
    summary["fanout"] = fanout.summarise(settled)
    if (reaction := reaction_figures.summarise(run, settled)) is not None:
        summary["reaction"] = reaction
    summary["steps"] = steps.summarise(run, settled)
    summary["health"] = _health(run, window)
    summary["surroundings"] = [group.to_dict() for group in surroundings.summarise(run, window)]
    summary["recovery"] = recovery.summarise(run)
    summary["outages"] = [outage.to_dict() for outage in find_outages(run, window)]
    summary["silences"] = [silence.to_dict() for silence in find_silences(run, window)]
    summary["clock"] = _clock(run)
    _say_error(run, summary)
    return _judged(run, window, summary)


def _judged(run: Run, window: Window | None, summary: dict[str, Any]) -> dict[str, Any]:
    """Add the verdict and the gates to the summary; if its exit code is 0 so far, set the exit code by both."""
    judgement = judge(run, window, summary)
    summary["verdict"] = judgement.to_dict()
    results = checks.decide(run, summary, gates_of(run.manifest))
    summary["gates"] = [result.to_dict() for result in results]
    if summary["exit_code"] == 0:
        status = worst(results)
        if judgement.kind == "invalid":
            summary["exit_code"] = _INCONCLUSIVE
        elif summary["outages"]:
            summary["exit_code"] = _TARGET
        elif status == FAILED:
            summary["exit_code"] = _GATE_FAILED
        elif status == INCONCLUSIVE:
            summary["exit_code"] = _INCONCLUSIVE
    return summary


def _clock(run: Run) -> dict[str, Any]:
    clock_steps, pauses = disturbances.find(run)
    said = clockbound.summarise(run)
    return {
        "workers": [fit.to_dict() for fit in run.clocks.values()],
        "steps": [step.to_dict() for step in clock_steps],
        "pauses": [pause.to_dict() for pause in pauses],
        **({"clockbound": said} if said else {}),
    }


def _say_error(run: Run, summary: dict[str, Any]) -> None:
    """Set `error_ns` of each latency figure to the largest clock error that it may contain, or to None if unknown.

    A figure's `low` and `high` are its interval, which covers this error and the stamps' error (see `figures.bounds`).
    Older records do not say how exact a stamp is, so `low` is set to None for them.
    """
    errors = [fit.error_ns for fit in run.clocks.values()]
    worst = None if None in errors else max((error for error in errors if error is not None), default=0)
    # A latency from an event's scheduled time, which is on the master's clock, contains one clock error, the
    # receiver's. A latency from the actual sending contains the sender's error as well.
    headlines = [(summary["delivery"]["headline_ns"], 1), (summary["delivery"]["service_ns"], 2)]
    headlines += [(summary["fanout"][name], 1) for name in RANKS]
    headlines += [(step["headline_ns"], 1) for step in summary["steps"]]
    for figures, clocks in headlines:
        figures["error_ns"] = None if worst is None else clocks * worst
        if run.uncertain_arrivals is None:
            figures["low"] = None


def _delivery(run: Run) -> dict[str, Any]:
    """Return the latencies of all deliveries, duplicates included: leaving these out would hide their latency."""
    found = latencies(run)
    none = {**Percentiles(0, 0).to_dict(), "low": None, "high": None}
    return {
        # True if some arrivals are known only as intervals, or None if the run's record does not say.
        "uncertain_arrivals": run.uncertain_arrivals,
        "stamps_shared": found.stamps_shared if found else None,
        # Copy each dict, since _say_error() sets keys in some of them.
        "headline_ns": dict(found.headline.figures if found else none),
        "service_ns": dict(found.service.figures if found else none),
        # Number of deliveries with an unknown service latency. It is above 0 only if clocks were corrected and the
        # publisher's worker was lost.
        "service_unknown": found.service_unknown if found else 0,
        "receive_queue_ns": dict(found.queue.figures if found else none),
    }


def _publish(run: Run, window: Window) -> dict[str, Any]:
    room = Room()
    names = ("answer_ns", "lateness_ns", "slot_wait_ns", "own_lateness_ns", "connection_wait_ns")
    found = {name: Samples(room) for name in names}
    times = ("intended_ns", "slot_ns", "sent_ns", "acked_ns", "connection_wait_ns")
    number, statuses, errors = 0, Counter[str](), Counter[str]()
    error_ns: int | None = 0
    for stretch in stretches(run, window):
        table = run.table("events", (*requests.COLUMNS, "worker", *times, "error"), stretch)
        statuses.update(_counts(table, "status"))
        errors.update(_counts(table, "error"))
        rows = requests.request_rows(table)
        number += len(rows)
        due_ns, slot_ns, sent_ns, acked_ns, connecting_ns = (ints(table, name)[rows] for name in times)
        # Waits for a connection count even if the event was never sent in the end. Older records have no such waits.
        found["connection_wait_ns"].add(connecting_ns[connecting_ns >= 0])
        sent = sent_ns >= 0
        found["answer_ns"].add((acked_ns - sent_ns)[sent & (acked_ns >= 0)])
        found["lateness_ns"].add((sent_ns - due_ns)[sent])
        found["slot_wait_ns"].add((slot_ns - due_ns)[sent])
        found["own_lateness_ns"].add((sent_ns - np.maximum(connecting_ns, 0) - slot_ns)[sent])
        all_sent_ns = ints(table, "sent_ns")
        known = all_sent_ns >= 0
        worst_ns = _greatest_error_ns(run, ints(table, "worker")[known], all_sent_ns[known])
        error_ns = None if error_ns is None or worst_ns is None else max(error_ns, worst_ns)
    # `lateness_ns` and `slot_wait_ns` are times of a worker's clock minus scheduled times, which are on the master's
    # clock. So the clock error applies to these two. The other figures use only one worker's clock.
    compared = ("lateness_ns", "slot_wait_ns")
    return {
        **{
            name: samples.percentiles().to_dict() | ({"error_ns": error_ns} if name in compared else {})
            for name, samples in found.items()
        },
        "requests": number,
        "events_by_status": dict(statuses.most_common()),
        "errors": dict(errors.most_common()),
    }


def _greatest_error_ns(run: Run, worker: Ints, times_ns: Ints) -> int | None:
    """Return the largest clock error (ns) of times stamped by workers, or None if one of their errors is unknown."""
    greatest_ns = 0
    for number, fit in run.clocks.items():
        its = worker == number
        if not its.any():
            continue
        if fit.error_ns is None:
            return None
        greatest_ns = max(greatest_ns, int(fit.error_ns_at(times_ns[its]).max()))
    return greatest_ns


def _connections(run: Run) -> dict[str, Any]:
    table = run.table(
        "connections",
        (
            "connection",
            "life",
            "started_ns",
            "opened_ns",
            "acknowledged_ns",
            "error",
            "kernel_timestamps",
            "session",
        ),
    )
    started_ns, opened_ns, login_ns = (ints(table, c) for c in ("started_ns", "opened_ns", "acknowledged_ns"))
    connected = login_ns >= 0
    stamped = np.asarray(table.column("kernel_timestamps").to_numpy(), dtype=bool)[connected]
    return {
        "clients": len(np.unique(ints(table, "connection"))),
        "lives": table.num_rows,
        "connected": int(np.count_nonzero(connected)),
        "open_ns": Percentiles.of((opened_ns - started_ns)[opened_ns >= 0]).to_dict(),
        "login_ns": Percentiles.of((login_ns - started_ns)[connected]).to_dict(),
        "errors": _counts(table, "error"),
        "sessions": _counts(table, "session"),
        "kernel_timestamps": float(stamped.mean()) if stamped.size else None,
    }


def _readiness(run: Run) -> dict[str, Any]:
    table = run.table(
        "subscriptions", ("subscription", "requested_ns", "acknowledged_ns", "probed_ns", "ready_ns", "error")
    )
    requested_ns, acknowledged_ns = ints(table, "requested_ns"), ints(table, "acknowledged_ns")
    probed_ns, ready_ns = ints(table, "probed_ns"), ints(table, "ready_ns")
    probed = (probed_ns >= 0) & (ready_ns >= 0)
    shared = receivers_of(run)
    return {
        "subscriptions": len(np.unique(ints(table, "subscription"))),
        "ready": len(np.unique(ints(table, "subscription")[ready_ns >= 0])),
        "shared": {"subscriptions": len(shared.members), "groups": len(np.unique(shared.of(shared.members)))},
        "acknowledge_ns": Percentiles.of((acknowledged_ns - requested_ns)[acknowledged_ns >= 0]).to_dict(),
        "gap_ns": Percentiles.of((ready_ns - probed_ns)[probed]).to_dict(),
        "errors": _counts(table, "error"),
    }


def _health(run: Run, window: Window) -> dict[str, Any]:
    """Return the worst value of each figure over all workers and seconds, including seconds partly in the window."""
    columns = (
        "time_ns",
        *CPU,
        "lag_max_ns",
        "late_max_ns",
        "queue_max_ns",
        "gc_ns",
        "rss_bytes",
        "open_files",
        "ports",
    )
    table = run.table("health", columns)
    time_ns = ints(table, "time_ns")
    inside = (time_ns >= window.start_ns) & (time_ns <= window.end_ns + 1_000_000_000)

    def worst(column: str, of: Callable[[Ints], Any] = lambda values: int(values.max())) -> Any:
        values = ints(table, column)[inside]
        values = values[values >= 0]
        return of(values) if values.size else None

    cpu = {name: ints(table, name)[inside] for name in CPU}
    busy, received = cpu_share(cpu), receive_share(cpu)
    received = received[~np.isnan(received)]
    return {
        "seconds": int(np.count_nonzero(inside)),
        "cpu_worst": float(busy.max()) if busy.size else None,
        "cpu_mean": float(busy.mean()) if busy.size else None,
        "receive_cpu_worst": float(received.max()) if received.size else None,
        "receive_cpu_mean": float(received.mean()) if received.size else None,
        "lag_worst_ns": worst("lag_max_ns"),
        "lateness_worst_ns": worst("late_max_ns"),
        "receive_queue_worst_ns": worst("queue_max_ns"),
        "gc_worst_ns": worst("gc_ns"),
        "rss_worst_bytes": worst("rss_bytes"),
        "open_files_worst": worst("open_files"),
        "ports_worst": worst("ports"),
    }


def _counts(table: Any, column: str) -> dict[str, int]:
    """Return the number of occurrences of each text in a column, most frequent first; null is left out."""
    code, names = codes(table, column)
    counts = Counter(
        {names[index]: int(n) for index, n in enumerate(np.bincount(code, minlength=len(names))) if n}
    )
    return {name: n for name, n in counts.most_common() if name is not None}
