"""Test publishing over HTTP from several clients."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from geventhttpclient import HTTPClient

from loadgen.protocol.appsync import limits
from loadgen.server.process import Announcement
from tests.system.server.posting import post_body

from .conftest import Client

MakeClient = Callable[..., Client]


def error_of(response: httpx.Response) -> dict[str, Any]:
    (error,) = response.json()["errors"]
    assert response.headers["x-amzn-ErrorType"] == error["errorType"]
    assert isinstance(error, dict)
    return error


def test_a_batch_is_accepted_and_delivered(server: Announcement, client: MakeClient) -> None:
    subscriber = client()
    subscriber.subscribe("/default/http/*")
    response = post_body(server, {"channel": "default/http/x", "events": ['{"a":1}', '"b"']})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["failed"] == []
    assert [one["index"] for one in answer["successful"]] == [0, 1]
    assert [subscriber.receive()["event"], subscriber.receive()["event"]] == ['{"a":1}', '"b"']


def test_a_connection_is_kept_alive_for_geventhttpclient(server: Announcement) -> None:
    url = urlsplit(server.http_url)

    def connections() -> set[int]:
        open_ = psutil.Process().net_connections("tcp")
        return {one.laddr.port for one in open_ if one.raddr and one.raddr.port == url.port}

    before = connections()
    client = HTTPClient(str(url.hostname), url.port, concurrency=1)
    body = json.dumps({"channel": "/default/a", "events": ["1"]})
    used = set()
    for _ in range(3):
        response = client.post(url.path, body, {"x-api-key": server.api_key})
        assert response.status_code == 200
        assert b"successful" in response.read()
        used |= connections() - before
    client.close()
    assert len(used) == 1


def test_a_wrong_or_missing_key_is_401(server: Announcement) -> None:
    body = {"channel": "/default/a", "events": ["1"]}
    for response in (post_body(server, body, "da2-wrong"), httpx.post(server.http_url, json=body)):
        assert response.status_code == 401
        assert error_of(response) == {
            "errorType": "UnauthorizedException",
            "message": "You are not authorized to make this call.",
        }


def test_six_events_have_the_wording_of_http(server: Announcement) -> None:
    response = post_body(server, {"channel": "/default/a", "events": ["1"] * 6})
    assert response.status_code == 400
    assert error_of(response) == {
        "errorType": "BadRequestException",
        "message": "Input exceeded 5 event limit",
    }


def test_an_event_that_is_too_large_is_200_with_failed(server: Announcement) -> None:
    response = post_body(server, {"channel": "/default/a", "events": [json.dumps("e" * 1_000_000)]})
    assert response.status_code == 200
    (failed,) = response.json()["failed"]
    assert (failed["code"], failed["index"]) == ("EventTooLargeException", 0)
    assert failed["message"] == "Transformed event is larger than 240KB"
    assert response.json()["successful"] == []


def test_the_size_of_an_event_is_counted_in_bytes(server: Announcement) -> None:
    def answer(characters: int) -> Any:
        event = '"' + "é" * characters + '"'
        return post_body(server, {"channel": "/default/a", "events": [event]}).json()

    fits = (limits.EVENT_MAX_BYTES - 2) // 2
    assert answer(fits)["failed"] == []
    assert len(answer(fits + 1)["failed"]) == 1


def test_an_undefined_namespace_is_unauthorized_without_a_message(server: Announcement) -> None:
    response = post_body(server, {"channel": "/none/a", "events": ["1"]})
    assert response.status_code == 401
    assert error_of(response) == {"errorType": "UnauthorizedException"}


@pytest.mark.parametrize("channel", ["", "/a_b", "/default/*", "/default/a/b/c/d/e"])
def test_an_invalid_channel_is_400(server: Announcement, channel: str) -> None:
    response = post_body(server, {"channel": channel, "events": ["1"]})
    assert response.status_code == 400
    assert error_of(response) == {"errorType": "BadRequestException", "message": "Invalid Channel Format"}


@pytest.mark.parametrize("events", [[], ["{"], [{"a": 1}], ["1", "nope"]])
def test_events_must_be_strings_of_json(server: Announcement, events: Any) -> None:
    response = post_body(server, {"channel": "/default/a", "events": events})
    assert response.status_code == 400
    assert error_of(response)["errorType"] == "BadRequestException"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"channel":"/default/a"}', b"\xff\xfe"])
def test_a_body_that_is_no_publish_is_400(server: Announcement, body: bytes) -> None:
    response = post_body(server, body)
    assert response.status_code == 400
    assert error_of(response)["errorType"] == "BadRequestException"


@pytest.mark.parametrize("characters", [limits.PAYLOAD_MAX_BYTES // 4, limits.PAYLOAD_MAX_BYTES])
def test_a_payload_above_the_limit_is_413_whether_read_or_not(server: Announcement, characters: int) -> None:
    response = post_body(server, {"channel": "/default/a", "events": [json.dumps("e" * characters)] * 5})
    assert response.status_code == 413
    assert error_of(response)["errorType"] == "PayloadTooLargeException"


def test_other_paths_and_methods_do_not_exist(server: Announcement) -> None:
    root = server.http_url.removesuffix("/event")
    for path in ("/ping", "/event/", "/event/x", "/editor/", "/editor/page.html"):
        assert httpx.post(root + path).status_code == 404
        assert httpx.get(root + path).status_code == 404
    assert httpx.post(root + "/").status_code == 405
    assert httpx.get(server.http_url).status_code == 405
    assert httpx.get(root + "/event/realtime").status_code == 400
