"""Test the web UI's answers, with Locust's own runner: the state, the start form, the report of a run."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event
from locust import LoadTestShape, User, task
from locust.env import Environment
from locust.event import Events
from werkzeug.test import Client

from loadgen.exits import ExitCode
from loadgen.live import web
from loadgen.live.coming import Coming
from loadgen.live.outcome import Outcome
from tests.live.synthetic import Fake

COMING = Coming("http://127.0.0.1:1/event", (("Scenario", "comments"), ("Clients", "43")))
OUTCOMES: dict[str, Outcome] = {}


class Idle(User):
    @task
    def nothing(self) -> None:
        gevent.sleep(60)


class OneUser(LoadTestShape):
    def tick(self) -> tuple[int, float]:
        return 1, 1.0


class NoOptions:
    def __getattr__(self, name: str) -> None:
        return None


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    monkeypatch.setattr("sys.argv", ["locust"])
    hooks, shape = Events(), OneUser()  # type: ignore[no-untyped-call]  # Locust's have no types
    made = Environment(user_classes=[Idle], events=hooks, shape_class=shape)
    runner = made.create_local_runner()
    made.parsed_options = NoOptions()
    web_ui = made.create_web_ui("127.0.0.1", 8089, delayed_start=True)
    web.extend(web_ui, "", lambda: None, OUTCOMES.get, lambda: COMING)
    yield made
    OUTCOMES.clear()
    runner.quit()


def told(client: Client) -> str:
    """Return the run's state as the page shows it; check that the page gets the same state when it polls."""
    polled = json.loads(client.get("/stats/requests").text)["state"]
    (opened,) = re.findall(r'"state": "([a-z]+)"', client.get("/").text)
    assert opened == polled
    return str(polled)


def test_a_run_that_was_asked_for_and_is_not_ready_yet_is_told_as_starting(environment: Environment) -> None:
    made: Any = environment.web_ui
    client, may_go_on, runner = Client(made.app), Event(), environment.runner
    start: Any = environment.events.test_start
    start.add_listener(lambda **_: may_go_on.wait(60))
    assert told(client) == "ready"
    assert json.loads(client.post("/swarm").text)["success"]
    gevent.sleep(0)
    assert runner is not None
    # Locust's own state remains "ready" until the run has started.
    assert runner.state == "ready"
    # The page shows the new state, although Locust caches its answer for two seconds.
    assert told(client) == "spawning"
    may_go_on.set()
    with gevent.Timeout(30):
        while runner.state != "running":
            assert told(client) == "spawning"
            gevent.sleep(0.01)
    assert told(client) == "running"
    client.post("/stop")
    assert told(client) == "stopped"


def test_the_start_form_has_the_target_and_refuses_another(environment: Environment) -> None:
    made: Any = environment.web_ui
    client = Client(made.app)
    (found,) = re.findall(r"window.templateArgs = (.*)", client.get("/").text)
    shown = json.loads(found.rstrip().rstrip(";"))
    assert shown["host"] == COMING.target
    assert not shown["missing_host_warning"]
    data = json.loads(client.get("/fan-out/data?coming=1").text)
    assert data == {"run": None, "coming": [list(row) for row in COMING.rows]}
    refused = client.post("/swarm", data={"host": "http://elsewhere.example"})
    assert refused.status_code == 400
    assert json.loads(refused.text)["message"] == "the target cannot be set here: start the run with --target"
    assert environment.runner is not None
    assert environment.runner.state == "ready"
    assert json.loads(client.post("/swarm", data={"host": COMING.target}).text)["success"]


def test_the_report_of_a_run_of_this_process_is_served_and_nothing_else(
    environment: Environment, tmp_path: Path
) -> None:
    made: Any = environment.web_ui
    client = Client(made.app)
    folder = tmp_path / "run-1"
    folder.mkdir()
    OUTCOMES["run-1"] = Outcome(folder, ExitCode.PASSED, "good", "Valid")
    assert client.get("/fan-out/report/run-1").status_code == 404
    (folder / "report.html").write_text("<p>the report")
    (tmp_path / "report.html").write_text("secret")
    answer = client.get("/fan-out/report/run-1")
    assert (answer.status_code, answer.text) == (200, "<p>the report")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    # A sandbox denies the report page access to this origin. Otherwise its scripts could use the web UI's buttons.
    assert policy.startswith("sandbox ")
    assert "allow-same-origin" not in policy
    for other in (
        "run-2",
        "..",
        "run-1/..",
        "%2e%2e",
        "..%2frun-1",
        "run-1%2f..",
        "run-1/report.html",
        "",
        ".",
    ):
        answer = client.get(f"/fan-out/report/{other}")
        assert answer.status_code in (404, 308, 301), other
        assert "secret" not in answer.text


def test_the_data_of_a_run_that_is_over_has_its_verdict() -> None:
    fake = Fake()
    fake.second([1_000_000])
    fake.tick()
    assert web.shown(fake.state, None, -1)["outcome"] is None
    outcome = Outcome(Path("/results/run-1"), ExitCode.GATE_FAILED, "bad", "Failed: gate", ("valid", ()))
    told = web.shown(fake.state, None, -1, {"run-1": outcome}.get)["outcome"]
    assert told["code"] == 1
    assert told["sentence"] == "Failed: gate"
    assert told["verdict"] == {"kind": "valid", "reasons": ()}
    assert told["has_report"] is False
