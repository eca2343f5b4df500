"""Test publishers with minimal fakes of run and sender."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.clock import now_ns
from loadgen.measure.failures import Failures
from loadgen.measure.stamp import decode_event
from loadgen.payloads.place import Place, split
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import Body, Stamping
from loadgen.protocol.base import PublishAnswer
from loadgen.resolve import ClientPlan
from loadgen.transport.dialing import DialError
from loadgen.transport.errors import TransportError
from loadgen.transport.isolation import OurFailureError
from loadgen.transport.resolving import UnresolvedError
from loadgen.users.code import UserCode
from loadgen.users.publishing import OpenLoopPublisher
from loadgen.users.senders import MakeEvents, OnOutcome
from loadgen.users.worker import NoLogins, Progress, Timeline, WorkerRun
from tests.measure.event_rows import own_lateness_ns
from tests.users.recorded import Recorded
from tests.waiting import wait_for

BATCH = 5


class Sender:
    """Answers after a delay; if the delay is None, only when a test calls the functions in :attr:`answers`."""

    def __init__(self, answer: PublishAnswer | None, error: str | None, after_s: float | None) -> None:
        self.answer, self.error, self.after_s = answer, error, after_s
        self.answers: list[Callable[[], None]] = []
        self.under_way = self.most = 0
        self.closed = False
        self.sent: list[Sequence[str]] = []

    def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
        self.sent.append(make(now_ns(), None))
        self.under_way += 1
        self.most = max(self.most, self.under_way)

        def answer() -> None:
            self.under_way -= 1
            on_outcome(self.answer, now_ns(), None if self.error is None else TransportError(self.error))

        if self.after_s is None:
            self.answers.append(answer)
        else:
            gevent.spawn_later(self.after_s, answer)

    def close(self) -> None:
        self.closed = True


class Quiet:
    """Implements the hooks of user code, which do nothing."""

    def on_start(self) -> None: ...

    def on_stop(self) -> None: ...

    def on_delivery(self, channel: str, event: str) -> None: ...

    def payload(self) -> Any: ...


class Numbered:
    """Makes events that contain their number and the row of their request."""

    def __init__(self, stamping: Stamping) -> None:
        self._stamping = stamping

    def next(self, sequence: int, rows: Mapping[str, int]) -> Body:
        return self._stamping.whole(*split(f'{{"n":{sequence},"row":{len(rows)}}}', ("trace",)))


def publisher(
    sender: Sender,
    due_ns: list[int],
    in_flight: int = 0,
    payload: Callable[[], Any] | None = None,
    stamping: Stamping | None = None,
) -> tuple[OpenLoopPublisher, Any]:
    rows = Recorded()
    run = SimpleNamespace(
        recorder=SimpleNamespace(token=7, publish=rows.publish),
        progress=Progress(),
        publishing_over=False,
        stopping=False,
        failures=Failures(),
        logins=NoLogins(cast(Any, None)),
        most_event_bytes=2_000,
        local_ns=lambda at_ns: at_ns,
        wait_until=lambda at_ns: gevent.sleep(max(0, at_ns - now_ns()) / 1e9),
        rows=rows,
        due=len(due_ns) * BATCH,
        stamping=stamping,
    )
    plan = SimpleNamespace(
        batch=BATCH,
        payload_bytes=100,
        padded=stamping is None,
        maker=lambda: None if stamping is None else Numbered(stamping),
        offsets_ns=lambda: iter(due_ns),
        channels=lambda: SimpleNamespace(next=lambda: "/default/a"),
    )
    client = ClientPlan(3, "g", 0, (), cast(Any, plan), 0)
    user = Quiet()
    if payload is not None:
        user.payload = payload  # type: ignore[method-assign]
    code = UserCode(user, Quiet, cast(WorkerRun, run))
    return OpenLoopPublisher(cast(WorkerRun, run), client, sender, in_flight, code), run


def play(playing: OpenLoopPublisher, run: Any, until: Callable[[], bool] | None = None) -> None:
    """Publish all events, wait, and give up the unanswered requests.

    The wait ends when all scheduled events are recorded, or when ``until`` returns True.
    """
    at_ns = now_ns()
    playing.publish_all(Timeline(at_ns, at_ns, at_ns, at_ns))
    wait_for(until or (lambda: len(run.rows) == run.due))
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
    play(playing, run)
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
    sender = Sender(PublishAnswer(), None, None)
    playing, run = publisher(sender, [0])
    play(playing, run, until=lambda: len(sender.answers) == 1)
    sender.answers[0]()
    assert Counter(row.status for row in run.rows) == {"unanswered": BATCH}
    assert run.progress.accepted == run.progress.rejected == 0


def test_no_more_are_under_way_than_allowed_and_the_wait_is_told_from_our_own_lateness() -> None:
    sender = Sender(PublishAnswer(), None, 0.05)
    playing, run = publisher(sender, [0] * 6, in_flight=2)
    play(playing, run)
    assert sender.most == 2
    first = {row.batch: row for row in reversed(run.rows)}
    assert {row.status for row in run.rows} == {"accepted"}
    # A request may be sent from its `slot_ns` on: once an earlier request is answered, so that fewer than `in_flight`
    # are open. Only time after `slot_ns` counts as the generator's lateness.
    answered = sorted(row.acked_ns for row in first.values())
    slots = sorted(row.slot_ns for row in first.values())
    assert all(slot >= answer for slot, answer in zip(slots[2:], answered, strict=False))
    assert all(row.intended_ns <= row.slot_ns <= row.sent_ns <= row.acked_ns for row in first.values())
    # Two requests may be open at once, so the first two do not wait.
    assert all(slot < answered[0] for slot in slots[:2])


def test_a_publisher_that_is_behind_lets_the_hub_read_the_answers() -> None:
    sender = Sender(PublishAnswer(), None, 0.0)
    playing, run = publisher(sender, [0] * 2_000)
    play(playing, run)
    assert sender.most < 1_000
    assert len(run.rows) == 2_000 * BATCH


def test_what_is_due_when_publishing_is_over_is_recorded_as_unsent() -> None:
    sender = Sender(PublishAnswer(), None, 0.0)
    playing, run = publisher(sender, [0, 0, 10**12])
    run.publishing_over = True
    play(playing, run, until=lambda: len(run.rows) == 2 * BATCH)
    assert Counter(row.status for row in run.rows) == {"unsent": 2 * BATCH}
    assert not sender.sent


def failing(*numbers: int, error: BaseException | None = None, value: Any = None) -> Callable[[], Any]:
    """Return a payload() that fails at the calls with these numbers, counted from 0."""
    calls = itertools.count()

    def payload() -> Any:
        number = next(calls)
        if number not in numbers:
            return {"call": number}
        if error is not None:
            raise error
        return value

    return payload


@pytest.mark.parametrize("number", range(BATCH))
@pytest.mark.parametrize(
    "wrong",
    [
        {"error": ValueError("no row")},
        {"error": SystemExit(0)},
        {"error": KeyboardInterrupt()},
        {"error": gevent.GreenletExit()},
        {"error": gevent.Timeout(1)},
        {"value": [1]},
        {"value": {"x": float("nan")}},
    ],
    # Test ids are explicit, because the text of an object may contain its memory address, which differs between
    # processes.
    ids=["ValueError", "SystemExit", "KeyboardInterrupt", "GreenletExit", "Timeout", "a list", "NaN"],
)
def test_an_event_that_payload_fails_at_is_unmade_and_all_others_are_sent(
    number: int, wrong: dict[str, Any]
) -> None:
    sender = Sender(PublishAnswer(), None, 0.0)
    playing, run = publisher(sender, [0, 0, 0], payload=failing(BATCH + number, **wrong))
    play(playing, run)
    rows = {row.sequence: row for row in run.rows}
    assert sorted(rows) == list(range(3 * BATCH)), "each event of the schedule is on record once"
    assert Counter(row.status for row in run.rows) == {"accepted": 3 * BATCH - 1, "unmade": 1}
    unmade = rows[BATCH + number]
    assert (unmade.status, unmade.sent_ns, unmade.acked_ns, unmade.batch) == ("unmade", None, None, 1)
    assert unmade.error is not None
    assert unmade.error.startswith("payload() ")
    sent = [decode_event(text).stamp[2] for events in sender.sent for text in events]
    assert sent == [sequence for sequence in range(3 * BATCH) if sequence != BATCH + number]
    (failure,) = run.failures.to_list()
    assert (failure["kind"], failure["count"]) == ("user code", 1)
    assert failure["where"].startswith("payload() at tests/users/test_publishing.py:")
    assert run.progress.sent == run.progress.accepted == 3 * BATCH - 1


@settings(deadline=None, max_examples=60)
@given(st.sets(st.integers(0, 4 * BATCH - 1)), st.sampled_from([ValueError("no"), SystemExit(0), None]))
def test_whichever_events_cannot_be_made_all_others_are_sent_in_order(
    wrong: set[int], error: BaseException | None
) -> None:
    class Prompt(Sender):
        def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
            self.sent.append(make(now_ns(), None))
            on_outcome(self.answer, now_ns(), None)

    sender = Prompt(PublishAnswer(), None, None)
    playing, run = publisher(sender, [0] * 4, payload=failing(*wrong, error=error, value="text"))
    play(playing, run)
    assert sorted(row.sequence for row in run.rows) == list(range(4 * BATCH))
    assert {row.sequence for row in run.rows if row.status == "unmade"} == wrong
    sent = [decode_event(text).stamp[2] for events in sender.sent for text in events]
    assert sent == [sequence for sequence in range(4 * BATCH) if sequence not in wrong]
    assert all(sender.sent)
    assert len(run.failures) == len(wrong)


def test_a_request_of_which_no_event_could_be_made_is_not_sent_and_takes_no_slot() -> None:
    sender = Sender(PublishAnswer(), None, 0.01)
    playing, run = publisher(
        sender, [0] * 4, in_flight=1, payload=failing(*range(2 * BATCH), error=ValueError())
    )
    play(playing, run)
    assert len(sender.sent) == 2
    assert Counter(row.status for row in run.rows) == {"accepted": 2 * BATCH, "unmade": 2 * BATCH}
    assert len(run.failures) == 2 * BATCH


def test_what_payload_takes_is_our_lateness_and_not_the_services_latency() -> None:
    def slow() -> None:
        gevent.sleep(0.02)

    sender = Sender(PublishAnswer(), None, 0.0)
    playing, run = publisher(sender, [0], payload=slow)
    play(playing, run)
    assert all(row.sent_ns - row.slot_ns >= BATCH * 18_000_000 for row in run.rows)
    ((*_, sent_ns),) = {decode_event(text).stamp for text in sender.sent[0][:1]}
    assert sent_ns == run.rows[0].sent_ns


def test_a_sender_that_raises_loses_its_request_and_the_schedule_goes_on() -> None:
    class Broken(Sender):
        def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
            if publish_id == "p1":
                raise RuntimeError("no")
            super().send(publish_id, channel, make, on_outcome)

    sender = Broken(PublishAnswer(), None, 0.0)
    playing, run = publisher(sender, [0, 0, 0])
    play(playing, run)
    assert Counter(row.status for row in run.rows) == {"accepted": 2 * BATCH, "error": BATCH}
    assert sorted(row.sequence for row in run.rows) == list(range(3 * BATCH))
    (failure,) = run.failures.to_list()
    assert (failure["kind"], failure["message"]) == ("harness", "RuntimeError: no")


def test_an_event_that_the_service_refuses_since_payload_made_it_too_large_is_named() -> None:
    sender = Sender(PublishAnswer(rejected={1: "too large"}), None, 0.0)
    playing, run = publisher(sender, [0], payload=failing(1, value={"x": "y" * 3_000}))
    play(playing, run)
    (failure,) = run.failures.to_list()
    assert failure["message"].endswith("bytes, and the service takes at most 2,000")
    assert Counter(row.status for row in run.rows) == {"accepted": BATCH - 1, "rejected": 1}


def test_a_small_event_that_the_service_refuses_is_the_services_answer() -> None:
    sender = Sender(PublishAnswer(rejected={1: "no"}), None, 0.0)
    playing, run = publisher(sender, [0], payload=failing())
    play(playing, run)
    assert not run.failures.to_list()


class Dialing(Sender):
    """A sender that is connected, or fails to connect, after a delay.

    If the delay is None, a test ends the wait by calling `connected`.
    """

    def __init__(self, after_s: float | None, error: TransportError | None = None) -> None:
        super().__init__(PublishAnswer(), None, 0.0)
        self.dialing_s, self.failure = after_s, error
        self.connected: Callable[[], None] | None = None

    def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
        self.asked_ns = now_ns()

        def connected() -> None:
            if self.closed:
                return
            self.waited_ns = now_ns() - self.asked_ns
            if self.failure is not None:
                on_outcome(None, now_ns(), self.failure)
                return
            self.sent.append(make(now_ns(), "192.0.2.1:443"))
            on_outcome(PublishAnswer(), now_ns(), None)

        self.connected = connected
        if self.dialing_s is not None:
            gevent.spawn_later(self.dialing_s, connected)


def test_a_publish_is_stamped_when_a_connection_takes_it_and_the_wait_is_a_figure_of_its_own() -> None:
    sender = Dialing(0.1)
    playing, run = publisher(sender, [0])
    play(playing, run)
    ((_, _, _, _, sent_ns),) = {decode_event(text).stamp for text in sender.sent[0][:1]}
    for row in run.rows:
        assert (row.status, row.sent_ns, row.remote_address) == ("accepted", sent_ns, "192.0.2.1:443")
        assert row.connection_wait_ns >= sender.waited_ns
        assert own_lateness_ns(row) == row.sent_ns - row.slot_ns - row.connection_wait_ns
        assert own_lateness_ns(row) <= sender.asked_ns - row.slot_ns
    assert run.progress.sent == run.progress.accepted == BATCH


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TransportError("x: no answer to the TLS handshake in time"), "error"),
        (DialError("x: Connection refused", "192.0.2.1:443"), "error"),
        (UnresolvedError("the host name x cannot be resolved by this machine: no"), "unmade"),
        (OurFailureError(ValueError("no")), "unmade"),
    ],
)
def test_what_never_got_a_connection_was_never_sent_and_is_an_error_only_of_the_service(
    error: TransportError, status: str
) -> None:
    sender = Dialing(0.05, error)
    playing, run = publisher(sender, [0])
    play(playing, run)
    assert Counter(row.status for row in run.rows) == {status: BATCH}
    remote = error.remote if isinstance(error, DialError) else None
    assert {(row.sent_ns, row.error, row.remote_address) for row in run.rows} == {(None, str(error), remote)}
    assert all(row.connection_wait_ns >= sender.waited_ns > 0 for row in run.rows)
    assert all(own_lateness_ns(row) is None for row in run.rows)
    assert run.progress.sent == 0


def test_what_waits_for_a_connection_at_the_end_is_not_sent_any_more() -> None:
    sender = Dialing(None)
    playing, run = publisher(sender, [0])
    play(playing, run, until=lambda: sender.connected is not None)
    assert sender.connected is not None
    sender.connected()
    assert sender.sent == []
    assert Counter(row.status for row in run.rows) == {"error": BATCH}
    assert {row.error for row in run.rows} == {"no connection could be opened by the end of the drain"}


def test_events_of_a_payload_are_made_in_order_and_stamped_at_their_place() -> None:
    sender, stamping = Sender(PublishAnswer(), None, 0.0), Stamping(Stamps(Place("member", "trace"), True))
    playing, run = publisher(sender, [0, 0, 0], stamping=stamping)
    play(playing, run)
    sent = [event for events in sender.sent for event in events]
    stamps = [stamping.read(event) for event in sent]
    assert [(stamp[:3], altered) for stamp, altered in stamps] == [((7, 3, n), False) for n in range(15)]
    assert [json.loads(event)["n"] for event in sent] == list(range(15))
    assert [row.bytes for row in run.rows] == [len(event) for event in sent]
    assert [(row.sequence, row.status) for row in run.rows] == [(n, "accepted") for n in range(15)]


def test_members_of_payload_replace_the_content_of_their_event_only() -> None:
    given = itertools.cycle([{"own": 1}, None, {}])
    sender, stamping = Sender(PublishAnswer(), None, 0.0), Stamping(Stamps(Place("pointer", "/meta/trace")))
    playing, run = publisher(sender, [0, 0], payload=lambda: next(given), stamping=stamping)
    play(playing, run)
    sent = [json.loads(event) for events in sender.sent for event in events]
    assert [each.get("own", each.get("n")) for each in sent] == [1, 1, 2, 1, 4, 5, 1, 7, 8, 1]
