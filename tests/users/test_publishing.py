"""Publishers against a run and a sender that are only what they need."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from loadgen.measure.clock import now_ns
from loadgen.measure.rows import EventRow
from loadgen.protocol.base import PublishAnswer
from loadgen.scenario import ClientPlan
from loadgen.users.publishing import OnOutcome, OpenLoopPublisher
from loadgen.users.worker import Progress, Timeline, WorkerRun

BATCH = 5


class Sender:
    """Answers after a while; never, where that is None."""

    def __init__(self, answer: PublishAnswer | None, error: str | None, after_s: float | None) -> None:
        self.answer, self.error, self.after_s = answer, error, after_s
        self.under_way = self.most = 0
        self.closed = False
        self.sent: list[Sequence[str]] = []

    def send(self, publish_id: str, channel: str, events: Sequence[str], on_outcome: OnOutcome) -> None:
        self.sent.append(events)
        self.under_way += 1
        self.most = max(self.most, self.under_way)

        def answer() -> None:
            self.under_way -= 1
            on_outcome(self.answer, now_ns(), self.error)

        if self.after_s is not None:
            gevent.spawn_later(self.after_s, answer)

    def close(self) -> None:
        self.closed = True


def publisher(sender: Sender, due_ns: list[int], in_flight: int = 0) -> tuple[OpenLoopPublisher, Any]:
    rows: list[EventRow] = []
    run = SimpleNamespace(
        recorder=SimpleNamespace(token=7, event=rows.append),
        progress=Progress(),
        publishing_over=False,
        local_ns=lambda at_ns: at_ns,
        wait_until=lambda at_ns: gevent.sleep(max(0, at_ns - now_ns()) / 1e9),
        rows=rows,
    )
    plan = SimpleNamespace(
        batch=BATCH,
        payload_bytes=100,
        offsets_ns=lambda: iter(due_ns),
        channels=lambda: SimpleNamespace(next=lambda: "/default/a"),
    )
    client = ClientPlan(3, "g", 0, (), cast(Any, plan), 0)
    return OpenLoopPublisher(cast(WorkerRun, run), client, sender, in_flight, lambda: None), run


def play(playing: OpenLoopPublisher, settle_s: float = 0.2) -> None:
    at_ns = now_ns()
    playing.publish_all(Timeline(at_ns, at_ns, at_ns, at_ns))
    gevent.sleep(settle_s)
    playing.give_up()


@pytest.mark.parametrize(
    ("answer", "error", "statuses", "reasons"),
    [
        (PublishAnswer(), None, {"accepted": 10}, {None: 10}),
        (PublishAnswer(error="no"), None, {"rejected": 10}, {"no": 10}),
        (PublishAnswer(rejected={1: "bad"}), None, {"accepted": 8, "rejected": 2}, {None: 8, "bad": 2}),
        (None, "gone", {"error": 10}, {"gone": 10}),
    ],
)
def test_each_event_is_recorded_with_what_became_of_it(
    answer: PublishAnswer | None, error: str | None, statuses: dict[str, int], reasons: dict[str | None, int]
) -> None:
    sender = Sender(answer, error, 0.01)
    playing, run = publisher(sender, [0, 1_000_000])
    play(playing)
    assert Counter(row.status for row in run.rows) == statuses
    assert Counter(row.error for row in run.rows) == reasons
    assert [row.sequence for row in run.rows] == list(range(10))
    assert {row.bytes for row in run.rows} == {100}
    assert all((row.acked_ns is None) == (answer is None) for row in run.rows)
    progress = run.progress
    assert progress.sent == progress.accepted + progress.rejected == 10
    assert progress.accepted == statuses.get("accepted", 0)
    assert sender.closed


def test_what_is_not_answered_is_recorded_once_and_a_late_answer_changes_nothing() -> None:
    sender = Sender(PublishAnswer(), None, 0.3)
    playing, run = publisher(sender, [0])
    play(playing, settle_s=0.05)
    gevent.sleep(0.4)
    assert Counter(row.status for row in run.rows) == {"unanswered": BATCH}
    assert run.progress.accepted == run.progress.rejected == 0


def test_no_more_are_under_way_than_allowed_and_the_wait_is_told_from_our_own_lateness() -> None:
    sender = Sender(PublishAnswer(), None, 0.05)
    playing, run = publisher(sender, [0] * 6, in_flight=2)
    play(playing)
    assert sender.most == 2
    last = run.rows[-1]
    assert last.slot_ns - last.intended_ns >= 90_000_000
    assert last.sent_ns - last.slot_ns < 30_000_000


def test_a_publisher_that_is_behind_lets_the_hub_read_the_answers() -> None:
    sender = Sender(PublishAnswer(), None, 0.0)
    playing, run = publisher(sender, [0] * 2_000)
    play(playing)
    assert sender.most < 1_000
    assert len(run.rows) == 2_000 * BATCH


def test_what_is_due_when_publishing_is_over_is_recorded_as_unsent() -> None:
    sender = Sender(PublishAnswer(), None, 0.0)
    playing, run = publisher(sender, [0, 0, 10**12])
    run.publishing_over = True
    play(playing)
    assert Counter(row.status for row in run.rows) == {"unsent": 2 * BATCH}
    assert not sender.sent
