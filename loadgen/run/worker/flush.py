"""Write a worker's record once a second, and keep the figures of that second for the next report."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from gevent.lock import Semaphore

from loadgen.exits import why
from loadgen.measure.health import HealthSampler
from loadgen.measure.publishes import Events
from loadgen.measure.recorder import Recorder
from loadgen.measure.sinks import Values
from loadgen.run.periodic import FLUSH_INTERVAL_S, every
from loadgen.run.worker.clock import Clock
from loadgen.run.worker.echoes import Echoes
from loadgen.run.worker.spool import OwnSpool
from loadgen.run.worker.troubles import Troubles
from loadgen.run.worker_messages import MOST_REPORTS, Report


class Statistics(Protocol):
    """Locust's statistics; see `loadgen.run.locust_stats.WorkerStatistics`."""

    def add(self, subscriptions: Values, latencies_ns: Values) -> None:
        """Collect deliveries for the next :meth:`show_deliveries`; may be called from any thread."""

    def show_deliveries(self, at_ns: int) -> dict[str, int]:
        """Add the deliveries since the last call to Locust's statistics; return their number by group."""

    def show_publishes(self, events: Events, answered_ns: Values, at_ns: int) -> None:
        """Add publishes and their answer times to Locust's statistics."""


class Second(NamedTuple):
    """The figures of a report that cover the time since the previous report."""

    #: Two encoded HDR histograms: of the last second's latencies, and of the lower bounds of these latencies, since
    #: some arrival times are uncertain.
    histogram: str | None
    shortest: str | None
    #: Reports for live displays.
    reports: list[Report]


class Flushes:
    """Flush the recorder of one worker."""

    def __init__(
        self,
        clock: Clock,
        recorder: Recorder,
        health: HealthSampler,
        spool: OwnSpool,
        echoes: Echoes,
        statistics: Statistics,
        troubles: Troubles,
    ) -> None:
        self._clock = clock
        self._recorder = recorder
        self._health = health
        self._spool = spool
        self._echoes = echoes
        self._statistics = statistics
        self._troubles = troubles
        self._flushing = Semaphore()
        self._histogram: str | None = None
        self._shortest: str | None = None
        #: Reports for live displays, not sent yet.
        self._reports: list[Report] = []

    def watch(self, finishing: Callable[[], bool]) -> None:
        """Write rows to disk, and send them if necessary, every second until the run is ``finishing``."""
        for _ in every(FLUSH_INTERVAL_S, self._clock.steady_s, self._clock.sleep):
            if finishing():
                return
            self.flush()
            self._spool.pump()

    def flush(self) -> None:
        """Write everything that was recorded; if that fails, note that this worker cannot go on."""
        try:
            # Allow one flush at a time: the last one must not overlap a periodic one that is still writing.
            with self._flushing:
                self._recorder.echoes(self._echoes.take())
                latest = self._recorder.flush(self._health)
        except OSError as error:
            self._troubles.on_broken(f"cannot write its record: {why(error)}")
            return
        if latest.deliveries:
            self._histogram, self._shortest = latest.delivery_histogram, latest.shortest_histogram
        groups = self._statistics.show_deliveries(latest.end_ns)
        if latest.report is not None:
            self._add_report(latest.report, groups)
        if latest.events:
            self._statistics.show_publishes(latest.events, latest.answered_ns, latest.end_ns)

    def _add_report(self, report: Mapping[str, Any], groups: dict[str, int]) -> None:
        self._reports.append(Report.of({**report, "groups": groups}))

    def take(self) -> Second:
        """Return and forget the figures for the worker's next message to the master.

        They include at most `MOST_REPORTS` reports for live displays; the rest follow with the next call.
        """
        histogram, self._histogram = self._histogram, None
        reports, self._reports = self._reports[:MOST_REPORTS], self._reports[MOST_REPORTS:]
        return Second(histogram, self._shortest if histogram else None, reports)
