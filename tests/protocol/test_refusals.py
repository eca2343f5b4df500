"""Test the classification of a service's refusals."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol import refusals
from loadgen.protocol.appsync import errors, messages
from loadgen.protocol.refusals import MOST_RETRY_AFTER_S, Kind, Refusal


@pytest.mark.parametrize(
    ("status", "error_type", "kind", "advice"),
    [
        (401, None, Kind.DENIED, "check the key"),
        (403, None, Kind.DENIED, "check the key"),
        (403, "UnauthorizedException", Kind.DENIED, "check the key"),
        (429, None, Kind.THROTTLED, "ramp more slowly"),
        (503, None, Kind.THROTTLED, "ramp more slowly"),
        # AWS's services answer with status 400 when they throttle.
        (400, "ThrottlingException", Kind.THROTTLED, "ramp more slowly"),
        (None, "LimitExceededError", Kind.THROTTLED, "ramp more slowly"),
        (None, "limitexceededexception", Kind.THROTTLED, "ramp more slowly"),
        (500, None, Kind.FAILING, "its own log"),
        (502, None, Kind.FAILING, "its own log"),
        (504, None, Kind.FAILING, "its own log"),
        (404, None, Kind.UNSUITABLE, "check the URL"),
        (301, None, Kind.UNSUITABLE, "check the URL"),
        (400, "BadRequestException", Kind.UNSUITABLE, "signature"),
        (None, "MaxSubscriptionsReachedError", Kind.DENIED, "more clients"),
        (407, None, Kind.DENIED, "proxy"),
        (418, "TeapotError", Kind.DENIED, "see what the service says"),
        (None, None, Kind.DENIED, "see what the service says"),
    ],
)
def test_the_table(status: int | None, error_type: str | None, kind: Kind, advice: str) -> None:
    refusal = Refusal.of(status, [error_type])
    assert refusal.kind is kind
    assert advice in refusal.advice
    assert refusal.again is (kind in (Kind.THROTTLED, Kind.FAILING))


def test_appsyncs_errors_by_type_then_by_code() -> None:
    assert messages.refusal_of([errors.LIMIT_EXCEEDED]).again
    assert messages.refusal_of([errors.WireError(None, None, 429)]).again
    assert messages.refusal_of([], 503).again
    assert not messages.refusal_of([errors.CONNECT_UNAUTHORIZED]).again
    assert not messages.refusal_of([errors.MAX_SUBSCRIPTIONS_REACHED]).again
    assert not messages.refusal_of([]).again


@pytest.mark.parametrize(
    ("headers", "body", "found"),
    [
        ({}, {"errors": [{"errorType": "LimitExceededException", "message": "m"}]}, "LimitExceededException"),
        ({}, {"__type": "com.amazonaws.appsync#ThrottlingException"}, "ThrottlingException"),
        ({"x-amzn-errortype": "UnauthorizedException:http://internal/"}, None, "UnauthorizedException"),
        ({}, {"error": {"code": "SlowDown"}}, "SlowDown"),
        ({}, {"errors": "no"}, None),
        ({}, [1, 2], None),
        ({}, {"errors": [1, None]}, None),
        # An error type is ignored if it looks like our API key, has terminal control characters, or is too
        # long.
        ({}, {"errors": [{"errorType": "da2-abcdefghijklmnopqrstuvwxyz"}]}, None),
        ({}, {"errors": [{"errorType": "\x1b[31mError"}]}, None),
        ({}, {"errors": [{"errorType": "x" * 5000 + "Error"}]}, None),
    ],
)
def test_the_error_type_of_a_body(headers: dict[str, str], body: object, found: str | None) -> None:
    assert refusals.error_type(headers, b"" if body is None else json.dumps(body).encode()) == found


@given(st.binary(max_size=300), st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=4))
def test_whatever_is_answered_something_is_said_of_it(body: bytes, headers: dict[str, str]) -> None:
    said, refusal = refusals.of_answer(429, headers, body)
    assert said.startswith("HTTP 429 (Too Many Requests)")
    assert said.isprintable()
    assert refusal.retry_after_s is None or 0 <= refusal.retry_after_s <= MOST_RETRY_AFTER_S


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["errors", "error", "code", "errorType", "__type"]), inner)
        ),
    )
)
def test_whatever_json_a_body_is(content: object) -> None:
    refusals.error_type({}, json.dumps(content).encode())


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("99999999999999999999", MOST_RETRY_AFTER_S),
        ("-3", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0),
    ],
)
def test_when_it_wants_to_be_asked_again_is_bounded(written: str, wanted: float | None) -> None:
    assert refusals.of_answer(503, {"retry-after": written}, b"")[1].retry_after_s == wanted
    # If access is denied, trying again cannot help, so the answer's Retry-After is ignored.
    assert refusals.of_answer(403, {"retry-after": written}, b"")[1].retry_after_s is None


def test_a_date_is_a_time_from_now() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    waits_s = refusals.of_answer(503, {"retry-after": at}, b"")[1].retry_after_s
    assert waits_s is not None
    assert 15 < waits_s <= 20
