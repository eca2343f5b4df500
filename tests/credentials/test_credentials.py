"""Test making credentials from logins: every source, mistakes, and renewal before expiry."""

import json
import stat
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import jwt
import pytest
from botocore.stub import Stubber

from loadgen.credentials import sources
from loadgen.credentials.build import credential, secret_of
from loadgen.credentials.errors import CredentialError
from loadgen.credentials.option import login_from_option
from loadgen.credentials.refreshing import FetchedToken, RefreshingToken
from loadgen.scenario.login import Login
from tests.aws.sessions import session
from tests.listening import http_server

HOST = "abc.appsync-api.eu-west-1.amazonaws.com"


def login(**fields: Any) -> Login:
    return Login.model_validate(fields)


def jwt_until(expires_s: float) -> str:
    return jwt.encode({"exp": int(expires_s)}, "k" * 32, "HS256")


def authorization(made: Any) -> str:
    value: str = made.headers("h", b"{}")["Authorization"]
    return value


@pytest.mark.parametrize(
    ("option", "described"),
    [
        ("api-key:MY_KEY", "api-key from $MY_KEY"),
        ("lambda:TOKEN", "lambda from $TOKEN"),
        ("iam", "iam from the environment"),
        ("iam:load", "iam from profile 'load'"),
    ],
)
def test_the_option_is_short_for_a_login(option: str, described: str) -> None:
    assert login_from_option(option).describe() == described


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("api-key", "lacks a name"),
        ("oidc:eyJhbGciOi.J9.x", "must be the name of an environment variable"),
        ("iamm:x", "did you mean 'iam'"),
        ("no-such-file.yaml", "neither a mode nor a file"),
    ],
)
def test_a_wrong_option_is_one_sentence_without_what_may_be_a_secret(option: str, sentence: str) -> None:
    with pytest.raises(CredentialError, match=sentence) as caught:
        login_from_option(option)
    assert "eyJ" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mode: oidc", "names no source of the token"),
        ("mode: oidc\ntoken_env: A\ntoken_file: b", "more than one source"),
        ("mode: api-key", "has no key_env"),
        ("mode: iam\ntoken_env: A", "has token_env, which mode iam does not take"),
        ("mode: oidc\ntoken_url: http://x", "has no client_id_env"),
        ("mode: cognito\nclient_id_env: A\nusername_env: B", "has no password_env"),
        ("mode: saml", "mode must be"),
        ("mode: oidc\ntokn_env: A", "did you mean 'token_env'"),
        ("[1]", "must be a mapping"),
    ],
)
def test_a_wrong_file_is_one_sentence_with_its_line(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "login.yaml"
    path.write_text(text)
    with pytest.raises(CredentialError, match=sentence) as caught:
        login_from_option(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "lambda", "token": "{people.token}"},
        {"mode": "password", "username": "{people.name}", "password": "{people.word}"},
        {"mode": "oidc", "token_command": ["get", "{people.id}"]},
    ],
)
def test_the_login_of_a_target_has_no_value_of_a_client(fields: dict[str, Any]) -> None:
    with pytest.raises(CredentialError, match="only the login of a group can use"):
        secret_of(login(**fields), HOST)


def test_a_missing_variable_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_TOKEN", raising=False)
    with pytest.raises(CredentialError, match="NO_TOKEN is not set"):
        credential(login(mode="lambda", token_env="NO_TOKEN"), HOST)


def test_tokens_from_variable_file_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", " from-env\n")
    (tmp_path / "token").write_text("from-file\n")
    command = [sys.executable, "-c", "print('from-command')"]
    for fields, token in (
        ({"token_env": "TOKEN"}, "from-env"),
        ({"token_file": str(tmp_path / "token")}, "from-file"),
        ({"token_command": command}, "from-command"),
    ):
        made = credential(login(mode="oidc", **fields), HOST)
        assert authorization(made) == token
        assert token not in repr(made)


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(3)",
        "pass",
        "print('two\\nlines')",
        "import sys; print('secret', file=sys.stderr); 1/0",
    ],
)
def test_a_command_that_gives_no_token_is_told_without_its_words(code: str) -> None:
    with pytest.raises(CredentialError) as caught:
        sources.from_command([sys.executable, "-c", code])
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_token_is_renewed_before_it_expires_and_nobody_waits(tmp_path: Path) -> None:
    now = [1_000.0]
    release = threading.Event()
    fetched: list[float] = []

    def fetch() -> FetchedToken:
        if fetched:
            assert release.wait(60)
        fetched.append(now[0])
        return FetchedToken(f"t{len(fetched)}", now[0] + 3600)

    token = RefreshingToken(fetch, lambda: now[0])
    assert token() == "t1"
    now[0] += 3600 - 301
    assert token() == "t1"
    assert token.renewals == 0
    now[0] += 2
    # The old token is still valid. While the renewal hangs, every call returns the old token at once and starts no
    # second renewal.
    assert [token() for _ in range(10)] == ["t1"] * 10
    release.set()
    deadline = time.monotonic() + 60
    while token.renewals == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert token() == "t2"
    assert len(fetched) == 2


def test_a_renewal_that_fails_keeps_the_old_token_and_is_tried_again() -> None:
    now = [0.0]
    calls: list[float] = []

    def fetch() -> FetchedToken:
        calls.append(now[0])
        if len(calls) == 2:
            raise CredentialError("the endpoint is away")
        return FetchedToken(f"t{len(calls)}", now[0] + 100)

    token = RefreshingToken(fetch, lambda: now[0])
    assert token() == "t1"

    def settle(number: int) -> None:
        deadline = time.monotonic() + 60
        while (len(calls) < number or token._renewing) and time.monotonic() < deadline:
            time.sleep(0.001)

    now[0] = 90.0
    assert token() == "t1"
    settle(2)
    now[0] = 94.0
    assert token() == "t1"
    assert len(calls) == 2
    now[0] = 101.0
    token()
    settle(3)
    assert token() == "t3"


def test_a_file_is_read_again_before_its_token_expires(tmp_path: Path) -> None:
    path = tmp_path / "token"
    first, second = jwt_until(time.time() + 1), jwt_until(time.time() + 3600)
    path.write_text(first)
    made = credential(login(mode="oidc", token_file=str(path)), HOST)
    assert authorization(made) == first
    path.write_text(second)
    deadline = time.monotonic() + 60
    while authorization(made) != second:
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TokenEndpoint(BaseHTTPRequestHandler):
    answer: tuple[int, dict[str, Any]] = (200, {"access_token": "granted", "expires_in": 60})
    asked: ClassVar[dict[str, Any]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        type(self).asked = {"form": parse_qs(body), "auth": self.headers["authorization"]}
        status, answer = type(self).answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def token_url() -> Iterator[str]:
    with http_server(TokenEndpoint) as port:
        yield f"http://127.0.0.1:{port}/token"


def test_client_credentials(token_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ID", "me")
    monkeypatch.setenv("SECRET", "hush")
    fields = {"token_url": token_url, "client_id_env": "ID", "client_secret_env": "SECRET", "scope": "events"}
    made = credential(login(mode="oidc", **fields), HOST)
    assert authorization(made) == "granted"
    assert TokenEndpoint.asked["form"] == {"grant_type": ["client_credentials"], "scope": ["events"]}
    assert TokenEndpoint.asked["auth"].startswith("Basic ")
    monkeypatch.setattr(TokenEndpoint, "answer", (403, {"error": "hush"}))
    with pytest.raises(CredentialError, match="HTTP 403") as caught:
        credential(login(mode="oidc", **fields), HOST)
    assert "hush" not in str(caught.value)
    monkeypatch.setattr(TokenEndpoint, "answer", (200, {"token": "x"}))
    with pytest.raises(CredentialError, match="no access_token"):
        credential(login(mode="oidc", **fields), HOST)


def test_a_user_pool() -> None:
    client = session().create_client("cognito-idp", region_name="eu-west-1")
    token = jwt_until(2_000_000_000)
    with Stubber(client) as stub:
        stub.add_response("initiate_auth", {"AuthenticationResult": {"AccessToken": token}})
        assert sources.from_user_pool(client, "id", "u", "pw") == FetchedToken(token, 2_000_000_000.0)
        stub.add_response("initiate_auth", {"ChallengeName": "NEW_PASSWORD_REQUIRED"})
        with pytest.raises(CredentialError, match="NEW_PASSWORD_REQUIRED"):
            sources.from_user_pool(client, "id", "u", "pw")
        stub.add_client_error("initiate_auth", "NotAuthorizedException", "wrong pw")
        with pytest.raises(CredentialError, match="NotAuthorizedException") as caught:
            sources.from_user_pool(client, "id", "u", "pw")
    assert "pw" not in str(caught.value)


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Remove the machine's AWS configuration; a test writes its own into the returned folder."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def test_iam_from_environment_and_profile(aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (aws / "config").write_text("[profile load]\nregion = us-west-2\n")
    (aws / "credentials").write_text("[load]\naws_access_key_id = AKIAP\naws_secret_access_key = p\n")
    of_profile = credential(login(mode="iam", profile="load"), "localhost:1")
    assert "Credential=AKIAP/" in of_profile.headers("h", b"{}")["Authorization"]
    assert "/us-west-2/appsync/" in of_profile.headers("h", b"{}")["Authorization"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "e")
    assert "/eu-west-1/appsync/" in credential(login(mode="iam"), HOST).headers("h", b"{}")["Authorization"]
    with pytest.raises(CredentialError, match="region is not known"):
        credential(login(mode="iam"), "localhost:1")
    with pytest.raises(CredentialError, match="nobody"):
        credential(login(mode="iam", profile="nobody"), HOST)


def test_no_aws_credentials_is_one_sentence(aws: Path) -> None:
    with pytest.raises(CredentialError, match="there are no AWS credentials"):
        credential(login(mode="iam"), HOST)


def test_temporary_credentials_are_renewed_before_they_expire(aws: Path) -> None:
    """The profile has a `credential_process`. botocore renews its credentials when they expire within 15 minutes."""
    counter = aws / "count"
    script = aws / "process.py"
    script.write_text(
        f"""#!{sys.executable}
import datetime, json, pathlib
path = pathlib.Path({str(counter)!r})
number = int(path.read_text()) + 1 if path.exists() else 1
path.write_text(str(number))
minutes = 5 if number == 1 else 60
expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
print(json.dumps(dict(Version=1, AccessKeyId=f"AKIA{{number}}", SecretAccessKey="s", SessionToken="t",
                      Expiration=expires.isoformat())))
"""
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (aws / "config").write_text(f"[profile sso]\ncredential_process = {script}\n")
    made = credential(login(mode="iam", profile="sso"), HOST)
    keys = [made.headers("h", b"{}")["Authorization"].split("/")[0] for _ in range(3)]
    assert keys[-1].endswith("AKIA2")
    assert counter.read_text() == "2"


def listed(*pages: dict[str, Any]) -> str:
    """Return the API key that is chosen if AppSync lists these pages of keys."""
    ours = session()
    ours.set_credentials("testing", "testing")
    client = ours.create_client("appsync", region_name="eu-west-1")
    with Stubber(client) as stubber:
        for number, page in enumerate(pages):
            token = {"nextToken": "t"} if number else {}
            more = {"nextToken": "t"} if number + 1 < len(pages) else {}
            stubber.add_response("list_api_keys", {**page, **more}, {"apiId": "api1", **token})
        return sources.from_appsync(client, "api1")


def test_the_key_of_an_api_that_lasts_longest_is_taken() -> None:
    now_s = int(time.time())
    keys = [{"id": f"da2-{n}", "expires": now_s + seconds} for n, seconds in enumerate((-5, 500, 50))]
    assert listed({"apiKeys": keys[:1]}, {"apiKeys": keys[1:]}) == "da2-1"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ([], "has no key: `loadgen aws up` makes one"),
        ([{"id": "da2-x", "expires": 86_400}], "expired on 1970-01-02"),
    ],
)
def test_an_api_without_a_key_that_is_good(keys: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(CredentialError, match=sentence) as caught:
        listed({"apiKeys": keys})
    assert "da2-x" not in str(caught.value)


def test_a_refusal_of_the_key_says_which_right_is_missing() -> None:
    ours = session()
    ours.set_credentials("testing", "testing")
    client = ours.create_client("appsync", region_name="eu-west-1")
    with Stubber(client) as stubber:
        stubber.add_client_error("list_api_keys", "AccessDeniedException", "no")
        with pytest.raises(CredentialError, match=r"appsync:ListApiKeys") as caught:
            sources.from_appsync(client, "api1")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"key_env": "K", "api_id": "a"}, "two sources of the key"),
        ({"key_env": "K", "profile": "p"}, "goes with api_id and not with key_env"),
        ({"api_id": "a", "scope": "s"}, "which mode api-key does not take"),
    ],
)
def test_a_key_has_one_source(fields: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        login(mode="api-key", **fields)
    assert login(mode="api-key", api_id="a", profile="p").describe() == (
        "api-key from AppSync, by the AWS credentials of profile 'p'"
    )
