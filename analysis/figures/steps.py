"""Figures of each step of a staircase of load: its schedule, its deliveries and its latencies.

An event belongs to the step in which it was due, whenever it arrived. Percentiles are over the step's own samples.
"""

from typing import Any

import numpy as np

from analysis.figures import offered
from analysis.figures.latencies import samples
from analysis.ledger.reconcile import Reconciled
from analysis.loading.columns import taken, unanswering
from analysis.loading.run import Run, ints


def summarise(run: Run, settled: Reconciled) -> list[dict[str, Any]]:
    """Return the figures of each step in order of time, or an empty list if the load is not a staircase."""
    found, window = offered.steps(run), run.measure
    if not found or window is None:
        return []
    edges = np.array([step.window.start_ns for step in found] + [window.end_ns], dtype=np.int64)
    table = run.table("events", ("intended_ns", "status"), window)
    due_ns = ints(table, "intended_ns")
    accepted, unknown = taken(table), unanswering(table)
    place = np.searchsorted(edges, settled.events.intended_ns, side="right") - 1
    expected, delivered = (
        np.bincount(place, weights=counts, minlength=len(found)).astype(np.int64)
        for counts in (settled.expected, settled.arrived - settled.late)
    )
    return [
        {
            "start_ns": step.window.start_ns,
            "end_ns": step.window.end_ns,
            "intended_per_s": step.events_per_s,
            "events_due": _between(due_ns, edges, number),
            "events_accepted": None if unknown else _between(due_ns[accepted], edges, number),
            "expected": int(expected[number]),
            "delivered": int(delivered[number]),
            "headline_ns": samples(run, step.window, "delivery.latency").percentiles(),
        }
        for number, step in enumerate(found)
    ]


def _between(values: Any, edges: Any, number: int) -> int:
    return int(np.count_nonzero((values >= edges[number]) & (values < edges[number + 1])))
