"""Test whole runs on NATS in which each client sends its own login in an opening message."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import analysis
from tests.paths import REPO
from tests.system.harness import (
    Finished,
    command_lines,
    expect_by_verdict,
    loadgen,
    only_run,
    overrides,
)
from tests.system.run import generic_servers

USERS = 20
WRONG = 7
#: Part of every password, for which the test searches all output.
CANARY = "canary-secret"
BACKEND = f'{CANARY} of the "backend"'
SETTINGS = (
    *("gates=[]", f"clients.users.count={USERS}", f"variables.user.count={USERS}"),
    *(f"variables.anyone.count={USERS}", "clients.backend.publish.rate=100/s"),
    *("phases.warmup=200ms", "phases.measure=2s", "phases.drain=1s"),
    'clients.users.login={mode: password, username: "{people.name}", password: "{people.password}"}',
)


def password(number: int) -> str:
    """Return a user's password, with characters that are special in JSON, templates or queries."""
    return f'{CANARY} \\{number}" ü %s{{id}}&x=1'


def user(name: str, secret: str, permissions: str) -> str:
    written = json.dumps(secret, ensure_ascii=False)
    return f"{{user: {json.dumps(name)}, password: {written}, permissions: {permissions}}}"


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run NATS with a user for each client, who may subscribe to its own subject only, and a backend user."""
    users = [
        user(
            f"u {number}",
            password(number),
            f'{{subscribe: ["default.user.{number}"], publish: {{deny: ">"}}}}',
        )
        for number in range(USERS)
    ]
    backend = user("backend", BACKEND, '{publish: ["default.user.*"], subscribe: {deny: ">"}}')
    authorization = "authorization { users = [" + ",\n".join([*users, backend]) + "] }"
    with generic_servers.nats(tmp_path_factory.mktemp("nats"), authorization) as url:
        yield url


def notifications(folder: Path, url: str) -> Finished:
    """Run `notifications` with a row of data for each user; one row has a wrong password."""
    with (folder / "people.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "password"])
        rows.writerows(
            [f"u {number}", f"{CANARY}, a wrong one" if number == WRONG else password(number)]
            for number in range(USERS)
        )
    data = "data: {people: {csv: people.csv, secret: [password]}}\n"
    (folder / "notifications.yaml").write_text(
        (REPO / "scenarios/notifications.yaml").read_text().replace("variables:", f"{data}variables:", 1)
    )
    return loadgen(
        *("run", str(folder / "notifications.yaml"), "--target", f"nats+{url}"),
        *("--results", str(folder / "results"), "--auth", "password:BACKEND_USER:BACKEND_PASSWORD"),
        *("--allow-file", str(folder)),
        *overrides(SETTINGS),
        env={"BACKEND_USER": "backend", "BACKEND_PASSWORD": BACKEND},
    )


def test_each_user_of_notifications_logs_in_as_itself(tmp_path: Path, nats: str) -> None:
    with command_lines() as listed:
        done = notifications(tmp_path, nats)
    assert list(tmp_path.glob("results/*/manifest.json")), done.said
    folder = only_run(tmp_path / "results")
    summary = expect_by_verdict(done, folder)
    refused = f"client {WRONG} of users (people.csv:{WRONG + 2}): the service refused the login: "
    assert refused + "'Authorization Violation'" in " ".join(done.err.split())
    # All users but the refused one are connected. So are the five backend clients, which publish over their
    # own connections.
    assert summary["connections"]["connected"] == USERS - 1 + 5
    assert summary["ledger"]["expected"] > 100
    run = analysis.load(folder)
    ready = run.subscriptions[run.subscriptions["ready_ns"].notna()]
    channels = ready.drop_duplicates("subscription").set_index("subscription")["channel"]
    assert channels.to_dict() == {
        number: f"/default/user/{number}" for number in range(USERS) if number != WRONG
    }
    left = "".join(each.read_bytes().decode(errors="replace") for each in folder.rglob("*") if each.is_file())
    assert CANARY not in left + done.said + "".join(listed)
    assert pd.read_parquet(folder / "connections.parquet")["kernel_timestamps"].all()
    deliveries = pd.read_parquet(folder / "deliveries.parquet")
    assert (deliveries["arrival_ns"] <= deliveries["read_ns"]).all()
    verified = loadgen("verify", str(folder))
    assert verified.code == 0, verified.said
    assert "all agree" in verified.out
