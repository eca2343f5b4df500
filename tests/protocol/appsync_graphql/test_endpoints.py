"""Test the URLs of AppSync's GraphQL APIs."""

from pathlib import Path

import pytest

from loadgen.config.problems import ScenarioError
from loadgen.protocol.appsync_graphql.endpoints import GraphqlUrl
from loadgen.protocol.urls import EndpointError
from loadgen.targets import APPSYNC_EVENTS, protocol_file_of, protocol_of

ID = "abcdefghijklmnopqrstuvwxyz"
AWS = f"{ID}.appsync-api.eu-west-1.amazonaws.com"
REALTIME = f"{ID}.appsync-realtime-api.eu-west-1.amazonaws.com"
DOCUMENT = """
mutation Send($channel: ID!, $data: String!) { post(room: $channel, body: $data) { room body } }
subscription Hear($channel: ID!) { posted(room: $channel) { room data: body } }
"""


@pytest.mark.parametrize(
    ("url", "http_url", "ws_url", "host"),
    [
        (f"https://{AWS}/graphql", f"https://{AWS}/graphql", f"wss://{REALTIME}/graphql", AWS),
        (f"wss://{REALTIME}/graphql", f"https://{AWS}/graphql", f"wss://{REALTIME}/graphql", AWS),
        (f"graphql+https://{AWS}", f"https://{AWS}/graphql", f"wss://{REALTIME}/graphql", AWS),
        (
            "https://api.example.com/graphql",
            "https://api.example.com/graphql",
            "wss://api.example.com/graphql/realtime",
            "api.example.com",
        ),
        (
            "wss://api.example.com:8443/graphql/realtime/",
            "https://api.example.com:8443/graphql",
            "wss://api.example.com:8443/graphql/realtime",
            "api.example.com:8443",
        ),
        (
            "http://[::1]:80/graphql",
            "http://[::1]/graphql",
            "ws://[::1]/graphql/realtime",
            "[::1]",
        ),
        (
            "graphql+ws://127.0.0.1:9/api/v1",
            "http://127.0.0.1:9/api/v1",
            "ws://127.0.0.1:9/api/v1/realtime",
            "127.0.0.1:9",
        ),
        (
            "graphql+http://127.0.0.1:9/",
            "http://127.0.0.1:9/graphql",
            "ws://127.0.0.1:9/graphql/realtime",
            "127.0.0.1:9",
        ),
        (
            f"http://{ID}.appsync-api.eu-west-1.localhost:4566/graphql",
            f"http://{ID}.appsync-api.eu-west-1.localhost:4566/graphql",
            f"ws://{ID}.appsync-realtime-api.eu-west-1.localhost:4566/graphql",
            f"{ID}.appsync-api.eu-west-1.localhost:4566",
        ),
    ],
)
def test_both_urls_follow_from_either(url: str, http_url: str, ws_url: str, host: str) -> None:
    assert protocol_of(url).name == "appsync-graphql"
    made = GraphqlUrl.from_url(url)
    assert (made.http_url, made.ws_url, made.host) == (http_url, ws_url, host)
    assert made.tls == http_url.startswith("https")
    assert made.loopback == any(each in host for each in ("127.0.0.1", "[::1]", "localhost"))
    assert GraphqlUrl.from_url(f"graphql+{made.http_url}").ws_url == ws_url
    assert made.describe()["url"] == http_url


def test_an_event_api_on_the_same_kind_of_host_is_another_target() -> None:
    for url in (f"https://{AWS}/event", f"wss://{REALTIME}/event/realtime", f"https://{AWS}", None):
        assert protocol_of(url) is APPSYNC_EVENTS


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"http://{AWS}/graphql", "unencrypted to AWS"),
        ("graphql+http://", "is not one of a GraphQL API"),
        ("graphql+http://host:0/graphql", "is not one of a GraphQL API"),
        ("graphql+http://host:99999/graphql", "cannot be read"),
        ("https://user:secret@host/graphql", "log in with --auth"),
        ("https://host/graphql#x", "fragment"),
        ("https://host/graphql?key=secret", "has the query 'key': known are auth, operations, mutation"),
        ("https://host/graphql?auth=header", "it may be subprotocol or query"),
        ("https://host/graphql?data=a&data=b", "'data' twice"),
        ("https://host/graphql?data=a-b", "not a GraphQL name"),
        ("https://host/graphql?data-type=[String]", "not a GraphQL type, such as String!"),
        ("https://host/graphql?data=name", "for both the channel and the data"),
        (
            "https://host/graphql?operations=none/such.graphql",
            "'none/such.graphql' cannot be read: No such file",
        ),
        ("https://host/graphql?operations=a&data=b", "has both 'operations' and 'data'"),
        ("https://host/graphql?operations=%00", "cannot be read"),
    ],
)
def test_a_wrong_url_is_said_in_one_sentence(url: str, said: str) -> None:
    with pytest.raises(EndpointError) as caught:
        GraphqlUrl.from_url(url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_query_says_how_a_connection_is_authorized_and_is_not_part_of_the_url() -> None:
    made = GraphqlUrl.from_url(f"https://{AWS}/graphql?auth=query&data=body&mutation=send")
    assert made.carrier == "query"
    assert made.operations.result == "send"
    assert made.operations.event_at == ("subscribe", "body")
    assert "?" not in "".join(filter(None, made.describe().values()))
    assert GraphqlUrl.from_url(f"https://{AWS}/graphql").carrier == "subprotocol"


def test_an_operations_file_is_read_once_and_its_text_handed_on(tmp_path: Path) -> None:
    file = tmp_path / "operations.graphql"
    file.write_text(DOCUMENT)
    url = f"https://{AWS}/graphql?operations={file}"
    text = protocol_file_of(url)
    assert text == DOCUMENT
    file.unlink()
    protocol = protocol_of(url, text)
    made = protocol.endpoints(url)
    assert isinstance(made, GraphqlUrl)
    assert made.operations.event_at == ("posted", "data")
    assert protocol.setup(made)["operations"] == f"mutation post, subscription posted (file {file})"
    with pytest.raises(ScenarioError, match="cannot be read: No such file"):
        protocol_file_of(url)
    assert protocol_file_of(f"https://{AWS}/graphql") is None


def test_a_file_that_is_not_an_operations_file_is_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_bytes(b"[default]\naws_secret_access_key = topsecret\n")
    with pytest.raises(EndpointError) as caught:
        GraphqlUrl.from_url(f"https://host/graphql?operations={file}")
    assert "topsecret" not in str(caught.value)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(EndpointError, match="not a file of text in UTF-8"):
        GraphqlUrl.from_url(f"https://host/graphql?operations={file}")
    file.write_bytes(b" " * 100_001)
    with pytest.raises(EndpointError, match="larger than 100,000 bytes"):
        GraphqlUrl.from_url(f"https://host/graphql?operations={file}")
