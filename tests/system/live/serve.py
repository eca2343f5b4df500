"""Serve Locust's web UI with a simulated run: `python -m tests.system.live.serve PORT FOLDER`.

The page tests use this server. The run has not begun while FOLDER has a file `before`, and is over while
FOLDER has a summary.
"""

import sys
from pathlib import Path

# Import this first, because it patches the standard library for gevent.
from locust import LoadTestShape, User, events, task
from locust.env import Environment

from loadgen.exits import ExitCode
from loadgen.live.coming import Coming
from loadgen.live.outcome import Outcome
from loadgen.live.web import extend
from tests.live.synthetic import MS, Fake, event, scenario
from tests.system.live.address import TARGET


class Idle(User):
    @task
    def nothing(self) -> None:
        pass


class Shape(LoadTestShape):
    """A load shape. With one, Locust's page disables the form fields for the numbers of users, as in a real run."""

    def tick(self) -> None:
        return None


class NoOptions:
    def __getattr__(self, name: str) -> None:
        return None


def run() -> Fake:
    """Simulate thirty seconds of a run. One worker does not report in three of them, and events are lost in another."""
    fake = Fake(
        scenario('["delivery.latency.p99 < 50ms", "delivery.loss == 0", "delivery.duplicates == 0"]'), 2
    )
    fake.complaints = (("<img src=x onerror=alert(1)> & co", 3),)
    for number in range(30):
        arrived = 9 if number == 5 else 10
        rows = [event(fake.at_ns, sequence=number)]
        fake.second(
            [MS + number * MS // 10] * arrived, rows, sequence=number, queue_max_ns=MS, late_max_ns=MS
        )
        if number not in (15, 16, 17):
            fake.second([], worker=1)
        fake.totals["sent"] += 1
        fake.totals["accepted"] += 1
        fake.tick()
    return fake


def main() -> None:
    fake, folder = run(), Path(sys.argv[2])
    coming = Coming.of(fake.resolved, TARGET)
    before = folder / "before"

    def ended(_: str) -> Outcome | None:
        return Outcome.of(folder, ExitCode.PASSED) if (folder / "summary.json").exists() else None

    environment = Environment(user_classes=[Idle], events=events, shape_class=Shape())  # type: ignore[no-untyped-call]
    runner = environment.create_local_runner()
    environment.parsed_options = NoOptions()
    web_ui = environment.create_web_ui("127.0.0.1", int(sys.argv[1]), delayed_start=True)
    extend(web_ui, "", lambda: None if before.exists() else fake.state, ended, lambda: coming)

    def know_the_state() -> None:
        runner.state = "ready" if before.exists() else "stopped" if ended("") else "running"

    assert web_ui.app is not None
    web_ui.app.before_request(know_the_state)

    web_ui.start()  # type: ignore[no-untyped-call]  # Locust's has no types
    assert web_ui.greenlet is not None
    web_ui.greenlet.join()


if __name__ == "__main__":
    main()
