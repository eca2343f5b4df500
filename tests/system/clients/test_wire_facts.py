"""Test over real sockets the messages of clients that no package registry has, written from their code.

Sources: the repositories that docs/reference/appsync-events.md names, exanubes/appsync, and
onlybakam/ob-appsync-events-client (here "OB"). Most of these clients are typed: if a member of a message is missing or
has another type, the connection ends or the message is silently lost.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from loadgen.protocol.appsync.auth import SUBPROTOCOL, encode_header_subprotocol, publish_body, subscribe_body
from loadgen.server.auth.iam import IamAuthorizer, IamUser
from loadgen.server.auth.lambda_authorizer import LambdaAuthorizer
from loadgen.server.testing import LocalEventApi
from tests.server.auth.signer import ACCESS_KEY, REGION, SECRET_KEY, authorization, now
from tests.system.harness import STUCK_S

TOKEN = "let me in"
#: Function that makes the credentials for a signed body.
Credentials = Callable[[LocalEventApi, bytes], dict[str, str]]


def key(**more: str) -> Credentials:
    return lambda api, body: {"host": host(api), "x-api-key": api.api_key, **more}


def bare_key(api: LocalEventApi, body: bytes) -> dict[str, str]:
    return {"x-api-key": api.api_key}


def key_for_name(api: LocalEventApi, body: bytes) -> dict[str, str]:
    return {"host": urlsplit(api.http_url).hostname or "", "x-api-key": api.api_key}


def token(name: str) -> Credentials:
    return lambda api, body: {"host": host(api), name: TOKEN}


def bare_token(api: LocalEventApi, body: bytes) -> dict[str, str]:
    return {"Authorization": TOKEN}


def signed(
    *, date: bool = True, length: bool = False, named: str = "host", sent_host: Callable[[str], str] = str
) -> Credentials:
    """Return a function that signs a body.

    ``sent_host`` changes the host that is sent; the other arguments choose the headers that the signature covers.
    """

    def of(api: LocalEventApi, body: bytes) -> dict[str, str]:
        headers = {
            "accept": "application/json, text/javascript",
            "content-encoding": "amz-1.0",
            "content-type": "application/json; charset=UTF-8",
            "host": host(api) if named == "host" else host(api).partition(":")[0],
        }
        timestamp = now()
        covered = dict(headers)
        if date:
            covered["x-amz-date"] = timestamp
        if length:
            covered["content-length"] = str(len(body))
        text = authorization(body, covered, timestamp)
        return {**headers, "host": sent_host(host(api)), "x-amz-date": timestamp, "Authorization": text}

    return of


def host(api: LocalEventApi) -> str:
    return urlsplit(api.http_url).netloc


@dataclass(frozen=True)
class Client:
    connects: Credentials
    #: Credentials in frames, if they differ from those for connecting.
    asks: Credentials | None = None
    #: True if the credentials are in the upgrade's headers and not in a subprotocol.
    in_headers: bool = False
    header_first: bool = False
    says_init: bool = True
    channel: str = "default/room"
    more: Mapping[str, Any] = field(default_factory=dict)
    #: Headers of HTTP publishes in addition to the credentials, or None if the client does not publish over
    #: HTTP.
    http: Mapping[str, str] | None = field(default_factory=lambda: {"content-type": "application/json"})


CLIENTS = {
    "AUVRED, API key": Client(key()),
    "AUVRED, IAM": Client(signed(date=False), http=None),
    "SWIFT": Client(
        key(**{"x-amz-user-agent": "aws-appsync-events-swift"}), in_headers=True, channel="/default/room"
    ),
    "SWIFT, IAM": Client(signed(named="name"), in_headers=True, channel="/default/room"),
    "ANDROID": Client(key(**{"x-amz-date": "20261129T100000Z"}), in_headers=True, channel="/default/room/"),
    "ANDROID, token": Client(token("Authorization"), in_headers=True),
    "BROKGO": Client(key(), bare_key, channel="/default/room", http=None),
    "TOKIO, API key": Client(key(), http=None),
    "TOKIO, IAM": Client(signed(), http=None),
    "TOKIO, Lambda": Client(token("Authorization"), bare_token, http=None),
    "OB, API key": Client(key_for_name, bare_key, says_init=False, channel="/default/room", http=None),
    "OB, token": Client(
        token("authorization"), lambda api, body: {"authorization": TOKEN}, says_init=False, http=None
    ),
    "Go with aws-sdk-go-v2, IAM": Client(signed(length=True), http=None),
    "exanubes: signs the port, sends the name": Client(
        signed(sent_host=lambda text: text.partition(":")[0]), http=None
    ),
    "AWS's wscat example": Client(key(), header_first=True),
    "JS, with members that nobody asked for": Client(
        key(**{"x-amz-date": "20261129T100000Z", "x-amz-user-agent": "aws-amplify/6"}),
        more={
            "payload": {"channel": "default/room", "extensions": {"authorization": {}}},
            "new": [1, {"a": None}],
        },
    ),
}
#: The members of each message, and their types, on which typed clients depend.
FORMS: dict[str, dict[str, type]] = {
    "connection_ack": {"connectionTimeoutMs": int},
    "ka": {},
    "subscribe_success": {"id": str},
    "data": {"id": str, "event": str},
    "publish_success": {"id": str, "successful": list, "failed": list},
    "publish_error": {"id": str, "errors": list},
    "subscribe_error": {"id": str, "errors": list},
    "unsubscribe_success": {"id": str},
    "unsubscribe_error": {"id": str, "errors": list},
    "error": {"errors": list},
}


@pytest.fixture(scope="module")
def api() -> Iterator[LocalEventApi]:
    iam = IamAuthorizer([IamUser(ACCESS_KEY, SECRET_KEY)], REGION)
    by_token = LambdaAuthorizer(lambda event: {"isAuthorized": event["authorizationToken"] == TOKEN})
    with LocalEventApi(authorizers=[iam, by_token], host="localhost") as started:
        yield started


class Connection:
    def __init__(self, api: LocalEventApi, client: Client) -> None:
        self.api, self.client = api, client
        credentials = client.connects(api, b"{}")
        offered = [SUBPROTOCOL]
        if not client.in_headers:
            offered.insert(0 if client.header_first else 1, encode_header_subprotocol(credentials))
        # The websockets library itself writes the Host header, from the URL.
        headers = {name: value for name, value in credentials.items() if name != "host"}
        self.socket = connect(
            api.ws_url,
            subprotocols=[Subprotocol(name) for name in offered],
            additional_headers=headers if client.in_headers else None,
            open_timeout=STUCK_S,
            close_timeout=1,
        )
        assert self.socket.subprotocol == SUBPROTOCOL

    def send(self, kind: str, body: bytes | None = None, **members: Any) -> None:
        message: dict[str, Any] = {"type": kind, **members}
        if body is not None:
            message |= {
                "authorization": (self.client.asks or self.client.connects)(self.api, body),
                **self.client.more,
            }
        self.socket.send(json.dumps(message))

    def next(self) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = json.loads(self.socket.recv(STUCK_S))
            for name, kind in FORMS[message["type"]].items():
                assert type(message[name]) is kind, message
            for error in message.get("errors", ()):
                assert isinstance(error["errorType"], str), message
            if message["type"] != "ka":
                return message


@pytest.mark.parametrize("name", CLIENTS)
def test_it_connects_subscribes_publishes_and_unsubscribes(name: str, api: LocalEventApi) -> None:
    client = CLIENTS[name]
    connection = Connection(api, client)
    with connection.socket:
        if client.says_init:
            connection.send("connection_init")
            assert connection.next() == {"type": "connection_ack", "connectionTimeoutMs": 300_000}
        channel = client.channel
        connection.send("subscribe", subscribe_body(channel), id="6f1d-1", channel=channel)
        assert connection.next() == {"type": "subscribe_success", "id": "6f1d-1"}
        events = ['{"text":"é"}', "[1.50,null]"]
        connection.send("publish", publish_body(channel, events), id="6f1d-2", channel=channel, events=events)
        answers = [connection.next() for _ in range(3)]
        (answer,) = [each for each in answers if each["type"] == "publish_success"]
        assert [type(each["identifier"]) for each in answer["successful"]] == [str, str]
        assert [each["index"] for each in answer["successful"]] == [0, 1]
        assert list(answer) == ["id", "type", "successful", "failed"]
        assert [each["event"] for each in answers if each["type"] == "data"] == events
        if client.http is not None:
            body = publish_body(channel, events[:1])
            credentials = client.connects(api, body)
            headers = {key: value for key, value in credentials.items() if key != "host"} | dict(client.http)
            if "content-type" in credentials:
                headers["content-type"] = credentials["content-type"]
            posted = httpx.post(api.http_url, content=body, headers=headers, timeout=STUCK_S)
            assert posted.status_code == 200, posted.text
            assert list(posted.json()) == ["failed", "successful"]
            assert connection.next()["event"] == events[0]
        connection.send("unsubscribe", id="6f1d-1")
        assert connection.next() == {"type": "unsubscribe_success", "id": "6f1d-1"}


#: Errors as typed clients expect them: a message that causes the error, and the answer's members in order.
ERRORS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "publish_error": (
        {"type": "publish", "id": "a", "channel": "/nope/a", "events": ["1"]},
        ["id", "type", "errors"],
    ),
    "subscribe_error": ({"type": "subscribe", "id": "a", "channel": "/nope/a"}, ["type", "id", "errors"]),
    "unsubscribe_error": ({"type": "unsubscribe", "id": "a"}, ["type", "id", "errors"]),
    "error": ({"type": "hello"}, ["type", "errors"]),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_have_the_documented_members(kind: str, api: LocalEventApi) -> None:
    message, members = ERRORS[kind]
    connection = Connection(api, CLIENTS["BROKGO"])
    with connection.socket:
        connection.send(
            message["type"], b"", **{name: value for name, value in message.items() if name != "type"}
        )
        answer = connection.next()
    assert (answer["type"], list(answer)) == (kind, members)


def test_failed_events_have_aws_order_of_members_over_both_transports(api: LocalEventApi) -> None:
    large = [json.dumps("x" * 250_000)]
    connection = Connection(api, CLIENTS["BROKGO"])
    with connection.socket:
        connection.send("publish", b"", id="a", channel="/default/a", events=large)
        (over_websocket,) = connection.next()["failed"]
    posted = httpx.post(
        api.http_url, json={"channel": "/default/a", "events": large}, headers={"x-api-key": api.api_key}
    )
    (over_http,) = posted.json()["failed"]
    for failed in (over_websocket, over_http):
        assert list(failed) == ["code", "identifier", "index", "message"]
        assert (failed["code"], failed["index"]) == ("EventTooLargeException", 0)
