"""Test replies to received requests: due times and content, and that a hostile service does no harm."""

import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from loadgen.measure.clock import now_ns
from loadgen.measure.failures import Failures
from loadgen.payloads.stamping import Stamping
from loadgen.protocol.base import PublishAnswer
from loadgen.resolve import ClientPlan
from loadgen.resolve.replies import ReplyPlan, UnanswerableError
from loadgen.users import responding
from loadgen.users.numbering import Numbers
from loadgen.users.responding import Responder
from loadgen.users.worker import Progress, WorkerRun
from tests.measure.event_rows import own_lateness_ns
from tests.users.recorded import Recorded

MS = 1_000_000
TOKEN, SUBSCRIPTION = 7, 40


class Sender:
    """Takes each request and answers it at once."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, list[str]]] = []
        self.closed = False

    def send(self, publish_id: str, channel: str, make: Any, on_outcome: Any) -> None:
        self.sent.append((channel, list(make(now_ns(), None))))
        on_outcome(PublishAnswer(), now_ns(), None)

    def close(self) -> None:
        self.closed = True


class Case:
    """A responder whose worker's clock is ``ahead_ns`` ahead of the master's."""

    def __init__(
        self,
        count: int = 1,
        every_ns: int = 0,
        after_ns: int = 0,
        channel: Callable[[int, str], str] = lambda publisher, event: f"/default/{publisher}",
        ahead_ns: int = 0,
    ) -> None:
        self.rows = Recorded()
        self.told: list[tuple[str, bool]] = []
        self.failures = Failures()
        self.ahead_ns = ahead_ns
        self.run: Any = SimpleNamespace(
            recorder=SimpleNamespace(token=TOKEN, publish=self.rows.publish),
            progress=Progress(),
            failures=self.failures,
            stopping=False,
            publishing_over=False,
            most_event_bytes=None,
            stamping=Stamping(),
            report_error=lambda reason, fatal: self.told.append((reason, fatal)),
            local_ns=lambda at_ns: at_ns + ahead_ns,
            master_ns=lambda at_ns: at_ns - ahead_ns,
            wait_until=self._wait_until,
            publish_channel=self._checked,
        )
        self.client = ClientPlan(3, "g", 0, (), None, 0)

        def delays() -> Iterator[int]:
            while True:
                yield after_ns

        self.plan = ReplyPlan(SUBSCRIPTION, True, 100, count, every_ns, channel, delays)
        self.sender, self.numbers = Sender(), Numbers()
        self.of = Responder(cast(WorkerRun, self.run), self.client, self.plan)
        self.of.use(cast(Any, self.sender), self.numbers, lambda: 0)

    def _wait_until(self, due_ns: int) -> None:
        gevent.sleep(max(0, due_ns + self.ahead_ns - now_ns()) / 1e9)

    @staticmethod
    def _checked(channel: str) -> str:
        if not channel.startswith("/default/"):
            raise ValueError(f"channel {channel} is in no namespace")
        return channel

    def ask(self, sequence: int = 0, at_ns: int | None = None, subscription: int = SUBSCRIPTION) -> int:
        """Deliver a request of client 9; return its arrival in ns."""
        at_ns = now_ns() if at_ns is None else at_ns
        self.of.on_request(subscription, "{}", at_ns, (TOKEN, 9, sequence, at_ns, at_ns))
        return at_ns

    def wait_for(self, rows: int) -> None:
        with gevent.Timeout(60):
            while len(self.rows) < rows:
                gevent.sleep(0.001)


@pytest.mark.parametrize("ahead_ns", [0, 5_000 * MS])
def test_replies_are_due_from_the_arrival_on_and_carry_their_cause(ahead_ns: int) -> None:
    case = Case(count=3, every_ns=4 * MS, after_ns=10 * MS, ahead_ns=ahead_ns)
    at_ns = case.ask(sequence=12)
    case.wait_for(3)
    first_ns = at_ns - ahead_ns + 10 * MS
    assert [row.intended_ns for row in case.rows] == [first_ns, first_ns + 4 * MS, first_ns + 8 * MS]
    assert {(row.cause_publisher, row.cause_sequence, row.cause_subscription) for row in case.rows} == {
        (9, 12, SUBSCRIPTION)
    }
    # The generator's own lateness is measured from `slot_ns`, the due time on the worker's clock.
    assert [row.slot_ns for row in case.rows] == [row.intended_ns + ahead_ns for row in case.rows]
    assert all(row.sent_ns is not None and row.slot_ns is not None for row in case.rows)
    assert all((own_lateness_ns(row) or 0) >= 0 for row in case.rows)
    assert [row.status for row in case.rows] == ["accepted"] * 3
    assert [row.sequence for row in case.rows] == [row.batch for row in case.rows] == [0, 1, 2]
    assert {channel for channel, _ in case.sender.sent} == {"/default/9"}
    assert len(case.failures) == 0


def test_streams_interleave_and_share_their_numbers_with_the_schedule() -> None:
    case = Case(count=4, every_ns=5 * MS)
    assert case.numbers.next(3) == (0, range(3))
    case.ask(0)
    case.ask(1)
    case.wait_for(8)
    assert sorted(row.sequence for row in case.rows) == list(range(3, 11))
    assert sorted(row.batch for row in case.rows) == list(range(1, 9))
    for asked in (0, 1):
        its = [row.intended_ns for row in case.rows if row.cause_sequence == asked]
        assert [later - earlier for earlier, later in itertools.pairwise(its)] == [5 * MS] * 3


def test_a_request_is_answered_once_however_often_it_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responding, "MOST_REMEMBERED", 5)
    case = Case()
    for _ in range(3):
        case.ask(0)
    for sequence in range(1, 50):
        case.ask(sequence)
    case.wait_for(50)
    gevent.sleep(0.01)
    assert len(case.rows) == 50
    assert len(case.of._known) <= 5


def test_only_the_subscription_of_the_plan_is_answered_and_nothing_once_publishing_is_over() -> None:
    case = Case()
    case.ask(0, subscription=SUBSCRIPTION + 1)
    case.run.publishing_over = True
    case.ask(1)
    gevent.sleep(0.01)
    assert list(case.rows) == []


def test_what_is_outstanding_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responding, "MOST_OUTSTANDING", 3)
    case = Case(after_ns=60_000 * MS, count=2, every_ns=1)
    for sequence in range(10):
        case.ask(sequence)
    gevent.sleep(0.01)
    assert (
        case.told
        == [("a request was not answered: more than 3 requests to one client await their replies", False)] * 7
    )
    # When the run ends, the replies that are still due are recorded with the status `unsent`.
    case.of.give_up()
    assert [(row.status, row.sent_ns) for row in case.rows] == [("unsent", None)] * 6
    assert {row.cause_sequence for row in case.rows} == {0, 1, 2}
    assert case.sender.closed


def test_a_stream_that_the_end_cuts_off_is_recorded_to_its_end() -> None:
    case = Case(count=5, every_ns=20 * MS)
    case.ask()
    case.wait_for(2)
    case.run.publishing_over = True
    with gevent.Timeout(60):
        while len(case.rows) < 5:
            gevent.sleep(0.001)
    sent = [row for row in case.rows if row.status == "accepted"]
    assert 2 <= len(sent) < 5
    assert [row.status for row in case.rows[len(sent) :]] == ["unsent"] * (5 - len(sent))
    its = [row.intended_ns for row in case.rows]
    assert [later - earlier for earlier, later in itertools.pairwise(its)] == [20 * MS] * 4


@pytest.mark.parametrize("given", ["/elsewhere/\x1b[31m", "", "x" * 100_000])
def test_a_channel_of_the_request_is_checked_and_not_repeated(given: str) -> None:
    case = Case(channel=lambda publisher, event: given)
    case.ask()
    gevent.sleep(0.01)
    ((reason, fatal),) = case.told
    assert (list(case.rows), fatal) == ([], False)
    assert "cannot be published to" in reason
    assert "\x1b" not in reason
    assert len(reason) < 200


def test_a_request_without_what_the_channel_needs_is_told() -> None:
    def channel(publisher: int, event: str) -> str:
        raise UnanswerableError("the request has no member 'to'")

    case = Case(channel=channel)
    case.ask()
    assert case.told == [("a request was not answered: the request has no member 'to'", False)]


def test_a_failure_of_ours_is_counted_and_the_rest_of_the_stream_is_on_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(count=3, every_ns=MS)

    def fails(due_ns: int) -> None:
        raise RuntimeError("no timer")

    case.run.wait_until = fails
    case.ask()
    gevent.sleep(0.01)
    assert [row.status for row in case.rows] == ["unsent"] * 3
    assert len(case.failures) == 1


def test_an_unexpected_failure_is_ours_and_never_the_connections() -> None:
    def channel(publisher: int, event: str) -> str:
        raise KeyError(publisher)

    case = Case(channel=channel)
    case.ask()
    assert (list(case.rows), len(case.failures)) == ([], 1)
