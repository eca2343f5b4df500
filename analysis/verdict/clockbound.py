"""Bounds on the hosts' clocks by ClockBound daemons, checked against the pings.

A daemon claims that true time is within b of its host's clock. If the worker's host says b_w and the master's b_m at
the same moment, the two clocks are at most b_w + b_m apart. A ping bounds the same offset by its round trip. Both hold,
so the offset lies where the two intervals overlap. If they do not overlap, one of the two is wrong. A ping is an
observation of this run and a daemon's bound is a claim, so then only the pings are used, throughout the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis import text
from analysis.loading.run import Ints, Run, ints

Numbers = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tightened:
    """Bounds on the clock offset (master minus worker) at each ping, ns."""

    low_ns: Numbers
    high_ns: Numbers
    #: True for pings at which the daemons of both hosts reported a bound.
    vouched: Flags
    #: True for pings whose interval does not overlap that of the daemons. If there is any such ping, the daemons'
    #: bounds are ignored for all pings.
    contradicted: Flags
    #: Largest gap between a ping's interval and the daemons', ns; 0 if they overlap at every ping.
    apart_ns: int


def tighten(low_ns: Numbers, high_ns: Numbers, bound_ns: Ints, master_bound_ns: Ints) -> Tightened:
    """Return the bounds that pings and daemons give together; all arrays have one entry per ping.

    ``low_ns`` and ``high_ns`` are the ping's own bounds: the master's sending minus the worker's receiving time, and
    the master's receiving minus the worker's sending time. ``bound_ns`` and ``master_bound_ns`` are the daemons'
    bounds, or -1 without a daemon.
    """
    vouched = (bound_ns >= 0) & (master_bound_ns >= 0)
    within_ns = bound_ns + master_bound_ns
    apart_ns = np.where(vouched, np.maximum(low_ns - within_ns, -within_ns - high_ns), 0)
    contradicted = apart_ns > 0
    if contradicted.any():
        return Tightened(low_ns, high_ns, vouched, contradicted, int(apart_ns.max()))
    return Tightened(
        np.where(vouched, np.maximum(low_ns, -within_ns), low_ns),
        np.where(vouched, np.minimum(high_ns, within_ns), high_ns),
        vouched,
        contradicted,
        0,
    )


def summarise(run: Run) -> list[dict[str, Any]]:
    """Return the summary's `clock.clockbound`: an entry per worker, if ClockBound runs on its and the master's host.

    Workers on the master's kernel are left out: they share its clock, so there is no offset to bound.
    """
    names = (
        *("worker", "sent_ns", "master_received_ns", "master_sent_ns", "received_ns"),
        *("bound_ns", "master_bound_ns"),
    )
    table = run.table("clock", names)
    worker, sent_ns, there_ns, back_ns, received_ns, bound_ns, master_bound_ns = (
        ints(table, name) for name in names
    )
    entries = []
    for number, fit in run.clocks.items():
        its = worker == number
        if fit.shared or not its.any():
            continue
        found = tighten(
            (back_ns - received_ns)[its], (there_ns - sent_ns)[its], bound_ns[its], master_bound_ns[its]
        )
        if not found.vouched.any():
            continue
        said_ns = (bound_ns + master_bound_ns)[its][found.vouched]
        entries.append(
            {
                "worker": number,
                "pings": int(np.count_nonzero(its)),
                "vouched": int(np.count_nonzero(found.vouched)),
                "bound_best_ns": int(said_ns.min()),
                "bound_worst_ns": int(said_ns.max()),
                "contradicted": int(np.count_nonzero(found.contradicted)),
                "apart_ns": found.apart_ns,
            }
        )
    return entries


def doubts(entries: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield (severity, reason, advice) for each worker whose daemons the pings contradict."""
    for entry in entries:
        if entry["contradicted"]:
            yield (
                "degraded",
                f"ClockBound on worker {entry['worker']}'s host or on the master's is wrong:"
                f" {entry['contradicted']:,} of {entry['vouched']:,} pings miss the offset that the two allow by up to"
                f" {text.duration(entry['apart_ns'])}; its bounds were not used",
                "check chrony and clockbound on both hosts (maxclockerror, --max-drift-rate); the figures rest on the"
                " pings alone",
            )


def notes(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each worker whose daemons agree with the pings."""
    for entry in entries:
        if not entry["contradicted"]:
            yield (
                f"ClockBound bounds worker {entry['worker']}'s clock against the master's to"
                f" ±{text.duration(entry['bound_best_ns'])} … ±{text.duration(entry['bound_worst_ns'])}"
                f" in {entry['vouched']:,} of {entry['pings']:,} pings, and no ping contradicts it"
            )
