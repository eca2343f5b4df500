"""Test what a worker reports to its master, and how often."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from loadgen.measure import histograms
from loadgen.measure.failures import HARNESS, Failures
from loadgen.measure.recorder import Recorder
from loadgen.measure.spool import SpoolWriter
from loadgen.run import messages
from loadgen.run.messages import MOST_TEXT
from loadgen.run.worker.barriers import Barriers
from loadgen.run.worker.echoes import NoEchoes
from loadgen.run.worker.flush import Second
from loadgen.run.worker.master_time import MasterTime
from loadgen.run.worker.status import StatusReports, failed_status
from loadgen.run.worker.troubles import Troubles
from loadgen.run.worker_clock import WorkerClock
from loadgen.run.worker_messages import Status
from loadgen.users.worker import Progress, Timeline
from tests.run.worker.made_up import MadeUpClock, MadeUpLine

HISTOGRAM = histograms.encoded(histograms.new_histogram())


class Echoes(NoEchoes):
    sent, returned = 5, 4


class Site:
    def __init__(self, folder: Path) -> None:
        self.clock, self.line, self.troubles = MadeUpClock(), MadeUpLine(), Troubles(0)
        self.failures = Failures()
        recorder = Recorder(1, SpoolWriter(folder, 0))
        recorder.deliveries, recorder.probe_deliveries = 30, 3
        time = MasterTime(self.line, self.clock, WorkerClock(True, True), recorder)
        self.barriers = Barriers(self.clock, time, 0)
        self.progress = Progress(connected=2, ready=1)
        self.seconds = [Second(HISTOGRAM, None, [])]
        flushes: Any = SimpleNamespace(
            take=lambda: self.seconds.pop() if self.seconds else Second(None, None, [])
        )
        self.status = StatusReports(
            self.line,
            self.clock,
            self.barriers,
            self.progress,
            recorder,
            flushes,
            SimpleNamespace(probes=9),
            Echoes(),
            self.troubles,
            self.failures,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_report_holds_the_counts_and_each_second_once(site: Site) -> None:
    site.troubles.report_error("x" * 5_000, fatal=True)
    site.failures.add(HARNESS, "a test", ValueError())
    site.status.send()
    site.status.send()
    first, second = site.line.all(Status)
    assert first.progress == {
        **asdict(site.progress),
        "probes": 9,
        "probe_deliveries": 3,
        "echoes": 5,
        "echo_deliveries": 4,
        "failures": 1,
    }
    assert first.deliveries == 30
    assert (first.histogram, second.histogram) == (HISTOGRAM, None)
    assert first.fatal is not None
    assert len(first.fatal) == MOST_TEXT
    assert first.complaints == {first.fatal: 1}
    assert (first.broken, first.broken_code, first.absent) == (None, 3, False)


def test_reports_come_four_times_a_second_once_the_run_has_started(site: Site) -> None:
    site.barriers.open(Timeline(1, 2, 3, 4))
    watching = gevent.spawn(site.status.watch)
    site.clock.go_on(9.99)
    assert len(site.line.sent) == 40
    site.barriers.finish()
    site.clock.go_on(1)
    assert watching.ready()
    # The worker sends one more report after the end, which contains the last changes.
    assert len(site.line.sent) == 41


def test_while_the_run_starts_a_change_is_reported_as_soon_as_it_has_settled(site: Site) -> None:
    gevent.spawn(site.status.watch)
    site.clock.go_on(0.01)
    assert len(site.line.sent) == 1
    site.progress.connected = 7
    site.clock.go_on(0.06)
    assert len(site.line.sent) == 2
    assert site.line.last(Status).progress["connected"] == 7
    site.clock.go_on(0.2)
    assert len(site.line.sent) == 2


def test_a_worker_that_cannot_begin_says_why_within_the_bounds() -> None:
    status = messages.checked(failed_status("y" * 5_000, 2))
    assert (status.absent, status.broken_code) == (True, 2)
    assert status.broken == "y" * (MOST_TEXT - 1) + "…"
    assert set(status.progress) == set(asdict(Progress()))
