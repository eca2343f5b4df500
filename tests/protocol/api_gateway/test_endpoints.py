"""Test the URLs of API Gateway's WebSocket APIs."""

import pytest

from loadgen import targets
from loadgen.protocol.api_gateway.endpoints import WebSocketUrl
from loadgen.protocol.appsync.target import PROTOCOL as APPSYNC
from loadgen.protocol.urls import EndpointError

AWS = "wss://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/prod"


@pytest.mark.parametrize(
    ("url", "connect", "host"),
    [
        (AWS, AWS, "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com"),
        (AWS.replace("wss:", "https:") + "/", AWS, "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com"),
        (AWS.replace("wss:", "apigw+wss:"), AWS, "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com"),
        (
            "wss://a.execute-api.cn-north-1.amazonaws.com.cn/p",
            None,
            "a.execute-api.cn-north-1.amazonaws.com.cn",
        ),
        ("apigw+ws://127.0.0.1:8700/production", "ws://127.0.0.1:8700/production", "127.0.0.1:8700"),
        ("apigw+ws://localhost:80/p", "ws://localhost/p", "localhost"),
        ("apigw+wss://ws.example.com", "wss://ws.example.com/", "ws.example.com"),
        ("apigw+wss://ws.example.com:8443/a/b", "wss://ws.example.com:8443/a/b", "ws.example.com:8443"),
        ("apigw+ws://[::1]:8700/p?wildcards=yes", "ws://[::1]:8700/p", "[::1]:8700"),
    ],
)
def test_a_url_gives_the_address_and_the_host_that_is_signed(
    url: str, connect: str | None, host: str
) -> None:
    found = WebSocketUrl.from_url(url)
    assert found.connect_url == (connect or url)
    assert found.host == host
    protocol = targets.protocol_of(url)
    assert protocol.name == "api-gateway"
    assert protocol.endpoints(url) == found
    # Only a target on another machine costs money.
    assert protocol.bills == (not found.loopback)
    assert not protocol.priced


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (AWS.replace("wss:", "ws:"), "not encrypted"),
        (AWS.replace("wss:", "apigw+ws:"), "not encrypted"),
        (AWS.removesuffix("/prod"), "must end in the stage"),
        (AWS + "/@connections", "must end in the stage"),
        ("apigw+ws://h:1/a b", "path"),
        ("apigw+ws://h:1/{env:HOME}", "path"),
        ("apigw+ws://user:secret@h/p", "user name or password"),
        ("apigw+ws:///p", "is not one of a WebSocket API"),
        ("apigw+ws://h:99999/p", "cannot be read"),
        ("apigw+ws://h:0/p", "is not one of a WebSocket API"),
        ("apigw+ws://h/p#x", "fragment"),
        ("apigw+ws://h/p?shape=1", "has the query 'shape'"),
        ("apigw+ws://h/p?wildcards=yes&wildcards=no", "twice"),
        ("apigw+ws://h/p?wildcards=perhaps", "no or yes"),
        ("apigw+ws://h/p?token=secret-canary", "header:NAME"),
        ("apigw+ws://h/p?keepalive_s=0", "keepalive_s"),
        ("apigw+ws://h/p?route=%00", "is not a name"),
        ("apigw+ws://h/p?id=channel", "the same name"),
        ("apigw+ws://h/p?published=message", "the same name"),
    ],
)
def test_a_url_that_cannot_be_used_is_named_without_secrets(url: str, why: str) -> None:
    with pytest.raises(EndpointError, match=why) as caught:
        WebSocketUrl.from_url(url)
    assert "canary" not in str(caught.value)
    assert "secret@" not in str(caught.value)
    # The command line finds the protocol by the URL and calls `endpoints`, which raises the same message.
    with pytest.raises(ValueError, match=why):
        targets.protocol_of(url).endpoints(url)


@pytest.mark.parametrize(
    "url", ["https://x.appsync-api.us-east-1.amazonaws.com/event", "ws://127.0.0.1:8700/p", "https://["]
)
def test_other_urls_are_left_to_the_other_protocols(url: str) -> None:
    assert targets.protocol_of(url) is APPSYNC
