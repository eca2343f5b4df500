"""Test how a run ends, always with a record, using a simulated clock and simulated workers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.measure import histograms
from loadgen.measure.clock import now_ns
from loadgen.planning.budget import Budget
from loadgen.planning.prices import load_prices
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.coordinator import DEFECT, FINISHING, Coordinator
from loadgen.run.master_messages import Finish, Go, Pong, SpoolWritten
from loadgen.run.messages import Message
from loadgen.run.placement import Placement
from loadgen.run.target import Target
from loadgen.run.worker.status import failed_status
from loadgen.run.worker_info import WorkerInfo
from loadgen.run.worker_messages import Claim, Finished, Piece, Ping, Status
from loadgen.scenario import overrides_of
from tests.run.master.test_phases import RUN, SECOND, MadeUpClock

TARGET = Target("http://127.0.0.1:1/event", api_key="da2-" + "k" * 26)


def last_word(**other: Any) -> Finished:
    counts = ("deliveries", "events", "foreign", "undecodable", "unknown_subscription", "probes")
    plain: dict[str, Any] = {
        **dict.fromkeys((*counts, "probe_deliveries", "spool_bytes"), 0),
        **{name: [] for name in ("undecodable_kinds", "failures", "proxies")},
        **{name: {} for name in ("deviations", "asides", "checks", "rows", "network")},
        **dict.fromkeys(("echo", "files", "left")),
        "receive_path": "native",
        "gathered_by": "messages",
    }
    return Finished(**{**plain, **other})


def status(**other: Any) -> Status:
    plain = failed_status("", 3)
    return Status(
        **{
            **{name: getattr(plain, name) for name in plain.__struct_fields__},
            "broken": None,
            "absent": False,
            **other,
        }
    )


class Clock(MadeUpClock):
    """A simulated clock that starts at the real present time."""

    def __init__(self) -> None:
        super().__init__()
        self.at_ns = now_ns()


class Site:
    """A run and its workers, which do what they should unless the test changes that."""

    def __init__(self, folder: Path, *more: str, workers: int = 2, max_usd: float | None = None) -> None:
        self.run = resolve(load("comments", overrides_of([*RUN, *more])))
        self.clock = Clock()
        self.sent: list[tuple[Message, str | None]] = []
        infos = [WorkerInfo(f"w{number}", number, hostname="here", pid=number) for number in range(workers)]
        self.coordinator = Coordinator(
            self,
            self.run,
            Tables(),
            TARGET,
            Placement(folder),
            infos,
            load_prices(None).snapshot(),
            Budget.of(self.run, load_prices(None), max_usd),
            clock=self.clock,
        )
        #: Called when the workers are told that the run is over.
        self.on_finish: Callable[[], None] = self.all_finish

    def to_coordinator(self, message: Message) -> None:
        raise AssertionError(message)

    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        self.sent.append((message, worker_id))
        if isinstance(message, Finish):
            self.clock.after(message.drain_ns / SECOND + 0.1, self.on_finish)

    def first(self, kind: type[Message]) -> Any:
        return next(message for message, _ in self.sent if isinstance(message, kind))

    def says(self, worker_id: str, message: Message) -> None:
        self.coordinator.receive(worker_id, message)

    def all_claim(self) -> None:
        for worker_id in self.coordinator.workers:
            self.says(worker_id, Claim(request=1, wanted=self.coordinator.counts(worker_id)))

    def all_report(self, **progress: int) -> None:
        """Report counts of the whole run as if they were all the first worker's."""
        self.says("w0", status(progress=progress))

    def all_finish(self) -> None:
        for worker_id in self.coordinator.workers:
            self.says(worker_id, last_word())

    def goes_well(self) -> None:
        expected = self.run.totals
        there = {"connected": expected.websockets, "acknowledged": expected.subscriptions}
        self.clock.after(0.1, self.all_claim)
        self.clock.after(2, lambda: self.all_report(**there))
        self.clock.after(3, lambda: self.all_report(**there, ready=expected.subscriptions))

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        self.clock.after(seconds, action)

    def ended(self) -> dict[str, Any]:
        """Run until the end, and return the manifest."""
        self.coordinator.run()
        assert self.coordinator.done.is_set()
        assert self.coordinator.unwritten is None
        assert self.coordinator.phase == FINISHING
        manifest: dict[str, Any] = json.loads((self.coordinator.folder.path / "manifest.json").read_text())
        assert manifest["exit_code"] == int(self.coordinator.exit_code)
        return manifest


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_run_that_goes_well_is_complete(site: Site) -> None:
    site.goes_well()
    manifest = site.ended()
    assert (manifest["status"], manifest["exit_code"], manifest.get("reason")) == ("complete", 0, None)
    assert [phase["name"] for phase in manifest["phases"]] == ["ramp", "ready", "warmup", "measure", "drain"]
    assert all(worker["finished"] for worker in manifest["workers"])
    # There is nothing to drain.
    assert site.first(Finish).drain_ns == 0


def test_an_interrupt_while_publishing_drains_first(site: Site) -> None:
    site.goes_well()
    site.at(5.5, site.coordinator.interrupt)
    manifest = site.ended()
    assert (manifest["status"], manifest["exit_code"]) == ("interrupted", 130)
    assert manifest["reason"] == "interrupted in phase measure"
    assert site.first(Finish).drain_ns == site.run.phases.drain_ns == SECOND
    assert all(worker["finished"] for worker in manifest["workers"])


def test_an_interrupt_in_the_ramp_drains_nothing(site: Site) -> None:
    site.at(1, site.coordinator.interrupt)
    manifest = site.ended()
    assert manifest["reason"] == "interrupted in phase ramp"
    assert site.first(Finish).drain_ns == 0


def test_an_error_found_elsewhere_ends_the_run_with_its_code(site: Site) -> None:
    site.goes_well()
    site.at(5, lambda: site.coordinator.end(RunError("the server ended", ExitCode.INCONCLUSIVE)))
    manifest = site.ended()
    assert (manifest["status"], manifest["exit_code"], manifest["reason"]) == (
        "failed",
        3,
        "the server ended",
    )


def test_a_gate_that_fails_ends_the_run(tmp_path: Path) -> None:
    site = Site(tmp_path, "gates=[{check: delivery.latency.p99 < 50ms, over: 2s, abort_early: true}]")
    slow = histograms.new_histogram()
    slow.record_value(200_000_000)
    site.goes_well()
    for tenths in range(46, 70):
        site.at(
            tenths / 10,
            lambda: site.says("w1", status(histogram=histograms.encoded(slow))),
        )
    manifest = site.ended()
    assert (manifest["status"], manifest["exit_code"]) == ("aborted", 1)
    assert manifest["reason"].startswith("ended early: ")


def test_a_budget_that_is_spent_stops_the_run(tmp_path: Path) -> None:
    site = Site(tmp_path, max_usd=1e-9)
    site.goes_well()
    site.at(4.5, lambda: site.all_report(connected=4, acknowledged=4, ready=4, sent=1_000_000))
    manifest = site.ended()
    assert (manifest["status"], manifest["exit_code"]) == ("stopped", 3)


def test_a_worker_that_cannot_do_its_part_ends_the_run_and_is_not_waited_for(site: Site) -> None:
    site.at(0.1, lambda: site.says("w1", failed_status("the target cannot be used", 2)))
    site.on_finish = lambda: site.says("w0", last_word())
    begun_ns = site.clock.at_ns
    manifest = site.ended()
    assert (manifest["status"], manifest["exit_code"]) == ("failed", 2)
    assert manifest["reason"].startswith("the target cannot be used")
    assert site.clock.at_ns - begun_ns < 2 * SECOND


def test_a_worker_that_is_lost_makes_the_run_inconclusive_and_is_named(site: Site) -> None:
    site.goes_well()
    site.at(5, lambda: site.coordinator.worker_here("w1", False))
    site.on_finish = lambda: site.says("w0", last_word())
    manifest = site.ended()
    assert (manifest["status"], manifest["exit_code"]) == ("failed", 3)
    assert manifest["reason"].startswith("worker 1 (here, pid 1) was lost: its part of the record breaks off")
    assert [worker["finished"] for worker in manifest["workers"]] == [True, False]


def test_a_worker_that_comes_back_is_not_lost(site: Site) -> None:
    site.goes_well()
    site.at(5, lambda: site.coordinator.worker_here("w1", False))
    site.at(6, lambda: site.coordinator.worker_here("w1", True))
    assert site.ended()["status"] == "complete"


def test_a_worker_that_left_is_named_with_its_reason(site: Site) -> None:
    site.goes_well()
    site.at(5, lambda: site.says("w1", last_word(left="it was told to end")))
    site.on_finish = lambda: site.says("w0", last_word())
    manifest = site.ended()
    assert manifest["exit_code"] == 3
    assert manifest["reason"] == "worker 1 (here, pid 1) left before the end: it was told to end"
    assert manifest["workers"][1]["left"] == "it was told to end"


def test_a_worker_that_hands_over_nothing_is_given_up_after_a_minute_without_a_piece(site: Site) -> None:
    site.goes_well()
    site.on_finish = lambda: site.says("w0", last_word())
    begun: list[int] = []

    def piece() -> None:
        begun.append(site.clock.at_ns)
        site.says("w1", Piece(name="events-0001.arrows", at=0, piece=b"x", crc32=0x8CDC1683))

    # The master waits as long as pieces of the worker's record arrive; here, one arrives after 40 s.
    site.at(40, piece)
    manifest = site.ended()
    assert manifest["exit_code"] == 3
    assert manifest["reason"].startswith("worker 1 (here, pid 1) was lost")
    assert 60 * SECOND < site.clock.at_ns - begun[0] < 62 * SECOND
    (answer,) = [message for message, _ in site.sent if isinstance(message, SpoolWritten)]
    assert (answer.name, answer.have, answer.again) == ("events-0001.arrows", 1, False)


def test_a_record_that_did_not_arrive_whole_is_named_with_its_bytes(site: Site) -> None:
    site.goes_well()

    def finish() -> None:
        site.says("w0", last_word())
        site.says("w1", last_word(files={"events-0001.arrows": 12_345}))

    site.on_finish = finish
    manifest = site.ended()
    assert manifest["exit_code"] == 3
    assert manifest["reason"] == (
        "worker 1 (here, pid 1) could not hand over its record: 12,345 bytes of it are missing"
    )


def test_a_disk_of_the_master_that_is_full_ends_the_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    site.goes_well()

    def piece() -> None:
        monkeypatch.setattr("loadgen.run.spool_transfer.SpoolReceiver.take", full)
        site.says("w1", Piece(name="events-0001.arrows", at=0, piece=b"x", crc32=0))

    site.at(5, piece)
    manifest = site.ended()
    assert manifest["exit_code"] == 3
    assert manifest["reason"].startswith(
        "the master cannot write the record of worker 1 (here, pid 1): No space left on device"
    )


def test_a_defect_of_the_harness_is_one_sentence_and_its_traceback_is_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(site.coordinator._phases, "go", broken)
    manifest = site.ended()
    assert (manifest["status"], manifest["exit_code"]) == ("failed", 3)
    assert manifest["reason"].startswith("the harness failed: ZeroDivisionError: by nothing at ")
    assert "Traceback" in (site.coordinator.folder.path / DEFECT).read_text()


def test_a_ping_is_answered_with_its_own_values_to_who_sent_it(site: Site) -> None:
    before_ns = now_ns()
    site.says("w1", Ping(sent_ns=5, sent_raw_ns=6, bound_ns=None))
    ((pong, worker_id),) = site.sent
    assert isinstance(pong, Pong)
    assert worker_id == "w1"
    assert (pong.sent_ns, pong.sent_raw_ns, pong.bound_ns) == (5, 6, None)
    assert before_ns <= pong.master_received_ns <= pong.master_sent_ns <= now_ns()


def test_what_is_no_message_of_a_worker_is_not_taken(site: Site) -> None:
    site.says("w1", Go(warmup_ns=1, measure_ns=2, measure_end_ns=3, drain_end_ns=4))
    assert site.sent == []
