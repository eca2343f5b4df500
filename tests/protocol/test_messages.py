"""Test encoding and decoding of AppSync Events' messages, those of the client and those of the service."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.appsync import errors, messages

AUTHORIZATION = {"x-api-key": "k", "host": "h"}
ids = st.from_regex(r"[a-zA-Z0-9\-_+]{1,128}", fullmatch=True)
texts = st.text()


@given(ids, texts, st.lists(texts, min_size=1, max_size=5))
def test_client_messages_round_trip(operation_id: str, channel: str, events: list[str]) -> None:
    decode = messages.decode_client_message
    assert decode(messages.connection_init()).type == "connection_init"
    subscribe = decode(messages.subscribe(operation_id, channel, AUTHORIZATION))
    assert (subscribe.type, subscribe.id, subscribe.channel) == ("subscribe", operation_id, channel)
    assert subscribe.authorization == AUTHORIZATION
    unsubscribe = decode(messages.unsubscribe(operation_id))
    assert (unsubscribe.type, unsubscribe.id) == ("unsubscribe", operation_id)
    publish = decode(messages.publish(operation_id, channel, events, AUTHORIZATION))
    assert (publish.type, publish.id, publish.channel) == ("publish", operation_id, channel)
    assert (publish.events, publish.authorization) == (events, AUTHORIZATION)


@given(ids, texts)
def test_a_data_frame_is_head_and_tail_and_round_trips(operation_id: str, event: str) -> None:
    frame = messages.data(operation_id, event)
    assert frame == messages.data_head(operation_id) + messages.data_tail(event)
    assert json.loads(frame) == {"type": "data", "id": operation_id, "event": event}
    decoded = messages.decode_server_message(frame)
    assert (decoded.type, decoded.id, decoded.event) == ("data", operation_id, event)


def test_the_frames_of_the_documentation_decode() -> None:
    decode = messages.decode_server_message
    assert decode(b'{"type":"connection_ack","connectionTimeoutMs":300000}').connection_timeout_ms == 300_000
    assert decode(messages.KEEPALIVE).type == "ka"
    assert decode(b'{"type":"data","id":"a","event":["\\"x\\""]}').event == ['"x"']
    published = decode(
        b'{"id":"p","type":"publish_success","successful":[{"identifier":"u","index":0}],"failed":[],"new":1}'
    )
    assert published.successful == [messages.SuccessfulEvent("u", 0)]
    assert published.failed == []
    refused = decode(
        b'{"errors":[{"errorType":"UnauthorizedException","errorCode":401,'
        b'"message":"You are not authorized to make this call."}],"type":"connection_error"}'
    )
    assert refused.errors == [errors.CONNECT_UNAUTHORIZED]
    assert refused.describe_errors() == "UnauthorizedException: You are not authorized to make this call."


@pytest.mark.parametrize(
    ("failed", "says"),
    [
        ({"code": "EventTooLargeException", "message": "too big"}, "EventTooLargeException: too big"),
        ({"code": 413, "message": "too big"}, "413: too big"),
        ({"errorCode": 413, "errorMessage": "too big"}, "413: too big"),
        ({}, "refused"),
    ],
)
def test_a_failed_event_is_read_in_every_reported_form(failed: dict[str, object], says: str) -> None:
    body = json.dumps({"failed": [failed | {"identifier": "u", "index": 2}], "successful": []})
    event = messages.decode_publish_response(body).failed[0]
    assert (event.index, event.describe()) == (2, says)


def test_an_absent_message_or_code_is_left_out_of_the_frame() -> None:
    frame = messages.error("publish_error", [errors.UNDEFINED_NAMESPACE], "p")
    assert json.loads(frame) == {
        "type": "publish_error",
        "id": "p",
        "errors": [{"errorType": "UnauthorizedException"}],
    }
    assert "id" not in json.loads(messages.error("error", [errors.UNSUPPORTED_OPERATION]))


@given(texts, st.lists(texts, max_size=6))
def test_a_publish_body_round_trips(channel: str, events: list[str]) -> None:
    request = messages.decode_publish_request(messages.publish_request(channel, events))
    assert (request.channel, request.events) == (channel, events)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"type":1}', b"\xff", b'{"type":"a","id":5}'])
def test_what_is_no_message_raises(raw: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        messages.decode_client_message(raw)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a", True),
        ("A-Z_0+9", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("a b", False),
        ("a\n", False),
    ],
)
def test_operation_ids_follow_the_documented_expression(text: str, good: bool) -> None:
    assert messages.is_operation_id(text) is good
