"""Test the real Amplify client (npm `aws-amplify`, pinned) with the embedded Event API, with and without TLS.

The cases are in `suite.mjs`, `refusals.mjs` and `endings.mjs`; each is reported as a separate test. Over TLS
Amplify is used as in an application, unmodified, with one https endpoint and a private certificate authority.
The cases also check the frames, since Amplify does not pass on much of what it receives.

Two thirds of Amplify's packages belong to four parts that the cases never load (analytics, datastore,
notifications, storage). package.json replaces these by `ws`, which is installed anyway.
"""

import json
import os
import re
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from loadgen.server.process import Announcement, ServerProcess
from tests.authority import server_files
from tests.programs import require, skip
from tests.system.harness import STUCK_S
from tests.system.install import INSTALL_TIMEOUT_S, npm_ci

HERE = Path(__file__).parent
#: Files with test cases. The longest file is first: it mostly waits for timers, and the others run meanwhile.
FILES = ("endings.mjs", "suite.mjs", "refusals.mjs")
SUITE_TIMEOUT_S = 900
#: The second server ends a connection at this age in seconds. A client can subscribe and receive an event before.
BRIEF_LIFETIME_S = "4"
OLDEST_NODE = (20, 14)
"""Oldest version of Node with `--test-force-exit`. Without it, Amplify's timers keep the process alive for 15 s."""

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S + SUITE_TIMEOUT_S + 30)
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
    """Return the names of the test cases in the files; a name with a placeholder is listed once for each value."""
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
    """Install the packages of the lock file, once."""
    require("npm")
    if too_old := what_is_too_old(require("node")):
        skip(too_old)
    npm_ci(HERE, "amplify")


def what_is_too_old(node: str) -> str | None:
    """Return why the cases cannot run with this version of Node, or None if they can."""
    said = subprocess.run(
        [node, "--version"], capture_output=True, text=True, timeout=STUCK_S, check=True
    ).stdout
    version = tuple(int(part) for part in said.strip().removeprefix("v").split(".")[:2])
    if version < OLDEST_NODE:
        return f"node {said.strip()} is older than {'.'.join(map(str, OLDEST_NODE))}"
    return None


@pytest.fixture(scope="module")
def suites(node_modules: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Run the cases without and with TLS at the same time, as they mostly wait; return their results."""
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
    certified = server_files(folder, "localhost").options
    of_kind: dict[str, tuple[list[str], dict[str, str]]] = {
        "plain": (options, dict(environment)),
        "tls": ([*options, *certified], {**environment, "NODE_EXTRA_CA_CERTS": str(folder / "ca.pem")}),
    }
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("AMPLIFY_SECRET", SECRET_KEY)
        started = {}
        for kind, (its_options, its_environment) in of_kind.items():
            server = stack.enter_context(ServerProcess(its_options))
            brief = stack.enter_context(ServerProcess([*its_options, "--lifetime", BRIEF_LIFETIME_S]))
            its_environment |= endpoints("EVENTS", server.announcement)
            its_environment |= endpoints("EVENTS_BRIEF", brief.announcement)
            started[kind] = start_suite(its_environment, folder / f"{kind}.jsonl")
        return {kind: finished_suite(process, folder / f"{kind}.jsonl") for kind, process in started.items()}


@pytest.fixture(scope="module", params=["plain", "tls"])
def results(request: pytest.FixtureRequest, suites: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return suites[request.param]


def endpoints(prefix: str, server: Announcement) -> dict[str, str]:
    return {
        f"{prefix}_HTTP": server.http_url,
        f"{prefix}_WS": server.http_url.replace("http", "ws", 1),
        f"{prefix}_KEY": server.api_key,
    }


def start_suite(environment: dict[str, str], output: Path) -> "subprocess.Popen[str]":
    """Start the cases; their results go to a file as each ends, so some are known even if a case hangs."""
    with output.open("w") as stdout:
        return subprocess.Popen(
            [
                "node",
                "--test-force-exit",
                "--test-concurrency=2",
                "--test-reporter=./reporter.mjs",
                "--test",
                *FILES,
            ],
            cwd=HERE,
            env={**os.environ, **environment},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )


def finished_suite(process: "subprocess.Popen[str]", output: Path) -> dict[str, Any]:
    """Wait for the cases; return why each failed, or None for those that passed."""
    try:
        _, said = process.communicate(timeout=SUITE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        said = f"stopped after {SUITE_TIMEOUT_S} s"
    lines = [line for line in output.read_text().splitlines() if line.startswith('{"name"')]
    assert lines, output.read_text() + said
    return {row["name"]: row["why"] for row in map(json.loads, lines)}


@pytest.mark.parametrize("case", CASES)
def test_amplify(case: str, results: dict[str, Any]) -> None:
    assert case in results, f"the case did not run; what failed: { {k: v for k, v in results.items() if v} }"
    assert results[case] is None, results[case]


def test_no_case_is_left_out(results: dict[str, Any]) -> None:
    cases = {name for name in results if not name.endswith(".mjs")}
    assert cases == set(CASES)
    assert len(CASES) >= 55
