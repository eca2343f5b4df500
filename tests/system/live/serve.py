"""Serve Locust's web UI with a simulated run, for the page tests: `python -m tests.system.live.serve PORT`."""

import sys

# First: it patches the standard library for gevent.
from locust import User, events, task
from locust.env import Environment

from loadgen.live.web import extend
from tests.live.synthetic import MS, Fake, event, scenario


class Idle(User):
    @task
    def nothing(self) -> None:
        pass


class NoOptions:
    def __getattr__(self, name: str) -> None:
        return None


def run() -> Fake:
    """Thirty seconds: three of them without a sign of a worker, and one with losses."""
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
    fake = run()
    environment = Environment(user_classes=[Idle], events=events)
    environment.create_local_runner().state = "running"
    environment.parsed_options = NoOptions()
    web_ui = environment.create_web_ui("127.0.0.1", int(sys.argv[1]), delayed_start=True)
    extend(web_ui, "", lambda: fake.state)
    web_ui.start()  # type: ignore[no-untyped-call]  # Locust's has no types
    assert web_ui.greenlet is not None
    web_ui.greenlet.join()


main()
