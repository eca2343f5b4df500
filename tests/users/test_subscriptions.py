"""Test the life of a subscription: its states, counts and rows."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.refusals import Refusal
from loadgen.resolve import Behaviour, ClientPlan, ReconnectPlan, SubscriptionPlan
from loadgen.transport.errors import TransportError
from loadgen.users.life import Life
from loadgen.users.subscriptions import State, Subscriptions
from loadgen.users.worker import NoLogins, Progress
from tests.isolation.test_connection import Rows

PLAN = SubscriptionPlan(10, "/default/a")
STAMP: Any = (7, 0, 0, 0, 0)
FOREIGN: Any = (8, 0, 0, 0, 0)
LATER, NEVER = Refusal.of(429), Refusal.of(403)


class Readiness:
    """Counts the subscriptions that are waited for, by channel."""

    def __init__(self) -> None:
        self.settle: list[Callable[[int], None]] = []
        self.awaited = 0

    def watch(self, channel: str, on_ready: Callable[[int], None]) -> None:
        self.awaited += 1
        self.settle.append(on_ready)

    def proven(self, channel: str) -> None:
        self.awaited -= 1

    def withdraw(self, channel: str) -> None:
        self.awaited -= 1

    def probed_since_ns(self, channel: str) -> int:
        return 30


class Link:
    def __init__(self) -> None:
        self.is_open = True
        self.sent: list[bytes] = []

    def send(self, message: bytes) -> None:
        if not self.is_open:
            raise TransportError("closed")
        self.sent.append(message)

    def failed(self, error: BaseException) -> None:
        raise error


class Case:
    """Subscriptions of one client over an open connection."""

    def __init__(
        self, *, answers: bool = True, message: bytes = b"subscribe", early: str | None = None
    ) -> None:
        self.progress, self.readiness, self.rows, self.link = Progress(), Readiness(), Rows(), Link()
        self.told: list[tuple[str, bool]] = []
        self.numbers: dict[str, int] = {}
        run: Any = SimpleNamespace(
            progress=self.progress,
            readiness=self.readiness,
            recorder=self.rows,
            service=SimpleNamespace(answers_subscribes=answers),
            report_error=lambda reason, fatal: self.told.append((reason, fatal)),
        )
        run.logins = NoLogins(run.service)
        session: Any = SimpleNamespace(
            subscribe=lambda subscription_id, channel: message,
            unsubscribe=lambda subscription_id: b"unsubscribe",
            early_delivery=early,
        )
        behaviour = Behaviour(ReconnectPlan(1, 1, False, True, "s"))
        client = ClientPlan(1, "g", 1, (PLAN, SubscriptionPlan(11, "/default/b")), None, 0, behaviour)
        life = Life(0, started_ns=20, opened_ns=50)
        self.of = Subscriptions(run, client, life, session, self.link, self.numbers, lambda: None)

    def state(self, subscription_id: str = "s10") -> State | None:
        found = self.of._by_id.get(subscription_id)
        return None if found is None else found.state

    def counts(self) -> tuple[int, int, int]:
        """Return how many subscriptions are acknowledged, ready, and waited for."""
        return self.progress.acknowledged, self.progress.ready, self.readiness.awaited


def test_asked_acknowledged_ready_and_ended() -> None:
    case = Case()
    case.of.ask(PLAN)
    assert (case.state(), case.counts()) == (State.REQUESTED, (0, 0, 0))
    case.of.on_subscribed("s10", 40)
    assert (case.state(), case.counts()) == (State.ACKNOWLEDGED, (1, 0, 1))
    case.of.on_delivery("s10", 60, FOREIGN)
    assert case.state() is State.ACKNOWLEDGED, "an event of another run proves nothing of ours"
    case.of.on_delivery("s10", 60, STAMP)
    assert (case.state(), case.counts()) == (State.READY, (1, 1, 0))
    case.of.end(90, "leave")
    assert (case.state(), case.counts()) == (None, (0, 0, 0))
    known, ended = case.rows.subscriptions
    assert (known.acknowledged_ns, known.probed_ns, known.ready_ns, known.ended_ns) == (40, 40, 60, None)
    assert (ended.ready_ns, ended.ended_ns, ended.intent, ended.error) == (60, 90, "leave", None)


def test_a_delivery_before_the_answer_is_an_answer_and_named_where_the_protocol_forbids_it() -> None:
    case = Case(early="an event came before the answer")
    case.of.ask(PLAN)
    case.of.on_delivery("s10", 60, STAMP)
    assert (case.state(), case.counts()) == (State.READY, (1, 1, 0))
    case.of.on_subscribed("s10", 70)
    assert case.counts() == (1, 1, 0)
    case.of.end(90, None)
    assert case.rows.subscriptions[-1].acknowledged_ns == 60
    assert case.rows.deviations == {"an event came before the answer": 1}


def test_of_a_service_that_answers_no_subscribe_to_have_asked_is_all() -> None:
    case = Case(answers=False)
    case.of.ask(PLAN)
    assert (case.state(), case.counts()) == (State.ASSUMED, (1, 0, 1))
    # An answer comes although the protocol has no answers to subscribes. It does not count as an acknowledgement.
    case.of.on_subscribed("s10", 40)
    assert case.counts() == (1, 0, 1)
    case.readiness.settle[0](60)
    assert (case.state(), case.counts()) == (State.READY, (1, 1, 0))
    case.of.end(90, None)
    row = case.rows.subscriptions[-1]
    assert (row.acknowledged_ns, row.ready_ns) == (None, 60)
    assert row.probed_ns == row.requested_ns


def test_where_the_url_subscribes_the_upgrade_is_the_acknowledgement() -> None:
    case = Case(message=b"")
    case.of.ask(PLAN)
    assert (case.state(), case.counts(), case.link.sent) == (State.ACKNOWLEDGED, (1, 0, 1), [])
    case.of.end(90, None)
    row = case.rows.subscriptions[-1]
    assert (row.requested_ns, row.acknowledged_ns) == (20, 50)


@pytest.mark.parametrize("heard", ["nothing", "acknowledged", "ready"])
def test_what_the_service_refuses_for_good_counts_no_more_and_is_awaited_no_more(heard: str) -> None:
    case = Case()
    case.of.ask(PLAN)
    if heard != "nothing":
        case.of.on_subscribed("s10", 40)
    if heard == "ready":
        case.of.on_delivery("s10", 60, STAMP)
    case.of.on_subscribe_failed("s10", "no", NEVER)
    assert (case.state(), case.counts()) == (State.REFUSED, (0, 0, 0))
    assert case.of.unready == set()
    case.of.on_subscribe_failed("s10", "no", NEVER)
    case.of.on_subscribed("s10", 70)
    case.readiness.settle and case.readiness.settle[0](80)
    assert (case.state(), case.counts(), case.progress.failed) == (State.REFUSED, (0, 0, 0), 1)
    assert case.of.give_up(PLAN) is None
    ((told, fatal),) = case.told
    assert fatal
    assert told.startswith("subscription to /default/a refused: no; ")
    case.of.end(90, None)
    row = case.rows.subscriptions[-1]
    assert (row.error, row.refusal, row.ended_ns) == ("no", "denied", 90)


def test_what_the_service_refuses_for_now_is_asked_for_again_under_another_id() -> None:
    case = Case()
    case.of.ask(PLAN)
    case.of.on_subscribe_failed("s10", "slow down", LATER)
    assert (case.state(), case.counts(), case.progress.throttled) == (None, (0, 0, 0), 1)
    assert "s10" not in case.numbers
    with gevent.Timeout(60):
        while case.state("s10-1") is None:
            gevent.sleep(0.001)
    case.of.on_subscribed("s10", 40)
    assert case.state("s10-1") is State.REQUESTED, "an answer to the first is none to the second"
    case.of.on_subscribed("s10-1", 45)
    assert case.counts() == (1, 0, 1)


@pytest.mark.parametrize("end", ["end", "stop", "closed"])
def test_nothing_is_asked_for_again_over_a_connection_that_ends(end: str) -> None:
    case = Case()
    case.of.ask(PLAN)
    case.of.on_subscribe_failed("s10", "slow down", LATER)
    if end == "end":
        case.of.end(50, None)
    elif end == "stop":
        case.of.stop()
    else:
        case.link.is_open = False
    gevent.sleep(0.05)
    assert case.progress.requested == 1


def test_what_is_given_up_and_made_anew_is_another_turn() -> None:
    case = Case()
    case.of.ask(PLAN)
    assert case.of.give_up(PLAN) is None, "not before it is ready"
    case.of.on_subscribed("s10", 40)
    case.of.on_delivery("s10", 60, STAMP)
    again = case.of.give_up(PLAN)
    assert again is not None
    assert case.counts() == (0, 0, 0)
    assert case.of.channel_of("s10") == "/default/a", "events may still be under way"
    again()
    case.of.on_subscribed("s10-1", 70)
    case.of.on_delivery("s10-1", 80, STAMP)
    assert case.counts() == (1, 1, 0)
    case.of.end(90, None)
    assert [(row.turn, row.intent) for row in case.rows.subscriptions if row.ended_ns] == [
        (0, "unsubscribe"),
        (1, None),
    ]


def test_what_was_never_asked_for_is_recorded_once_where_the_harness_failed() -> None:
    case = Case()
    case.of.ask(PLAN)
    case.of.end(90, "harness failure")
    case.of.record_unasked(90, "harness failure")
    assert [(row.subscription, row.ended_ns) for row in case.rows.subscriptions] == [(10, 90), (11, 90)]


EVENTS = st.sampled_from(
    ["subscribed", "delivery", "foreign", "settle", "refused", "throttled", "give up", "again", "unknown"]
)


@given(st.lists(EVENTS, max_size=30), st.booleans(), st.sampled_from([b"", b"subscribe"]))
def test_counts_are_those_of_the_states_whatever_comes(
    events: list[str], answers: bool, message: bytes
) -> None:
    case = Case(answers=answers, message=message)
    case.of.ask(PLAN)
    agains: list[Callable[[], None]] = []
    for number, event in enumerate(events):
        subscription_id = next(iter(case.of._by_id), "s10")
        if event == "subscribed":
            case.of.on_subscribed(subscription_id, number)
        elif event in ("delivery", "foreign") and subscription_id in case.of.unready:
            case.of.on_delivery(subscription_id, number, STAMP if event == "delivery" else FOREIGN)
        elif event == "settle":
            for settle in case.readiness.settle:
                settle(number)
        elif event == "refused":
            case.of.on_subscribe_failed(subscription_id, "no", NEVER)
        elif event == "throttled":
            case.of.on_subscribe_failed(subscription_id, "later", LATER)
        elif event == "give up" and (again := case.of.give_up(PLAN)) is not None:
            agains.append(again)
        elif event == "again" and agains:
            agains.pop()()
        elif event == "unknown":
            case.of.on_subscribed("s99", number)
            case.of.on_subscribe_failed("s99", "no", None)
        states = [each.state for each in case.of._by_id.values()]
        ready = states.count(State.READY)
        acknowledged = ready + states.count(State.ACKNOWLEDGED) + states.count(State.ASSUMED)
        assert case.counts()[:2] == (acknowledged, ready)
        assert case.readiness.awaited == acknowledged - ready
        unready = {i for i, each in case.of._by_id.items() if each.state not in (State.READY, State.REFUSED)}
        assert case.of.unready == unready
    case.of.end(10**6, None)
    assert case.counts() == (0, 0, 0)
    last = {(row.subscription, row.turn): row for row in case.rows.subscriptions}
    assert all(row.ended_ns is not None for row in last.values())
