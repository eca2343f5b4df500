"""Test the rows of a journey's publishes, with a sender whose answers the test gives."""

from types import SimpleNamespace
from typing import Any

import pytest

from loadgen.measure.failures import Failures
from loadgen.measure.stamp import decode_event
from loadgen.payloads.stamping import Stamping
from loadgen.protocol.base import UNACKNOWLEDGED, PublishAnswer
from loadgen.protocol.refusals import Kind, Refusal
from loadgen.resolve import ClientPlan
from loadgen.transport.errors import TransportError
from loadgen.transport.isolation import OurFailureError
from loadgen.users.journeys.publishes import JourneyPublishes
from loadgen.users.open_requests import Cause
from loadgen.users.worker import Progress
from tests.users.recorded import Recorded


class Sender:
    """Stands in for a sender: it keeps requests, and answers the oldest when the test calls a method."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, Any]] = []
        self.events: list[str] = []

    def send(self, publish_id: str, channel: str, make: Any, on_outcome: Any) -> None:
        self.waiting.append((make, on_outcome))

    def takes(self, sent_ns: int) -> None:
        self.events = list(self.waiting[0][0](sent_ns, "10.0.0.1:443"))

    def answers(self, answer: PublishAnswer | None, at_ns: int, error: TransportError | None = None) -> None:
        self.waiting.pop(0)[1](answer, at_ns, error)

    def close(self) -> None: ...


def made() -> tuple[JourneyPublishes, Sender, Recorded, Any]:
    rows = Recorded()
    recorder = SimpleNamespace(token=5, publish=rows.publish)
    run = SimpleNamespace(recorder=recorder, progress=Progress(), failures=Failures(), stamping=Stamping())
    return JourneyPublishes(run, ClientPlan(42, "g", 0, (), None, 0)), Sender(), rows, run


def test_events_are_numbered_over_all_requests_and_recorded_once() -> None:
    publishes, sender, rows, run = made()
    first = publishes.publish(sender, "/default/a", ['"n":1', '"n":"é"'], 100, 110)
    second = publishes.publish(sender, "/default/b", [""], 200, 200)
    sender.takes(120)
    assert [decode_event(event).stamp for event in sender.events] == [
        (5, 42, 0, 100, 120),
        (5, 42, 1, 100, 120),
    ]
    sender.answers(PublishAnswer(rejected={1: "too rude"}), 150)
    sender.takes(220)
    sender.answers(PublishAnswer(), 260)
    publishes.give_up()
    assert [(row.publisher, row.sequence, row.batch, row.channel, row.status, row.error) for row in rows] == [
        (42, 0, 0, "/default/a", "accepted", None),
        (42, 1, 0, "/default/a", "rejected", "too rude"),
        (42, 2, 1, "/default/b", "accepted", None),
    ]
    assert [(row.intended_ns, row.slot_ns, row.sent_ns, row.acked_ns) for row in rows[::2]] == [
        (100, 110, 120, 150),
        (200, 200, 220, 260),
    ]
    assert rows[1].bytes == len(b'{"_lg":[5,42,1,100,120],"n":"\xc3\xa9"}')
    assert not first.get()
    assert first.get().rejected == {1: "too rude"}
    assert second.get()
    assert (run.progress.sent, run.progress.accepted, run.progress.rejected) == (3, 2, 1)


def test_a_reply_of_user_code_has_its_members_and_its_cause() -> None:
    publishes, sender, rows, _ = made()
    cause = Cause(9, 4, 12)
    publishes.publish(sender, "/default/answers", ['"text":"a"', '"text":"b"'], 1, 1, cause)
    sender.takes(2)
    sender.answers(PublishAnswer(), 3)
    assert ['"text":"a"' in sender.events[0], '"text":"b"' in sender.events[1]] == [True, True]
    assert [(row.cause_publisher, row.cause_sequence, row.cause_subscription) for row in rows] == [cause] * 2


@pytest.mark.parametrize(
    ("answer", "error", "status", "truth"),
    [
        (PublishAnswer(error="denied"), None, "rejected", False),
        (UNACKNOWLEDGED, None, "sent", True),
        (None, TransportError("the connection was lost"), "error", False),
    ],
)
def test_every_outcome_is_a_row_and_an_answer(
    answer: PublishAnswer | None, error: TransportError | None, status: str, truth: bool
) -> None:
    publishes, sender, rows, _ = made()
    waiting = publishes.publish(sender, "/default/a", [""], 1, 1)
    sender.takes(2)
    sender.answers(answer, 3, error)
    assert [row.status for row in rows] == [status]
    assert bool(waiting.get()) is truth


def test_a_publish_that_our_own_failure_kept_from_being_sent_is_not_the_services_error() -> None:
    publishes, sender, rows, run = made()
    publishes.publish(sender, "/default/a", [""], 1, 1)
    sender.answers(None, 3, OurFailureError(RuntimeError("a defect")))
    assert [row.status for row in rows] == ["unmade"]
    assert run.progress.rejected == 0


def test_a_publish_that_the_service_refuses_for_good_is_told_to_the_logins() -> None:
    publishes, sender, _, run = made()
    told: list[tuple[int, str]] = []
    run.logins = SimpleNamespace(publish_refused=lambda client, why: told.append((client.number, why)))
    for kind in (Kind.THROTTLED, Kind.DENIED):
        publishes.publish(sender, "/default/a", [""], 1, 1)
        sender.takes(2)
        sender.answers(PublishAnswer(error="denied", refusal=Refusal(kind, "")), 3)
    assert told == [(42, "denied")]


def test_what_has_no_answer_at_the_end_is_recorded_too() -> None:
    publishes, sender, rows, _ = made()
    sent = publishes.publish(sender, "/default/a", [""], 1, 1)
    sender.takes(2)
    unsent = publishes.publish(sender, "/default/a", [""], 1, 1)
    publishes.give_up()
    publishes.give_up()
    assert [row.status for row in rows] == ["unanswered", "error"]
    assert sent.get().error == "the service did not answer"
    assert not unsent.get()


def test_a_sender_that_fails_loses_one_publish_only() -> None:
    publishes, sender, rows, run = made()

    def fail(*_: Any) -> None:
        raise RuntimeError("a defect")

    broken = SimpleNamespace(send=fail)
    assert not publishes.publish(broken, "/default/a", [""], 1, 1).get()
    assert [failure["kind"] for failure in run.failures.to_list()] == ["harness"]
    assert [row.status for row in rows] == ["error"]
    publishes.publish(sender, "/default/a", [""], 1, 1)
    sender.takes(2)
    sender.answers(PublishAnswer(), 3)
    assert rows[-1].status == "accepted"
