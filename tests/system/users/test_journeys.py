"""Test journeys in real runs on the embedded server: the ledger of their requests balances."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.paths import REPO
from tests.system.harness import Finished, demanded, free_port, only_run, read, spawned

#: The code in issue 22, unchanged except for its imports.
AS_IT_STANDS = """
from locust import between, task
from loadgen.users import EventsUser


class Reader(EventsUser):                       # from loadgen.users
    wait_time = between(1, 5)

    def on_start(self):
        self.article = self.data.people["article"]
        self.feed = self.client.subscribe(f"/default/comments/{self.article}/*", self.on_comment)

    @task
    def comment(self):
        self.client.publish(f"/default/comments/{self.article}/1", [{"text": "first!"}])

    def on_comment(self, event): self.check("has text", "text" in event)
"""
ALONE = (
    "my_users.py",
    "--users",
    "11",
    "--data",
    "people=people.csv",
    "--run-time",
    "5s",
    "--set",
    "phases.warmup=3s",
)


def start(folder: Path, *arguments: str, program: str = "loadgen") -> subprocess.Popen[str]:
    more = () if "--worker" in arguments else ("--no-report", "--results", "results")
    command = [sys.executable, "-m", program, *arguments, *more]
    return spawned(command, folder, {"PYTHONPATH": str(REPO)})


def prepare(folder: Path, users: str, people: int = 40) -> None:
    (folder / "my_users.py").write_text(users)
    rows = "".join(f"u{number},a{number % 5}\n" for number in range(people))
    (folder / "people.csv").write_text("id,article\n" + rows)


def balanced(done: Finished, folder: Path, *, failures: bool = False) -> tuple[dict[str, Any], Path]:
    """Assert that a run's ledger balances, nothing is lost and `verify` agrees; return summary and folder."""
    run = only_run(folder / "results")
    assert "Traceback" not in done.err, done.said
    summary = read(run / "summary.json")
    assert summary["status"] == "complete", done.said
    ledger = summary["ledger"]
    assert ledger["balances"], ledger
    assert ledger["expected"] > 0, done.said
    assert ledger["lost"] == ledger["duplicates"] == 0, ledger
    assert ledger["delivered"] + ledger["late"] == ledger["expected"]
    if not failures:
        assert done.code == summary["exit_code"] == demanded(summary), done.said
        assert "user code" not in str(summary["verdict"]), summary["verdict"]
    verified = Finished(
        subprocess.Popen(
            [sys.executable, "-m", "loadgen", "verify", str(run)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPO)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    assert verified.code == 0, verified.said
    return summary, run


def unique_numbers(run: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Assert that no number is used by two clients; return the tables of subscriptions and events."""
    subscriptions = pd.read_parquet(run / "subscriptions.parquet")
    assert subscriptions.groupby("subscription")["connection"].nunique().max() == 1
    events = pd.read_parquet(run / "events.parquet")
    assert not events.duplicated(["publisher", "sequence"]).any()
    return subscriptions, events


@pytest.mark.parametrize("processes", [1, 2])
def test_the_issues_example_as_it_stands(tmp_path: Path, processes: int) -> None:
    prepare(tmp_path, AS_IT_STANDS)
    done = Finished(start(tmp_path, "run", *ALONE, "--processes", str(processes)))
    summary, run = balanced(done, tmp_path)
    subscriptions, events = unique_numbers(run)
    assert subscriptions["connection"].nunique() == 11
    assert set(events["status"]) == {"accepted"}
    assert set(subscriptions["channel"]) == {f"/default/comments/a{each}/*" for each in range(5)}
    assert subscriptions["worker"].nunique() == processes
    assert summary["checks"]["named"]["has text"]["failed"] == 0
    assert summary["checks"]["named"]["has text"]["passed"] >= summary["ledger"]["delivered"]
    (journey,) = read(run / "manifest.json")["journeys"]
    assert journey == {"group": "Reader", "users": "my_users.py:Reader", "loop": "closed", "pacing": None}


def test_the_issues_example_in_plain_locust(tmp_path: Path) -> None:
    prepare(tmp_path, AS_IT_STANDS)
    options = (
        "--headless",
        "-u",
        "11",
        "-t",
        "5s",
        "--data",
        "people=people.csv",
        "--set",
        "phases.warmup=3s",
    )
    balanced(Finished(start(tmp_path, "-f", "my_users.py", *options, program="locust")), tmp_path)


def test_the_issues_example_on_a_master_with_two_workers(tmp_path: Path) -> None:
    prepare(tmp_path, AS_IT_STANDS)
    port = str(free_port())
    master = start(tmp_path, "run", *ALONE, "--master", "--expect-workers", "2", "--master-port", port)
    time.sleep(1)
    workers = [
        start(tmp_path, "run", "my_users.py", "--worker", "--master-host", "127.0.0.1", "--master-port", port)
        for _ in range(2)
    ]
    done = Finished(master)
    ended = [Finished(worker) for worker in workers]
    summary, run = balanced(done, tmp_path)
    assert [worker.code for worker in ended] == [0, 0], [worker.said for worker in ended]
    subscriptions, _ = unique_numbers(run)
    assert subscriptions["worker"].nunique() == 2
    assert summary["workers"]["count"] == 2


MIXED = """version: 1
data: {people: {csv: people.csv}}
clients:
  viewers: {count: 6, subscribe: "/default/comments/a1/*"}
  backend: {count: 2, publish: {channel: /default/comments/a1/news, rate: 20/s, payload: 120B}}
  readers: {count: 10, ramp: 50/s, users: "my_users.py:Reader"}
phases: {warmup: 3s, measure: 4s, drain: 1s}
"""


def test_journeys_beside_scenario_groups(tmp_path: Path) -> None:
    prepare(tmp_path, AS_IT_STANDS.replace("between(1, 5)", "between(0.2, 0.6)"))
    (tmp_path / "mixed.yaml").write_text(MIXED)
    refused = Finished(start(tmp_path, "run", "mixed.yaml"))
    assert refused.code == 2
    assert "allow it with --allow-users" in refused.err
    done = Finished(start(tmp_path, "run", "mixed.yaml", "--allow-users", "--processes", "2"))
    _, run = balanced(done, tmp_path)
    subscriptions, events = unique_numbers(run)
    assert subscriptions.groupby("group", observed=True)["connection"].nunique().to_dict() == {
        "viewers": 6,
        "readers": 10,
    }
    # Readers of article a1 receive the backend's events, and viewers receive events that readers publish.
    measured = subscriptions.merge(
        pd.read_parquet(run / "deliveries.parquet"), on="subscription", suffixes=("", "_delivery")
    )
    backend = set(range(6, 8))
    assert set(measured[measured["group"] == "readers"]["publisher"]) & backend
    assert set(measured[measured["group"] == "viewers"]["publisher"]) - backend
    assert events["publisher"].nunique() > 2


BUSY = """
from locust import SequentialTaskSet, constant_pacing, constant, tag, task
from loadgen.users import EventsUser


class Restless(EventsUser):
    wait_time = constant(0.05)

    def on_start(self):
        self.rounds = 0
        self.feed = self.client.subscribe("/default/rooms/all")

    @tag("kept")
    @task
    def ask(self):
        self.rounds += 1
        me = f"{self.client_plan.number}-{self.rounds}"
        answer = self.client.publish("/default/rooms/all", {"me": me}, via="websocket")
        self.check("accepted", answer)
        found = self.client.wait_for(lambda event: event.get("me") == me, timeout=20)
        self.check("heard myself", found is not None)
        if self.rounds % 4 == 2:
            self.feed.unsubscribe()
            self.check("gave it up", not self.client.publish("/default/rooms/all", '{"me": null}').rejected)
            self.feed = self.client.subscribe("/default/rooms/all")
        if self.rounds % 4 == 3:
            self.client.reconnect()

    @tag("kept")
    @task
    def broken(self):
        raise RuntimeError("no")

    @tag("kept")
    @task
    class Inner(SequentialTaskSet):
        @task
        def deep(self):
            self.user.check("deep", True)
            raise KeyError("deep")

        @task
        def out(self):
            self.interrupt()

    @tag("left out")
    @task(50)
    def never(self):
        self.check("never", False)


class Paced(EventsUser):
    wait_time = constant_pacing(0.5)

    @task
    def tell(self):
        self.client.publish("/default/rooms/all", [{"a": 1}, {"b": "two"}])
"""


def test_reconnects_unsubscribes_failures_and_tags(tmp_path: Path) -> None:
    prepare(tmp_path, BUSY)
    options = ("--users", "6", "--run-time", "5s", "--set", "phases.warmup=2s", "--tags", "kept")
    done = Finished(start(tmp_path, "run", "my_users.py", *options))
    summary, run = balanced(done, tmp_path, failures=True)
    # Exceptions of user code make the run invalid, and are not counted as losses of the service.
    assert done.code == 3, done.said
    failures = [
        failure for worker in read(run / "manifest.json")["workers"] for failure in worker["failures"]
    ]
    assert {failure["kind"] for failure in failures} == {"user code"}
    assert {failure["where"].split(" at ")[0] for failure in failures} == {"task broken()", "a task of Inner"}
    checks = summary["checks"]["named"]
    assert "never" not in checks
    assert checks["accepted"]["passed"] > 0
    for name in ("accepted", "gave it up", "heard myself"):
        assert checks[name]["failed"] == 0, checks
    subscriptions, _ = unique_numbers(run)
    assert subscriptions["turn"].max() > 0 or subscriptions["life"].max() > 0
    assert {"unsubscribe", "leave"} <= set(subscriptions["intent"].dropna())
    connections = pd.read_parquet(run / "connections.parquet")
    assert connections["life"].max() > 0
    assert set(connections["error"].dropna()) == set()


def test_a_pacing_that_keeps_a_schedule_is_an_open_loop(tmp_path: Path) -> None:
    prepare(tmp_path, BUSY)
    (tmp_path / "paced.yaml").write_text(
        """version: 1
clients:
  viewers: {count: 2, subscribe: "/default/rooms/all"}
  paced: {count: 4, users: "my_users.py:Paced"}
phases: {warmup: 1s, measure: 4s, drain: 1s}
"""
    )
    done = Finished(start(tmp_path, "run", "paced.yaml", "--allow-users"))
    _, run = balanced(done, tmp_path)
    (journey,) = read(run / "manifest.json")["journeys"]
    assert journey["loop"] == "open"
    events = pd.read_parquet(run / "events.parquet")
    intended = events.groupby(["publisher", "batch"])["intended_ns"].first()
    steps = intended.groupby("publisher").diff().dropna()
    # Due times follow the schedule, even if a busy machine sent the events late.
    assert (steps.round(-6) == 500_000_000).all(), steps
    assert (events.groupby(["publisher", "batch"]).size() == 2).all()


SHAPED = """
from locust import LoadTestShape, constant, task
from loadgen.users import EventsUser


class Visitor(EventsUser):
    wait_time = constant(0.2)

    def on_start(self):
        self.client.subscribe("/default/rooms/all")

    def on_stop(self):
        self.check("stopped", True)

    @task
    def tell(self):
        self.client.publish("/default/rooms/all", {"a": 1})


class Waves(LoadTestShape):
    def tick(self):
        at = self.get_run_time()
        if at < 2:
            return 3, 10
        if at < 4:
            return 6, 10
        return (2, 10) if at < 6 else None
"""


@pytest.mark.parametrize("program", ["loadgen", "locust"])
def test_a_load_shape(tmp_path: Path, program: str) -> None:
    prepare(tmp_path, SHAPED)
    options = ("--set", "phases.warmup=2s")
    first = ("run", "my_users.py") if program == "loadgen" else ("-f", "my_users.py", "--headless")
    done = Finished(start(tmp_path, *first, *options, program=program))
    summary, run = balanced(done, tmp_path)
    _, events = unique_numbers(run)
    measure_ns = next(
        phase["start_ns"] for phase in read(run / "manifest.json")["phases"] if phase["name"] == "measure"
    )
    second = (events["intended_ns"] - measure_ns) // 1_000_000_000
    playing = events.groupby(second)["publisher"].nunique()
    assert playing[1] == 3
    assert playing[3] == 6
    assert playing[5] == 2
    assert playing.index.max() <= 6
    assert summary["checks"]["named"]["stopped"]["passed"] == 6


LOSSY = """
drop: 10%
disconnects: [{after: 4s, every: 1500ms, share: 60%, code: 1006}]
"""


def test_lost_connections_come_back_and_losses_are_found(tmp_path: Path) -> None:
    prepare(tmp_path, SHAPED.split("class Waves")[0])
    (tmp_path / "faults.yaml").write_text(LOSSY)
    options = ("--users", "6", "--run-time", "5s", "--set", "phases.warmup=3s", "--faults", "faults.yaml")
    done = Finished(start(tmp_path, "run", "my_users.py", *options))
    run = only_run(tmp_path / "results")
    summary = read(run / "summary.json")
    ledger = summary["ledger"]
    assert ledger["balances"], ledger
    assert ledger["lost_otherwise"] > 0, ledger
    assert "user code" not in str(summary["verdict"]), done.said
    connections = pd.read_parquet(run / "connections.parquet")
    assert connections["life"].max() > 0
    subscriptions, _ = unique_numbers(run)
    # After a reconnect, a subscription has the same number as before and becomes ready again.
    again = subscriptions[subscriptions["life"] > 0]
    assert again["ready_ns"].notna().any()
    assert set(again["subscription"]) <= set(subscriptions[subscriptions["life"] == 0]["subscription"])
    verified = Finished(
        subprocess.Popen(
            [sys.executable, "-m", "loadgen", "verify", str(run)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPO)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    assert verified.code == 0, verified.said


REFUSED = """
from locust import constant, task
from loadgen.users import EventsUser, RefusedError


class Stranger(EventsUser):
    wait_time = constant(0.3)

    def on_start(self):
        self.client.subscribe("/default/open")
        self.client.subscribe("/elsewhere/closed")

    @task
    def tell(self):
        self.check("accepted", self.client.publish("/default/open", {"a": 1}))
        self.check("refused", not self.client.publish("/elsewhere/closed", {"a": 1}))

    @task
    def try_again(self):
        try:
            self.client.subscribe("/elsewhere/closed")
        except RefusedError as error:
            self.check("told why", "/elsewhere/closed" in str(error))
"""


def test_what_the_service_refuses_is_no_failure_of_the_users_code(tmp_path: Path) -> None:
    prepare(tmp_path, REFUSED)
    options = ("--users", "2", "--run-time", "3s", "--set", "phases.warmup=2s")
    done = Finished(start(tmp_path, "run", "my_users.py", *options))
    summary, run = balanced(done, tmp_path)
    checks = summary["checks"]["named"]
    assert {name: check["failed"] for name, check in checks.items()} == dict.fromkeys(checks, 0)
    assert {"accepted", "refused"} <= set(checks)
    subscriptions, events = unique_numbers(run)
    assert subscriptions[subscriptions["channel"] == "/elsewhere/closed"]["error"].notna().all()
    assert set(events["status"]) == {"accepted", "rejected"}


def test_what_cannot_be_played_is_refused_with_one_sentence(tmp_path: Path) -> None:
    prepare(tmp_path, AS_IT_STANDS)
    cases = {
        (
            "run",
            "my_users.py",
            "--users",
            "50",
            "--data",
            "people=people.csv",
        ): "50, and people.csv has 40 rows",
        ("run", "my_users.py", "--data", "people"): "write NAME=FILE",
        ("run", "nowhere.py"): "nowhere.py: there is no such file",
        ("run", "comments", "--users", "5"): "--users goes with a locustfile",
    }
    for arguments, said in cases.items():
        done = Finished(start(tmp_path, *arguments))
        assert done.code == 2, done.said
        assert said in done.err, done.said
        assert "Traceback" not in done.err
    for declared, said in {
        "host = 'https://example.com'": "host is not honoured",
        "client = None": "client is the harness's own",
        "async def on_start(self): ...": "on_start() is async",
    }.items():
        (tmp_path / "my_users.py").write_text(
            f"from loadgen.users import EventsUser\nclass Reader(EventsUser):\n    {declared}\n"
        )
        done = Finished(start(tmp_path, "run", "my_users.py"))
        assert done.code == 2, done.said
        assert said in done.err, done.said
        assert "Traceback" not in done.err


REPLYING = """
from locust import constant, task
from loadgen.users import EventsUser


class Asker(EventsUser):
    wait_time = constant(0.3)

    def on_start(self):
        self.mine = f"/default/answers/{self.client_plan.number}"
        self.feed = self.client.subscribe(self.mine)

    @task
    def ask(self):
        self.client.publish("/default/ask/1", {"to": self.mine})
        self.check("answered", self.feed.wait(10) is not None)


class Responder(EventsUser):
    wait_time = constant(1)
    fixed_count = 1

    def on_start(self):
        self.client.subscribe("/default/ask/1", self.answer)

    def answer(self, event):
        self.client.reply(event, event["to"], {"text": "yes"})

    @task
    def idle(self):
        pass
"""


def test_replies_of_user_code_carry_their_cause_into_the_chain(tmp_path: Path) -> None:
    prepare(tmp_path, REPLYING)
    done = Finished(start(tmp_path, "run", "my_users.py", "--users", "4", "--run-time", "4s"))
    summary, run = balanced(done, tmp_path)
    events = pd.read_parquet(run / "events.parquet")
    replies = events[events["cause_publisher"].notna()]
    asked = events[events["cause_publisher"].isna()].set_index(["publisher", "sequence"])
    assert len(replies) > 5
    # Each reply names the question that caused it, and is published on the asker's channel.
    columns = ["cause_publisher", "cause_sequence", "channel"]
    for publisher, sequence, channel in replies[columns].itertuples(index=False, name=None):
        assert asked["channel"][publisher, sequence] == "/default/ask/1"
        assert channel == f"/default/answers/{int(publisher)}"
    found = summary["reaction"]
    assert found["requests"]["answered"] == found["requests"]["delivered"] > 0
    # Only the user's code decides which questions it answers, so the expected number of answers is unknown.
    assert found["requests"]["expected"] is found["requests"]["uncaused"] is None
    assert found["replies"]["arrived"] == found["replies"]["accepted"] == found["latency_ns"]["count"]
    assert found["latency_ns"]["min"] > 0
