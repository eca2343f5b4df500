"""Test a GraphQL API as a target: handshakes, mutations and their answers, logins and signatures."""

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol import unreadable
from loadgen.protocol.appsync.auth import ApiKey, BearerToken, decode_header_subprotocol
from loadgen.protocol.appsync.sigv4 import IamSignature
from loadgen.protocol.appsync_graphql.endpoints import GraphqlUrl
from loadgen.protocol.appsync_graphql.service import AppSyncGraphql
from loadgen.protocol.appsync_graphql.target import PROTOCOL, RULES
from loadgen.protocol.base import ClientLogins, PublishAnswer
from loadgen.protocol.refusals import Kind
from tests.protocol.test_order import Handler

AWS = "abc123.appsync-api.eu-west-1.amazonaws.com"
URL = f"https://{AWS}/graphql"


def service(credential: Any = None, url: str = URL) -> AppSyncGraphql:
    return AppSyncGraphql(GraphqlUrl.from_url(url), credential or ApiKey("da2-k"))


def start(made: AppSyncGraphql, channel: str = "/default/a") -> dict[str, Any]:
    handler: Any = Handler()
    message: dict[str, Any] = json.loads(made.session(handler).subscribe("s1", channel))["payload"]
    return message


def authorization(made: AppSyncGraphql, channel: str = "/default/a") -> dict[str, str]:
    found: dict[str, str] = start(made, channel)["extensions"]["authorization"]
    return found


def test_the_authorization_of_a_connection_is_a_subprotocol() -> None:
    handshake = service().handshake()
    protocol, header = handshake.subprotocols
    assert protocol == "graphql-ws"
    assert decode_header_subprotocol(header) == {"host": AWS, "x-api-key": "da2-k"}
    assert handshake.resource is None


def test_or_it_is_in_the_query() -> None:
    # This key has bytes that standard base64 writes as + and /, which have meanings in a query.
    made = service(ApiKey("da2-~~~???>>>"), URL + "?auth=query")
    handshake = made.handshake()
    assert list(handshake.subprotocols) == ["graphql-ws"]
    assert handshake.resource is not None
    parts = urlsplit(handshake.resource)
    query = parse_qs(parts.query, strict_parsing=True)
    assert parts.path == "/graphql"
    assert query["payload"] == ["e30="]
    assert json.loads(base64.b64decode(query["header"][0], validate=True)) == {
        "host": AWS,
        "x-api-key": "da2-~~~???>>>",
    }
    assert "da2" not in made.connect_url
    assert "da2" not in repr(handshake)


def test_a_token_may_be_renewed_between_two_connections() -> None:
    tokens = iter(["one", "one", "two"])
    made = service(BearerToken(lambda: next(tokens)))
    first, second, third = made.handshake(), made.handshake(), made.handshake()
    assert first is second
    assert decode_header_subprotocol(third.subprotocols[1])["Authorization"] == "two"


def test_a_mutation_has_one_event() -> None:
    made = service()
    request = made.http_publish("default/a", ['{"a":1}'])
    assert request.method == "POST"
    assert request.resource is None
    assert json.loads(request.body)["variables"] == {"channel": "default/a", "data": '{"a":1}'}
    assert request.headers == {"content-type": "application/json", "x-api-key": "da2-k"}
    assert "da2-k" not in repr(request)
    assert RULES.batches is False
    with pytest.raises(ValueError, match="unpack"):
        made.http_publish("default/a", ["{}", "{}"])


ERROR = {"errorType": "UnauthorizedException", "message": "Not Authorized to access publish on type Mutation"}


@pytest.mark.parametrize(
    ("status", "body", "error", "kind"),
    [
        (
            200,
            {"data": {"publish": None}, "errors": [ERROR]},
            "UnauthorizedException: Not Authorized",
            Kind.DENIED,
        ),
        (
            200,
            {"data": {"publish": {"data": "{}"}}, "errors": [{"message": "a field"}]},
            "a field",
            Kind.DENIED,
        ),
        (200, {"errors": {"message": "as an object"}}, "as an object", Kind.DENIED),
        (200, {"data": {"publish": None}}, "the mutation's result 'publish' is null", Kind.DENIED),
        (200, {"data": None}, "the mutation's result 'publish' is null", Kind.DENIED),
        (200, {}, "the mutation's result 'publish' is null", Kind.DENIED),
        (401, {"errors": [ERROR]}, "UnauthorizedException: Not Authorized", Kind.DENIED),
        (429, {"errors": [{"errorType": "ThrottlingException"}]}, "ThrottlingException", Kind.THROTTLED),
        (400, {"errors": [{"errorType": "LimitExceededException"}]}, "LimitExceeded", Kind.THROTTLED),
        (503, {}, "HTTP 503", Kind.THROTTLED),
        (500, {"message": "x"}, "HTTP 500", Kind.FAILING),
    ],
)
def test_an_answer_that_refuses_says_why(status: int, body: Any, error: str, kind: Kind) -> None:
    answer = service().http_answer(status, json.dumps(body).encode())
    assert answer.error is not None
    assert error in answer.error
    assert answer.refusal is not None
    assert answer.refusal.kind is kind
    assert answer.unreadable is None


def test_an_answer_with_the_result_accepts() -> None:
    body = {"data": {"publish": {"name": "a", "data": "{}"}}}
    assert service().http_answer(200, json.dumps(body).encode()) == PublishAnswer()
    made = service(url=URL + "?mutation=post")
    assert made.http_answer(200, b'{"data":{"post":{}},"errors":null}') == PublishAnswer()


@given(st.integers(100, 599), st.binary(max_size=100))
def test_any_answer_is_read_or_unreadable(status: int, body: bytes) -> None:
    answer = service().http_answer(status, body)
    assert answer.error is not None
    answer.error.encode()
    assert answer.unreadable in (None, unreadable.ANSWER_UNREADABLE, unreadable.ANSWER_NOT_UTF8)


def test_each_operation_and_channel_may_have_a_login_of_its_own() -> None:
    own = service().for_client(
        ClientLogins(
            connect=ApiKey("da2-c"),
            subscribe=BearerToken(lambda: "sub"),
            publish=ApiKey("da2-p"),
            channels={"default/b": ApiKey("da2-b")},
        )
    )
    assert decode_header_subprotocol(own.handshake().subprotocols[1])["x-api-key"] == "da2-c"
    assert authorization(own)["Authorization"] == "sub"
    assert authorization(own, "/default/b")["x-api-key"] == "da2-b"
    assert own.http_publish("/default/a", ["{}"]).headers["x-api-key"] == "da2-p"
    # Clients without logins of their own use the service's login, as before.
    assert authorization(service())["x-api-key"] == "da2-k"
    partly = service().for_client(ClientLogins(subscribe=ApiKey("da2-s")))
    assert decode_header_subprotocol(partly.handshake().subprotocols[1])["x-api-key"] == "da2-k"


def signed_by(headers: dict[str, str], path: str, body: bytes | str) -> bool:
    """Return whether botocore computes the same signature for a request."""
    given = {name.lower(): value for name, value in headers.items()}
    names = given["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request: Any = AWSRequest(
        "POST", f"https://{AWS}{path}", data=body, headers={name: given.get(name, AWS) for name in names}
    )
    request.context["timestamp"] = given["x-amz-date"]
    signer: Any = SigV4Auth(Credentials("AKIA", "secret"), "appsync", "eu-west-1")
    signer.headers_to_sign = lambda request: request.headers
    canonical = signer.canonical_request(request)
    signature: str = signer.signature(signer.string_to_sign(request, canonical), request)
    return given["authorization"].endswith(signature)


def test_an_iam_signature_covers_connect_the_text_of_a_start_and_a_mutation() -> None:
    credential = IamSignature(lambda: Credentials("AKIA", "secret").get_frozen_credentials(), "eu-west-1")
    for made in (service(credential), service().for_client(ClientLogins(credential, credential, credential))):
        connect = decode_header_subprotocol(made.handshake().subprotocols[1])
        assert connect["host"] == AWS
        assert signed_by(connect, "/graphql/connect", b"{}")
        payload = start(made)
        assert signed_by(payload["extensions"]["authorization"], "/graphql", payload["data"])
        request = made.http_publish("/default/a", ["{}"])
        assert signed_by(dict(request.headers), "/graphql", request.body)
        assert not signed_by(dict(request.headers), "/event", request.body)


def test_what_the_service_echoes_is_shown_without_the_login() -> None:
    made = service(ApiKey("da2-secret"), URL + "?auth=query")
    resource = made.handshake().resource
    assert resource is not None
    for echoed in (
        b'{"type":"start","payload":{"extensions":{"authorization":{"x-api-key":"da2-secret"}}}}',
        f'{{"type":"error","payload":"GET {resource}"}}'.encode(),
        b'{"message":"the key da2-secret is unknown"}',
    ):
        shown = made.shown(echoed)
        assert "da2-secret" not in shown
        assert "eyJ" not in shown


def test_the_rules_say_what_the_service_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"has a '\*', and AWS AppSync GraphQL has no wildcards"):
        RULES.validate_subscribe("/default/news/*")
    assert RULES.validate_subscribe("/default/news") == "/default/news"
    assert RULES.matches("/default/a", "default/a")
    assert not RULES.publishes_over_connections
    assert RULES.event_bytes == 245_760
    assert RULES.subscriptions_per_connection == 200
    assert PROTOCOL.bills
    assert not PROTOCOL.priced
    assert not PROTOCOL.anonymous
