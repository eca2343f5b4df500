"""Test how the HTTP URL and the WebSocket URL of an Event API are derived from either of them."""

import pytest

from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.urls import EndpointError

AWS = "abc123.appsync-api.us-east-1.amazonaws.com"
AWS_REALTIME = "abc123.appsync-realtime-api.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("url", "http_url", "ws_url", "http_host"),
    [
        (f"https://{AWS}/event", f"https://{AWS}/event", f"wss://{AWS_REALTIME}/event/realtime", AWS),
        (
            f"wss://{AWS_REALTIME}/event/realtime",
            f"https://{AWS}/event",
            f"wss://{AWS_REALTIME}/event/realtime",
            AWS,
        ),
        (
            "https://abc.appsync-api.cn-north-1.amazonaws.com.cn/event",
            "https://abc.appsync-api.cn-north-1.amazonaws.com.cn/event",
            "wss://abc.appsync-realtime-api.cn-north-1.amazonaws.com.cn/event/realtime",
            "abc.appsync-api.cn-north-1.amazonaws.com.cn",
        ),
        (
            "https://api.example.com:443/event/",
            "https://api.example.com/event",
            "wss://api.example.com/event/realtime",
            "api.example.com",
        ),
        (
            "http://127.0.0.1:8765/event",
            "http://127.0.0.1:8765/event",
            "ws://127.0.0.1:8765/event/realtime",
            "127.0.0.1:8765",
        ),
        ("ws://[::1]:9/event/realtime", "http://[::1]:9/event", "ws://[::1]:9/event/realtime", "[::1]:9"),
    ],
)
def test_one_url_gives_both_endpoints(url: str, http_url: str, ws_url: str, http_host: str) -> None:
    endpoints = Endpoints.from_url(url)
    assert endpoints == Endpoints(http_url, ws_url, http_host)
    assert endpoints.tls == http_url.startswith("https")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is not one of an Event API"),
        ("localhost:8765/event", "is not one of an Event API"),
        ("ftp://h/event", "is not one of an Event API"),
        ("https://h/", "has the path '/'"),
        ("https://h/graphql", "has the path '/graphql'"),
        ("https://h/event?x=1", "query or fragment"),
        ("https://h:99999/event", "cannot be read"),
        ("https://[::1/event", "cannot be read"),
        (f"http://{AWS}/event", "unencrypted"),
    ],
)
def test_a_bad_url_gets_one_sentence(url: str, says: str) -> None:
    with pytest.raises(EndpointError) as caught:
        Endpoints.from_url(url)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@h/event",
        "https://user:hunter2@h:bad/event",
        "user:hunter2@h/event",
        "https://h/event?key=hunter2",
        "https://h:bad/event#hunter2",
    ],
)
def test_a_secret_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(EndpointError) as caught:
        Endpoints.from_url(url)
    assert "hunter2" not in str(caught.value)
