"""Test a worker's part in a run from BEGIN to its last message: each message, and each way to end."""

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event

from loadgen.exits import ExitCode, RunError
from loadgen.measure import histograms
from loadgen.measure.failures import USER_CODE
from loadgen.measure.rows import EchoRow
from loadgen.measure.spool import MARKER, read_batches
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run import agent as module
from loadgen.run import worker_process
from loadgen.run.agent import Agent
from loadgen.run.master_messages import (
    Begin,
    Finish,
    Go,
    Grant,
    Pong,
    Ramp,
    Refuse,
    SpoolWritten,
    StandBy,
    StoragePart,
)
from loadgen.run.messages import Message
from loadgen.run.spool_transfer import SpoolReceiver
from loadgen.run.target import Target
from loadgen.run.worker.background import Background
from loadgen.run.worker_info import LOCAL
from loadgen.run.worker_messages import Claim, Finished, Piece, Ping, Status
from loadgen.scenario import overrides_of
from loadgen.scenario.login import Login
from loadgen.transport.resolving import DialingError
from loadgen.users.worker import Timeline
from tests.run.worker.made_up import SECOND, MadeUpClock, MadeUpLine, MadeUpStatistics, at_once, settle

URL = "http://127.0.0.1:1/event"
TOKEN = 7
RUN = resolve(
    load(
        "comments",
        overrides_of(
            [
                *("clients.readers.count=2", "clients.readers.ramp=2/s", "clients.commenters.count=1"),
                *("phases.warmup=1s", "phases.measure=3s", "phases.drain=2s", "phases.ready={settle: 1s}"),
            ]
        ),
        target=URL,
    ),
    URL,
)
ROLE = RUN.groups[0].role


class Line(MadeUpLine):
    """A simulated connection to the master, which can answer pings and pieces of the spool (the recorded rows)."""

    def __init__(self, folder: Path, clock: MadeUpClock) -> None:
        super().__init__()
        self.clock = clock
        self.receiver = SpoolReceiver(folder)
        self.agent: Agent | None = None
        self.answers = self.tells_time = True

    def to_coordinator(self, message: Message) -> None:
        super().to_coordinator(message)
        if isinstance(message, Piece) and self.answers:
            gevent.spawn(self.answer, self.receiver.take(3, message))
        if isinstance(message, Ping) and self.tells_time:
            gevent.spawn(self.answer, pong(message, self.clock.at_ns))

    def answer(self, message: Message) -> None:
        assert self.agent is not None
        self.agent.receive(message)


def pong(ping: Ping, master_ns: int) -> Pong:
    """Return a master's answer to a ping, with its clock at ``master_ns``."""
    return Pong(
        sent_ns=ping.sent_ns,
        bound_ns=None,
        master_bound_ns=None,
        sent_raw_ns=None,
        master_received_ns=master_ns,
        master_sent_ns=master_ns,
        master_raw_ns=None,
    )


class Site:
    """A worker and its users; the test takes the part of the master."""

    def __init__(self, folder: Path, shared: bool = True, worker_id: str = LOCAL, **other: Any) -> None:
        self.folder = folder / "run" / "spool"
        self.folder.mkdir(parents=True)
        if shared:
            (self.folder / MARKER).write_text(str(TOKEN))
        self.clock, self.statistics = MadeUpClock(), MadeUpStatistics()
        self.line = Line(self.folder, self.clock)
        self.agent = self.line.agent = Agent(
            self.statistics, self.line, worker_id, begin(folder / "run", **other), clock=self.clock
        )
        #: The steps that users have completed.
        self.steps: list[tuple[str, Any]] = []
        settle()

    def user(self, slow_to_close: bool = False) -> None:
        """Start a greenlet that goes through a user's steps."""

        def play() -> None:
            agent = self.agent
            client = agent.claim(ROLE)
            self.steps.append(("client", None if client is None else client.number))
            if client is None:
                return
            agent.joined()
            if agent.wait_for_ramp(client):
                self.steps.append(("connected", self.clock.at_ns))
            timeline = agent.wait_for_timeline()
            self.steps.append(("timeline", timeline))
            agent.wait_for_end()
            self.steps.append(("closing", self.clock.at_ns))
            if not slow_to_close:
                agent.left()

        gevent.spawn(play)
        settle()

    def grant(self, *numbers: int) -> None:
        self.clock.go_on(0.01)
        request = self.line.last(Claim).request
        self.agent.receive(Grant(request=request, granted={ROLE: list(numbers)}))
        settle()

    def go(self) -> Timeline:
        """Let users connect, and begin the phases one second later."""
        self.agent.receive(Ramp(ramp_ns=self.clock.at_ns))
        self.clock.go_on(1)
        start_ns = self.clock.at_ns + SECOND
        timeline = Timeline(start_ns, start_ns + SECOND, start_ns + 4 * SECOND, start_ns + 6 * SECOND)
        self.agent.receive(Go(**{name: getattr(timeline, name) for name in Timeline.__slots__}))
        settle()
        return timeline

    def deliver(self, count: int) -> None:
        for sequence in range(count):
            self.agent.recorder.deliver(0, 1_000_001, 1_000_001, (TOKEN, 0, sequence, 1, 1))

    def rows(self, table: str) -> int:
        return sum(batch.num_rows for batch in read_batches(self.folder / f"{table}-0003.arrows"))

    def ended(self, within_s: float) -> Finished:
        """Let time pass until the worker has ended, and return its last message."""
        self.clock.go_on(within_s)
        assert self.agent.finished.is_set()
        assert self.clock.closed
        # The worker sends one message `Finished`, and nothing after it.
        assert len(self.line.all(Finished)) == 1
        last = self.line.sent[-1]
        assert isinstance(last, Finished)
        return last


def begin(folder: Path, **other: Any) -> Begin:
    plain: dict[str, Any] = {
        "run": RUN.for_worker(),
        "target": Target(URL, api_key="da2-" + "k" * 26).to_payload(),
        "token": TOKEN,
        "folder": str(folder),
        "worker": 3,
        "sockets": 3,
        "websockets": 2,
        "workers": 1,
        "echo_ns": None,
        "boot_id": None,
        "live": False,
    }
    return Begin(**{**plain, **other})


@pytest.fixture(autouse=True)
def tame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore this process after the test: garbage collection, threads, folder for temporary files."""
    made: list[Background] = []

    class Kept(Background):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(module, "Background", Kept)
    monkeypatch.setattr(worker_process, "set_up", lambda: None)
    monkeypatch.setattr(module, "run_in_thread", at_once)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    for background in made:
        background.end()
        background.stop()
    gc.unfreeze()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def far(tmp_path: Path) -> Site:
    """Return a worker on another machine than its master."""
    return Site(tmp_path, shared=False, worker_id="far_1")


def test_a_run_from_begin_to_the_end_of_its_drain(site: Site) -> None:
    site.user()
    site.user()
    site.grant(0, 1)
    assert site.steps == [("client", 0), ("client", 1)]
    begun_ns = site.clock.at_ns
    timeline = site.go()
    # Clients connect at two a second, and both users get the same timeline of the phases.
    connected = [at_ns - begun_ns for step, at_ns in site.steps if step == "connected"]
    assert connected == [0, SECOND // 2]
    assert [step for step in site.steps if step[0] == "timeline"] == [("timeline", timeline)] * 2
    site.deliver(4)
    site.agent.progress.sent = 2
    site.clock.go_on(5)
    assert site.statistics.added == 4
    assert site.line.last(Status).deliveries == 4
    assert site.line.last(Status).progress["sent"] == 2
    assert not site.agent.publishing_over
    site.agent.receive(Finish(drain_ns=2 * SECOND))
    finish_ns = site.clock.at_ns
    assert site.agent.publishing_over
    assert not site.agent.stopping
    site.clock.go_on(1.9)
    # Deliveries during the drain count.
    site.deliver(1)
    assert not site.agent.stopping
    last = site.ended(1)
    closing = [at_ns for step, at_ns in site.steps if step == "closing"]
    assert closing == [finish_ns + 2 * SECOND] * 2
    assert site.agent.stopping
    assert (last.deliveries, last.left, last.gathered_by, last.files) == (5, None, "shared folder", None)
    assert (last.failures, last.checks, last.echo) == ([], {}, None)
    assert last.rows["deliveries"] == site.rows("deliveries") == 5
    assert site.line.all(Status)[-1].deliveries == 5


def test_live_displays_hear_of_each_second_and_of_the_measurement_once_it_is_known(tmp_path: Path) -> None:
    site = Site(tmp_path, live=True)
    site.user()
    site.grant(0)
    site.deliver(2)
    timeline = site.go()
    running = site.agent._running
    assert running is not None
    assert running.measure_ns == timeline.measure_ns
    site.clock.go_on(3)
    reports = [report for each in site.line.all(Status) for report in each.live]
    assert sum(report.deliveries for report in reports) == 2
    assert [report.due for report in reports][-1] == 0
    assert reports[0].groups == {"readers": 2}


def test_a_run_that_ends_while_users_wait_for_their_turn_lets_them_go(site: Site) -> None:
    site.user()
    site.grant(0)
    site.user()
    site.agent.receive(Finish(drain_ns=0))
    last = site.ended(1)
    # The first user has client 0 and was waiting for its turn in the ramp; the second was waiting for a client.
    assert sorted(map(str, (step for step in site.steps if step[0] != "closing"))) == [
        "('client', 0)",
        "('client', None)",
        "('timeline', None)",
    ]
    assert last.left is None


def test_a_connection_that_does_not_close_is_waited_for_ten_seconds_and_named(site: Site) -> None:
    site.user(slow_to_close=True)
    site.grant(0)
    site.go()
    site.agent.receive(Finish(drain_ns=0))
    site.clock.go_on(9.5)
    assert not site.agent.finished.is_set()
    site.ended(1)
    assert site.line.last(Status).complaints == {"worker 3: some connections did not close in time": 1}


def test_the_end_is_told_once_however_often_it_is_asked_for(site: Site) -> None:
    for _ in range(3):
        site.agent.receive(Finish(drain_ns=SECOND))
    site.clock.go_on(0.5)
    assert not site.agent.stopping
    site.agent.receive(Finish(drain_ns=60 * SECOND))
    site.ended(1)
    site.agent.receive(Finish(drain_ns=0))
    site.clock.go_on(5)
    assert len(site.line.all(Finished)) == 1


def test_code_of_the_user_that_fails_is_told_and_the_run_goes_on(site: Site) -> None:
    site.user()
    site.grant(0)
    site.go()
    for _ in range(3):
        try:
            raise ValueError("payload of the user")
        except ValueError as error:
            site.agent.failures.add(USER_CODE, "payload()", error)
    site.agent.checks.count("GET /a", passed=False)
    site.clock.go_on(1)
    assert not site.agent.stopping
    site.agent.receive(Finish(drain_ns=0))
    last = site.ended(1)
    (failure,) = last.failures
    assert (failure.kind, failure.count, failure.message) == (USER_CODE, 3, "ValueError: payload of the user")
    assert failure.where.startswith("payload() at tests/run/test_agent.py:")
    assert (last.checks["GET /a"].passed, last.checks["GET /a"].failed) == (0, 1)


def test_a_worker_that_is_told_to_end_hands_over_its_record_and_says_why_it_left(far: Site) -> None:
    far.user()
    far.grant(0)
    far.agent.receive(Ramp(ramp_ns=far.clock.at_ns))
    far.deliver(6)
    far.clock.go_on(1)
    leaving = gevent.spawn(far.agent.leave, "it was told to end", 15.0)
    settle()
    assert far.agent.publishing_over
    last = far.ended(1)
    assert leaving.ready()
    assert last.left == "it was told to end"
    assert last.gathered_by == "messages"
    assert last.files is not None
    assert far.line.receiver.missing(3, last.files) == 0
    assert far.rows("deliveries") == 6
    # The worker's own copy is deleted.
    assert not list(far.folder.parents[1].glob("loadgen-3-*"))


def test_a_master_that_is_gone_is_not_waited_for_and_the_record_stays(
    far: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    far.line.answers = False
    far.deliver(6)
    leaving = gevent.spawn(far.agent.leave, "the master is gone", 0.0)
    last = far.ended(0.5)
    assert leaving.ready()
    assert last.left == "the master is gone"
    (own,) = far.folder.parents[1].glob("loadgen-3-*")
    assert f"bytes are only here, in {own}" in capsys.readouterr().err
    assert sum(batch.num_rows for batch in read_batches(own / "deliveries-0003.arrows")) == 6


def test_a_master_that_falls_silent_while_the_record_is_handed_over_is_waited_for_half_a_minute(
    far: Site,
) -> None:
    far.line.answers = False
    far.deliver(1)
    far.agent.receive(Finish(drain_ns=0))
    far.clock.go_on(29)
    assert not far.agent.finished.is_set()
    far.ended(3)


def test_a_worker_that_leaves_is_not_held_by_what_never_stops(
    far: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far.agent.readiness, "stop", lambda: Event().wait())
    leaving = gevent.spawn(far.agent.leave, "it was told to end", 15.0)
    far.clock.go_on(44.9)
    assert not leaving.ready()
    far.clock.go_on(0.2)
    assert leaving.ready()
    assert not far.agent.finished.is_set()


class Lane:
    """Stands in for the echo lane, which measures round trips: it has sent one echo event that never comes back."""

    def __init__(self, *_: Any) -> None:
        self.sent, self.returned = 1, 0
        self.did: list[str] = []

    def start(self) -> None:
        self.did.append("start")

    def take(self) -> list[EchoRow]:
        return []

    def stop(self) -> list[EchoRow]:
        self.did.append("stop")
        return [EchoRow(1, 2, 3, None, None)]

    def to_dict(self) -> dict[str, Any]:
        counts = ("interval_ns", "payload_bytes", "sent", "returned", "unexpected", "connects", "subscribes")
        return {
            **dict.fromkeys((*counts, "lost_connections"), 1),
            "channel": "/a",
            "via": "http",
            "errors": {},
            "note": None,
        }


def test_the_last_echoes_and_the_probes_end_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EchoLane", Lane)
    site = Site(tmp_path, echo_ns=SECOND)
    stopped: list[bool] = []
    monkeypatch.setattr(site.agent.readiness, "stop", lambda: stopped.append(site.agent.stopping))
    site.clock.go_on(0.3)
    assert site.line.last(Status).progress["echoes"] == 1
    site.agent.receive(Finish(drain_ns=SECOND))
    last = site.ended(2)
    # Probes and echoes were stopped once the drain was over.
    assert stopped == [True]
    assert last.echo is not None
    assert last.echo.channel == "/a"
    assert last.rows["echo"] == site.rows("echo") == 1


def test_a_worker_whose_starter_died_writes_what_it_has_and_says_nothing(site: Site) -> None:
    site.deliver(3)
    before = len(site.line.sent)
    site.agent.abandon()
    assert site.rows("deliveries") == 3
    site.agent.receive(Finish(drain_ns=0))
    site.clock.go_on(5)
    assert site.line.all(Finished) == []
    assert len(site.line.sent) - before <= 1


def test_a_disk_that_is_full_is_told_and_the_end_comes_all_the_same(
    far: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(far.agent.recorder, "_write", full)
    monkeypatch.setattr(far.agent.recorder._spool, "write_rows", full)
    far.line.answers = False
    far.clock.go_on(1.5)
    status = far.line.last(Status)
    assert status.broken == "worker 3 cannot write its record: No space left on device"
    assert (status.broken_code, status.absent) == (int(ExitCode.INCONCLUSIVE), False)
    far.agent.receive(Finish(drain_ns=0))
    # The record is incomplete, so the worker does not wait until the master has all of it.
    far.ended(1)


def test_a_refusal_for_good_and_a_note_are_reported(site: Site) -> None:
    site.agent.report_error("no such namespace", fatal=True)
    site.agent.dialer._on_note("it took long to connect")
    site.agent.dialer._on_failed(DialingError("no route"))
    site.clock.go_on(0.3)
    assert site.line.last(Status).fatal == "no such namespace"
    site.agent.receive(Finish(drain_ns=0))
    last = site.ended(1)
    assert last.network == {"it took long to connect": 1}
    assert [failure.kind for failure in last.failures] == ["network"]


def test_answers_to_pings_set_the_clock_and_one_more_ping_bounds_it_at_the_end(far: Site) -> None:
    ahead_ns = 9 * SECOND
    far.line.tells_time = False
    for _ in range(30):
        far.clock.go_on(0.02)
        far.agent.receive(pong(far.line.last(Ping), far.clock.at_ns + ahead_ns))
    assert abs(far.agent.local_ns(50_000 * SECOND) - (50_000 * SECOND - ahead_ns)) < SECOND
    # The recorder computes latencies by the master's clock, so the worker's offset is part of them.
    far.deliver(1)
    far.clock.go_on(1.5)
    told = [status.histogram for status in far.line.all(Status) if status.histogram is not None]
    assert len(told) == 1
    assert abs(histograms.decoded(told[0]).get_max_value() - ahead_ns) < SECOND // 10
    pings = len(far.line.all(Ping))
    far.agent.receive(Finish(drain_ns=0))
    settle()
    assert len(far.line.all(Ping)) == pings + 1
    # The record has 31 pings: the 30 that this test answered, and one that the simulated master answered before.
    assert far.ended(1).rows["clock"] == 31


def test_a_message_that_is_not_for_an_agent_changes_nothing(site: Site) -> None:
    before = len(site.line.sent)
    for message in (
        Refuse(reason="x"),
        StandBy(reason="x"),
        SpoolWritten(name="x", have=1, again=True),
        Grant(request=1, granted={ROLE: [1]}),
    ):
        site.agent.receive(message)
    settle()
    assert len(site.line.sent) == before
    assert not site.agent.stopping


def test_a_target_that_cannot_be_used_from_here_is_one_sentence(tmp_path: Path) -> None:
    login = Login.model_validate({"mode": "api-key", "key_env": "SOME_NAME"})
    elsewhere = begin(tmp_path, target=Target(URL, login).to_payload())
    with pytest.raises(RunError) as caught:
        Agent(MadeUpStatistics(), MadeUpLine(), "far_1", elsewhere, clock=MadeUpClock())
    assert caught.value.code == ExitCode.USAGE
    assert str(caught.value).startswith("the master ")
    assert "SOME_NAME" in str(caught.value)


def test_a_worker_stores_rows_only_where_its_own_command_line_says(tmp_path: Path) -> None:
    told = StoragePart(uri=tmp_path.as_uri(), run="run-1")
    with pytest.raises(RunError, match=f"allow it with --spool-to {tmp_path.as_uri()}") as caught:
        Agent(MadeUpStatistics(), MadeUpLine(), "far_1", begin(tmp_path, storage=told), clock=MadeUpClock())
    assert caught.value.code == ExitCode.USAGE
