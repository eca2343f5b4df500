"""Test the real Amplify client with the stand-in for AppSync GraphQL, over TLS, as in an application."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from loadgen.server.process import ServerProcess
from tests.authority import server_files
from tests.system.amplify.test_amplify import (
    ACCESS_KEY,
    AUTHORIZER,
    HERE,
    ISSUER,
    SECRET_KEY,
    SUITE_TIMEOUT_S,
    node_modules,
)
from tests.system.install import INSTALL_TIMEOUT_S

__all__ = ["node_modules"]
pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S + SUITE_TIMEOUT_S + 30)
API = """
auth:
  iam: {users: [{access_key_id: AKIAAMPLIFY, secret_env: AMPLIFY_SECRET}]}
  oidc: {issuer: https://login.example, jwks: jwks.json}
  lambda: {function: "authorizer.py:decide"}
  connect: [API_KEY, AWS_IAM, OPENID_CONNECT, AWS_LAMBDA]
  publish: [API_KEY, AWS_IAM, OPENID_CONNECT, AWS_LAMBDA]
  subscribe: [API_KEY, AWS_IAM, OPENID_CONNECT, AWS_LAMBDA]
"""


@pytest.fixture(scope="module")
def told(node_modules: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run Amplify's client once with each kind of login, and return what it received and sent."""
    folder: Path = tmp_path_factory.mktemp("amplify-graphql")
    private = rsa.generate_private_key(65537, 2048)
    key = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())), "kid": "k"}
    (folder / "jwks.json").write_text(json.dumps({"keys": [key]}))
    (folder / "api.yaml").write_text(API)
    (folder / "authorizer.py").write_text(AUTHORIZER)
    claims = {"iss": ISSUER, "sub": "u", "exp": int(time.time()) + 600}
    options = [
        "--service",
        "appsync-graphql",
        "--host",
        "localhost",
        *server_files(folder, "localhost").options,
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMPLIFY_SECRET", SECRET_KEY)
        with ServerProcess(
            [*options, "--option", f"api={folder / 'api.yaml'}"], module="loadgen.stand_ins"
        ) as server:
            done = subprocess.run(
                ["node", "graphql.mjs"],
                cwd=HERE,
                env={
                    **os.environ,
                    "GRAPHQL_URL": server.announcement.http_url,
                    "GRAPHQL_API_KEY": server.announcement.api_key,
                    "GRAPHQL_ACCESS_KEY": ACCESS_KEY,
                    "GRAPHQL_SECRET_KEY": SECRET_KEY,
                    "GRAPHQL_JWT": jwt.encode(claims, private, "RS256", headers={"kid": "k"}),
                    "NODE_EXTRA_CA_CERTS": str(folder / "ca.pem"),
                },
                capture_output=True,
                text=True,
                timeout=SUITE_TIMEOUT_S,
                check=False,
            )
    assert done.returncode == 0, done.stdout + done.stderr
    return {row.pop("login"): row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("login", ["apiKey", "oidc", "lambda", "iam"])
def test_amplify_subscribes_publishes_and_receives(login: str, told: dict[str, Any]) -> None:
    row = told[login]
    assert row["errors"] == []
    assert [each["name"] for each in row["received"]] == [login] * 3
    assert [json.loads(each["data"]) for each in row["received"]] == [
        {"number": number, "text": 'ä"\\'} for number in range(3)
    ]
    order = [each for each in row["types"] if each not in ("ka", "data")]
    assert order == ["> connection_init", "connection_ack", "> start", "start_ack", "> stop", "complete"]
    assert "ka" in row["types"][2:4]
    assert row["opened"] == 1


def test_a_token_that_the_authorizer_refuses_is_an_error_to_amplify(told: dict[str, Any]) -> None:
    (error,) = told["refused"]["errors"]
    assert "Unauthorized" in error
