"""Showing deliveries and publishes in Locust's own statistics, in bulk.

One `request` event a delivery would cost more than the delivery; a `StatsEntry` filled once a second and added with
Locust's own `extend` shows the same numbers in its tables, charts and CSV files. Locust rounds response times (whole
ms below 100, two digits above): the record keeps the true ones.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from locust.stats import RequestStats, StatsEntry, bucket_response_time

from loadgen.measure.recorder import EventRow, Interval
from loadgen.scenario import Plan

DELIVER = "DELIVER"
PUBLISH = "PUBLISH"


class GroupNames:
    """Which client group a subscription belongs to, for whole arrays."""

    def __init__(self, plan: Plan) -> None:
        subscribing = [group for group in plan.groups if group.subscriptions_per_client]
        self.names = [group.name for group in subscribing]
        self._first = np.array([group.first_subscription for group in subscribing], dtype=np.int64)

    def split(
        self, subscriptions: npt.NDArray[np.int64], values: npt.NDArray[np.int64]
    ) -> list[tuple[str, npt.NDArray[np.int64]]]:
        """Return the values of each group that has any."""
        which = np.searchsorted(self._first, subscriptions, side="right") - 1
        return [(self.names[index], values[which == index]) for index in np.unique(which).tolist()]


def add_deliveries(stats: RequestStats, groups: GroupNames, interval: Interval) -> dict[str, int]:
    """Add an interval's deliveries, named by group; the response time is the headline latency.

    Returns how many each group has.
    """
    at_s = int(interval.end_ns // 1_000_000_000)
    counts = {}
    for name, latencies_ns in groups.split(interval.subscriptions, interval.latencies_ns):
        _add(stats, DELIVER, name, latencies_ns / 1e6, at_s)
        counts[name] = int(latencies_ns.size)
    return counts


def add_publishes(stats: RequestStats, events: Sequence[EventRow], at_ns: int) -> None:
    """Add publishes that were answered; one entry for each event, failures with their reason."""
    answered = np.array(
        [e.acked_ns - e.sent_ns for e in events if e.acked_ns is not None and e.sent_ns is not None],
        dtype=np.float64,
    )
    _add(stats, PUBLISH, "event", answered / 1e6, at_ns // 1_000_000_000)
    for event in events:
        if event.status not in ("accepted", "sent"):
            stats.log_error(PUBLISH, "event", event.error or event.status)


def _add(
    stats: RequestStats, method: str, name: str, latencies_ms: npt.NDArray[np.float64], at_s: int
) -> None:
    if not latencies_ms.size:
        return
    part = StatsEntry(stats, name, method)
    part.num_requests = latencies_ms.size
    part.total_response_time = float(latencies_ms.sum())  # type: ignore[assignment]  # Locust adds floats itself
    part.min_response_time = float(latencies_ms.min())  # type: ignore[assignment]
    part.max_response_time = float(latencies_ms.max())  # type: ignore[assignment]
    part.last_request_timestamp = float(at_s)
    part.num_reqs_per_sec = {at_s: latencies_ms.size}
    values, counts = np.unique(np.round(latencies_ms, 1), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        rounded = bucket_response_time(value)
        part.response_times[rounded] = part.response_times.get(rounded, 0) + count
    stats.get(name, method).extend(part)
    stats.total.extend(part)
