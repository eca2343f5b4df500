"""Test all five authorization modes: the harness's credentials on the server, over both transports."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from botocore.credentials import ReadOnlyCredentials
from cryptography.hazmat.primitives.asymmetric import rsa

from loadgen.protocol.appsync.auth import (
    SUBPROTOCOL,
    ApiKey,
    BearerToken,
    Credential,
    encode_header_subprotocol,
    publish_body,
    subscribe_body,
)
from loadgen.protocol.appsync.sigv4 import IamSignature
from loadgen.server.process import Announcement, ServerProcess
from tests.system.server.conftest import Client

ISSUER = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_local"
OIDC_ISSUER = "https://login.example"
SECRETS = {"LOCAL_SECRET": "s3cret/of+nobody", "OTHER_SECRET": "another", "OTHER_SESSION": "session-token"}
FILE = f"""
auth:
  iam:
    region: eu-west-1
    users:
      - {{access_key_id: AKIALOCAL, secret_env: LOCAL_SECRET}}
      - {{access_key_id: AKIAOTHER, secret_env: OTHER_SECRET, session_token_env: OTHER_SESSION,
          allow: [EventConnect, EventSubscribe/iam]}}
  cognito: {{issuer: {ISSUER}, jwks: jwks.json, client_id: our-(web|app)}}
  oidc: {{issuer: {OIDC_ISSUER}, jwks: jwks.json}}
  lambda: {{function: "authorizer.py:decide"}}
  connect: [API_KEY, AWS_IAM, AMAZON_COGNITO_USER_POOLS, OPENID_CONNECT, AWS_LAMBDA]
namespaces:
  default:
  iam: {{publish: [AWS_IAM], subscribe: [AWS_IAM]}}
  users: {{publish: [AMAZON_COGNITO_USER_POOLS], subscribe: [AMAZON_COGNITO_USER_POOLS]}}
  oidc: {{publish: [OPENID_CONNECT], subscribe: [OPENID_CONNECT]}}
  token: {{publish: [AWS_LAMBDA], subscribe: [AWS_LAMBDA]}}
  readable: {{publish: [AWS_IAM], subscribe: [API_KEY, AWS_LAMBDA]}}
"""
AUTHORIZER = """
def decide(event):
    context = event["requestContext"]
    if event["authorizationToken"] == "broken":
        raise KeyError("bug")
    allowed = event["authorizationToken"] == "let me in" and context["channel"] != "/token/private"
    return {"isAuthorized": allowed, "handlerContext": {"who": "me"}}
"""


class Issuer:
    """A key pair, and functions that sign tokens with it."""

    def __init__(self, key_id: str = "one") -> None:
        self.key_id = key_id
        self.private = rsa.generate_private_key(65537, 2048)

    def jwk(self) -> dict[str, Any]:
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.private.public_key()))
        return {**key, "kid": self.key_id, "use": "sig", "alg": "RS256"}

    def token(self, algorithm: str = "RS256", key: Any = None, **claims: Any) -> str:
        now_s = int(time.time())
        default = {
            "iss": ISSUER,
            "sub": "u1",
            "exp": now_s + 600,
            "token_use": "access",
            "client_id": "our-web",
        }
        body = {name: value for name, value in {**default, **claims}.items() if value is not None}
        return jwt.encode(body, key or self.private, algorithm, headers={"kid": self.key_id})


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Path:
    folder = tmp_path_factory.mktemp("api")
    (folder / "api.yaml").write_text(FILE)
    (folder / "authorizer.py").write_text(AUTHORIZER)
    (folder / "jwks.json").write_text(json.dumps({"keys": [issuer.jwk()]}))
    return folder


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[Announcement]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in SECRETS.items():
            environment.setenv(name, value)
        with ServerProcess(["--api", str(folder / "api.yaml")]) as process:
            yield process.announcement


@pytest.fixture
def caller(api: Announcement) -> Iterator[Callable[[Credential], "Caller"]]:
    with ExitStack() as stack:
        yield lambda credential: Caller(api, credential, stack)


class Caller:
    """Connects, subscribes and publishes with one credential, as the harness does."""

    def __init__(self, api: Announcement, credential: Credential, stack: ExitStack) -> None:
        self.api = api
        self.credential = credential
        self._stack = stack
        self._host = httpx.URL(api.http_url).netloc.decode()
        self._client: Client | None = None

    def connect(self) -> dict[str, Any]:
        header = encode_header_subprotocol(self.credential.connect_headers(self._host))
        self._client = Client(self.api, self._stack, subprotocols=[SUBPROTOCOL, header])
        return self._client.receive_first()

    @property
    def client(self) -> Client:
        if self._client is None:
            assert self.connect()["type"] == "connection_ack"
        assert self._client is not None
        return self._client

    def subscribe(self, channel: str, name: str = "s") -> dict[str, Any]:
        authorization = self.credential.frame_authorization(self._host, subscribe_body(channel))
        return self.client.subscribe(channel, name, authorization=authorization)

    def publish(self, channel: str, events: list[str]) -> dict[str, Any]:
        authorization = self.credential.frame_authorization(self._host, publish_body(channel, events))
        return self.client.publish(channel, events, authorization=authorization)

    def post(self, channel: str, events: list[str]) -> httpx.Response:
        body = publish_body(channel, events)
        headers = {"content-type": "application/json", **self.credential.headers(self._host, body)}
        return httpx.post(self.api.http_url, content=body, headers=headers)


def iam(key: str = "AKIALOCAL", secret: str = "s3cret/of+nobody", session: str | None = None) -> IamSignature:
    return IamSignature(lambda: ReadOnlyCredentials(key, secret, session), "eu-west-1")


def token(text: str) -> BearerToken:
    return BearerToken(lambda: text)


def good_credentials(issuer: Issuer, api: Announcement) -> dict[str, Credential]:
    return {
        "default": ApiKey(api.api_key),
        "iam": iam(),
        "users": token(issuer.token()),
        "oidc": token(issuer.token(iss=OIDC_ISSUER, token_use=None, client_id=None)),
        "token": token("let me in"),
    }


MODES = ("default", "iam", "users", "oidc", "token")
TRICKY = ['{"text":"<b>\\"é\\u2028\\\\ \\u0007 😀 &amp; a/b"}', '"plain"', "[1.50,null]"]


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_connects_subscribes_and_publishes_over_both_transports(
    mode: str, issuer: Issuer, api: Announcement, caller: Callable[[Credential], Caller]
) -> None:
    somebody = caller(good_credentials(issuer, api)[mode])
    assert somebody.connect()["type"] == "connection_ack"
    assert somebody.subscribe(f"/{mode}/*")["type"] == "subscribe_success"
    somebody.client.send(
        {
            "type": "publish",
            "id": "p",
            "channel": f"/{mode}/a",
            "events": TRICKY,
            "authorization": somebody.credential.frame_authorization(
                somebody._host, publish_body(f"/{mode}/a", TRICKY)
            ),
        }
    )
    answers = [somebody.client.receive() for _ in range(4)]
    assert [answer["event"] for answer in answers if answer["type"] == "data"] == TRICKY
    assert [len(a["successful"]) for a in answers if a["type"] == "publish_success"] == [3]
    assert somebody.post(f"{mode}/b", TRICKY[:2]).status_code == 200
    assert [somebody.client.receive()["event"] for _ in range(2)] == TRICKY[:2]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("namespace", MODES)
def test_a_namespace_takes_only_its_own_modes(
    mode: str, namespace: str, issuer: Issuer, api: Announcement, caller: Callable[[Credential], Caller]
) -> None:
    somebody = caller(good_credentials(issuer, api)[mode])
    allowed = mode == namespace
    assert somebody.subscribe(f"/{namespace}/x")["type"] == (
        "subscribe_success" if allowed else "subscribe_error"
    )
    posted = somebody.post(f"/{namespace}/y", ["1"])
    assert posted.status_code == (200 if allowed else 403)
    if not allowed:
        assert posted.json()["errors"][0]["errorType"] == "UnauthorizedException"


def test_publish_and_subscribe_modes_of_a_namespace_differ(
    issuer: Issuer, api: Announcement, caller: Callable[[Credential], Caller]
) -> None:
    reader, writer = caller(ApiKey(api.api_key)), caller(iam())
    assert reader.subscribe("/readable/x")["type"] == "subscribe_success"
    assert reader.publish("/readable/x", ["1"])["errors"][0]["errorType"] == "UnauthorizedException"
    assert writer.subscribe("/readable/x")["type"] == "subscribe_error"
    assert writer.publish("/readable/x", ["2"])["type"] == "publish_success"
    assert reader.client.receive()["event"] == "2"


@pytest.mark.parametrize(
    ("credential", "error"),
    [
        (iam(secret="wrong"), "BadRequestException"),
        (iam(key="AKIANOBODY"), "UnrecognizedClientException"),
        (iam(session="unasked"), "UnrecognizedClientException"),
        (iam("AKIAOTHER", "another"), "UnrecognizedClientException"),
        (iam("AKIAOTHER", "another", "not the session token"), "UnrecognizedClientException"),
        (
            IamSignature(lambda: ReadOnlyCredentials("AKIALOCAL", "s3cret/of+nobody", None), "us-east-1"),
            "BadRequest",
        ),
        (token("AWS4-HMAC-SHA256 Credential=AKIALOCAL/x"), "BadRequestException"),
        (token("nobody"), "UnauthorizedException"),
        (token("broken"), "UnauthorizedException"),
        (token(""), "UnauthorizedException"),
        (ApiKey("da2-wrong"), "UnauthorizedException"),
    ],
)
def test_bad_credentials_do_nothing(
    credential: Credential, error: str, caller: Callable[[Credential], Caller]
) -> None:
    answer = caller(credential).connect()
    assert answer["type"] == "connection_error"
    assert answer["errors"][0]["errorType"].startswith(error)
    for namespace in MODES:
        assert caller(credential).post(f"/{namespace}/x", ["1"]).status_code in (400, 401, 403)


def test_the_mismatch_shows_the_canonical_request(caller: Callable[[Credential], Caller]) -> None:
    message = caller(iam(secret="wrong")).connect()["errors"][0]["message"]
    assert message.startswith("The request signature we calculated does not match")
    assert "POST\n/event\n" in message


def test_a_signature_covers_operation_channel_and_events(
    api: Announcement, caller: Callable[[Credential], Caller]
) -> None:
    somebody = caller(iam())
    host, sign = somebody._host, somebody.credential.frame_authorization
    client = somebody.client
    for_another_channel = sign(host, subscribe_body("/iam/a"))
    assert client.subscribe("/iam/b", authorization=for_another_channel)["type"] == "subscribe_error"
    assert client.subscribe("/iam/b", authorization=sign(host, b"{}"))["type"] == "subscribe_error"
    signed = sign(host, publish_body("/iam/a", ["1"]))
    assert client.publish("/iam/a", ["2"], authorization=signed)["type"] == "publish_error"
    assert client.publish("/iam/b", ["1"], authorization=signed)["type"] == "publish_error"
    assert client.publish("/iam/a", ["1"], authorization=signed)["type"] == "publish_success"
    headers = somebody.credential.headers(host, publish_body("/iam/a", ["1"]))
    forged = httpx.post(api.http_url, content=publish_body("/iam/a", ["2"]), headers=headers)
    assert forged.status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.pop("x-amz-date"),
        lambda fields: fields.update({"x-amz-date": "20200101T000000Z"}),
        lambda fields: fields.update({"x-amz-date": "yesterday"}),
        lambda fields: fields.update({"host": "elsewhere"}),
        lambda fields: fields.pop("host"),
        lambda fields: fields.pop("content-encoding"),
        lambda fields: fields.update({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}),
        lambda fields: fields.update(
            {"Authorization": fields["Authorization"].replace("SignedHeaders=accept;", "SignedHeaders=")}
        ),
        lambda fields: fields.update({"Authorization": fields["Authorization"].replace("host;", "")}),
    ],
)
def test_a_changed_signature_is_refused(
    change: Callable[[dict[str, str]], object], caller: Callable[[Credential], Caller]
) -> None:
    somebody = caller(iam())
    fields = somebody.credential.frame_authorization(somebody._host, subscribe_body("/iam/a"))
    change(fields)
    assert somebody.client.subscribe("/iam/a", authorization=fields)["type"] == "subscribe_error"


@pytest.mark.parametrize(
    "host", ["[", "[::1", "a b", "é", "\n", "x\r\ny: z", "%", "@", "//", "\ud7ff", "h" * 5000]
)
def test_a_host_that_is_none_is_refused_and_harms_nobody(
    host: str, caller: Callable[[Credential], Caller]
) -> None:
    somebody = caller(iam())
    fields = somebody.credential.frame_authorization(somebody._host, subscribe_body("/iam/a"))
    answer = somebody.client.subscribe("/iam/a", authorization={**fields, "host": host, "accept": host})
    assert answer["type"] == "subscribe_error"
    assert somebody.subscribe("/iam/a", "t")["type"] == "subscribe_success"


def test_iam_actions_limit_what_a_user_may_do(caller: Callable[[Credential], Caller]) -> None:
    limited = caller(iam("AKIAOTHER", "another", "session-token"))
    assert limited.subscribe("/iam/a")["type"] == "subscribe_success"
    refused = limited.publish("/iam/a", ["1"])
    assert refused["errors"][0]["errorType"] == "AccessDeniedException"
    assert limited.post("/iam/a", ["1"]).status_code == 403


def test_tokens_that_must_not_pass(issuer: Issuer, caller: Callable[[Credential], Caller]) -> None:
    past = int(time.time()) - 3600
    public = base64.b64encode(json.dumps(issuer.jwk()).encode())
    bad = {
        "expired": issuer.token(exp=past),
        "without expiry": issuer.token(exp=None),
        "another client": issuer.token(client_id="ours-not"),
        "a refresh token": issuer.token(token_use="refresh"),
        "not yet valid": issuer.token(nbf=int(time.time()) + 3600),
        "another key": Issuer().token(),
        "an unknown key id": Issuer("two").token(),
        "the public key as a secret": issuer.token("HS256", public),
        "no signature": jwt.encode(
            {"iss": ISSUER, "exp": past + 7200, "token_use": "id"}, "", "none", headers={"kid": "one"}
        ),
        "a cut signature": issuer.token()[:-6],
    }
    for name, text in bad.items():
        answer = caller(token(text)).connect()
        assert answer["type"] == "connection_error", name
        assert answer["errors"][0]["errorType"] == "UnauthorizedException", name
        assert text not in json.dumps(answer)
    assert caller(token(f"Bearer {issuer.token()}")).connect()["type"] == "connection_ack"


def test_a_rotated_key_is_found_without_a_restart(
    folder: Path, issuer: Issuer, caller: Callable[[Credential], Caller]
) -> None:
    rotated = Issuer("three")
    assert caller(token(rotated.token())).connect()["type"] == "connection_error"
    (folder / "jwks.json").write_text(json.dumps({"keys": [issuer.jwk(), rotated.jwk()]}))
    assert caller(token(rotated.token())).connect()["type"] == "connection_ack"
    assert caller(token(issuer.token())).connect()["type"] == "connection_ack"


def test_a_lambda_authorizer_decides_by_channel(caller: Callable[[Credential], Caller]) -> None:
    somebody = caller(token("let me in"))
    assert somebody.subscribe("/token/public")["type"] == "subscribe_success"
    assert somebody.subscribe("/token/private", "t")["type"] == "subscribe_error"
