"""Test that logins which a protocol file cannot send are refused before anything is sent."""

from pathlib import Path

import pytest

from loadgen.credentials.allowed import Allowed
from loadgen.exits import ExitCode, RunError
from loadgen.resolve.resolver import run_of
from loadgen.run.group_logins import makers
from loadgen.run.target import Target
from loadgen.run.target_check import check, first_clients
from loadgen.scenario.login import Login

#: Nothing listens at this address. So if the check tried to connect, the test would see another error than the expected
#: one.
TARGET = "plain.yaml+ws://127.0.0.1:9"
PLAIN = """
version: 1
opening: [{send: "AUTH {login.username} {login.password}"}, {expect: OK}]
subscribe: {send: "SUB {channel} {id}"}
publish: {websocket: {send: "PUB {channel} {event}"}}
deliver: "MSG {id} {event}"
"""
SCENARIO = """
version: 1
data: {people: {csv: people.csv, secret: [password]}}
clients:
  users:
    count: 2
    subscribe: "/users/{people.id}"
    login: {mode: password, username: "{people.id}", password: "{people.password}"}
  backend:
    count: 1
    publish: {channel: /users/u1, rate: 10/s}
    login: {mode: password, username: "{people.id}", password: "{people.password}"}
phases: {measure: 1s}
"""
WHY = (
    "opening.0.send of the protocol file: the value of {login.password} cannot stand there: it is text with a space,"
    " outside quotes"
)
PASSWORD = Login.model_validate({"mode": "password", "username_env": "U", "password_env": "P"})


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("U", "ada")
    (tmp_path / "plain.yaml").write_text(PLAIN)
    (tmp_path / "people.csv").write_text("id,password\nu1,canary one\nu2,canary two\nu3,canary three\n")
    (tmp_path / "x.yaml").write_text(SCENARIO)


def test_the_targets_own_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P", "canary password")
    with pytest.raises(RunError) as refused:
        Target.of(TARGET, PASSWORD, allowed=Allowed.of(["U", "P"]))
    assert (str(refused.value), refused.value.code) == (WHY, ExitCode.USAGE)


def test_the_first_clients_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P", "good")
    run, tables = run_of("x.yaml", (), TARGET)
    target = Target.of(TARGET, PASSWORD, allowed=Allowed.of(["U", "P"]))
    by_group, _ = makers(run, "127.0.0.1:9", allowed=Allowed.of([]), whose="the scenario")
    first = first_clients(run, tables, by_group)
    assert len(first) == 2
    with pytest.raises(RunError) as refused:
        check(target, first=first)
    assert str(refused.value) == f"client 0 of users (people.csv:2): there is no login: {WHY}"
    assert refused.value.code == ExitCode.TARGET
