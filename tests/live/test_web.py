"""Test the state that Locust's page gets, with Locust's own runner and answers."""

import json
import re
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from locust import LoadTestShape, User, task
from locust.env import Environment
from locust.event import Events
from werkzeug.test import Client

from loadgen.live import web


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
    web.extend(made.create_web_ui("127.0.0.1", 8089, delayed_start=True), "", lambda: None)
    yield made
    runner.quit()


def told(client: Client) -> str:
    """Return the state that the page has when it is opened and that it is told when it asks: they are one."""
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
    # Locust itself still says what it said before, and would for as long as the start takes.
    assert runner.state == "ready"
    # Not the answer of before, which Locust keeps for two seconds.
    assert told(client) == "spawning"
    may_go_on.set()
    with gevent.Timeout(30):
        while runner.state != "running":
            assert told(client) == "spawning"
            gevent.sleep(0.01)
    assert told(client) == "running"
    client.post("/stop")
    assert told(client) == "stopped"
