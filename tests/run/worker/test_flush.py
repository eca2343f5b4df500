"""Test that a worker writes its record once a second, and reports each written second only once."""

from pathlib import Path
from typing import Any

import gevent
import numpy as np
import pytest

from loadgen.measure import histograms
from loadgen.measure.health import HealthSampler
from loadgen.measure.recorder import Interval, Recorder
from loadgen.measure.rows import EchoRow, EventRow
from loadgen.measure.running import RunningStatistics
from loadgen.measure.sinks import Sinks
from loadgen.measure.spool import SpoolWriter, read_batches
from loadgen.run.worker.echoes import NoEchoes
from loadgen.run.worker.flush import Flushes
from loadgen.run.worker.spool import OwnSpool
from loadgen.run.worker.troubles import Troubles
from loadgen.run.worker_messages import MOST_REPORTS, Piece
from tests.measure.event_rows import events_of, record
from tests.run.worker.made_up import SECOND, MadeUpClock, MadeUpLine, MadeUpStatistics

TOKEN = 7


class Echoes(NoEchoes):
    """Stands in for the echo lane, with one round trip to record."""

    def take(self) -> list[EchoRow]:
        return [EchoRow(1, 2, 3, 4, 5)]


class Site:
    def __init__(
        self,
        folder: Path,
        echoes: NoEchoes | None = None,
        shared: bool = True,
        running: RunningStatistics | None = None,
    ) -> None:
        self.folder = folder
        self.clock, self.line, self.troubles = MadeUpClock(), MadeUpLine(), Troubles(0)
        self.writer = SpoolWriter(folder, 0)
        self.statistics = MadeUpStatistics()
        self.recorder = Recorder(TOKEN, self.writer, sinks=Sinks(self.statistics.add, running))
        self.flushes = Flushes(
            self.clock,
            self.recorder,
            HealthSampler(self.clock.sleep),
            OwnSpool(self.writer, shared, self.line.to_coordinator, self.clock, self.troubles),
            echoes or NoEchoes(),
            self.statistics,
            self.troubles,
        )

    def deliver(self, count: int) -> None:
        for sequence in range(count):
            self.recorder.deliver(0, 1_000_001, 1_000_001, (TOKEN, 0, sequence, 1, 1))

    def publish(self) -> None:
        record(self.recorder.publish, EventRow(1, 2, 1, "/a", SECOND, 2, 3, 4, "accepted", None, 1))

    def rows(self, table: str) -> int:
        return sum(batch.num_rows for batch in read_batches(self.folder / f"{table}-0000.arrows"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_flush_writes_all_and_the_next_report_tells_it_once(site: Site) -> None:
    site.deliver(5)
    site.publish()
    site.flushes.flush()
    assert (site.rows("deliveries"), site.rows("events"), site.rows("health")) == (5, 1, 1)
    assert (site.statistics.added, site.statistics.published) == (5, 1)
    second = site.flushes.take()
    assert second.histogram is not None
    assert histograms.decoded(second.histogram).total_count == 5
    assert (second.shortest, second.reports) == (None, [])
    assert site.flushes.take() == (None, None, [])
    # After a second without deliveries, no histogram is reported.
    site.flushes.flush()
    assert site.flushes.take().histogram is None
    assert site.statistics.published == 1


def test_the_shortest_latencies_go_with_their_histogram_and_not_without(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = np.array([], dtype=np.int64)
    seconds = [
        Interval(1, 3, 0, events_of([]), none, None, None, "longest", "shortest"),
        Interval(2, 0, 0, events_of([]), none, None, None),
        Interval(3, 2, 0, events_of([]), none, None, None, "exact", None),
    ]
    monkeypatch.setattr(site.recorder, "flush", lambda health: seconds.pop(0))
    told = []
    for _ in range(3):
        site.flushes.flush()
        told.append(site.flushes.take()[:2])
    assert told == [("longest", "shortest"), (None, None), ("exact", None)]


def test_reports_for_displays_wait_until_there_is_room_for_them(tmp_path: Path) -> None:
    site = Site(tmp_path, running=RunningStatistics(lambda channel: None, sample_every=1))
    for _ in range(MOST_REPORTS + 2):
        site.deliver(1)
        site.flushes.flush()
    first, second = site.flushes.take().reports, site.flushes.take().reports
    assert (len(first), len(second)) == (MOST_REPORTS, 2)
    assert [report.groups["readers"] for report in (*first, *second)] == list(range(1, MOST_REPORTS + 3))
    assert all(report.deliveries == 1 for report in first)
    assert site.flushes.take().reports == []


def test_it_flushes_every_second_and_sends_the_spool_until_the_run_is_finishing(tmp_path: Path) -> None:
    site = Site(tmp_path, shared=False)
    finishing = [False]
    watching = gevent.spawn(site.flushes.watch, lambda: finishing[0])
    site.deliver(1)
    site.clock.go_on(0.9)
    assert site.recorder.deliveries == 0
    site.clock.go_on(0.2)
    assert site.recorder.deliveries == 1
    assert {piece.name for piece in site.line.all(Piece)} >= {"deliveries-0000.arrows", "health-0000.arrows"}
    site.clock.go_on(5)
    assert site.rows("health") == 6
    finishing[0] = True
    site.clock.go_on(1)
    assert watching.ready()
    assert site.rows("health") == 6


def test_echoes_go_into_the_record(tmp_path: Path) -> None:
    site = Site(tmp_path, Echoes())
    site.flushes.flush()
    assert site.rows("echo") == 1


def test_a_disk_that_is_full_breaks_the_worker_and_not_the_flush(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(site.writer, "write", full)
    site.deliver(1)
    site.flushes.flush()
    assert site.troubles.broken == "worker 0 cannot write its record: No space left on device"
    assert site.flushes.take() == (None, None, [])
    site.flushes.flush()


def test_two_flushes_at_once_come_one_after_the_other(tmp_path: Path) -> None:
    site = Site(tmp_path)
    running: list[int] = []
    most: list[int] = []

    def write(function: Any) -> Any:
        running.append(1)
        most.append(len(running))
        site.clock.sleep(0.5)
        running.pop()
        return function()

    site.recorder._run_in_thread = write
    both = [gevent.spawn(site.flushes.flush) for _ in range(2)]
    site.clock.go_on(2)
    assert all(each.ready() for each in both)
    assert max(most) == 1
    assert np.array(most).sum() == 2
