"""Testing an application's use of AppSync Events without AWS: copy this file; install loadgen and pytest."""

import json

import httpx
import pytest

from loadgen.server.testing import LocalEventApi, Namespace, Quotas, event_api  # noqa: F401


def say(url: str, api_key: str, room: str, text: str) -> httpx.Response:
    """The application under test: it posts a chat message."""
    body = {"channel": f"/default/rooms/{room}", "events": [json.dumps({"text": text})]}
    return httpx.post(url, json=body, headers={"x-api-key": api_key})


def test_a_message_goes_to_its_room(event_api: LocalEventApi) -> None:  # noqa: F811
    assert say(event_api.http_url, event_api.api_key, "kitchen", "tea?").is_success
    (published,) = event_api.wait_for_events("/default/rooms/*")
    assert published.channel == "/default/rooms/kitchen"
    assert published.payload == {"text": "tea?"}


def test_a_wrong_key_is_told(event_api: LocalEventApi) -> None:  # noqa: F811
    answer = say(event_api.http_url, "da2-wrong", "kitchen", "tea?")
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["errorType"] == "UnauthorizedException"
    assert event_api.published == []


def no_shouting(ctx):
    """An onPublish handler, as the deployed API has one in JavaScript."""
    return [event for event in ctx.events if not event["payload"]["text"].isupper()]


@pytest.fixture
def polite_api():
    with LocalEventApi([Namespace("default", on_publish=no_shouting)], quotas=Quotas.aws()) as api:
        yield api


def test_shouting_reaches_nobody(polite_api: LocalEventApi) -> None:
    say(polite_api.http_url, polite_api.api_key, "kitchen", "TEA")
    say(polite_api.http_url, polite_api.api_key, "kitchen", "tea")
    (published,) = polite_api.wait_for_events("/default/rooms/kitchen")
    assert published.payload == {"text": "tea"}
    assert len(polite_api.published) == 1
