"""Throttling by the target: connects and subscribes that it refused temporarily, and the rate that it admitted."""

from collections import Counter
from typing import Any

import numpy as np

from analysis import text
from analysis.loading.run import Run, codes, ints

#: Values of `refusal` in the run's record for attempts that the service refused temporarily.
THROTTLED, FAILING = "throttled", "failing"
_SECOND_NS = 1_000_000_000
#: Maximum number of different answers of the target that the summary lists.
_MOST_ANSWERS = 3


def summarise(run: Run) -> dict[str, Any] | None:
    """Return the summary's `throttling`, or None if nothing was refused temporarily."""
    found = {
        "connections": _of(run, "connections", "started_ns", "closed_ns"),
        "subscriptions": _of(run, "subscriptions", "requested_ns", "ended_ns"),
    }
    return found if any(found.values()) else None


def _of(run: Run, table_name: str, asked: str, refused: str) -> dict[str, Any] | None:
    """Count a table's refused and accepted attempts, with the admitted rate; None if none was refused temporarily.

    The rate counts the attempts admitted between the first and the last refusal, since a full token bucket may have
    admitted earlier attempts faster.
    """
    table = run.table(table_name, (asked, "acknowledged_ns", refused, "refusal", "error"))
    kind, kinds = codes(table, "refusal")
    later = np.isin(kind, [place for place, name in enumerate(kinds) if name in (THROTTLED, FAILING)])
    # Leave out attempts that the service accepted and ended later: it did not refuse these temporarily.
    accepted_ns = ints(table, "acknowledged_ns")
    later &= accepted_ns < 0
    if not later.any():
        return None
    error, errors = codes(table, "error")
    refused_ns = ints(table, refused)[later]
    first_ns, last_ns = int(refused_ns.min()), int(refused_ns.max())
    asked_ns = ints(table, asked)
    during = (accepted_ns > first_ns) & (accepted_ns <= last_ns)
    seconds = (last_ns - first_ns) / _SECOND_NS
    counted = Counter(errors[code] for code in error[later].tolist())
    return {
        "refused": int(np.count_nonzero(later)),
        "attempts": int(np.count_nonzero(asked_ns <= last_ns)),
        "first_ns": first_ns,
        "last_ns": last_ns,
        "admitted": int(np.count_nonzero(during)),
        # A rate over less than a second is meaningless.
        "admitted_per_s": int(np.count_nonzero(during)) / seconds if seconds >= 1 else None,
        "answers": {name: number for name, number in counted.most_common() if name is not None},
    }


def notes(summary: dict[str, Any]) -> list[str]:
    """Return a sentence on connections and one on subscriptions, if any were refused temporarily."""
    found = summary.get("throttling") or {}
    ramp_ns = next((phase["start_ns"] for phase in summary["phases"] if phase["name"] == "ramp"), None)
    lines = []
    for name, asked in (("connections", "to connect"), ("subscriptions", "to subscribe")):
        its = found.get(name)
        if its is None:
            continue
        when = f"for {(its['last_ns'] - its['first_ns']) / _SECOND_NS:.1f} s"
        if ramp_ns is not None:
            begin_s, end_s = ((its[edge] - ramp_ns) / _SECOND_NS for edge in ("first_ns", "last_ns"))
            when = f"from {begin_s:.1f} s to {end_s:.1f} s of the run"
        said = "; ".join(
            f"{text.clean(answer)} ({number:,}×)"
            for answer, number in list(its["answers"].items())[:_MOST_ANSWERS]
        )
        rate = (
            "" if its["admitted_per_s"] is None else f", {text.significant(its['admitted_per_s'])} a second"
        )
        lines.append(
            f"the target refused {its['refused']:,} of {its['attempts']:,} attempts {asked} for now, {when}, and"
            f" admitted {its['admitted']:,} meanwhile{rate}: {said}"
        )
    return lines
