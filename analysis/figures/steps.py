"""Figures of each step of a load that changes in steps: schedule, deliveries and latencies of the step.

An event belongs to the step in which it was due, whenever it arrived. Percentiles are over the step's own samples.
"""

from typing import Any

import numpy as np

from analysis.figures import offered
from analysis.figures.latencies import samples
from analysis.ledger.reconcile import Reconciled
from analysis.loading.run import Run


def summarise(run: Run, settled: Reconciled) -> list[dict[str, Any]]:
    """Return the figures of each load step in order of time, or an empty list if the load does not change in steps."""
    found, window = offered.steps(run), run.measure
    if not found or window is None:
        return []
    edges = np.array([step.window.start_ns for step in found] + [window.end_ns], dtype=np.int64)
    due, accepted, expected, delivered = (np.zeros(len(found), dtype=np.int64) for _ in range(4))
    for part in settled.parts:
        place = np.searchsorted(edges, part.events.intended_ns, side="right") - 1
        for total, counts in (
            (due, None),
            (accepted, part.events.accepted),
            (expected, part.expected),
            (delivered, part.arrived - part.late),
        ):
            total += np.bincount(place, weights=counts, minlength=len(found)).astype(np.int64)
    return [
        {
            "start_ns": step.window.start_ns,
            "end_ns": step.window.end_ns,
            "intended_per_s": step.events_per_s,
            "events_due": int(due[number]),
            "events_accepted": int(accepted[number]) if settled.answered else None,
            "expected": int(expected[number]),
            "delivered": int(delivered[number]),
            "headline_ns": samples(run, step.window, "delivery.latency").percentiles(),
        }
        for number, step in enumerate(found)
    ]
