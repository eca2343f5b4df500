"""Test AppSync's GraphQL messages: round trips, and errors in each form that has been observed."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.appsync_graphql import messages
from loadgen.protocol.refusals import Kind

PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN, inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN, PLAIN, st.dictionaries(PLAIN, PLAIN, max_size=4))
def test_a_start_is_read_back(operation_id: str, data: str, authorization: dict[str, str]) -> None:
    assert json.loads(messages.start(operation_id, data, authorization)) == {
        "id": operation_id,
        "type": "start",
        "payload": {"data": data, "extensions": {"authorization": authorization}},
    }
    assert json.loads(messages.stop(operation_id)) == {"id": operation_id, "type": "stop"}
    assert json.loads(base64.b64decode(messages.header_query(authorization), validate=True)) == authorization


@given(PLAIN, st.none() | PLAIN, JSON)
def test_a_message_of_the_service_is_read_whatever_its_payload(
    kind: str, name: str | None, payload: Any
) -> None:
    message = messages.decode(
        json.dumps({"type": kind, "id": name, "payload": payload, "more": payload}).encode()
    )
    assert (message.type, message.id, message.payload) == (kind, name, payload)
    assert all(isinstance(each, msgspec.Struct) for each in message.errors)
    message.describe_errors().encode()
    message.refusal()


@given(st.binary(max_size=200))
def test_bytes_are_a_message_or_unreadable(content: bytes) -> None:
    for decode in (messages.decode, messages.decode_body):
        try:
            decode(content)
        except messages.UNREADABLE:
            continue


@pytest.mark.parametrize(
    ("payload", "described", "kind"),
    [
        ({"errors": [{"message": "NoProtocolError", "errorCode": 400}]}, "NoProtocolError", Kind.UNSUITABLE),
        (
            {"errors": [{"errorType": "BadRequest", "message": "Required headers are missing."}]},
            "BadRequest: Required headers are missing.",
            Kind.UNSUITABLE,
        ),
        (
            {"errors": {"errorType": "MaxSubscriptionsReachedError", "message": "Max number of 100 reached"}},
            "MaxSubscriptionsReachedError: Max number of 100 reached",
            Kind.DENIED,
        ),
        (
            {"errors": {"errorType": "LimitExceededError", "message": "Rate limit exceeded"}},
            "LimitExceededError: Rate limit exceeded",
            Kind.THROTTLED,
        ),
        ({"errors": [{"errorType": "UnauthorizedException"}]}, "UnauthorizedException", Kind.DENIED),
        ({"errors": ["Token expired"]}, "Token expired", Kind.DENIED),
        ({"errors": [{"errorCode": 401}]}, "error of no type", Kind.DENIED),
        ({"errors": [{"errorType": 7, "message": [], "errorCode": True}]}, "error of no type", Kind.DENIED),
        ({"errors": "no"}, "no", Kind.DENIED),
        ({"errors": []}, "", Kind.DENIED),
        ({}, "", Kind.DENIED),
        (None, "", Kind.DENIED),
    ],
)
def test_errors_of_each_shape_are_described_and_classified(payload: Any, described: str, kind: Kind) -> None:
    errors = messages.errors_of(payload)
    assert messages.describe(errors) == described
    assert messages.refusal_of(errors).kind is kind


def test_few_of_many_errors_are_described_and_cut() -> None:
    errors = messages.errors_of({"errors": [{"message": "x" * 400}] * 1000})
    assert len(errors) == 5
    assert len(messages.describe(errors)) < 600
