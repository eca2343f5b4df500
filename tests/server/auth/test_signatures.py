"""Test IAM signatures of real clients: what they sign, leave out, write differently and send in addition.

Sources of the table: the code of the clients that docs/reference/appsync-events.md names (AUVRED, ANDROID,
SWIFT, JS), and the signer of aws-sdk-go-v2, on which several clients in Go are built.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.protocol.appsync.auth import CONNECT_BODY, publish_body, subscribe_body
from loadgen.server.auth.base import (
    AuthorizationRequest,
    Caller,
    Identity,
    Operation,
    caller_of,
    credentials_from,
)
from loadgen.server.auth.iam import IamAuthorizer, IamUser
from loadgen.server.auth.signatures import canonical_query, spellings
from loadgen.server.refusal import RefusedError
from tests.server.auth.signer import ACCESS_KEY, REGION, SECRET_KEY, authorization, now

HOST = "abc.appsync-api.eu-west-1.amazonaws.com"
LOCAL = "localhost:9401"
COMMON = {
    "accept": "application/json, text/javascript",
    "content-encoding": "amz-1.0",
    "content-type": "application/json; charset=UTF-8",
}
SUBSCRIBE = subscribe_body("/iam/a")


def authorizer(session: str | None = None) -> IamAuthorizer:
    return IamAuthorizer([IamUser(ACCESS_KEY, SECRET_KEY, session, "123456789012", "ada")], REGION)


def ask(
    fields: Mapping[str, str],
    body: bytes = SUBSCRIBE,
    *,
    operation: Operation = Operation.SUBSCRIBE,
    session: str | None = None,
    caller: Caller | None = None,
) -> Identity:
    request = AuthorizationRequest(
        operation, credentials_from(fields), lambda: body, "/iam/a", caller=caller or Caller(host=LOCAL)
    )
    return asyncio.run(authorizer(session).authorize(request))


def refused(fields: Mapping[str, str], body: bytes = SUBSCRIBE, **options: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        ask(fields, body, **options)
    return str(caught.value.error.message)


@dataclass(frozen=True)
class Client:
    """How a client makes the `authorization` of a frame, or the headers of a request."""

    #: Headers that the client signs besides COMMON and `host`; the value None stands for the length of the body.
    signs: Mapping[str, str | None] = field(default_factory=dict)
    #: Signed headers that the client does not send.
    leaves_out: tuple[str, ...] = ()
    #: The host that the client signs, and the host that it sends (None: the same).
    host: str = HOST
    sends_host: str | None = None
    session: str | None = None
    signs_date: bool = True

    def sign(self, body: bytes, timestamp: str | None = None) -> dict[str, str]:
        timestamp = timestamp or now()
        signed = {**COMMON, "host": self.host}
        signed |= {name: str(len(body)) if value is None else value for name, value in self.signs.items()}
        if self.signs_date:
            signed["x-amz-date"] = timestamp
        sent = {name: value for name, value in signed.items() if name not in self.leaves_out}
        sent |= {"x-amz-date": timestamp, "host": self.sends_host or self.host}
        if self.session is not None:
            sent["X-Amz-Security-Token"] = self.session
        return {**sent, "Authorization": authorization(body, signed, timestamp)}


CLIENTS = {
    "Amplify JS": Client(signs={"x-amz-user-agent": "aws-amplify/6"}),
    "AUVRED: the date is not among the signed headers": Client(signs_date=False),
    "Go: the length is signed and not sent": Client(
        signs={"content-length": None}, leaves_out=("content-length",)
    ),
    "Go: neither the date is signed nor the length sent": Client(
        signs={"content-length": None}, leaves_out=("content-length",), signs_date=False
    ),
    "the length is signed and sent": Client(signs={"content-length": None}),
    "a session token outside the signature": Client(session="a session"),
    "a signed session token": Client(signs={"x-amz-security-token": "a session"}, session="a session"),
    "JavaScript: the host without its port": Client(host="localhost", sends_host=LOCAL),
    "only the host's name is sent, the port is signed": Client(host=LOCAL, sends_host="localhost"),
    "the default port is signed": Client(host=f"{HOST}:443", sends_host=HOST),
    "the default port is sent": Client(host=HOST, sends_host=f"{HOST}:443"),
    "the host is sent as the user wrote it": Client(
        host=HOST, sends_host="ABC.appsync-api.eu-west-1.amazonaws.com"
    ),
    "an IPv6 address without its port": Client(host="[::1]", sends_host="[::1]:9401"),
}
BODIES = {
    Operation.CONNECT: CONNECT_BODY,
    Operation.SUBSCRIBE: SUBSCRIBE,
    Operation.PUBLISH: publish_body("/iam/a", ['{"text":"<é>"}', "1"]),
}


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("name", CLIENTS)
def test_what_clients_sign_is_accepted(name: str, operation: Operation) -> None:
    client, body = CLIENTS[name], BODIES[operation]
    caller = Caller(host=HOST if "default port" in name else LOCAL)
    identity = ask(client.sign(body), body, operation=operation, session=client.session, caller=caller)
    assert identity["username"] == "ada"


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("name", CLIENTS)
def test_it_covers_the_body_the_time_and_the_headers(name: str, operation: Operation) -> None:
    client, body = CLIENTS[name], BODIES[operation]
    sent = client.sign(body)
    others: list[tuple[dict[str, str], bytes]] = [(sent, body[:-1] + b" }")]
    minute_ago = f"{datetime.now(UTC) - timedelta(minutes=1):%Y%m%dT%H%M%SZ}"
    others.append(({**sent, "x-amz-date": minute_ago}, body))
    others.append(({**sent, "host": "elsewhere.example"}, body))
    others.append(({**sent, "accept": "text/plain"}, body))
    others.append(({key: value for key, value in sent.items() if key != "host"}, body))
    others.append(({key: value for key, value in sent.items() if key != "accept"}, body))
    others.append(({**sent, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, body))
    for fields, came in others:
        assert refused(fields, came, operation=operation, session=client.session)


@pytest.mark.parametrize("written", [None, "another", ""])
def test_the_session_token_is_compared_wherever_it_stands(written: str | None) -> None:
    for client in (CLIENTS["a session token outside the signature"], CLIENTS["a signed session token"]):
        sent = replace(client, session=written).sign(SUBSCRIBE)
        sent.pop("x-amz-security-token", None)
        assert "security token" in refused(sent, session="a session")
    assert "security token" in refused(CLIENTS["a session token outside the signature"].sign(SUBSCRIBE))


def test_the_date_may_come_in_another_header() -> None:
    moment = datetime.now(UTC).replace(microsecond=0)
    timestamp = f"{moment:%Y%m%dT%H%M%SZ}"
    for written in (timestamp, format_datetime(moment, usegmt=True), format_datetime(moment)):
        signed = {**COMMON, "host": HOST, "date": written}
        sent = {**signed, "Authorization": authorization(SUBSCRIBE, signed, timestamp)}
        assert ask(sent)
    assert "incomplete" in refused({**sent, "date": "yesterday"})
    assert "incomplete" in refused({key: value for key, value in sent.items() if key != "date"})


@pytest.mark.parametrize("minutes", [-16, 16, 60 * 24])
def test_a_time_far_from_now_is_refused(minutes: int) -> None:
    timestamp = f"{datetime.now(UTC) + timedelta(minutes=minutes):%Y%m%dT%H%M%SZ}"
    for client in (Client(), Client(signs_date=False)):
        assert "expired" in refused(client.sign(SUBSCRIBE, timestamp))


def test_the_scope_is_of_the_day_of_the_date() -> None:
    sent = Client(signs_date=False).sign(SUBSCRIBE)
    today = sent["x-amz-date"][:8]
    assert "expired" in refused({**sent, "Authorization": sent["Authorization"].replace(today, "20200101")})


@pytest.mark.parametrize(
    "spell",
    [
        lambda sent: {key.title(): value for key, value in sent.items()},
        lambda sent: {key.upper(): value for key, value in sent.items()},
        lambda sent: (
            {key: f"  {value.replace(' ', '   ')}\t" for key, value in sent.items() if key != "Authorization"}
            | {"Authorization": sent["Authorization"]}
        ),
        lambda sent: sent | {"Authorization": sent["Authorization"].replace(", ", ",")},
        lambda sent: sent | {"Authorization": sent["Authorization"].replace(", ", " ,  ")},
        lambda sent: sent | {"Authorization": _reversed(sent["Authorization"])},
        lambda sent: sent | {"user-agent": "x", "accept-language": "de"},
    ],
)
def test_case_space_and_order_do_not_matter(spell: Callable[[dict[str, str]], dict[str, str]]) -> None:
    assert ask(spell(Client().sign(SUBSCRIBE)))["username"] == "ada"


def _reversed(text: str) -> str:
    algorithm, _, rest = text.partition(" ")
    return f"{algorithm} {', '.join(reversed(rest.split(', ')))}"


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "Credential=",
        "Credential=AKIATEST/20261129/eu-west-1/appsync/aws4_request",
        "Credential=AKIATEST/20261129/eu-west-1/appsync/aws4_request, SignedHeaders=host",
        "Credential=AKIATEST/20261129/eu-west-1/appsync/aws4_request, SignedHeaders=host, Signature=zz",
        f"Credential=AKIATEST/20261129/eu-west-1/appsync, SignedHeaders=host, Signature={'0' * 64}",
        f"Credential=AKIATEST/2026/eu-west-1/appsync/aws4_request, SignedHeaders=host, Signature={'0' * 64}",
        f"Credential=AKIATEST/20261129/eu-west-1/appsync/aws4_request, SignedHeaders=Host, Signature={'0' * 64}",
        f"Credential=AKIATEST/20261129/eu-west-1/appsync/aws4_request, SignedHeaders=host, Signature={'0' * 64},"
        f" Signature={'0' * 64}",
        "x" * 100_000,
        ", " * 1000,
    ],
)
def test_what_is_no_signature_is_said(broken: str) -> None:
    sent = Client().sign(SUBSCRIBE)
    assert "incomplete" in refused({**sent, "Authorization": f"AWS4-HMAC-SHA256 {broken}"})


def test_a_header_that_did_not_come_cannot_be_made_up() -> None:
    client = Client(signs={"x-made-up": "1"}, leaves_out=("x-made-up",))
    assert "incomplete" in refused(client.sign(SUBSCRIBE))


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=1&A=0", "A=0&a=1&a=2"),
        ("a", "a="),
        ("a=%7e%20b/c", "a=~%20b%2Fc"),
        ("%C3%A9=1&e=2", "%C3%A9=1&e=2"),
        ("a=1&&b=", "a=1&b="),
    ],
)
def test_a_query_is_sorted_and_encoded_in_one_way(raw: str, canonical: str) -> None:
    assert canonical_query(raw) == canonical


def test_the_query_of_a_request_is_covered() -> None:
    timestamp = now()
    signed = {**COMMON, "host": HOST, "x-amz-date": timestamp}
    query = [("b", "x y"), ("a", "é/"), ("a", "1")]
    sent = {**signed, "Authorization": authorization(SUBSCRIBE, signed, timestamp, query=query)}
    assert ask(sent, caller=Caller(query="b=x%20y&a=%C3%A9/&a=1"))
    assert ask(sent, caller=Caller(query="a=1&a=%c3%a9%2f&b=x%20y"))
    assert "does not match" in refused(sent, caller=Caller(query="a=1"))
    assert "does not match" in refused(sent)


@pytest.mark.parametrize(
    ("host", "connection", "expected"),
    [
        ("h:9401", "other:1", ["h:9401", "h"]),
        ("h", "other:1", ["h", "h:1"]),
        ("h", "other", ["h", "h:443"]),
        ("H:1", "", ["H:1", "H", "h:1", "h"]),
        ("[::1]:5", "", ["[::1]:5", "[::1]"]),
        ("a:b:c", "", ["a:b:c"]),
        ("", "", ["", ":443"]),
    ],
)
def test_the_spellings_of_a_host(host: str, connection: str, expected: list[str]) -> None:
    assert spellings(host, connection) == expected


_WORDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(
    body=st.binary(max_size=60),
    headers=st.dictionaries(
        st.from_regex(r"x-[a-z][a-z0-9-]{0,10}[a-z0-9]", fullmatch=True).filter(
            lambda name: "amz" not in name
        ),
        st.lists(_WORDS, min_size=1, max_size=3).map("  ".join),
        max_size=4,
    ),
    host=st.sampled_from([HOST, LOCAL, "localhost", "[::1]:80"]),
    session=st.none() | _WORDS,
)
def test_whatever_botocore_signs_is_accepted_and_covers_the_body(
    body: bytes, headers: dict[str, str], host: str, session: str | None
) -> None:
    request: Any = AWSRequest("POST", f"https://{host}/event", data=body, headers={**headers, "Host": host})
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY, session), "appsync", REGION).add_auth(request)
    sent = dict(request.headers.items())
    assert ask(sent, body, session=session)["accountId"] == "123456789012"
    assert refused(sent, body + b" ", session=session)


_ANYTHING = st.text(st.characters(codec="utf-8"), max_size=30)
_DATES = st.sampled_from(
    [
        "",
        "20261129T100000Z",
        "Mon, 01 Jan 0001 00:00:00 -0000",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "1 Jan 1 0:0 +2400",
    ]
)


@settings(deadline=None, max_examples=200)
@given(
    headers=st.dictionaries(
        st.sampled_from(
            [
                "host",
                "date",
                "x-amz-date",
                "accept",
                "content-length",
                "x-amz-content-sha256",
                "x-amz-security-token",
            ]
        ),
        _ANYTHING | _DATES,
    ),
    signed=st.lists(st.sampled_from(["host", "date", "x-amz-date", "accept", "content-length"])).map(
        ";".join
    ),
    query=_ANYTHING,
    connection_host=_ANYTHING,
    anything=st.none() | _ANYTHING,
)
def test_whatever_comes_is_refused_in_order(
    headers: dict[str, str], signed: str, query: str, connection_host: str, anything: str | None
) -> None:
    text = f"Credential={ACCESS_KEY}/20261129/{REGION}/appsync/aws4_request,SignedHeaders={signed},Signature={'0' * 64}"
    sent = {**headers, "authorization": f"AWS4-HMAC-SHA256 {text if anything is None else anything}"}
    assert refused(sent, caller=Caller((), connection_host, query))


def test_the_identity_has_every_documented_member() -> None:
    caller = caller_of({"x-forwarded-for": "203.0.113.7, 198.51.100.1", "host": HOST}, "127.0.0.1")
    assert ask(Client().sign(SUBSCRIBE), caller=caller) == {
        "accountId": "123456789012",
        "cognitoIdentityPoolId": None,
        "cognitoIdentityId": None,
        "sourceIp": ["203.0.113.7", "198.51.100.1", "127.0.0.1"],
        "username": "ada",
        "userArn": "arn:aws:iam::123456789012:user/ada",
        "cognitoIdentityAuthType": None,
        "cognitoIdentityAuthProvider": None,
    }
