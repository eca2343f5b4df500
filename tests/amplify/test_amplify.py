"""The real Amplify client (npm `aws-amplify`, pinned) against the embedded Event API, over plain sockets and over TLS.

`suite.mjs` and `refusals.mjs` hold the cases; each shows here as a test of its own. Over TLS Amplify is used as an
application would use it, unmodified, with one https endpoint and a private certificate authority.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa

from loadgen.server.process import Announcement, ServerProcess

HERE = Path(__file__).parent
FILES = ("suite.mjs", "refusals.mjs")
SUITE_TIMEOUT_S = 150
ISSUER = "https://login.example"
ACCESS_KEY, SECRET_KEY = "AKIAAMPLIFY", "amplify/secret+key"
API = """
auth:
  iam: {users: [{access_key_id: AKIAAMPLIFY, secret_env: AMPLIFY_SECRET}]}
  cognito: {issuer: https://pool.example, jwks: jwks.json}
  oidc: {issuer: https://login.example, jwks: jwks.json}
  lambda: {function: "authorizer.py:decide"}
  connect: [API_KEY, AWS_IAM, AMAZON_COGNITO_USER_POOLS, OPENID_CONNECT, AWS_LAMBDA]
namespaces:
  default:
  iam: {publish: [AWS_IAM], subscribe: [AWS_IAM]}
  userpool: {publish: [OPENID_CONNECT], subscribe: [OPENID_CONNECT]}
  oidc: {publish: [OPENID_CONNECT], subscribe: [OPENID_CONNECT]}
  lambda: {publish: [AWS_LAMBDA], subscribe: [AWS_LAMBDA]}
"""
AUTHORIZER = "def decide(event):\n    return {'isAuthorized': event['authorizationToken'] == 'let me in'}\n"


def case_names() -> list[str]:
    """The cases as the files name them; templates are filled as its loops do."""
    text = "".join((HERE / name).read_text() for name in FILES)
    names = []
    for name in re.findall(r"^ *test\(['`](.+?)['`], async", text, re.MULTILINE):
        if "${index}" in name:
            names += [name.replace("${index}", str(index)) for index in range(8)]
        elif "${mode}" in name:
            names += [name.replace("${mode}", mode) for mode in ("iam", "userPool", "oidc", "lambda")]
        else:
            names.append(name)
    return names


CASES = case_names()


@pytest.fixture(scope="session")
def node_modules() -> None:
    """Install what the lock file says, once."""
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail("npm is not installed: apt-get install nodejs npm")
        pytest.skip("npm is not installed")
    stamp = HERE / "node_modules" / ".installed"
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stamp.write_text(wanted)


@pytest.fixture(scope="module", params=["plain", "tls"])
def results(
    request: pytest.FixtureRequest, node_modules: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("amplify")
    private = rsa.generate_private_key(65537, 2048)
    key = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())), "kid": "k"}
    (folder / "jwks.json").write_text(json.dumps({"keys": [key]}))
    (folder / "api.yaml").write_text(API)
    (folder / "authorizer.py").write_text(AUTHORIZER)
    token = jwt.encode(
        {"iss": ISSUER, "sub": "u", "exp": int(time.time()) + 600}, private, "RS256", headers={"kid": "k"}
    )
    options = ["--api", str(folder / "api.yaml"), "--ka-interval", "0.3", "--host", "localhost"]
    environment = {"EVENTS_JWT": token, "EVENTS_ACCESS_KEY": ACCESS_KEY, "EVENTS_SECRET_KEY": SECRET_KEY}
    if request.param == "tls":
        options += certificate(folder)
        environment["NODE_EXTRA_CA_CERTS"] = str(folder / "ca.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMPLIFY_SECRET", SECRET_KEY)
        with ServerProcess(options) as server:
            yield run_suite(server.announcement, environment)


def certificate(folder: Path) -> list[str]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    return ["--certfile", str(folder / "cert.pem"), "--keyfile", str(folder / "key.pem")]


def run_suite(server: Announcement, environment: dict[str, str]) -> dict[str, Any]:
    """Run the cases and return why each failed, None where it passed."""
    done = subprocess.run(
        ["node", "--test-force-exit", "--test-reporter=./reporter.mjs", "--test", *FILES],
        cwd=HERE,
        env={
            **os.environ,
            **environment,
            "EVENTS_HTTP": server.http_url,
            "EVENTS_WS": server.http_url.replace("http", "ws", 1),
            "EVENTS_KEY": server.api_key,
        },
        capture_output=True,
        text=True,
        timeout=SUITE_TIMEOUT_S,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"name"')]
    assert lines, done.stdout + done.stderr
    return {row["name"]: row["why"] for row in map(json.loads, lines)}


@pytest.mark.parametrize("case", CASES)
def test_amplify(case: str, results: dict[str, Any]) -> None:
    assert case in results, f"the case did not run; these did: {sorted(results)}"
    assert results[case] is None, results[case]


def test_no_case_is_left_out(results: dict[str, Any]) -> None:
    cases = {name for name in results if not name.endswith(".mjs")}
    assert cases == set(CASES)
    assert len(CASES) >= 40
