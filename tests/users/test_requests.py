"""Test publish requests made without a schedule, such as by a user's own code."""

from collections import Counter
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from loadgen.measure.failures import Failures
from loadgen.protocol.base import PublishAnswer
from loadgen.resolve import ClientPlan
from loadgen.transport.errors import TransportError
from loadgen.transport.slices import ITEMS
from loadgen.users.code import UserCode
from loadgen.users.requests import PublishRequests
from loadgen.users.senders import MakeEvents, OnOutcome
from loadgen.users.worker import NoLogins, Progress, WorkerRun
from tests.users.recorded import Recorded
from tests.users.test_publishing import Quiet


class Sender:
    """A stand-in for connections: it keeps the publish requests; the test says when each is sent and answered."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str, MakeEvents, OnOutcome]] = []
        self.closed = False

    def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
        self.given.append((publish_id, channel, make, on_outcome))

    def close(self) -> None:
        self.closed = True


class Case:
    def __init__(self, sender: Any = None) -> None:
        self.rows = Recorded()
        self.settled = 0
        self.sender: Any = sender or Sender()
        self.progress, self.failures = Progress(), Failures()
        run: Any = SimpleNamespace(
            recorder=SimpleNamespace(token=7, publish=self.rows.publish),
            progress=self.progress,
            failures=self.failures,
            logins=NoLogins(cast(Any, None)),
            stopping=False,
            most_event_bytes=None,
        )
        plan = SimpleNamespace(batch=1, payload_bytes=100, padded=True, maker=lambda: None)
        client = ClientPlan(3, "g", 0, (), cast(Any, plan), 0)
        code = UserCode(Quiet(), Quiet, cast(WorkerRun, run))
        self.of = PublishRequests(run, client, self.sender, code, self._on_settled)

    def _on_settled(self) -> None:
        self.settled += 1

    def statuses(self) -> Counter[str]:
        return Counter(row.status for row in self.rows)


def test_each_request_has_the_channel_the_times_and_the_numbers_that_it_was_given() -> None:
    case = Case()
    case.of.publish(0, range(2), "/default/a", 100, 110)
    case.of.publish(5, (7,), "/default/b", 200, 200)
    assert (case.of.unanswered, list(case.rows)) == (2, [])
    for _, _, make, on_outcome in reversed(case.sender.given):
        make(300, "127.0.0.1:1")
        on_outcome(PublishAnswer(), 400, None)
    assert [(row.batch, row.sequence, row.channel, row.intended_ns, row.slot_ns) for row in case.rows] == [
        (5, 7, "/default/b", 200, 200),
        (0, 0, "/default/a", 100, 110),
        (0, 1, "/default/a", 100, 110),
    ]
    assert {(row.sent_ns, row.acked_ns, row.remote_address) for row in case.rows} == {
        (300, 400, "127.0.0.1:1")
    }
    assert (case.of.unanswered, case.settled, case.progress.accepted) == (0, 2, 3)


def test_what_no_connection_takes_and_what_nobody_answers_end_differently() -> None:
    case = Case()
    case.of.publish(0, range(1), "/default/a", 100, 110)
    case.of.publish(1, range(1, 2), "/default/a", 100, 110)
    case.sender.given[1][2](300, None)
    case.of.give_up()
    assert case.sender.closed
    assert [(row.status, row.sent_ns) for row in case.rows] == [("error", None), ("unanswered", 300)]
    # An answer that arrives after the request was given up is too late for the record.
    case.sender.given[1][3](PublishAnswer(), 400, None)
    assert len(case.rows) == 2


def test_many_requests_are_given_up_without_holding_the_event_loop() -> None:
    case, count = Case(), 20 * ITEMS
    for number in range(count):
        case.of.publish(number, (number,), "/default/a", 100, 110)
    turns: list[int] = []

    def watch() -> None:
        while case.of.unanswered:
            turns.append(case.of.unanswered)
            if len(turns) == 2:
                # An answer during the wait counts: the request is recorded once, as accepted.
                case.sender.given[-1][2](300, None)
                case.sender.given[-1][3](PublishAnswer(), 400, None)
            gevent.sleep(0)

    watching = gevent.spawn(watch)
    case.of.give_up()
    watching.join(5)
    assert max(before - after for before, after in pairwise(turns)) <= ITEMS + 1
    assert case.statuses() == {"error": count - 1, "accepted": 1}


def test_what_is_due_too_late_is_offered_load_all_the_same() -> None:
    case = Case()
    case.of.too_late(0, range(3), "/default/a", 100)
    assert case.statuses() == {"unsent": 3}
    assert (case.sender.given, case.of.unanswered) == ([], 0)


@pytest.mark.parametrize("begun", [False, True])
def test_a_failure_of_ours_costs_its_request_alone(begun: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Sender):
        def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
            raise KeyError(publish_id)

    case = Case(Broken())
    if not begun:

        def members(self: UserCode) -> str:
            raise KeyError("members")

        monkeypatch.setattr(UserCode, "makes_members", True)
        monkeypatch.setattr(UserCode, "members", members)
    case.of.publish(0, range(2), "/default/a", 100, 110)
    assert case.statuses() == {("error" if begun else "unmade"): 2}
    assert [failure["kind"] for failure in case.failures.to_list()] == ["harness"]
    assert case.of.unanswered == 0


def test_an_error_of_the_transport_is_the_services_and_is_recorded_with_its_reason() -> None:
    case = Case()
    case.of.publish(0, range(1), "/default/a", 100, 110)
    case.sender.given[0][3](None, 400, TransportError("connection refused"))
    assert [(row.status, row.error) for row in case.rows] == [("error", "connection refused")]
    assert case.progress.rejected == 1
