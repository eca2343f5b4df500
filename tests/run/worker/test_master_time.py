"""Test a worker's pings, its estimate of the master's clock, and its waits by that clock."""

from pathlib import Path

import gevent
import msgspec
import pytest
from gevent.event import Event

from loadgen.measure import clockbound, histograms
from loadgen.measure.recorder import Recorder
from loadgen.measure.sinks import Sinks
from loadgen.measure.spool import SpoolWriter, read_batches
from loadgen.run.master_messages import Pong
from loadgen.run.worker.master_time import MasterTime
from loadgen.run.worker_clock import WorkerClock
from loadgen.run.worker_messages import Ping
from tests.run.worker.made_up import SECOND, MadeUpClock, MadeUpLine, settle

#: The master's clock is ahead of the worker's by this much, in ns.
AHEAD_NS = 7 * SECOND


class Site:
    def __init__(self, folder: Path, same_machine: bool = False, same_process: bool = False) -> None:
        self.line, self.clock = MadeUpLine(), MadeUpClock()
        self.folder = folder
        self.estimate = WorkerClock(same_machine, same_process, self.clock.read, self.clock.steady_ns)
        sinks = Sinks(clock_offset_ns=lambda: self.estimate.offset_ns)
        self.recorder = Recorder(1, SpoolWriter(folder, 3), sinks=sinks)
        self.time = MasterTime(self.line, self.clock, self.estimate, self.recorder)

    def answer(self, ping: Ping, ahead_ns: int = AHEAD_NS) -> None:
        at_ns = self.clock.at_ns + ahead_ns
        self.time.on_pong(
            Pong(
                sent_ns=ping.sent_ns,
                bound_ns=ping.bound_ns,
                master_bound_ns=None,
                sent_raw_ns=ping.sent_raw_ns,
                master_received_ns=at_ns,
                master_sent_ns=at_ns,
                master_raw_ns=at_ns - SECOND,
            )
        )

    def converse(self, pings: int) -> None:
        """Send pings and let the master answer them; each way takes a millisecond."""
        for _ in range(pings):
            self.time.ping()
            self.clock.go_on(0.001)
            at = self.line.last(Ping)
            pong_ns = self.clock.at_ns + AHEAD_NS
            self.clock.go_on(0.001)
            self.time.on_pong(
                Pong(
                    sent_ns=at.sent_ns,
                    bound_ns=None,
                    master_bound_ns=4,
                    sent_raw_ns=at.sent_raw_ns,
                    master_received_ns=pong_ns,
                    master_sent_ns=pong_ns,
                    master_raw_ns=pong_ns - SECOND,
                )
            )
            self.clock.go_on(0.02)


def waited(site: Site, due_ns: int, ended: list[int]) -> None:
    """Wait in a greenlet, and append the time at which the wait ended."""

    def wait() -> None:
        site.time.wait_until(due_ns)
        ended.append(site.clock.at_ns)

    gevent.spawn(wait)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_ping_says_both_clocks_of_this_process(site: Site) -> None:
    site.time.ping()
    (ping,) = site.line.all(Ping)
    assert (ping.sent_ns, ping.sent_raw_ns) == site.clock.read()


def test_pings_come_quickly_until_the_clock_is_known_then_four_times_a_second_until_the_end(
    site: Site,
) -> None:
    over = Event()
    pinging = gevent.spawn(site.time.watch, over)
    site.clock.go_on(0.99)
    assert len(site.line.all(Ping)) == 50
    site.estimate.ready.set()
    site.clock.go_on(0.02)
    site.line.sent.clear()
    site.clock.go_on(10)
    assert 39 <= len(site.line.sent) <= 41
    over.set()
    site.clock.go_on(0.3)
    assert pinging.ready()


def test_the_masters_own_process_asks_nobody_for_the_time(tmp_path: Path) -> None:
    site = Site(tmp_path, same_process=True)
    site.time.watch(Event())
    assert site.line.sent == []
    assert not site.time.apart
    assert site.time.local_ns(5) == 5
    site.time.wait_until_known()


def test_answers_are_recorded_and_give_the_offset(site: Site) -> None:
    site.converse(20)
    assert site.time.apart
    assert abs(site.estimate.offset_ns - AHEAD_NS) < 2_000_000
    assert abs(site.time.local_ns(site.clock.at_ns + AHEAD_NS) - site.clock.at_ns) < 2_000_000
    # The recorder computes latencies on the master's clock. It asks for the clock offset anew in each interval.
    site.recorder.deliver(0, 1_000_001, 1_000_001, (1, 0, 0, 1, 1))
    told = site.recorder.flush().delivery_histogram
    assert told is not None
    assert abs(histograms.decoded(told).get_max_value() - AHEAD_NS) < SECOND // 10
    (batch,) = read_batches(site.folder / "clock-0003.arrows")
    assert batch.num_rows == 20
    first = batch.to_pylist()[0]
    assert first["worker"] == 3
    assert first["master_bound_ns"] == 4
    assert first["received_ns"] - first["sent_ns"] == 2_000_000
    assert set(msgspec.structs.asdict(site.line.last(Ping))) < set(first)


def test_a_wait_for_the_masters_time_ends_at_it_on_this_clock(site: Site) -> None:
    site.converse(20)
    due_ns = site.clock.at_ns + AHEAD_NS + 3 * SECOND
    begun_ns = site.clock.at_ns
    ended: list[int] = []
    waited(site, due_ns, ended)
    site.clock.go_on(2.9)
    assert not ended
    site.clock.go_on(0.2)
    assert abs(ended[0] - begun_ns - 3 * SECOND) < 5_000_000
    # A time that is past causes no wait.
    site.time.wait_until(due_ns)


def test_on_one_clock_a_wait_is_exact(tmp_path: Path) -> None:
    site = Site(tmp_path, same_machine=True)
    ended: list[int] = []
    due_ns = site.clock.at_ns + SECOND
    waited(site, due_ns, ended)
    site.clock.go_on(2)
    assert ended == [due_ns]


def test_an_offset_that_never_becomes_known_is_not_waited_for_for_ever(site: Site) -> None:
    waiting = gevent.spawn(site.time.wait_until_known)
    site.clock.go_on(9.9)
    assert not waiting.ready()
    site.clock.go_on(0.2)
    assert waiting.ready()
    site.estimate.ready.set()
    site.time.wait_until_known()
    settle()


def test_the_wider_of_the_bounds_before_and_after_a_ping_is_recorded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for before_ns, after_ns in ((4, 9), (9, 4)):
        monkeypatch.setattr(clockbound, "error_ns", lambda: before_ns)  # noqa: B023  called before the next
        site.time.ping()
        assert site.line.last(Ping).bound_ns == before_ns
        monkeypatch.setattr(clockbound, "error_ns", lambda: after_ns)  # noqa: B023
        site.answer(site.line.last(Ping))
    site.recorder.flush()
    (batch,) = read_batches(site.folder / "clock-0003.arrows")
    assert batch.column("bound_ns").to_pylist() == [9, 9]


@pytest.mark.parametrize("same_process", [False, True])
def test_a_time_of_this_clock_is_the_masters_and_back(tmp_path: Path, same_process: bool) -> None:
    site = Site(tmp_path, same_process=same_process)
    if not same_process:
        site.converse(12)
    for ago_s in (0, 1, 60):
        # An arrival is in the past, and the expected clock drift is applied only to future times.
        at_ns = site.clock.now_ns() - ago_s * SECOND
        master_ns = site.time.master_ns(at_ns)
        assert master_ns == at_ns + (0 if same_process else site.estimate.offset_ns)
        assert abs(site.time.local_ns(master_ns) - at_ns) <= 1_000
