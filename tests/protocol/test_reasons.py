"""Test that a long reason for a refusal is shortened before it is recorded with each refused event."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol import unreadable
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.appsync.messages import decode_server_message

LONG = "n" * 900_000
MOST = unreadable.MOST_REASON_CHARACTERS + 3
SERVICE = AppSyncEvents(Endpoints.from_url("http://127.0.0.1:1/event"), ApiKey("da2-" + "x" * 26))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"errors": [{"errorType": "No", "message": LONG}]}),
        (400, {"errors": [{"errorType": LONG}]}),
        (400, {"errors": [{"errorType": "No", "message": "x"}] * 10_000}),
    ],
)
def test_a_refused_publish_has_a_short_reason(status: int, body: object) -> None:
    error = SERVICE.http_answer(status, json.dumps(body).encode()).error
    assert error is not None
    assert 0 < len(error) <= MOST


def test_a_refused_event_has_a_short_reason() -> None:
    body = {"failed": [{"index": 0, "code": LONG, "message": LONG}], "successful": []}
    assert len(SERVICE.http_answer(200, json.dumps(body).encode()).rejected[0]) <= MOST


def test_an_error_over_a_connection_has_a_short_reason() -> None:
    said = {"type": "subscribe_error", "id": "s1", "errors": [{"errorType": "No", "message": LONG}] * 2}
    assert len(decode_server_message(msgspec.json.encode(said)).describe_errors()) <= MOST


@given(st.text(max_size=1200))
def test_what_is_short_enough_stays_as_it_is(text: str) -> None:
    cut = unreadable.cut(text)
    assert cut == text if len(text) <= unreadable.MOST_REASON_CHARACTERS else cut == text[:500] + "..."
