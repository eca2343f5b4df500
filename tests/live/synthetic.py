"""Simulate the live state of a run: workers' reports are made from given rows."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from loadgen.live.plan import live_reports
from loadgen.live.state import LiveState
from loadgen.live.view import View
from loadgen.measure import histograms
from loadgen.measure.health import HealthSample
from loadgen.measure.rows import EventRow
from loadgen.measure.running import Report, RunningStatistics
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.scenario import Scenario, overrides_of
from loadgen.targets import APPSYNC_EVENTS
from tests.measure.event_rows import events_of

MS, SECOND = 1_000_000, 1_000_000_000
#: Start of the measure phase, in ns.
MEASURE_NS = 1_800_000_000 * SECOND
WARMUP_NS = MEASURE_NS - SECOND
TOTALS = {
    "connected": 10, "acknowledged": 10, "ready": 10, "failed": 0, "sent": 0, "accepted": 0, "rejected": 0,
    "lost_connections": 0, "opened": 10, "requested": 10,
}  # fmt: skip
CHANNEL = "/default/broadcast"


def scenario(gates: str = "[]", readers: int = 10) -> Scenario:
    """Return a scenario in which every reader receives each event."""
    return load("broadcast", overrides_of([f"gates={gates}", f"clients.audience.count={readers}"]))


def report_of(
    maker: RunningStatistics,
    columns: dict[str, npt.NDArray[np.int64]],
    latency_ns: npt.NDArray[np.int64],
    events: Sequence[EventRow] = (),
    offset_ns: int = 0,
    cuts: Sequence[int] = (),
) -> Report:
    """Return the report of an interval whose rows arrive in several pieces, divided at ``cuts``."""
    interval = maker.begin(offset_ns)
    whole, queue = histograms.new_histogram(), histograms.new_histogram()
    for places in np.split(np.arange(len(latency_ns)), cuts):
        interval.add({name: column[places] for name, column in columns.items()}, latency_ns[places])
    histograms.record(whole, latency_ns)
    histograms.record(queue, np.abs(latency_ns) // 10)
    tags = (
        {"delivery": histograms.encoded(whole), "queue": histograms.encoded(queue)} if len(latency_ns) else {}
    )
    published = events_of(events)
    return interval.report(published, published.answer_times_ns(), whole, tags)


class Fake:
    """A run of ``workers`` workers: `second` reports arrivals, and `tick` ends the second."""

    def __init__(self, of: Scenario | None = None, workers: int = 1) -> None:
        self.resolved = resolve(of or scenario())
        numbers = range(workers)
        self.state = LiveState(
            "run-1",
            self.resolved,
            {"url": "http://127.0.0.1:1/event", "protocol": "appsync-events"},
            numbers,
        )
        self.totals = Counter(TOTALS)
        self.phase = "measure"
        self.gone: frozenset[int] = frozenset()
        self.complaints: tuple[tuple[str, int], ...] = ()
        self.at_ns = MEASURE_NS
        self._makers = {number: self._maker() for number in numbers}

    def _maker(self) -> RunningStatistics:
        maker = live_reports(self.resolved, APPSYNC_EVENTS.rules)
        maker.measure_from(MEASURE_NS)
        return maker

    def second(
        self,
        latencies_ns: list[int] | npt.NDArray[np.int64],
        events: list[EventRow] | None = None,
        worker: int = 0,
        intended_ns: int | None = None,
        publisher: int = 0,
        sequence: int = 1,
        **health: Any,
    ) -> Report:
        """Report one second's deliveries, all of the same event."""
        latency = np.array(latencies_ns, dtype=np.int64)
        intended = np.full(len(latency), self.at_ns if intended_ns is None else intended_ns, dtype=np.int64)
        columns = {
            "publisher": np.full(len(latency), publisher, dtype=np.int64),
            "sequence": np.full(len(latency), sequence, dtype=np.int64),
            "intended_ns": intended,
            "arrival_ns": intended + latency,
        }
        report = report_of(self._makers[worker], columns, latency, events or [])
        sample = HealthSample(
            **{
                "time_ns": self.at_ns, "interval_ns": SECOND, "cpu_ns": SECOND // 4, "lag_max_ns": MS,
                "late_max_ns": None, "queue_max_ns": None, "deliveries": len(latency), "published": 0, "gc_ns": 0,
                "rss_bytes": 1, "open_files": 1, "open_files_limit": 100, "ports": 1, "ports_limit": 100,
                "clock_moved_ns": 0, **health,
            }
        )  # fmt: skip
        report.update(
            start_ns=self.at_ns,
            end_ns=self.at_ns + SECOND,
            health=sample.to_dict(),
            groups={self.state.groups[0]: len(latency)} if len(latency) else {},
        )
        self.state.observe(worker, report, self.at_ns + SECOND)
        return report

    def tick(self, seconds: float = 1.0) -> bool:
        """Let time pass, and make the next point of the live charts."""
        self.at_ns += int(seconds * SECOND)
        return self.state.tick(self.at_ns, self.view())

    def view(self) -> View:
        """Return the view that a coordinator would have of the run."""
        return View(
            phase=self.phase,
            elapsed_s=(self.at_ns - MEASURE_NS) / SECOND,
            left_s=1.0,
            websockets=10,
            subscriptions=10,
            totals=Counter(self.totals),
            complaints=self.complaints,
            workers=dict.fromkeys(self.state.workers, "host"),
            gone=self.gone,
            warmup_ns=WARMUP_NS,
            measure_ns=MEASURE_NS,
        )


def event(
    intended_ns: int,
    status: str = "accepted",
    publisher: int = 0,
    sequence: int = 1,
    late_ns: int = 0,
    channel: str = CHANNEL,
) -> EventRow:
    """Return a row of the events table."""
    sent = None if status == "unsent" else intended_ns + late_ns
    acked = None if sent is None or status != "accepted" else sent + MS
    return EventRow(
        publisher,
        sequence,
        sequence,
        channel,
        intended_ns,
        sent and intended_ns,
        sent,
        acked,
        status,
        None,
        100,
    )
