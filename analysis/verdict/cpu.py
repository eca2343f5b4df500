"""Compare the workers' CPU time with the CPU time that they may use.

A worker has two kinds of threads: the native receive thread, and the threads that run Python code, only one of which
runs at a time. Either kind can use up a whole core, so each kind is compared with one core.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis import text
from analysis.limits import LIMITS
from analysis.loading.run import Ints
from analysis.verdict.findings import Finding

#: Columns of the health table that the functions of this module take.
CPU: Final = ("interval_ns", "cpu_ns", "allowed_ns", "receive_cpu_ns")
Floats = npt.NDArray[np.float64]


def cpu_share(rows: Mapping[str, Ints]) -> Floats:
    """Return each health row's CPU time as a share of the CPU time allowed: the greatest of up to three shares.

    The first share is that of the receive thread, the second that of all other threads together. Each is a share of one
    core, or of less if the quota, cpuset and affinity allow less. The third is the share of all threads in the cores
    allowed. ``rows`` has the columns named in `CPU`.

    If the CPU time of the receive thread is unknown (negative), as in older records or without that thread, all CPU
    time counts as that of one thread. If the allowance is unknown (negative), one core is assumed for each thread.
    """
    return np.asarray(np.maximum.reduce(_shares(rows)), dtype=np.float64)


def receive_share(rows: Mapping[str, Ints]) -> Floats:
    """Return the receive thread's share of the CPU time that one thread is allowed; NaN where it is unknown."""
    receiving, _, _ = _shares(rows)
    return np.where(rows["receive_cpu_ns"] >= 0, receiving, np.nan)


def findings(rows: Mapping[str, Ints], worker: int, advice: str) -> Iterator[Finding]:
    """Yield a finding if a worker was near the limit of its CPU for too long; ``rows`` are its health rows."""
    busy = cpu_share(rows) > LIMITS.busy_cpu
    if busy.mean() <= LIMITS.busy_seconds:
        return
    receiving, others, together = (int((share > LIMITS.busy_cpu).sum()) for share in _shares(rows))
    who, of = f"worker {worker}", _of_thread(rows)
    if receiving > max(others, together):
        who = f"the receive thread of worker {worker}"
    elif together > others:
        of = f"the {text.cores(_cores(rows))} that it is allowed"
    elif (rows["receive_cpu_ns"] >= 0).any():
        who = f"worker {worker} apart from its receive thread"
    yield Finding(
        "degraded",
        "cpu",
        f"{who} used more than {LIMITS.busy_cpu:.0%} of {of} in {int(busy.sum())} of {len(busy)} s",
        advice,
    )


def _shares(rows: Mapping[str, Ints]) -> tuple[Floats, Floats, Floats]:
    """Return the three shares of `cpu_share`: receive thread, other threads, all threads; 0 for one that is unknown."""
    cpu_ns, receive_ns, allowed_ns = rows["cpu_ns"], rows["receive_cpu_ns"], rows["allowed_ns"]
    interval_ns = np.maximum(rows["interval_ns"], 1)
    core_ns = np.where(allowed_ns > 0, np.minimum(allowed_ns, interval_ns), interval_ns)
    apart, known = receive_ns >= 0, allowed_ns > 0
    return (
        np.where(apart, receive_ns / core_ns, 0.0),
        np.where(apart, cpu_ns - receive_ns, cpu_ns) / core_ns,
        np.where(apart & known, cpu_ns / np.where(known, allowed_ns, 1), 0.0),
    )


def _of_thread(rows: Mapping[str, Ints]) -> str:
    """Return the CPU that one thread may use, in words."""
    least = _cores(rows)
    return "a core" if least >= 1 else f"the {text.cores(least)} that it is allowed"


def _cores(rows: Mapping[str, Ints]) -> float:
    """Return the fewest cores that the worker was allowed, or 1 if it is unknown."""
    known = rows["allowed_ns"] > 0
    return float((rows["allowed_ns"][known] / rows["interval_ns"][known]).min()) if known.any() else 1.0
