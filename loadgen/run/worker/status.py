"""A worker's reports of its counts to the master."""

from dataclasses import asdict
from typing import Protocol

from loadgen.exits import ExitCode
from loadgen.measure.failures import Failures
from loadgen.measure.recorder import Recorder
from loadgen.run.messages import Link
from loadgen.run.periodic import wait_for_status
from loadgen.run.worker.barriers import Barriers
from loadgen.run.worker.clock import Clock
from loadgen.run.worker.echoes import Echoes
from loadgen.run.worker.flush import Flushes
from loadgen.run.worker.troubles import Troubles
from loadgen.run.worker_messages import Status, clipped, clipped_counts
from loadgen.users.worker import Progress


class Probes(Protocol):
    """Counts the readiness probes."""

    @property
    def probes(self) -> int:
        """Number of probes published."""


class StatusReports:
    """Report the counts of one worker."""

    def __init__(
        self,
        link: Link,
        clock: Clock,
        barriers: Barriers,
        progress: Progress,
        recorder: Recorder,
        flushes: Flushes,
        readiness: Probes,
        echoes: Echoes,
        troubles: Troubles,
        failures: Failures,
    ) -> None:
        self._link = link
        self._clock = clock
        self._barriers = barriers
        self._progress = progress
        self._recorder = recorder
        self._flushes = flushes
        self._readiness = readiness
        self._echoes = echoes
        self._troubles = troubles
        self._failures = failures

    def watch(self) -> None:
        """Report now and a few times a second until the run is finishing."""
        while True:
            self.send()
            if self._barriers.finishing:
                return
            wait_for_status(self._counts, lambda: self._barriers.starting, self._clock.sleep)

    def _counts(self) -> dict[str, int]:
        self._progress.accepted += self._recorder.take_accepted()
        return asdict(self._progress)

    def send(self) -> None:
        """Report the current counts, and the latencies since the last report."""
        second, troubles = self._flushes.take(), self._troubles
        self._link.to_coordinator(
            Status(
                progress={
                    **self._counts(),
                    "probes": self._readiness.probes,
                    "probe_deliveries": self._recorder.probe_deliveries,
                    "echoes": self._echoes.sent,
                    "echo_deliveries": self._echoes.returned,
                    "failures": self._failures.total,
                },
                deliveries=self._recorder.deliveries,
                complaints=clipped_counts(troubles.complaints),
                fatal=clipped(troubles.fatal),
                broken=clipped(troubles.broken),
                broken_code=int(ExitCode.INCONCLUSIVE),
                absent=False,
                histogram=second.histogram,
                shortest=second.shortest,
                live=second.reports,
            )
        )


def failed_status(reason: str, code: int) -> Status:
    """Return the status of a worker that cannot take part in the run; ``code`` is the exit code."""
    return Status(
        progress=asdict(Progress()),
        deliveries=0,
        complaints={},
        fatal=None,
        broken=clipped(reason),
        broken_code=code,
        absent=True,
        histogram=None,
        shortest=None,
        live=[],
    )
