"""Test a whole run on a real broker that identifies each client by its own user and password."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import analysis
from analysis.verify.check import verify
from tests.system.harness import expect_by_verdict, free_port, loadgen, only_run
from tests.system.mqtt.broker import add_user, mosquitto

USERS = 12
ENV = {"BACKEND": "backend", "BACKEND_PASSWORD": "backend-canary"}
SCENARIO = f"""version: 1
data: {{people: {{csv: people.csv}}, anyone: {{csv: people.csv, assign: random}}}}
clients:
  users:
    count: {USERS}
    subscribe: "/default/users/{{people.name}}"
    login: {{mode: password, username: "{{people.name}}", password: "{{people.password}}"}}
  backend:
    count: 2
    publish: {{channel: "/default/users/{{anyone.name}}", rate: 100/s}}
phases: {{warmup: 300ms, measure: 2s, drain: 1s}}
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """Run a broker that permits each user only its own topic, and the backend all topics."""
    folder, port = tmp_path / "mosquitto", free_port()
    folder.mkdir()
    for name, password in [("backend", "backend-canary"), *people()]:
        add_user(folder / "passwords", name, password)
    (folder / "acl").write_text("user backend\ntopic readwrite #\n\npattern read default/users/%u\n")
    listener = f"listener {port} 127.0.0.1"
    files = (f"password_file {folder}/passwords", f"acl_file {folder}/acl")
    with mosquitto(folder, (listener, "allow_anonymous false", *files), [port]):
        yield f"mqtt://127.0.0.1:{port}"


def people() -> list[tuple[str, str]]:
    return [(f"user-{number}", f"canary-{number}") for number in range(USERS)]


@pytest.mark.parametrize("query", ["", "?qos=0", "?qos=2", "?qos=2&version=3.1.1"])
def test_each_client_logs_in_as_its_own_user_and_a_wrong_password_is_named_by_its_line(
    broker: str, tmp_path: Path, query: str
) -> None:
    rows = [
        (name, "canary-wrong" if number == 5 else password)
        for number, (name, password) in enumerate(people())
    ]
    (tmp_path / "people.csv").write_text(
        "name,password\n" + "".join(f"{name},{word}\n" for name, word in rows)
    )
    (tmp_path / "own.yaml").write_text(SCENARIO)
    done = loadgen(
        *(
            "run",
            str(tmp_path / "own.yaml"),
            "--target",
            broker + query,
            "--results",
            str(tmp_path / "results"),
        ),
        *("--auth", "password:BACKEND:BACKEND_PASSWORD"),
        env=ENV,
    )
    folder = only_run(tmp_path / "results")
    summary = expect_by_verdict(done, folder)
    assert "client 5 of users (people.csv:7): the service refused the login: " in done.err
    assert summary["connections"]["connected"] == USERS - 1 + 2, "the backend has connections, too"
    ledger = summary["ledger"]
    assert ledger["balances"]
    assert ledger["lost"] == ledger["duplicates"] == 0
    assert ledger["delivered"] + ledger["late"] == ledger["expected"] > 100
    run = analysis.load(folder)
    assert verify(run).disagreements == []
    ready = run.subscriptions[run.subscriptions["ready_ns"].notna()]
    wanted = {number: f"/default/users/user-{number}" for number in range(USERS) if number != 5}
    assert ready.drop_duplicates("subscription").set_index("subscription")["channel"].to_dict() == wanted
    kept = "".join(path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file())
    assert "canary" not in kept + done.said
    source = "password from user and password, for each client by column people.name of people.csv"
    assert summary["target"]["setup"]["login of users"].startswith(source)
