"""Stand-ins for a worker's recorder and run, which keep the reports of an echo lane's connections out of the run.

On its echo lane a worker publishes to a channel to which only it subscribes, and times the round trip of each event (an
echo).
"""

from collections.abc import Callable, Iterable
from typing import Any

from loadgen.measure.clock import now_ns
from loadgen.measure.columns import COLUMNS
from loadgen.measure.failures import Failures
from loadgen.measure.recorder import Recorder
from loadgen.measure.rows import ClockRow, ConnectionRow, SubscriptionRow
from loadgen.measure.spool import SpoolWriter
from loadgen.users.worker import Progress, WorkerRun

_AT = {name: index for index, name in enumerate(COLUMNS)}


class EchoRecorder(Recorder):
    """Record the arrivals of echoes, and drop everything else that the echo lane's connections report.

    It is separate from the scenario's recorder and never flushed, so that no echo counts as a delivery of the scenario.
    """

    def __init__(self, token: int, spool: SpoolWriter) -> None:
        super().__init__(token, spool)
        self.publish = _drop

    def subscription(self, row: SubscriptionRow) -> None:
        """Drop the row: the run's record does not list the echo lane's subscriptions."""

    def connection(self, row: ConnectionRow) -> None:
        """Drop the row: the run's record does not list the echo lane's connections."""

    def clock(self, row: ClockRow) -> None:
        """Drop the row: the echo lane measures no clocks."""

    def arrived(self) -> Iterable[tuple[int, int, int, int]]:
        """Yield (publisher, sequence, arrival_ns, read_ns) of each event of this run since the last call."""
        for rows in self._buffer.take():
            for row in rows[rows[:, _AT["token"]] == self.token].tolist():
                yield row[_AT["publisher"]], row[_AT["sequence"]], row[_AT["arrival_ns"]], row[_AT["read_ns"]]


def _drop(*publish: object) -> None:
    """Drop a publish of the echo lane: the run's record does not list these publishes."""


class _EchoReadiness:
    """Count a subscription as ready once it is acknowledged: probes are not needed, as no echo precedes the warm-up."""

    def watch(self, channel: str, on_ready: Callable[[int], None]) -> None:
        on_ready(now_ns())

    def proven(self, channel: str) -> None:
        """Do nothing: every acknowledged subscription is ready already."""

    def probed_since_ns(self, channel: str) -> int | None:
        return None

    def withdraw(self, channel: str) -> None:
        """Do nothing: no subscription is waiting."""


class EchoRun:
    """The `WorkerRun` that the echo lane's connections see; it keeps their counts and rows out of the scenario's."""

    def __init__(self, run: WorkerRun, recorder: Recorder, report_error: Callable[[str, bool], None]) -> None:
        self._run = run
        self.recorder = recorder
        self.progress = Progress()
        self.readiness = _EchoReadiness()
        self.report_error = report_error
        # A failure of the echo lane is reported, but it does not make the run invalid.
        self.failures = Failures(lambda failure: report_error(f"{failure.where}: {failure.message}", False))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)
