"""Figures of reactions for the summary and the gates, and the findings on replies that the figures leave out."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from analysis.figures.bounds import Bounded
from analysis.figures.percentiles import Percentiles
from analysis.figures.reactions import Reactions, grouped, reactions
from analysis.ledger.reconcile import Reconciled
from analysis.loading.run import Run


def summarise(run: Run, settled: Reconciled) -> dict[str, Any] | None:
    """Return the summary's `reaction`, or None if the run has no reactions."""
    found = reactions(run)
    if found is None:
        return None
    rows = settled.breakdown.rows["subscription"]
    asked = np.isin(np.array([int(key) for key in rows.keys], dtype=np.int64), found.responding)
    causes = (found.cause_publisher, found.cause_sequence, found.cause_subscription)
    answered = grouped(*(column[found.accepted] for column in causes))
    # If user code replied, the number of expected requests is unknown: the record has only the deliveries that it
    # replied to.
    planned = bool(np.isin(found.cause_subscription, found.responding).all())
    return {
        "requests": {
            "expected": int(rows.counts["expected"][asked].sum()) if planned else None,
            "delivered": len(found.due),
            "answered": int(answered.max()) + 1 if len(answered) else 0,
            "uncaused": int(rows.lost[asked].sum()) if planned else None,
        },
        "replies": {
            "due": int(found.due.sum()),
            "accepted": int(np.count_nonzero(found.accepted)),
            "cut_off": int(np.count_nonzero(found.cut_off)),
            "missing": missing(found),
            "expected": int(found.expected.sum()),
            "arrived": int(found.arrived.sum()),
            "lost": int(found.lost.sum()),
            "disorder": int(found.disordered.sum()),
        },
        "latency_ns": found.latency.percentiles(),
        "first_ns": found.first.percentiles(),
        "gap_ns": found.gap.percentiles(),
        "own_lateness_ns": Percentiles.of(found.own_lateness_ns).to_dict(),
    }


def missing(found: Reactions) -> int:
    """Return the number of missing replies: due to delivered requests, but neither accepted nor cut off at the end."""
    return int(found.due.sum()) - int(np.count_nonzero(found.cut_off | found.accepted))


def number(run: Run, settled: Reconciled, name: str) -> float | None:
    """Return the count that a gate names, or None if it is unknown or the run has no reactions."""
    found = summarise(run, settled)
    if found is None:
        return None
    part = "requests" if name == "reaction.uncaused" else "replies"
    counted = found[part][name.removeprefix("reaction.")]
    return None if counted is None else float(counted)


def of_gate(run: Run, distribution: str) -> Bounded:
    """Return the samples of the distribution that a gate names; no samples if the run has no reactions."""
    found = reactions(run)
    if found is None:
        return Bounded.of(np.empty(0, dtype=np.int64))
    samples: Bounded = getattr(found, distribution.removeprefix("reaction."))
    return samples


def doubts(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (severity, reason, advice) for replies that the figures of reactions do not include."""
    found = summary.get("reaction")
    if found is None:
        return
    replies = found["replies"]
    if replies["missing"] > 0:
        yield (
            "degraded",
            f"{replies['missing']:,} of {replies['due']:,} replies were due and not accepted: the reaction's latencies"
            " do not hold them",
            "see the errors of publishes, and the requests that were not answered",
        )
    if replies["cut_off"] > 0:
        yield (
            "degraded",
            f"{replies['cut_off']:,} of {replies['due']:,} replies were due only after the end of the run",
            "make the drain longer than the stream of one answer",
        )
