"""Test a whole run on a real broker that knows each client by its own user and password."""

import subprocess
import time
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path

import pytest

import analysis
from analysis.verify.check import verify
from tests.programs import require
from tests.system.harness import expect_by_verdict, free_port, loadgen, only_run

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
    """A broker that lets each user read its own topic only, and the backend do all."""
    folder, port = tmp_path / "mosquitto", free_port()
    folder.mkdir()
    for number, (name, password) in enumerate([("backend", "backend-canary"), *people()]):
        create = ["-c"] if number == 0 else []
        subprocess.run(
            [require("mosquitto_passwd"), "-b", *create, str(folder / "passwords"), name, password],
            check=True,
            capture_output=True,
        )
    (folder / "acl").write_text("user backend\ntopic readwrite #\n\npattern read default/users/%u\n")
    (folder / "mosquitto.conf").write_text(
        f"user {getuser()}\npersistence false\nlistener {port} 127.0.0.1\nallow_anonymous false\n"
        f"password_file {folder}/passwords\nacl_file {folder}/acl\n"
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [require("mosquitto"), "-c", str(folder / "mosquitto.conf")], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline_s = time.monotonic() + 60
        while "running" not in (folder / "log").read_text():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


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
