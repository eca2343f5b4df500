"""Show deliveries and publishes in Locust's own statistics, in bulk.

One `request` event per delivery would cost more than the delivery. Instead, the deliveries of a second are collected in
one `StatsEntry`, which is added with Locust's own `extend`. This shows the same numbers in Locust's tables, charts and
CSV files. Locust rounds response times (to whole ms below 100, to two digits above); the record keeps them exact.
"""

import numpy as np
import numpy.typing as npt
from locust.stats import RequestStats, StatsEntry, bucket_response_time

from loadgen.measure.counts import occurrences
from loadgen.measure.publishes import Events
from loadgen.resolve import ResolvedRun
from loadgen.resolve.owners import Owners

Values = npt.NDArray[np.int64]

DELIVER = "DELIVER"
PUBLISH = "PUBLISH"


class DeliveryTally:
    """Collect deliveries by client group until they are shown in Locust's statistics.

    Locust shows a delivery's latency, from the time at which the event was due to its arrival, as its response time.
    """

    def __init__(self, stats: RequestStats, run: ResolvedRun) -> None:
        self._stats = stats
        self._owners = Owners(run)
        self._names = self._owners.names
        self._parts: dict[str, StatsEntry] = {}

    def add(self, subscriptions: Values, latencies_ns: Values) -> None:
        """Add deliveries to their subscriptions' groups; may be called from any thread."""
        if len(self._names) == 1:
            self._add(self._names[0], latencies_ns)
            return
        which = self._owners.of(subscriptions)
        for group, _ in occurrences(which):
            self._add(self._names[group], latencies_ns[which == group])

    def _add(self, name: str, latencies_ns: Values) -> None:
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = StatsEntry(self._stats, name, DELIVER)
        _count(part, latencies_ns)

    def show(self, at_ns: int) -> dict[str, int]:
        """Add the deliveries since the last call to Locust's statistics, and return their number by group.

        ``at_ns`` is the time under which Locust shows them.
        """
        parts, self._parts = self._parts, {}
        for part in parts.values():
            _show(self._stats, part, at_ns)
        return {name: part.num_requests for name, part in parts.items()}


class WorkerStatistics:
    """Locust's statistics as a worker fills them; see `loadgen.run.worker.flush.Statistics`."""

    def __init__(self, stats: RequestStats, run: ResolvedRun) -> None:
        self._stats = stats
        self._tally = DeliveryTally(stats, run)

    def add(self, subscriptions: Values, latencies_ns: Values) -> None:
        """Add deliveries to their subscriptions' groups; may be called from any thread."""
        self._tally.add(subscriptions, latencies_ns)

    def show_deliveries(self, at_ns: int) -> dict[str, int]:
        """Add the deliveries since the last call to Locust's statistics; return their number by group."""
        return self._tally.show(at_ns)

    def show_publishes(self, events: Events, answered_ns: Values, at_ns: int) -> None:
        """Add publishes and their answer times to Locust's statistics."""
        add_publishes(self._stats, events, answered_ns, at_ns)


def add_publishes(stats: RequestStats, events: Events, answered_ns: Values, at_ns: int) -> None:
    """Add publishes to Locust's statistics, and failed ones also to its errors, with their reasons.

    ``answered_ns`` are the answer times of those publishes that were answered.
    """
    if answered_ns.size:
        part = StatsEntry(stats, "event", PUBLISH)
        _count(part, answered_ns)
        _show(stats, part, at_ns)
    for reason, count in events.failed():
        for _ in range(count):
            stats.log_error(PUBLISH, "event", reason)


def _count(part: StatsEntry, times_ns: Values) -> None:
    """Add response times to an entry that is not part of Locust's statistics yet."""
    times_ms = times_ns / 1e6
    least, greatest = float(times_ms.min()), float(times_ms.max())
    part.num_requests += times_ms.size
    part.total_response_time += float(times_ms.sum())  # type: ignore[assignment]  # Locust adds floats itself
    part.min_response_time = least if part.min_response_time is None else min(part.min_response_time, least)  # type: ignore[assignment]
    part.max_response_time = max(part.max_response_time, greatest)  # type: ignore[assignment]
    for tenths, count in occurrences(np.rint(times_ms * 10).astype(np.int64)):
        rounded = bucket_response_time(tenths / 10)
        part.response_times[rounded] = part.response_times.get(rounded, 0) + count


def _show(stats: RequestStats, part: StatsEntry, at_ns: int) -> None:
    at_s = at_ns // 1_000_000_000
    part.last_request_timestamp = float(at_s)
    part.num_reqs_per_sec = {at_s: part.num_requests}
    stats.get(part.name, part.method).extend(part)
    stats.total.extend(part)
