"""Test a journey's wait for events, and the calls of its callbacks."""

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from loadgen.users.journeys import inbox as module
from loadgen.users.journeys.feeds import Feed, Received
from loadgen.users.journeys.inbox import Inbox
from tests.users.journeys.test_feeds import feed, received


def inbox_of(
    call: Callable[[Received], object] = lambda each: None, check: Callable[[], None] = lambda: None
) -> Inbox:
    return Inbox(call, check)


def test_an_event_that_arrived_before_the_wait_is_returned_at_once_and_once() -> None:
    inbox, one = inbox_of(), feed()
    inbox.add(received(one, n=1))
    assert inbox.wait_for(None, None, 0) == {"n": 1}
    assert inbox.wait_for(None, None, 0) is None


def test_a_wait_lasts_until_the_wanted_event_of_the_feed_arrives() -> None:
    inbox, one, other = inbox_of(), feed(1), feed(2)

    def arrive() -> None:
        for of, number in ((other, 2), (one, 1), (one, 2)):
            gevent.sleep(0)
            inbox.add(received(of, n=number))

    arriving = gevent.spawn(arrive)
    found = inbox.wait_for(lambda event: event["n"] == 2, one, 60)
    arriving.get()
    assert found == {"n": 2}
    assert [inbox.wait_for(None, None, 0) for _ in range(3)] == [{"n": 2}, {"n": 1}, None]


def test_a_check_that_raises_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.001)
    checks: list[int] = []

    def check() -> None:
        checks.append(1)
        if len(checks) == 3:
            raise RuntimeError("the connection is over")

    with pytest.raises(RuntimeError, match="over"):
        inbox_of(check=check).wait_for(None, None, 60)


def test_callbacks_are_called_in_order_in_a_greenlet_of_their_own() -> None:
    seen: list[Any] = []

    def call(each: Received) -> None:
        gevent.sleep(0)
        seen.append((each.event["n"], inbox.is_calling))

    inbox = inbox_of(call)
    with_callback = feed(1, callback=seen.append)
    inbox.add(received(with_callback, n=1))
    gevent.sleep(0.01)
    assert not seen, "not begun"
    inbox.begin_calls()
    caller = inbox._caller
    inbox.begin_calls()
    assert inbox._caller is caller
    inbox.add(received(feed(2), n=0))
    inbox.add(received(with_callback, n=2))
    with gevent.Timeout(60):
        while len(seen) < 2:
            gevent.sleep(0.001)
    assert seen == [(1, True), (2, True)]
    assert not inbox.is_calling
    # A callback does not remove its event from the inbox: code that waits for an event gets it too.
    assert [inbox.wait_for(None, None, 0) for _ in range(3)] == [{"n": 1}, {"n": 0}, {"n": 2}]


def test_a_closed_inbox_calls_nothing_more() -> None:
    seen: list[Received] = []
    inbox, with_callback = inbox_of(seen.append), feed(1, callback=seen.append)
    inbox.begin_calls()
    caller = inbox._caller
    assert caller is not None
    inbox.close()
    caller.join(60)
    inbox.add(received(with_callback, n=1))
    gevent.sleep(0.01)
    assert not seen
    inbox_of().close()


def test_events_of_a_forgotten_feed_are_dropped() -> None:
    inbox, one, other = inbox_of(), feed(1), feed(2)
    kept: list[Feed] = [one, other]
    for each in kept:
        inbox.add(received(each, n=each.plan.number))
    inbox.forget(one)
    assert inbox.wait_for(None, one, 0) is None
    assert inbox.wait_for(None, None, 0) == {"n": 2}
