"""Test that an Event API's messages are accepted in any order, and wrong orders are reported."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.appsync import client, realtime
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents, AppSyncSession
from loadgen.protocol.appsync.endpoints import Endpoints

ACK = {"type": "connection_ack", "connectionTimeoutMs": 300_000}
KA = {"type": "ka"}
ERRORS = [{"errorType": "X"}]


class Handler:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((name, *arguments))

    def named(self, name: str) -> list[Any]:
        return [call[1] for call in self.calls if call[0] == name]


def conversation() -> tuple[AppSyncSession, Handler]:
    handler: Any = Handler()
    service = AppSyncEvents(Endpoints.from_url("http://127.0.0.1:1/event"), ApiKey("da2-k"))
    session = service.session(handler)
    session.opening()
    return session, handler


def success(name: str = "s1") -> dict[str, Any]:
    return {"type": "subscribe_success", "id": name}


def play(session: Any, steps: Iterable[Any]) -> None:
    """Give a session each message in turn; a step that is callable is called with the session instead."""
    for step in steps:
        if callable(step):
            step(session)
        else:
            session.receive(json.dumps(step).encode(), 1, 2)


def deviations(*steps: Any) -> list[str]:
    """Give the steps to a new session; return the deviations from the protocol's order that the session reports."""
    session, handler = conversation()
    play(session, steps)
    return handler.named("on_deviation")


def subscribe(session: AppSyncSession) -> None:
    session.subscribe("s1", "/default/a")


def unsubscribe(session: AppSyncSession) -> None:
    session.unsubscribe("s1")


def publish(session: AppSyncSession) -> None:
    session.publish("p1", "/default/a", ["1"])


ANSWER = {"type": "publish_success", "id": "p1", "successful": [], "failed": []}


@pytest.mark.parametrize(
    "steps",
    [
        # The first keep-alive (`ka`) may come before or after the answer to a subscribe.
        [ACK, KA, subscribe, success(), KA],
        [ACK, subscribe, KA, success()],
        [ACK, subscribe, success(), KA],
        [ACK, subscribe, success(), publish, ANSWER],
        # The answer to a publish may come before or after the delivery of its event.
        [ACK, subscribe, success(), publish, {"type": "data", "id": "s1", "event": "1"}, ANSWER],
        [ACK, subscribe, success(), unsubscribe, {"type": "unsubscribe_success", "id": "s1"}],
        # The client unsubscribes before its subscribe is answered.
        [ACK, subscribe, unsubscribe, success(), {"type": "unsubscribe_success", "id": "s1"}],
        [ACK, subscribe, {"type": "subscribe_error", "id": "s1", "errors": ERRORS}],
        [{"type": "connection_error", "errors": ERRORS}],
    ],
)
def test_orders_that_the_protocol_has(steps: list[Any]) -> None:
    assert deviations(*steps) == []


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ([KA, ACK], realtime.EARLY_KEEPALIVE),
        ([ACK, ACK], realtime.SECOND_ACK),
        ([ACK, {"type": "connection_error", "errors": ERRORS}], realtime.LATE_REFUSAL),
        ([ACK, subscribe, success(), success()], client.SECOND_SUCCESS),
        ([ACK, success("s9")], client.SUCCESS_UNASKED),
        ([ACK, {"type": "subscribe_error", "id": "s9", "errors": ERRORS}], client.ERROR_UNASKED),
        (
            [ACK, subscribe, success(), {"type": "subscribe_error", "id": "s1", "errors": ERRORS}],
            client.LATE_ERROR,
        ),
        ([ACK, {"type": "unsubscribe_success", "id": "s1"}], client.UNSUBSCRIBE_UNASKED),
        ([ACK, {"type": "unsubscribe_success"}], client.UNSUBSCRIBE_UNASKED),
        ([ACK, ANSWER], client.PUBLISH_UNASKED),
        ([ACK, publish, ANSWER, ANSWER], client.PUBLISH_UNASKED),
        ([ACK, {"type": "publish_error", "id": "p7", "errors": ERRORS}], client.PUBLISH_UNASKED),
        (
            [{"type": "connection_ack", "connectionTimeoutMs": 1}],
            realtime.IMPOSSIBLE_TIMEOUT,
        ),
    ],
)
def test_orders_that_it_does_not_have_are_named(steps: list[Any], what: str) -> None:
    assert deviations(*steps) == [what]


ANY: list[Any] = [ACK, KA, success(), success("s9"), ANSWER, {"type": "data", "id": "s1", "event": "1"}]
ANY += [
    {"type": "unsubscribe_success", "id": "s1"},
    {"type": "subscribe_error", "id": "s1", "errors": ERRORS},
]
ANY += [subscribe, unsubscribe, publish]


@given(st.lists(st.sampled_from(ANY), max_size=12))
def test_any_order_is_taken(steps: list[Any]) -> None:
    session, handler = conversation()
    for step in steps:
        if callable(step):
            step(session)
        else:
            session.receive(json.dumps(step).encode(), 1, 2)
    assert not handler.named("on_undecodable")
    assert len(handler.named("on_connected")) == steps.count(ACK)


@pytest.mark.parametrize("kind", ["data", "d\\u0061ta", "\\u0064ata"])
def test_a_delivery_is_one_however_its_type_is_written(kind: str) -> None:
    session, handler = conversation()
    message = b'{"event":"{\\"a\\":1}","id":"s1","type":"%b"}' % kind.encode()
    session.receive(message, 1, 2)
    assert handler.calls == [("on_event", "s1", '{"a":1}', 1, 2)]


def test_an_answer_that_holds_the_word_data_is_still_an_answer() -> None:
    session, handler = conversation()
    session.receive(b'{"type":"subscribe_success","id":"s1","more":"data"}', 1, 2)
    assert handler.named("on_subscribed") == ["s1"]
