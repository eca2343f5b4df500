"""Test that secrets, files and commands named in a scenario are used only if the command line permits it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.credentials import fetchers
from loadgen.credentials.allowed import NOTHING, Allowed
from loadgen.credentials.errors import CredentialError
from loadgen.exits import RunError
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.target import Target
from loadgen.scenario.login import Login

URL = "http://127.0.0.1:9/event"

#: Logins that name something on the user's machine, one of each kind: (login, what permits it, text of the
#: refusal).
LOGINS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"mode": "api-key", "key_env": "SOME_NAME"}, {"variables": ["SOME_NAME"]}, "--allow-env SOME_NAME"),
    ({"mode": "oidc", "token_env": "SOME_NAME"}, {"variables": ["SOME_NAME"]}, "--allow-env SOME_NAME"),
    (
        {
            "mode": "oidc",
            "token_url": "https://elsewhere.example/token",
            "client_id_env": "SOME_ID",
            "client_secret_env": "SOME_NAME",
        },
        {"variables": ["SOME_ID", "SOME_NAME"]},
        "whose value would go to 'https://elsewhere.example/token': allow it with --allow-env SOME_ID",
    ),
    (
        {
            "mode": "cognito",
            "client_id_env": "SOME_ID",
            "username_env": "SOME_USER",
            "password_env": "SOME_NAME",
        },
        {"variables": ["SOME_ID", "SOME_USER", "SOME_NAME"]},
        "--allow-env SOME_ID",
    ),
    (
        {"mode": "password", "username_env": "SOME_USER", "password_env": "SOME_NAME"},
        {"variables": ["SOME_USER", "SOME_NAME"]},
        "--allow-env SOME_USER",
    ),
    ({"mode": "lambda", "token_file": "/some/file"}, {"files": ["/some/file"]}, "--allow-file '/some/file'"),
    (
        {"mode": "certificate", "certificate": "/some/c.pem", "key": "/some/k.pem"},
        {"files": ["/some"]},
        "--allow-file '/some/c.pem'",
    ),
    ({"mode": "lambda", "token_command": ["get", "a token"]}, {"commands": True}, "--allow-commands"),
    (
        {"mode": "oidc", "jwt": {"key_file": "/some/k.pem"}},
        {"files": ["/some"]},
        "--allow-file '/some/k.pem'",
    ),
    ({"mode": "lambda", "token_url": "https://elsewhere.example/t"}, {"remote": True}, "--allow-remote"),
]


@pytest.mark.parametrize(("said", "needed", "refusal"), LOGINS)
def test_a_login_of_others_needs_permission_for_each_thing(
    said: dict[str, Any], needed: dict[str, Any], refusal: str
) -> None:
    login = Login.model_validate(said)
    with pytest.raises(CredentialError) as caught:
        NOTHING.demand(login, "the scenario", "host:1")
    assert refusal in str(caught.value)
    assert str(caught.value).startswith("the scenario ")
    Allowed.of(**needed).demand(login, "the scenario", "host:1")
    for name in needed.get("variables", ()):
        less = Allowed.of([other for other in needed["variables"] if other != name])
        with pytest.raises(CredentialError, match=f"--allow-env {name}"):
            less.demand(login, "the scenario", "host:1")


def test_every_key_of_a_login_that_names_something_of_the_users_is_judged() -> None:
    """Each key of a login is in `LOGINS`, if it names something on the user's machine, or else in ``harmless``."""
    harmless = {"mode", "profile", "region", "scope", "api_id", "flow", "user_pool", "rate_per_s"}
    # The values of these keys are a client's own, which the scenario's author provides as data.
    harmless |= {"token", "username", "password"}
    judged = {key for said, _, _ in LOGINS for key in said}
    assert set(Login.model_fields) == judged | harmless


def test_a_key_that_your_aws_credentials_fetch_goes_to_aws_alone() -> None:
    login = Login.model_validate({"mode": "api-key", "api_id": "abc", "region": "eu-west-1"})
    NOTHING.demand(login, "the scenario", "abc.appsync-api.eu-west-1.amazonaws.com")
    for host in ("127.0.0.1:9", "amazonaws.com.evil.example", "evilamazonaws.com"):
        with pytest.raises(CredentialError, match="not a host of AWS"):
            NOTHING.demand(login, "the scenario", host)


@pytest.mark.parametrize(
    "written", ["../secret", "folder/../../secret", "link", "/etc/hostname", "folder-b/x"]
)
def test_an_allowed_folder_allows_nothing_outside(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "folder").mkdir(parents=True)
    (here / "link").symlink_to(tmp_path / "secret")
    (here / "folder" / "link").symlink_to(tmp_path / "secret")
    monkeypatch.chdir(here)
    allowed = Allowed.of(files=["folder"])
    allowed.demand(Login.model_validate({"mode": "lambda", "token_file": "folder/token"}), "x", "h")
    for each in (written, "folder/link"):
        with pytest.raises(CredentialError, match="--allow-file"):
            allowed.demand(Login.model_validate({"mode": "lambda", "token_file": each}), "x", "h")


@given(st.text().filter(lambda text: not text.isidentifier() or not text.isascii()))
def test_only_a_name_is_taken_and_what_is_none_is_not_repeated(value: str) -> None:
    with pytest.raises(CredentialError) as caught:
        Allowed.of([value])
    assert len(value) < 12 or value not in str(caught.value)


def test_the_scenarios_login_needs_permission_and_that_of_the_command_line_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_NAME", "da2-secret")
    run = resolve(load("comments", {"target.url": URL, "target.api_key_env": "SOME_NAME"}))
    with pytest.raises(
        RunError, match=r"the scenario names the environment variable SOME_NAME, .* 127\.0\.0\.1:9"
    ):
        Target.resolve(run, None, None)
    assert Target.resolve(run, None, None, allowed=Allowed.of(["SOME_NAME"]))
    assert Target.resolve(run, URL, "SOME_NAME")
    # With plain Locust, options on the command line need no permission, but those from a file do.
    with pytest.raises(RunError, match=r"locust\.conf:3 names the environment variable SOME_NAME"):
        Target.resolve(run, URL, "SOME_NAME", login_from="locust.conf:3")


def test_a_worker_takes_no_name_and_no_command_from_its_master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_NAME", "da2-secret")
    for said, needed, refusal in LOGINS:
        if said["mode"] not in ("api-key", "lambda", "oidc", "cognito"):
            continue
        payload = Target(URL, Login.model_validate(said)).to_payload()
        with pytest.raises(RunError) as caught:
            Target.from_payload(payload).service()
        assert refusal in str(caught.value)
        assert str(caught.value).startswith("the master ")
        if said.get("key_env"):
            Target.from_payload(payload, Allowed.of(**needed)).service()


def test_a_token_command_is_shown_before_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetchers.announce.cache_clear()
    marker = tmp_path / "ran"
    said = {"mode": "lambda", "token_command": ["sh", "-c", f"echo \x1b[2J > '{marker}'; echo token"]}
    scenario = load("comments", {"target.url": URL})
    refused = Target(URL, Login.model_validate(said), login_from="the scenario")
    with pytest.raises(RunError, match="has a command run for a token, 'sh -c"):
        refused.service()
    assert not marker.exists()
    assert capsys.readouterr().err == ""
    Target(
        URL, Login.model_validate(said), allowed=Allowed.of(commands=True), login_from="the scenario"
    ).service()
    assert marker.exists()
    shown = capsys.readouterr().err
    assert shown.startswith("loadgen: the login runs a command for its token: sh -c ")
    assert "\x1b" not in shown
    assert scenario.target is not None


def test_rows_are_stored_only_where_this_command_line_says() -> None:
    allowed = Allowed.of(storage="/srv/rows")
    assert allowed.demand_storage("file:///srv/rows").uri == "file:///srv/rows"
    for told in ("file:///srv", "file:///srv/rows/more", "s3://bucket/rows"):
        with pytest.raises(CredentialError, match=f"allow it with --spool-to {told}"):
            allowed.demand_storage(told)
        with pytest.raises(CredentialError, match=f"allow it with --spool-to {told}"):
            NOTHING.demand_storage(told)
    with pytest.raises(CredentialError, match="names no place") as caught:
        allowed.demand_storage("s3://me:hunter2@bucket/rows")
    assert "hunter2" not in str(caught.value)
