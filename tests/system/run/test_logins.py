"""Test whole runs with each authorization mode, and tokens that are renewed during the run."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from loadgen.server.process import Announcement, ServerProcess
from tests.system.harness import (
    SMALL,
    command_lines,
    expect_by_verdict,
    loadgen,
    only_run,
    overrides,
    read,
)
from tests.system.users.player import Player

API = """
auth:
  iam: {region: eu-west-1, users: [{access_key_id: AKIARUN, secret_env: RUN_SECRET}]}
  cognito: {issuer: https://pool.example, jwks: jwks.json, client_id: app}
  oidc: {issuer: https://login.example, jwks: jwks.json}
  lambda: {function: "authorizer.py:decide"}
  connect: [AWS_IAM, AMAZON_COGNITO_USER_POOLS, OPENID_CONNECT, AWS_LAMBDA]
  publish: [AWS_IAM, AMAZON_COGNITO_USER_POOLS, OPENID_CONNECT, AWS_LAMBDA]
  subscribe: [AWS_IAM, AMAZON_COGNITO_USER_POOLS, OPENID_CONNECT, AWS_LAMBDA]
"""


@dataclass
class World:
    """A server that accepts no API key, and the key that signs tokens for it."""

    server: Announcement
    key: rsa.RSAPrivateKey

    def token(self, **claims: object) -> str:
        claims = {"exp": int(time.time()) + 600, **claims}
        return jwt.encode(claims, self.key, "RS256", headers={"kid": "k"})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("logins")
    private = rsa.generate_private_key(65537, 2048)
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
    (folder / "jwks.json").write_text(json.dumps({"keys": [{**key, "kid": "k"}]}))
    (folder / "api.yaml").write_text(API)
    (folder / "authorizer.py").write_text(
        "def decide(event):\n    return {'isAuthorized': event['authorizationToken'] == 'open sesame'}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUN_SECRET", "run/secret")
        with ServerProcess(["--api", str(folder / "api.yaml")]) as process:
            yield World(process.announcement, private)


def run(world: World, results: Path, auth: str, env: dict[str, str], *more: str) -> str:
    """Run a small scenario; return all its output, files and command lines as one text.

    The tests search the text for secrets.
    """
    with command_lines() as listed:
        done = loadgen(
            "run",
            "comments",
            *("--target", world.server.http_url, "--auth", auth, "--results", str(results)),
            *overrides([*SMALL, *more]),
            env=env,
        )
    assert any("loadgen.child" in line for line in listed)
    folder = only_run(results)
    summary = expect_by_verdict(done, folder)
    assert summary["publish"]["errors"] == {}, done.said
    kept = [path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()]
    return done.out + done.err + "".join(kept) + "".join(listed)


IAM = {"AWS_ACCESS_KEY_ID": "AKIARUN", "AWS_SECRET_ACCESS_KEY": "run/secret", "AWS_REGION": "eu-west-1"}


@pytest.mark.parametrize(
    ("auth", "env", "secrets"),
    [
        ("iam", lambda _: IAM, ["run/secret", "AKIARUN"]),
        ("lambda:MY_TOKEN", lambda _: {"MY_TOKEN": "open sesame"}, ["open sesame"]),
        (
            "cognito:MY_TOKEN",
            lambda world: {
                "MY_TOKEN": world.token(iss="https://pool.example", token_use="access", client_id="app")
            },
            [],
        ),
    ],
)
def test_a_run_logs_in_from_the_environment(
    auth: str, env: Callable[[World], dict[str, str]], secrets: list[str], world: World, tmp_path: Path
) -> None:
    given = env(world)
    said = run(world, tmp_path, auth, given, "clients.commenters.publish.via=websocket", "phases.measure=1s")
    for secret in secrets or given.values():
        assert secret not in said


def test_tokens_are_renewed_all_through_a_run(world: World, tmp_path: Path) -> None:
    """Tokens are valid for 2 s, plus 5 that the server allows, and the run publishes for 8 s.

    So the run would fail with only one token. Connections last 2 s, and each new one logs in with the current token.
    """
    log = tmp_path / "fetched"
    script = tmp_path / "get_token.sh"
    # Write a token for each second of the next ten minutes in advance. On a busy machine, signing a token could
    # take longer than the token is valid.
    begun = int(time.time())
    tokens = [world.token(iss="https://login.example", exp=begun + second + 2) for second in range(600)]
    (tmp_path / "tokens").write_text("\n".join(tokens) + "\n")
    script.write_text(f'printf x >> {log}\nsed -n "$(($(date +%s) - {begun} + 1))p" {tmp_path / "tokens"}\n')
    login = tmp_path / "login.yaml"
    login.write_text(f"mode: oidc\ntoken_command: [sh, {script}]\n")
    said = run(
        world,
        tmp_path / "results",
        str(login),
        {},
        "phases.measure=8s",
        "clients.readers.count=10",
        "clients.readers.churn={lifetime: 2s, spread: constant}",
    )
    recovery = read(only_run(tmp_path / "results") / "summary.json")["recovery"]
    assert recovery["on_purpose"]["left"] >= 20
    assert "ImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ" not in said, "a token's header stands somewhere"
    assert len(log.read_text()) >= 4


def test_a_wrong_login_ends_before_any_load(world: World, tmp_path: Path, commands: Player) -> None:
    for auth, env, code, sentence in (
        ("lambda:MY_TOKEN", {"MY_TOKEN": "close sesame"}, 4, "check the lambda from $MY_TOKEN"),
        ("iam", {**IAM, "AWS_SECRET_ACCESS_KEY": "wrong"}, 4, "BadRequestException"),
        ("lambda:MY_TOKEN", {"MY_TOKEN": ""}, 2, "the environment variable MY_TOKEN is not set"),
        ("lambda", {}, 2, "--auth lambda lacks a name"),
    ):
        target = ("--target", world.server.http_url, "--auth", auth, "--results", str(tmp_path))
        done = commands.command(tmp_path, "loadgen", "run", "comments", *target, env=env)
        assert done.code == code, done.said
        assert sentence in done.err
        assert "sesame" not in done.err
        assert "Credential=" not in done.err
        assert len(done.sentences) == 1, done.said
    assert list(tmp_path.iterdir()) == []
