"""Test a session's messages in both directions, in any order, with any bytes."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.protocol import unreadable
from loadgen.protocol.appsync import realtime
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync_graphql import session as graphql
from loadgen.protocol.appsync_graphql.endpoints import GraphqlUrl
from loadgen.protocol.appsync_graphql.service import AppSyncGraphql
from loadgen.protocol.appsync_graphql.session import GraphqlSession
from loadgen.protocol.refusals import Kind
from tests.isolation import corpus
from tests.isolation.test_sessions import Told
from tests.protocol.test_order import Handler, play

URL = "http://127.0.0.1:1/graphql"
ACK = {"type": "connection_ack", "payload": {"connectionTimeoutMs": 300_000}}
ACKED = {"id": "s1", "type": "start_ack"}
KA = {"type": "ka"}
EVENT = corpus.event()


def data(event: Any = EVENT, name: str | None = "s1", **more: Any) -> dict[str, Any]:
    payload = {"data": {"subscribe": {"name": "a", "data": event}}, **more}
    return {"id": name, "type": "data", "payload": payload}


def error(errors: Any, name: str | None = "s1", kind: str = "error") -> dict[str, Any]:
    return {**({} if name is None else {"id": name}), "type": kind, "payload": {"errors": errors}}


def conversation(url: str = URL) -> tuple[GraphqlSession, Handler]:
    handler: Any = Handler()
    session = AppSyncGraphql(GraphqlUrl.from_url(url), ApiKey("da2-k")).session(handler)
    assert list(session.opening()) == [b'{"type":"connection_init"}']
    return session, handler


def said(*steps: Any) -> tuple[GraphqlSession, Handler]:
    session, handler = conversation()
    play(session, steps)
    return session, handler


def subscribe(session: GraphqlSession, name: str = "s1") -> None:
    session.subscribe(name, "/default/a")


def unsubscribe(session: GraphqlSession) -> None:
    session.unsubscribe("s1")


def test_a_whole_conversation_as_recorded() -> None:
    session, handler = said(
        ACK, KA, subscribe, ACKED, data(), KA, unsubscribe, {"id": "s1", "type": "complete"}
    )
    assert handler.calls == [
        ("on_connected", 1),
        ("on_subscribed", "s1", 1),
        ("on_event", "s1", EVENT, 1, 2),
    ]
    assert session.timeout_ns == 300 * 10**9


def test_a_subscribe_carries_the_document_as_text_and_the_authorization() -> None:
    session, _ = conversation()
    message = json.loads(session.subscribe("s1", "/default/a"))
    assert message["payload"]["extensions"] == {
        "authorization": {"x-api-key": "da2-k", "host": "127.0.0.1:1"}
    }
    assert json.loads(message["payload"]["data"])["variables"] == {"channel": "default/a"}
    assert json.loads(session.unsubscribe("s1")) == {"id": "s1", "type": "stop"}


@pytest.mark.parametrize(
    ("steps", "deviations"),
    [
        ([KA, ACK], [realtime.EARLY_KEEPALIVE]),
        ([ACK, ACK], [realtime.SECOND_ACK]),
        ([{"type": "connection_ack"}], [realtime.NO_TIMEOUT]),
        ([{"type": "connection_ack", "payload": {"connectionTimeoutMs": True}}], [realtime.NO_TIMEOUT]),
        ([{"type": "connection_ack", "payload": {"connectionTimeoutMs": 1}}], [realtime.IMPOSSIBLE_TIMEOUT]),
        ([ACK, error([], None, "connection_error")], [realtime.LATE_REFUSAL]),
        ([ACK, ACKED], [graphql.START_ACK_UNASKED]),
        ([ACK, subscribe, ACKED, ACKED], [graphql.SECOND_START_ACK]),
        ([ACK, subscribe, unsubscribe, ACKED, {"id": "s1", "type": "complete"}], []),
        ([ACK, {"id": "s1", "type": "complete"}], [graphql.COMPLETE_UNASKED]),
        ([ACK, error([{"message": "no"}])], [graphql.ERROR_UNASKED]),
    ],
)
def test_a_wrong_order_is_a_deviation(steps: list[Any], deviations: list[str]) -> None:
    assert said(*steps)[1].named("on_deviation") == deviations


def test_early_data_is_the_clients_to_notice() -> None:
    session, handler = said(ACK, subscribe, data())
    assert handler.named("on_event") == ["s1"]
    assert session.early_delivery == graphql.EARLY_DATA


@pytest.mark.parametrize(
    ("errors", "reason", "kind"),
    [
        ([{"message": "NoProtocolError", "errorCode": 400}], "NoProtocolError", Kind.UNSUITABLE),
        ({"errorType": "UnauthorizedException"}, "UnauthorizedException", Kind.DENIED),
        ([], "connection_error without errors", Kind.DENIED),
    ],
)
def test_a_refused_connection_says_why(errors: Any, reason: str, kind: Kind) -> None:
    _, handler = said(error(errors, None, "connection_error"))
    ((name, told, refusal),) = handler.calls
    assert (name, told, refusal.kind) == ("on_refused", reason, kind)


LIMIT = {"errorType": "LimitExceededError", "message": "Rate limit exceeded"}
MOST = {"errorType": "MaxSubscriptionsReachedError", "message": "Max number of 100 subscriptions reached"}


@pytest.mark.parametrize("errors", [MOST, [MOST]])
def test_a_refused_start_says_why_with_errors_as_object_or_list(errors: Any) -> None:
    _, handler = said(ACK, subscribe, error(errors))
    _, (name, request, reason, refusal) = handler.calls
    assert (name, request) == ("on_subscribe_failed", "s1")
    assert reason == "MaxSubscriptionsReachedError: Max number of 100 subscriptions reached"
    assert not refusal.again


def test_an_error_without_an_id_is_about_the_only_start_that_waits() -> None:
    _, handler = said(ACK, subscribe, error(LIMIT, None))
    _, (name, request, _, refusal) = handler.calls
    assert (name, request, refusal.kind) == ("on_subscribe_failed", "s1", Kind.THROTTLED)


def test_an_error_without_an_id_belongs_to_none_of_several() -> None:
    for steps in ([], [subscribe, ACKED], [subscribe, lambda session: subscribe(session, "s2")]):
        _, handler = said(ACK, *steps, error(LIMIT, None))
        assert handler.named("on_service_error") == ["LimitExceededError: Rate limit exceeded"]
        assert handler.named("on_subscribe_failed") == []


def test_the_end_of_a_live_subscription_is_told() -> None:
    expired = [{"errorType": "UnauthorizedException", "message": "Token expired"}]
    _, handler = said(ACK, subscribe, ACKED, error(expired))
    assert handler.named("on_service_error") == [
        "the service ended a subscription: UnauthorizedException: Token expired"
    ]
    _, handler = said(ACK, subscribe, ACKED, {"id": "s1", "type": "complete"})
    assert handler.named("on_service_error") == [graphql.ENDED]
    _, handler = said(ACK, subscribe, ACKED, unsubscribe, error(expired))
    assert handler.named("on_service_error") == ["a stop was refused: UnauthorizedException: Token expired"]


def test_data_without_the_event_is_unreadable_and_its_errors_are_told() -> None:
    null = {"message": "Cannot return null for non-nullable type: 'AWSJSON'"}
    _, handler = said(ACK, subscribe, ACKED, data(None, errors=[null]))
    assert handler.named("on_undecodable") == [unreadable.NO_EVENT]
    assert handler.named("on_service_error") == [f"a data message has errors: {null['message']}"]
    _, handler = said(ACK, {"id": "s1", "type": "data", "payload": {"data": {"subscribe": None}}})
    assert handler.named("on_undecodable") == [unreadable.NO_EVENT]
    _, handler = said(ACK, data(name=None))
    assert handler.named("on_undecodable") == [unreadable.NO_ID]


def test_data_with_an_event_and_errors_is_delivered() -> None:
    _, handler = said(ACK, subscribe, ACKED, data(errors=[{"message": "another field"}]))
    assert ("on_event", "s1", EVENT, 1, 2) in handler.calls


def test_a_message_of_an_unknown_type_is_an_error_or_unreadable() -> None:
    _, handler = said(ACK, {"type": "other_error"}, {"type": "x"}, error([{"message": "m"}], None, "y"))
    assert handler.named("on_service_error") == ["other_error without errors", "m"]
    assert handler.named("on_undecodable") == [unreadable.UNKNOWN_TYPE]


def test_members_may_come_in_any_order_and_among_others() -> None:
    session, handler = conversation()
    message = json.loads(json.dumps(data()))
    turned = {"more": [1, {"type": "ka"}], **dict(reversed(message.items())), "extensions": None}
    session.receive(json.dumps(turned, indent=1).encode(), 1, 2)
    assert handler.calls == [("on_event", "s1", EVENT, 1, 2)]


def test_the_event_is_where_the_operations_say() -> None:
    session, handler = conversation(f"{URL}?subscription=posted&data=body")
    session.receive(b'{"id":"s1","type":"data","payload":{"data":{"posted":{"body":"e"}}}}', 1, 2)
    assert handler.calls == [("on_event", "s1", "e", 1, 2)]


SECRET = corpus.SECRET
ODD_ERRORS: list[Any] = [MOST, [MOST], "x", [{}], None, 7]
MESSAGES = [
    *(json.dumps(each).encode() for each in (ACK, KA, ACKED, data(), data(None), data(7), data(name=None))),
    *(json.dumps(error(each)).encode() for each in ODD_ERRORS),
    json.dumps(error(LIMIT, None)).encode(),
    json.dumps(error([{"message": "NoProtocolError"}], None, "connection_error")).encode(),
    b'{"id":"s1","type":"complete"}',
    b'{"type":"start","payload":{"extensions":{"authorization":{"x-api-key":"%b"}}}}' % SECRET.encode(),
    b'{"type":"\\ud800"}',
    b'{"type":"ka","more":"\xff"}',
    b'{"id":"s1","type":"data","payload":{"data":{"subscribe":{"data":"\\ud800"}}}}',
    b"[" * 3000,
    b'{"payload":' * 2000,
    b'{"type":"ka","payload":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b"",
    b"null",
    b"\xff",
]


def in_use(told: Told) -> GraphqlSession:
    handler: Any = told
    session = AppSyncGraphql(GraphqlUrl.from_url(URL), ApiKey(SECRET)).session(handler)
    session.opening()
    session.subscribe("s1", "/default/a")
    return session


def test_each_message_by_itself_and_all_in_a_row() -> None:
    together = in_use(Told())
    for message in MESSAGES:
        in_use(Told()).receive(message, 1, 2)
        together.receive(message, 1, 2)


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=200)
def test_damaged_messages(seed: int) -> None:
    random = Random(seed)
    session = in_use(Told())
    for _ in range(random.randrange(1, 12)):
        session.receive(random.choice((bytes, bytearray))(corpus.damaged(random, MESSAGES)), 1, 2)


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_noise(messages: list[bytes]) -> None:
    session = in_use(Told())
    for message in messages:
        session.receive(message, 1, 2)


def test_what_is_unreadable_is_shown_without_the_login() -> None:
    told = Told()
    session = in_use(told)
    for message in MESSAGES:
        session.receive(message, 1, 2)
    kinds = {kind for kind, _ in told.undecodable}
    assert {
        unreadable.MESSAGE_NOT_UTF8,
        unreadable.NOT_JSON,
        unreadable.UNKNOWN_FORM,
        unreadable.UNKNOWN_TYPE,
    } <= kinds
