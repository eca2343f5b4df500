"""Test locustfiles with mistakes: they are named and counted, and the run does not pass."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from tests.paths import REPO
from tests.system.harness import Finished, expect_by_verdict, expect_gates, free_port, only_run, read
from tests.system.service import Service
from tests.system.users.player import Played, Player

SCENARIO = """version: 1
clients:
  readers: {{count: 4, subscribe: "/default/*"}}
  writers: {{count: 10, publish: {{channel: /default/a, rate: 40/s, batch: 2}}}}
phases: {{warmup: 300ms, measure: 2s, drain: 1s}}
gates: [{gates}]
"""
HEAD = """
from locust import between, events, task
from loadgen.run.install import ScenarioShape, install
from loadgen.users import Publisher, Subscriber

install()

"""


def refused(commands: Player, tmp_path: Path, users: str) -> Played:
    """Run a locustfile, and assert that it is refused."""
    _write(tmp_path, users, "")
    arguments = ("-f", "users.py", "--headless", "--scenario", "s.yaml", "--no-report")
    done = commands.command(tmp_path, "locust", *arguments, env={"LOADGEN_QUIET": "1"}, cwd=tmp_path)
    assert done.code == 2, done.said
    assert "Traceback" not in done.said
    return done


def _write(tmp_path: Path, users: str, gates: str) -> None:
    (tmp_path / "users.py").write_text(HEAD + users)
    (tmp_path / "s.yaml").write_text(SCENARIO.format(gates=gates))


def run(service: Service, tmp_path: Path, users: str, *arguments: str, gates: str = "") -> Finished:
    _write(tmp_path, users, gates)
    # Runs at the same time would all use Locust's default port for workers, so choose a free one.
    port = str(free_port())
    command = [
        *(
            sys.executable,
            "-m",
            "locust",
            "-f",
            "users.py",
            "--headless",
            "--scenario",
            "s.yaml",
            "--no-report",
        ),
        *("--master-bind-port", port, "--master-port", port, *service.options),
    ]
    return Finished(
        subprocess.Popen(
            [*command, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPO), "LOADGEN_QUIET": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    )


THIRD = """
class Reader(Subscriber):
    ...


class Writer(Publisher):
    calls = 0

    def payload(self):
        self.calls += 1
        if self.calls {when} 3:
            raise ValueError("no third row")
"""


LISTENER = """

@events.test_start.add_listener
def prepare(environment, **_):
    open("rows.csv")
"""


@pytest.mark.parametrize(("when", "processes"), [(">=", 2), ("==", 1)])
def test_a_payload_that_raises_costs_its_own_events_and_the_verdict(
    when: str, processes: int, tmp_path: Path, service: Service
) -> None:
    """With one process a listener raises as well; that failure is reported separately and also invalidates the run."""
    users = THIRD.format(when=when) + (LISTENER if processes == 1 else "")
    done = run(service, tmp_path, users, *(["--processes", "2"] if processes == 2 else []))
    assert done.code == 3, done.said
    folder = only_run(tmp_path / "results")
    summary, manifest = read(folder / "summary.json"), read(folder / "manifest.json")
    mistakes = [f for f in summary["verdict"]["findings"] if f["reason"].startswith("your code failed ")]
    assert summary["verdict"]["findings"][: len(mistakes)] == mistakes
    assert {finding["severity"] for finding in mistakes} == {"invalid"}
    listener = "test_start listener prepare() at users.py:24"
    assert done.err.count(listener) == (1 if processes == 1 else 0)
    if processes == 1:
        (told,) = [f for f in mistakes if listener in f["reason"]]
        assert told["reason"].startswith("your code failed once on worker 0: test_start listener prepare()")
        assert f"your code failed once on worker 0: {listener}" in " ".join(done.out.split())
        mistakes.remove(told)
    # Each worker reports the mistake.
    assert len(mistakes) == processes
    for told in mistakes:
        assert told["reason"].endswith("payload() at users.py:19: ValueError: no third row")
    # Each process prints the error of payload() once during the run. The final output reports it as the first finding.
    assert done.err.count("payload() at users.py:19: ValueError: no third row") == processes
    assert "Invalid: your code failed" in done.out
    assert "Traceback" not in done.said
    # Ten clients make 40 events a second for 2.3 s, 92 in all and at least two each; each is on record once.
    events = pd.read_parquet(folder / "events.parquet")
    assert len(events) == 92
    assert not events.duplicated(["publisher", "sequence"]).any()
    assert all(set(rows) == set(range(len(rows))) for _, rows in events.groupby("publisher")["sequence"])
    status = Counter(events["status"])
    failures = [failure for worker in manifest["workers"] for failure in worker["failures"]]
    failed = sum(failure["count"] for failure in failures if failure["where"] == "payload() at users.py:19")
    assert sum(failure["count"] for failure in failures) == failed + (1 if processes == 1 else 0)
    assert status["unmade"] == failed
    assert set(status) == {"accepted", "unmade"}
    # Only the events whose payload() failed are missing; the events after them were sent.
    assert failed == (10 if when == "==" else 92 - 20)
    assert set(events.loc[events["status"] == "unmade", "error"]) == {"payload() failed at users.py:19"}
    assert summary["ledger"]["lost"] == summary["ledger"]["duplicates"] == 0
    assert summary["ledger"]["balances"]


FIRED = """
class Reader(Subscriber):
    def on_delivery(self, channel, event):
        self.environment.events.request.fire(
            request_type="CHECK", name="schema", response_time=0, response_length=0, exception=ValueError("bad")
        )
        self.check("has a stamp", "_lg" in event)


class Writer(Publisher):
    ...


@events.quitting.add_listener
def all_is_well(environment, **_):
    environment.process_exit_code = 0
"""


@pytest.mark.parametrize(
    ("gates", "status", "processes"),
    [("", "failed", 2), ("checks.ratio >= 50%", "passed", 1)],
    ids=["no gate", "half may fail"],
)
def test_what_user_code_fires_as_failed_fails_the_run_unless_a_gate_allows_it(
    gates: str, status: str, processes: int, tmp_path: Path, service: Service
) -> None:
    done = run(service, tmp_path, FIRED, *(["--processes", "2"] if processes == 2 else []), gates=gates)
    assert (tmp_path / "results").exists(), done.said
    # `all_is_well` sets Locust's own exit code, which has no effect.
    summary = expect_by_verdict(done, only_run(tmp_path / "results"))
    made = summary["checks"]["named"]
    assert made["CHECK schema"] == {"passed": 0, "failed": made["has a stamp"]["passed"]}
    assert made["CHECK schema"]["failed"] > 100
    expect_gates(summary, status)
    assert [gate["gate"] for gate in summary["gates"]] == [gates or "checks.failed == 0"]
    if summary["verdict"]["kind"] != "invalid":
        # In an invalid run, on a machine that was too busy, no gate is decided.
        assert ("gate checks.failed == 0" in done.out) == (status == "failed"), done.said
    assert "CHECK schema" in done.out


#: A locustfile with three classes that are refused. It catches and prints the first two errors; the third
#: ends it.
REFUSED = """
from loadgen.users.declared import UserClassError

try:
    class Browser(Subscriber):
        @task
        def browse(self): ...
except UserClassError as told:
    print(told)

try:
    class Waiter(Subscriber):
        wait_time = between(1, 2)
except UserClassError as told:
    print(told)

class Reader(Subscriber):
    def payload(self, row): ...
"""


def test_a_class_that_would_not_be_honoured_is_told_before_anything_starts(
    tmp_path: Path, commands: Player
) -> None:
    done = refused(commands, tmp_path, REFUSED)
    assert "users.py:13: class Browser: @task browse" in done.out, done.said
    assert "users.py:19: class Waiter: wait_time is not" in done.out, done.said
    assert "users.py:25: class Reader: payload() is" in done.err, done.said
    assert len(done.sentences) == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "users",
    [
        "del ScenarioShape\nclass Reader(Subscriber): ...\nclass Writer(Publisher): ...\n",
        "del ScenarioShape\nfrom locust import LoadTestShape\nclass Mine(LoadTestShape):\n"
        "    def tick(self): ...\nclass Reader(Subscriber): ...\n",
    ],
    ids=["none", "another"],
)
def test_a_locustfile_without_our_shape_is_told_so(users: str, tmp_path: Path, commands: Player) -> None:
    done = refused(commands, tmp_path, users)
    assert "loadgen: the locustfile has no ScenarioShape" in done.err


def test_a_locustfile_that_cannot_be_loaded_is_no_failed_gate(tmp_path: Path, service: Service) -> None:
    done = run(service, tmp_path, "class Reader(Subscriber):\n    rows = opne('x')\n")
    assert done.code == 2, done.said
    assert "NameError" in done.err
