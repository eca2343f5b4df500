"""Test that the stand-in accepts our client with each kind of login, and refuses wrong ones."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric import ec

from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.appsync.sigv4 import IamSignature
from loadgen.protocol.appsync_graphql.endpoints import GraphqlUrl
from loadgen.protocol.appsync_graphql.service import AppSyncGraphql
from tests.protocol.test_order import Handler
from tests.stand_ins.appsync_graphql.test_app import ACK, KEY, Client, Socket, served

API = """
auth:
  iam: {region: eu-west-1, users: [{access_key_id: AKIALOCAL, secret_env: STAND_IN_SECRET}]}
  oidc: {issuer: "https://login.example", jwks: jwks.json}
  lambda: {function: "authorizer.py:decide"}
  connect: [API_KEY, AWS_IAM, OPENID_CONNECT, AWS_LAMBDA]
  publish: [API_KEY, AWS_IAM, OPENID_CONNECT, AWS_LAMBDA]
  subscribe: [API_KEY, AWS_IAM, OPENID_CONNECT, AWS_LAMBDA]
"""
SIGNING = ec.generate_private_key(ec.SECP256R1())


def token(issuer: str = "https://login.example", lasts_s: int = 600) -> str:
    claims = {"iss": issuer, "sub": "ada", "exp": int(time.time()) + lasts_s}
    return jwt.encode(claims, SIGNING, algorithm="ES256", headers={"kid": "k"})


def iam(secret: str = "secret", region: str = "eu-west-1", **paths: str) -> IamSignature:
    return IamSignature(lambda: Credentials("AKIALOCAL", secret).get_frozen_credentials(), region, **paths)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(SIGNING.public_key()))
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "k"}]}))
    (tmp_path / "authorizer.py").write_text(
        "def decide(event, context=None):\n"
        "    return {'isAuthorized': event['authorizationToken'] == 'tok-ada', 'ttlOverride': 0}\n"
    )
    (tmp_path / "api.yaml").write_text(API)
    monkeypatch.setenv("STAND_IN_SECRET", "secret")
    return tmp_path / "api.yaml"


async def heard(client: Client, credential: Any, query: str = "") -> tuple[list[Any], Any]:
    """Hold a whole conversation with our client; return the last message and the answer to a mutation."""
    handler: Any = Handler()
    service = AppSyncGraphql(GraphqlUrl.from_url(client.url + query), credential)
    session = service.session(handler)
    handshake = service.handshake()
    path = "/realtime" if handshake.resource is None else handshake.resource.removeprefix("/graphql")
    socket: Socket = await client.upgraded(path, list(handshake.subprotocols))
    for message in session.opening():
        await socket.say(message.decode())
    received = [await socket.hear()]
    if received == [ACK]:
        await socket.hear()
        await socket.say(session.subscribe("s1", "/default/a").decode())
        received = [await socket.hear()]
    request = service.http_publish("/default/a", ['{"a":1}'])
    status, answer = await client.post(request.body, request.headers)
    parsed = service.http_answer(status, json.dumps(answer).encode())
    if parsed.error is None:
        received.append(await socket.hear())
    await socket.raw.close()
    return received, parsed


CREDENTIALS: dict[str, Callable[[], Any]] = {
    "api-key": lambda: ApiKey(KEY),
    "iam": iam,
    "oidc": lambda: BearerToken(token),
    "lambda": lambda: BearerToken(lambda: "tok-ada"),
}


@pytest.mark.parametrize("query", ["", "?auth=query"])
@pytest.mark.parametrize("mode", list(CREDENTIALS))
def test_our_client_is_let_in_by_each_login(mode: str, query: str, api: Path) -> None:
    async def scene(client: Client) -> None:
        (started, delivered), answer = await heard(client, CREDENTIALS[mode](), query)
        assert answer.error is None
        assert started == {"id": "s1", "type": "start_ack"}
        assert delivered["payload"]["data"]["subscribe"] == {"name": "default/a", "data": '{"a":1}'}

    served(scene, api=str(api))


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        (lambda: ApiKey("da2-wrong"), "UnauthorizedException"),
        (lambda: iam("wrong"), "The request signature we calculated does not match"),
        (lambda: iam(region="us-east-1"), "Credential should be scoped to region eu-west-1"),
        (lambda: BearerToken(lambda: token(lasts_s=-60)), "Token has expired."),
        (lambda: BearerToken(lambda: "tok-eve"), "UnauthorizedException"),
    ],
)
def test_what_is_wrong_is_refused_on_both_ways(credential: Callable[[], Any], said: str, api: Path) -> None:
    async def scene(client: Client) -> None:
        (refused,), answer = await heard(client, credential())
        assert refused["type"] == "connection_error"
        assert said in json.dumps(refused)
        assert answer.error is not None
        assert said in answer.error

    served(scene, api=str(api))


def test_without_an_api_file_only_the_key_lets_in() -> None:
    async def scene(client: Client) -> None:
        (refused,), answer = await heard(client, BearerToken(token))
        assert refused["type"] == "connection_error"
        assert answer.error is not None

    served(scene)
