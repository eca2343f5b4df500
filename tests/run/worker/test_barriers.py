"""Test the points of a run at which a worker's users wait, and the events that end each wait."""

from pathlib import Path

import gevent
import pytest

from loadgen.measure.recorder import Recorder
from loadgen.measure.spool import SpoolWriter
from loadgen.resolve import ClientPlan
from loadgen.run.worker.barriers import Barriers
from loadgen.run.worker.master_time import MasterTime
from loadgen.run.worker_clock import WorkerClock
from loadgen.users.worker import Timeline
from tests.run.worker.made_up import SECOND, MadeUpClock, MadeUpLine, settle

TIMELINE = Timeline(1, 2, 3, 4)


class Site:
    def __init__(self, folder: Path, same_process: bool = True) -> None:
        self.clock = MadeUpClock()
        estimate = WorkerClock(True, same_process, self.clock.read)
        time = MasterTime(MadeUpLine(), self.clock, estimate, Recorder(1, SpoolWriter(folder, 0)))
        self.barriers = Barriers(self.clock, time, ramp_ns=4 * SECOND)

    def client(self, offset_ns: int) -> ClientPlan:
        return ClientPlan(
            number=1, group="readers", index=1, subscriptions=(), publish=None, ramp_offset_ns=offset_ns
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_each_client_waits_for_its_own_turn_in_the_ramp(site: Site) -> None:
    barriers = site.barriers
    turns = [gevent.spawn(barriers.wait_for_ramp, site.client(n * SECOND)) for n in range(3)]
    site.clock.go_on(100)
    assert not any(turn.ready() for turn in turns)
    barriers.begin_ramp(site.clock.at_ns + SECOND // 2)
    site.clock.go_on(0.4)
    assert not barriers.ramp_over
    for done in (1, 2, 3):
        site.clock.go_on(0.2 if done == 1 else 1)
        assert [turn.ready() for turn in turns] == [n < done for n in range(3)]
    assert [turn.value for turn in turns] == [True, True, True]
    assert not barriers.ramp_over
    site.clock.go_on(2)
    assert barriers.ramp_over


def test_a_ramp_waits_for_the_masters_clock_but_no_longer_than_ten_seconds(tmp_path: Path) -> None:
    site = Site(tmp_path, same_process=False)
    site.barriers.begin_ramp(site.clock.at_ns)
    turn = gevent.spawn(site.barriers.wait_for_ramp, site.client(0))
    site.clock.go_on(9.9)
    assert not turn.ready()
    site.clock.go_on(0.2)
    assert turn.value is True


def test_a_run_that_ends_before_the_ramp_lets_all_go_with_nothing(site: Site) -> None:
    barriers = site.barriers
    turn = gevent.spawn(barriers.wait_for_ramp, site.client(0))
    timeline = gevent.spawn(barriers.wait_for_timeline)
    settle()
    assert barriers.starting
    assert barriers.finish()
    settle()
    assert (turn.value, timeline.value) == (False, None)
    assert timeline.ready()
    assert barriers.finishing
    assert not barriers.starting
    assert not barriers.ramp_over
    # Once is enough.
    assert not barriers.finish()


def test_a_client_whose_turn_comes_after_the_end_does_not_connect(site: Site) -> None:
    site.barriers.begin_ramp(site.clock.at_ns)
    turn = gevent.spawn(site.barriers.wait_for_ramp, site.client(3 * SECOND))
    site.clock.go_on(1)
    site.barriers.finish()
    site.barriers.over.set()
    site.clock.go_on(3)
    assert turn.value is False


def test_the_timeline_stays_when_the_run_ends(site: Site) -> None:
    timeline = gevent.spawn(site.barriers.wait_for_timeline)
    settle()
    assert not timeline.ready()
    site.barriers.open(TIMELINE)
    settle()
    assert timeline.value == TIMELINE
    site.barriers.finish()
    assert site.barriers.wait_for_timeline() == TIMELINE


def test_a_greenlet_that_rests_starts_at_the_end_or_at_once_if_that_is_past(site: Site) -> None:
    early, late = gevent.Greenlet(lambda: "early"), gevent.Greenlet(lambda: "late")
    site.barriers.start_at_end(early)
    settle()
    assert not early.started
    site.barriers.over.set()
    settle()
    assert early.value == "early"
    site.barriers.start_at_end(late)
    settle()
    assert late.value == "late"
