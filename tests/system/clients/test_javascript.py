"""Test clients and signers of npm (pinned) with the local Event API, with IAM signatures.

`ob-appsync-events-request` is a client for AWS Lambda. Applications that call an Event API without a client
library use the signers. The cases are in `clients.mjs`; each is reported as a separate test.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from loadgen.server.process import ServerProcess
from tests.programs import require
from tests.system.install import INSTALL_TIMEOUT_S, npm_ci

HERE = Path(__file__).parent
SUITE_TIMEOUT_S = 900
API = """
auth:
  iam:
    region: eu-west-1
    users:
      - {access_key_id: AKIACLIENTS, secret_env: CLIENTS_SECRET}
      - {access_key_id: ASIASESSION, secret_env: SESSION_SECRET_KEY, session_token_env: SESSION_TOKEN}
  connect: [API_KEY, AWS_IAM]
namespaces:
  iam: {publish: [AWS_IAM], subscribe: [AWS_IAM]}
  keys: {publish: [API_KEY], subscribe: [API_KEY]}
  open: {publish: [API_KEY, AWS_IAM], subscribe: [API_KEY, AWS_IAM]}
"""
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIACLIENTS",
    "AWS_SECRET_ACCESS_KEY": "clients/secret+key",
    "SESSION_ACCESS_KEY": "ASIASESSION",
    "SESSION_SECRET_KEY": "session/secret+key",
    "SESSION_TOKEN": "FwoGZXIvYXdzE/token+with=characters",
    # The clients must not look for credentials in AWS configuration files or in EC2's instance metadata.
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
SIGNERS = (
    "@smithy/signature-v4",
    "aws4fetch",
    "aws4fetch, all headers",
    "aws4",
    "aws4, which signs a length that is not sent",
)
CASES = [
    *(f"{signer} signs the host {what} its port" for signer in SIGNERS for what in ("with", "without")),
    "ob-appsync-events-request publishes and its events arrive",
    "ob-appsync-events-request sends a session token",
    "ob-appsync-events-request is told of an event that is too large, with the keys in AWS's order",
    "ob-appsync-events-request is refused with a wrong secret, and where IAM may not publish",
]

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S + SUITE_TIMEOUT_S + 30)


@pytest.fixture(scope="module")
def node_modules() -> None:
    """Install the packages of the lock file, once."""
    require("npm")
    require("node")
    npm_ci(HERE, "clients")


@pytest.fixture(scope="module")
def results(node_modules: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """Run all cases; return why each failed, or None for those that passed."""
    path = tmp_path_factory.mktemp("clients") / "api.yaml"
    path.write_text(API)
    secrets = {**ENVIRONMENT, "CLIENTS_SECRET": ENVIRONMENT["AWS_SECRET_ACCESS_KEY"]}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in secrets.items():
            patch.setenv(name, value)
        with ServerProcess(["--api", str(path), "--host", "localhost"]) as server:
            environment = {
                "EVENTS_HTTP": server.announcement.http_url,
                "EVENTS_WS": server.announcement.ws_url,
                "EVENTS_KEY": server.announcement.api_key,
            }
            done = subprocess.run(
                ["node", "clients.mjs"],
                cwd=HERE,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                timeout=SUITE_TIMEOUT_S,
                check=False,
            )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"name"')]
    assert lines, done.stdout + done.stderr
    return {row["name"]: row["why"] for row in map(json.loads, lines)}


@pytest.mark.parametrize("case", CASES)
def test_it_works(case: str, results: dict[str, str | None]) -> None:
    assert case in results, f"the case did not run; what failed: { {k: v for k, v in results.items() if v} }"
    assert results[case] is None, results[case]


def test_no_case_is_left_out(results: dict[str, str | None]) -> None:
    assert set(results) == set(CASES)
