"""Test each phase of a run and each way it can end, with a fake clock and a fake link to the workers."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.planning.budget import Budget
from loadgen.planning.prices import load_prices
from loadgen.resolve import ResolvedRun
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.resolve.rows import ClientRows
from loadgen.run.early_gates import EarlyGates
from loadgen.run.master.doubts import Doubts
from loadgen.run.master.phases import Clock, GateFailedError, Interrupted, Phases, StoppedError
from loadgen.run.master.progress import ProgressView
from loadgen.run.master.workers import Workers
from loadgen.run.master_messages import Go, Grant, Ramp
from loadgen.run.messages import Message
from loadgen.run.option import AbortOn
from loadgen.run.worker_info import LOCAL, WorkerInfo
from loadgen.run.worker_messages import Claim
from loadgen.scenario import overrides_of

SECOND = 1_000_000_000
_M = TypeVar("_M", bound=Message)
RUN = [
    *("clients.readers.count=4", "clients.readers.ramp=4/s", "clients.commenters.count=2"),
    *("phases.warmup=1s", "phases.measure=3s", "phases.drain=1s", "phases.ready_timeout=5s"),
]


class MadeUpClock(Clock):
    """A simulated clock. Its time passes only while the tested code waits, and planned actions then run in order."""

    def __init__(self) -> None:
        self.at_ns = 1_000 * SECOND
        self.planned: list[tuple[int, Callable[[], None]]] = []

    def now_ns(self) -> int:
        return self.at_ns

    def wait(self, event: Event, timeout_s: float) -> None:
        """Let the simulated time pass, but stop when a planned action sets ``event``."""
        if event.is_set():
            return
        until_ns = self.at_ns + max(1, int(timeout_s * SECOND))
        while (due := min(self.planned, default=None, key=lambda each: each[0])) and due[0] <= until_ns:
            self.planned.remove(due)
            self.at_ns = max(self.at_ns, due[0])
            due[1]()
            if event.is_set():
                return
        self.at_ns = until_ns

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.planned.append((self.at_ns + int(seconds * SECOND), action))


class Line:
    """Keeps the messages sent to the workers."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def to_coordinator(self, message: Message) -> None:
        raise AssertionError(message)

    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        self.sent.append(message)

    def last(self, kind: type[_M]) -> _M:
        return [message for message in self.sent if isinstance(message, kind)][-1]


class Pauses:
    def look(self) -> None:
        pass


class Conducted:
    """One run and its simulated workers. They answer the master correctly unless the test changes that."""

    def __init__(
        self,
        *more: str,
        workers: tuple[str, ...] = (LOCAL,),
        max_usd: float | None = None,
        abort_on: tuple[AbortOn, ...] = (),
    ) -> None:
        self.run: ResolvedRun = resolve(load("comments", overrides_of([*RUN, *more])))
        self.clock, self.line = MadeUpClock(), Line()
        infos = [WorkerInfo(worker_id, number, pid=number) for number, worker_id in enumerate(workers)]
        self.workers = Workers(self.run, infos)
        self.view = ProgressView(self.run.totals, self.workers, self.clock.at_ns)
        self.gates = EarlyGates.of(self.run)
        self.entered: list[tuple[str, int]] = []
        self.over: list[int] = []
        self.phases = Phases(
            self.run,
            ClientRows(self.run, Tables()),
            self.line,
            self.workers,
            self.view,
            self.gates,
            Pauses(),
            Budget.of(self.run, load_prices(None), max_usd),
            Doubts(self.run, self.workers, abort_on),
            self.clock,
            lambda phase, at_ns: self.entered.append((phase, at_ns)),
            self.over.append,
        )
        self.begun_ns = self.clock.at_ns

    def claim_all(self) -> None:
        for worker_id, state in self.workers.items():
            self.phases.grant(
                worker_id,
                Claim(request=1, wanted={role: len(free) for role, free in state.share.free.items()}),
            )

    def count(self, **counts: int) -> Callable[[], None]:
        """Return a function that makes one worker report ``counts``, while the others report nothing."""

        def report() -> None:
            first = next(iter(self.workers.values()))
            first.progress.update(counts)
            self.phases.changed.set()

        return report

    def goes_well(self) -> None:
        expected = self.run.totals
        self.clock.after(0.1, self.claim_all)
        self.clock.after(2, self.count(connected=expected.websockets, acknowledged=expected.subscriptions))
        self.clock.after(3, self.count(ready=expected.subscriptions))

    def fails(self, error: type[Exception]) -> Exception:
        with pytest.raises(error) as caught:
            self.phases.go()
        return caught.value

    @property
    def seconds(self) -> float:
        return (self.clock.at_ns - self.begun_ns) / SECOND

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.entered]


ALL = ["ramp", "ready", "warmup", "measure", "drain"]


def test_a_run_that_goes_well_has_all_phases_each_as_long_as_it_should_be() -> None:
    run = Conducted()
    run.goes_well()
    run.phases.go()
    assert run.names == ALL
    begun = dict(run.entered)
    go = run.line.last(Go)
    assert [begun[name] for name in ("warmup", "measure", "drain")] == [
        go.warmup_ns,
        go.measure_ns,
        go.measure_end_ns,
    ]
    assert run.over == [go.measure_ns, go.measure_end_ns, go.drain_end_ns]
    assert go.measure_end_ns - go.measure_ns == 3 * SECOND
    assert run.clock.at_ns == go.drain_end_ns
    # The last subscription is ready at 3 s. The warm-up begins shortly afterwards: the workers must first be told its
    # start time.
    assert 3 * SECOND < go.warmup_ns - run.begun_ns < 3.6 * SECOND


def test_the_ramp_begins_when_all_clients_have_a_user_and_workers_hear_of_it_before() -> None:
    run = Conducted()
    share = run.workers[LOCAL].share
    roles = {role: len(free) for role, free in share.free.items()}
    run.clock.after(1, lambda: run.phases.grant(LOCAL, Claim(request=1, wanted={"subscriber": 1})))
    run.clock.after(20, lambda: run.phases.grant(LOCAL, Claim(request=2, wanted=roles)))
    run.clock.after(21, run.phases.interrupt)
    run.fails(Interrupted)
    granted = [message.granted for message in run.line.sent if isinstance(message, Grant)]
    assert granted[0] == {"subscriber": [0]}
    assert sorted(number for each in granted for numbers in each.values() for number in numbers) == list(
        range(6)
    )
    assert run.line.last(Ramp).ramp_ns > run.begun_ns + 20 * SECOND


def test_where_users_do_not_come_it_says_how_many_came() -> None:
    run = Conducted()
    run.clock.after(1, lambda: run.phases.grant(LOCAL, Claim(request=1, wanted={"subscriber": 3})))
    error = run.fails(RunError)
    assert isinstance(error, RunError)
    assert error.code is ExitCode.TARGET
    assert str(error).startswith("users have started for 3 of 6 clients, and no more came within 30 s")
    assert run.names == ["ramp"]


def test_where_clients_cannot_connect_it_says_what_was_seen() -> None:
    run = Conducted()
    run.clock.after(0.1, run.claim_all)
    run.workers[LOCAL].complaints = {"no answer": 3, "refused": 1}
    run.clock.after(1, run.count(connected=2, throttled=7))
    error = run.fails(RunError)
    said = str(error)
    assert said.startswith("not all clients could connect and subscribe within ")
    assert "2 of 4 connected, 0 of 4 subscribed, 0 ready; most often: no answer (3×)" in said
    assert "the target refused 7 attempts for now" in said


def test_where_subscriptions_are_not_ready_in_time_it_is_the_targets_doing() -> None:
    run = Conducted()
    expected = run.run.totals
    run.clock.after(0.1, run.claim_all)
    run.clock.after(2, run.count(connected=expected.websockets, acknowledged=expected.subscriptions))
    error = run.fails(RunError)
    assert isinstance(error, RunError)
    assert error.code is ExitCode.TARGET
    assert "not all subscriptions were proven ready within 5 s" in str(error)
    assert run.names == ["ramp", "ready"]
    assert 7 <= run.seconds < 7.6


@pytest.mark.parametrize(
    ("at_s", "phases"), [(0.05, 1), (1, 1), (2.5, 2), (3.02, 2), (3.2, 3), (4.2, 4), (6, 4), (7.9, 5)]
)
def test_an_interrupt_ends_any_phase_at_once(at_s: float, phases: int) -> None:
    run = Conducted()
    run.goes_well()
    run.clock.after(at_s, run.phases.interrupt)
    run.fails(Interrupted)
    assert run.names == ALL[:phases]
    assert run.seconds == pytest.approx(at_s, abs=0.01)


def test_an_error_from_elsewhere_ends_it_and_the_first_one_counts() -> None:
    run = Conducted()
    run.goes_well()
    first = RunError("the server ended", ExitCode.INCONCLUSIVE)
    run.clock.after(5, lambda: run.phases.end(first))
    run.clock.after(5, lambda: run.phases.end(RunError("another", ExitCode.TARGET)))
    assert run.fails(RunError) is first


def test_the_target_refuses_for_good() -> None:
    run = Conducted()
    run.clock.after(0.1, run.claim_all)

    def refuse() -> None:
        run.workers[LOCAL].fatal = "UnauthorizedException"
        run.phases.changed.set()

    run.clock.after(1, refuse)
    error = run.fails(RunError)
    assert isinstance(error, RunError)
    assert (str(error), error.code) == ("the target refused: UnauthorizedException", ExitCode.TARGET)
    assert run.seconds == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("phase_s", [1, 6])
def test_a_worker_that_cannot_do_its_part_ends_the_run_with_its_own_code(phase_s: float) -> None:
    run = Conducted()
    run.goes_well()

    def breaks() -> None:
        run.workers[LOCAL].broken, run.workers[LOCAL].broken_code = "no key here", int(ExitCode.USAGE)

    run.clock.after(phase_s, breaks)
    error = run.fails(RunError)
    assert isinstance(error, RunError)
    assert (str(error), error.code) == ("no key here", ExitCode.USAGE)


def loses(run: Conducted, worker_id: str, left: str | None = None) -> Callable[[], None]:
    def lose() -> None:
        state = run.workers[worker_id]
        state.gone, state.left = left is None, left
        run.phases.changed.set()

    return lose


@pytest.mark.parametrize(
    ("left", "how"), [(None, "was lost"), ("it was told to end", "left (it was told to end)")]
)
def test_before_the_measurement_every_worker_is_needed(left: str | None, how: str) -> None:
    run = Conducted(workers=("one", "two"))
    run.goes_well()
    run.clock.after(1, loses(run, "two", left))
    error = run.fails(RunError)
    assert isinstance(error, RunError)
    assert error.code is ExitCode.INCONCLUSIVE
    assert str(error) == f"{run.workers['two'].info.name} {how} before the measurement began"


def test_while_it_is_measured_the_run_goes_on_with_the_workers_that_are_left() -> None:
    run = Conducted(workers=("one", "two"))
    run.goes_well()
    run.clock.after(6, loses(run, "two"))
    run.phases.go()
    assert run.names == ALL


def test_without_any_worker_it_cannot_go_on_though_locust_interrupts_it_then() -> None:
    run = Conducted(workers=("one", "two"))
    run.goes_well()
    for worker_id in ("one", "two"):
        run.clock.after(6, loses(run, worker_id))
    run.clock.after(6, run.phases.interrupt)
    assert str(run.fails(RunError)) == "all workers are gone: the run cannot go on"


def test_a_gate_that_ends_the_run_ends_it_in_the_measure_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Conducted()
    run.goes_well()
    monkeypatch.setattr(run.gates, "failure", lambda at_ns: "p99 is 3 s" if run.seconds > 5 else None)
    error = run.fails(GateFailedError)
    assert str(error) == "ended early: p99 is 3 s"
    assert run.names == ["ramp", "ready", "warmup", "measure"]


def test_a_budget_ends_it_soon_after_it_is_spent_in_any_phase() -> None:
    run = Conducted(max_usd=0.001)
    run.goes_well()
    run.clock.after(5, run.count(sent=10_000_000))
    assert "more than --max-cost" in str(run.fails(StoppedError))
    assert 5 <= run.seconds <= 5.3


def test_a_budget_counts_the_time_of_connections_from_the_ramp_on() -> None:
    run = Conducted(max_usd=1000.0)
    run.goes_well()
    run.phases.go()
    # Four connections exist from second 2 to the end. Each check adds the time since the previous check for
    # every connection that is open now.
    count, seconds = run.run.totals.websockets, run.seconds
    assert count * (seconds - 2) <= run.phases._connected_s <= count * (seconds - 1.5)


def test_workers_elsewhere_are_told_half_a_second_before() -> None:
    here, elsewhere = Conducted(), Conducted(workers=("one", "two"))
    leads = []
    for run in (here, elsewhere):
        run.goes_well()
        run.phases.go()
        leads.append(run.line.last(Go).warmup_ns - run.begun_ns - 3 * SECOND)
    assert leads[0] < 100_000_000 < leads[1] == 500_000_000


STEPS = st.sampled_from(["claim", "connect", "ready", "interrupt", "lose", "break", "refuse", "nothing"])


@given(st.lists(st.tuples(st.floats(0, 12), STEPS), max_size=8))
def test_whatever_happens_it_ends_and_says_why(steps: list[tuple[float, Any]]) -> None:
    run = Conducted()
    expected = run.run.totals
    state = run.workers[LOCAL]

    def breaks() -> None:
        state.broken = "broken"

    def refuse() -> None:
        state.fatal = "no"

    actions: dict[str, Callable[[], None]] = {
        "claim": run.claim_all,
        "connect": run.count(connected=expected.websockets, acknowledged=expected.subscriptions),
        "ready": run.count(ready=expected.subscriptions),
        "interrupt": run.phases.interrupt,
        "lose": loses(run, LOCAL),
        "break": breaks,
        "refuse": refuse,
        "nothing": lambda: None,
    }
    for at_s, step in steps:
        run.clock.after(at_s, actions[step])
    error = None
    try:
        run.phases.go()
    except (Interrupted, RunError) as found:
        error = found
    assert run.names == ALL[: len(run.names)]
    if error is None:
        assert run.names == ALL
    else:
        assert isinstance(error, Interrupted) or str(error)
    assert run.seconds < 60
