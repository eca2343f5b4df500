"""Disturbances by the network between target and generator, which are not the generator's fault."""

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from analysis import text
from analysis.limits import LIMITS, reads_too_slowly
from analysis.loading.run import Ints, Run, Window, ints
from analysis.verdict.causes import into
from analysis.verdict.cpu import CPU, cpu_share
from analysis.verdict.findings import Finding, Subject

_Values = TypeVar("_Values", Ints, npt.NDArray[np.float64])
#: A lag of the event loop makes arrivals uncertain by about as much. If the uncertainty exceeds the worst lag more than
#: this many times, the event loop is not the cause.
_TIMES_THE_LAG = 4
#: `Finding.subject` of findings on the network.
SUBJECT: Final[Subject] = "network"


def silences(summary: dict[str, Any], window: Window) -> Iterator[Finding]:
    """Yield a finding for each period in which connections had fallen silent."""
    for found in summary["silences"]:
        lasted_ns = found["end_ns"] - found["start_ns"]
        many, of = found["connections"], max(found["connections"], found["connected"])
        yield Finding(
            "degraded",
            SUBJECT,
            f"{many:,} of {of:,} connections fell silent {into(found['start_ns'], window)}, for"
            f" {text.duration(lasted_ns)} until all were connected again: nothing at all came from the target, and they"
            f" were closed after up to {text.duration(found['longest_ns'])}",
            "look at the network between generator and target, and at the target: what was missed counts as lost in"
            " reconnect",
            lasted_ns,
        )


def held_back(run: Run, window: Window, queue_p99_ns: int) -> Finding | None:
    """Return a finding if deliveries waited in the kernel while the generator was awake, or None.

    Returns None also if, in any second with such a wait, the generator itself read too slowly. Its event loop's lag and
    its CPU time show this (see `limits.reads_too_slowly`).
    """
    names = ("worker", "time_ns", "lag_max_ns", "queue_max_ns", *CPU)
    table = run.table("health", names)
    columns = {name: ints(table, name) for name in names}
    time_ns, end_ns = columns["time_ns"], window.end_ns + (run.late_after_ns or 0)
    order = np.lexsort((time_ns, columns["worker"]))
    columns = {name: values[order] for name, values in columns.items()}
    time_ns, worker = columns["time_ns"], columns["worker"]
    inside = (time_ns > window.start_ns) & (time_ns - columns["interval_ns"] < end_ns)
    waited = inside & (columns["queue_max_ns"] > LIMITS.queue_doubtful_ns)
    if not waited.any():
        return None
    cpu = cpu_share(columns)
    lag_ns = columns["lag_max_ns"]
    same = np.zeros(len(worker), dtype=bool)
    same[1:] = worker[1:] == worker[:-1]
    cpu, lag_ns = _with_the_second_before(cpu, same), _with_the_second_before(lag_ns, same)
    rows = zip(
        cpu[waited].tolist(), lag_ns[waited].tolist(), columns["queue_max_ns"][waited].tolist(), strict=True
    )
    if any(reads_too_slowly(*row) for row in rows):
        return None
    return Finding(
        "degraded",
        SUBJECT,
        f"deliveries waited in the kernel before they could be read: p99 {text.duration(queue_p99_ns)}, while the"
        f" generator was awake (at most {cpu[waited].max():.0%} of the CPU that it is allowed, its event loop late by"
        f" at most {text.duration(int(lag_ns[waited].max()))}): they came behind data that was lost on the"
        " way and sent again",
        "look at the network between generator and target (loss, an outage): the generator is not the limit",
    )


def came_at_once(summary: dict[str, Any], doubt_ns: int) -> bool:
    """Return True if messages with one common stamp were held back by the network, not left unread by the generator.

    A generator that reads too slowly is either short of CPU, or leaves messages unread for only about as long as its
    event loop lags.
    """
    health = summary["health"] or {}
    lag_ns, cpu = health.get("lag_worst_ns"), health.get("cpu_worst")
    if lag_ns is None or cpu is None:
        return False
    return bool(cpu <= LIMITS.busy_cpu and doubt_ns > _TIMES_THE_LAG * lag_ns)


def _with_the_second_before(values: _Values, same: npt.NDArray[np.bool_]) -> _Values:
    """Return each value or the preceding value of the same worker, whichever is greater."""
    before = np.concatenate((values[:1], values[:-1]))
    return np.where(same, np.maximum(values, before), values)
