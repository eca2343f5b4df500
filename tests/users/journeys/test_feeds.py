"""Test a journey's events and data rows, as its code receives them."""

import json
from typing import Any

import gevent
import pytest

from loadgen.resolve import SubscriptionPlan
from loadgen.users.journeys.feeds import KEPT, Backlog, Feed, Mailbox, Received
from loadgen.users.journeys.rows import OwnRows
from loadgen.users.subscriptions import State, Subscription

STAMP = (1, 2, 3, 4, 5)


def feed(number: int = 1, callback: Any = None) -> Feed:
    return Feed(None, SubscriptionPlan(number, f"/default/{number}"), callback)  # type: ignore[arg-type]


def received(of: Feed, **members: Any) -> Received:
    return Received(of, json.dumps({"_lg": list(STAMP), **members}), 10, STAMP)


def test_a_wait_takes_the_first_event_that_is_wanted_and_leaves_the_others() -> None:
    backlog, one, other = Backlog(), feed(1), feed(2)
    for number in range(3):
        backlog.add(received(one, n=number))
        backlog.add(received(other, n=number))
    assert backlog.take(lambda event: event["n"] == 1, other) == {"n": 1}
    assert backlog.take(lambda event: event["n"] == 1, other) is None
    assert [backlog.take(None, one) for _ in range(4)] == [{"n": 0}, {"n": 1}, {"n": 2}, None]
    assert [backlog.take(None, None) for _ in range(3)] == [{"n": 0}, {"n": 2}, None]


def test_the_backlog_is_bounded_and_forgets_what_was_given_up() -> None:
    backlog, one, other = Backlog(), feed(1), feed(2)
    for number in range(KEPT + 10):
        backlog.add(received(one, n=number))
    assert backlog.take(None, None) == {"n": 10}
    backlog.add(received(other, n=-1))
    backlog.forget(one)
    assert backlog.take(None, None) == {"n": -1}
    assert backlog.take(None, None) is None


def test_a_function_that_raises_ends_its_wait_only() -> None:
    backlog, one = Backlog(), feed(1)
    backlog.add(received(one, n=1))
    with pytest.raises(KeyError):
        backlog.take(lambda event: event["missing"], None)
    assert backlog.take(None, None) == {"n": 1}


def test_callbacks_run_one_after_the_other_and_may_wait() -> None:
    seen: list[Any] = []

    def call(each: Received) -> None:
        seen.append(("begins", each.event["n"]))
        gevent.sleep(0.001)
        seen.append(("ends", each.event["n"]))

    mailbox, one = Mailbox(call), feed(1)
    postman = gevent.spawn(mailbox.run)
    for number in range(3):
        mailbox.add(received(one, n=number))
    while len(seen) < 6:
        gevent.sleep(0.001)
    mailbox.add(received(one, n=3))
    while len(seen) < 8:
        gevent.sleep(0.001)
    postman.kill()
    assert seen == [(what, number) for number in range(4) for what in ("begins", "ends")]


def test_a_feed_is_settled_when_ready_or_refused_and_not_while_it_is_asked_for_again() -> None:
    one = feed(1)
    subscription = Subscription(one.plan, 0, 1)
    for state, settled, ready in (
        (State.ACKNOWLEDGED, False, False),
        (State.READY, True, True),
        (State.ENDED, False, False),
        (State.ACKNOWLEDGED, False, False),
        (State.READY, True, True),
        (State.REFUSED, True, False),
    ):
        subscription.state = state
        one.moved(subscription)
        assert (one.settled.is_set(), one.ready) == (settled, ready)
    assert one.error == "the service refused it"


def test_a_user_has_the_rows_of_its_client() -> None:
    data = OwnRows({"people.id": "u1", "people.address.town": "Ulm", "talk.n": 7})
    assert data.people["id"] == "u1"
    assert data["people"]["address.town"] == "Ulm"
    assert dict(data.talk) == {"n": 7}
    with pytest.raises(AttributeError, match="the run has no data 'persons': there is people, talk"):
        _ = data.persons
    with pytest.raises(KeyError, match="the data 'people' has no column 'name': there is id, address"):
        _ = data.people["name"]
    with pytest.raises(AttributeError, match="there is none"):
        _ = OwnRows({}).people
