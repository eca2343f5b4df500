"""Test the echo lane: a client in each worker that measures the round trip of its own events through the service.

The tests cover the lane's channel and events, and its behaviour if the service refuses them.
tests/system/run/test_echo.py tests whole runs with an echo lane.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from loadgen.measure.clock import now_ns
from loadgen.measure.spool import SpoolWriter
from loadgen.payloads.stamping import Stamping
from loadgen.resolve import Clients
from loadgen.resolve.loading import from_resolved, load
from loadgen.resolve.resolver import resolve
from loadgen.run.echo import (
    EchoLane,
    EchoPlan,
    interval_ns,
    plan_echo,
)
from loadgen.run.echo.lane import ECHO_PUBLISHER
from loadgen.run.echo.plan import DEFAULT_INTERVAL_NS
from loadgen.run.target import Target
from loadgen.scenario import Scenario
from loadgen.server.testing import LocalEventApi, Namespace
from loadgen.targets import APPSYNC_EVENTS
from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer
from loadgen.users.worker import NoLogins, Timeline, WorkerRun

MS = 1_000_000
CHANNEL = "/default/loadgenecho7w0"
SECOND = 1_000_000_000


def planned(scenario: Scenario, worker: int = 0, workers: int = 1) -> EchoPlan:
    return plan_echo(
        run := resolve(scenario), Clients(run), APPSYNC_EVENTS.rules, SECOND, 0x7F, worker, workers
    )


@pytest.mark.parametrize(
    ("wanted", "boot_ids", "expected"),
    [
        (None, ["a"], None),
        (None, ["a", "a"], None),
        (None, ["a", "b", "a"], DEFAULT_INTERVAL_NS),
        # No worker knows its kernel's boot id, so all are assumed to be on one machine.
        (None, [None, None], None),
        (None, ["a", None], DEFAULT_INTERVAL_NS),
        ("200ms", ["a"], 200 * MS),
        ("off", ["a", "b"], None),
    ],
)
def test_workers_on_several_kernels_echo_unless_the_scenario_says_otherwise(
    wanted: str | None, boot_ids: list[str | None], expected: int | None
) -> None:
    scenario = load("comments", {} if wanted is None else {"phases.echo": wanted})
    assert interval_ns(resolve(scenario), boot_ids) == expected


def test_the_lane_does_as_the_group_that_publishes_most() -> None:
    scenario = from_resolved(
        {
            "version": 1,
            "name": "s",
            "variables": {"x": {"count": 3}},
            "clients": {
                "quiet": {"count": 5, "publish": {"channel": "/quiet/a", "rate": "9/s"}},
                "loud": {
                    "count": 5,
                    "publish": {
                        "channel": "/loud/{x}",
                        "rate_per_client": "2/s",
                        "payload": "900B",
                        "via": "websocket",
                    },
                },
                "readers": {"count": 1, "subscribe": ["/quiet/*", "/loud/7"]},
            },
        }
    )
    plan = planned(scenario, worker=2, workers=4)
    assert plan == EchoPlan(SECOND, SECOND // 2, "/loud/loadgenecho7fw2", False, 900)


@pytest.mark.parametrize(
    ("pattern", "heard"),
    [
        ("/default/*", True),
        ("/{x}/*", True),
        ("/default/comments/*", False),
        ("/default/{x}/*", False),
        ("/default/{x}", False),
        ("/other/*", False),
    ],
)
def test_a_wildcard_that_would_receive_every_echo_keeps_the_lane_off_unless_it_is_asked_for(
    pattern: str, heard: bool
) -> None:
    channel = "/{x}/a" if pattern == "/{x}/*" else "/default/{x}"
    data: dict[str, Any] = {
        "version": 1,
        "name": "s",
        "variables": {"x": {"count": 3}},
        "clients": {
            "readers": {"count": 1, "subscribe": pattern},
            "writers": {"count": 1, "publish": {"channel": channel, "rate": "1/s"}},
        },
    }
    refusal = planned(from_resolved(data)).refusal
    assert (refusal is not None) == heard
    if heard:
        assert f"subscriptions of the scenario to {pattern} would receive each echo" in str(refusal)
        asked = from_resolved({**data, "phases": {"echo": "1s"}})
        assert planned(asked).refusal is None


class Run:
    """The attributes of a run that an echo lane uses."""

    def __init__(self, service: Any, publish_s: float) -> None:
        self.service = service
        self.stamping = Stamping()
        self.logins = NoLogins(service)
        self.dialer = Dialer()
        self.address = Address(service.connect_url, service.tls, self.dialer)
        self.publishing_over = self.stopping = False
        start_ns = now_ns() + 300 * MS
        end_ns = start_ns + int(publish_s * SECOND)
        self.timeline = Timeline(start_ns, start_ns, end_ns, end_ns)

    def wait_for_timeline(self) -> Timeline:
        return self.timeline

    def wait_until(self, due_ns: int) -> None:
        gevent.sleep(max(0, due_ns - now_ns()) / 1e9)

    def local_ns(self, master_ns: int) -> int:
        return master_ns


@contextmanager
def lane(
    api: LocalEventApi, folder: Path, *, via: str = "http", publish_s: float = 0.5, api_key: str | None = None
) -> Iterator[tuple[EchoLane, Run]]:
    """Run an echo lane that sends twenty echoes a second."""
    run = Run(Target(api.http_url, api_key=api_key or api.api_key).service(), publish_s)
    plan = EchoPlan(50 * MS, 0, CHANNEL, via == "http", 300)
    made = EchoLane(cast(WorkerRun, run), plan, 7, SpoolWriter(folder, 0))
    made.start()
    try:
        yield made, run
    finally:
        run.stopping = True
        made.stop()


def settle(made: EchoLane, timeout_s: float = 5) -> list[Any]:
    """Wait until the echo lane has ended; return the rows of all its echoes."""
    rows = []
    deadline = time.monotonic() + timeout_s
    while not made.over.is_set() and time.monotonic() < deadline:
        gevent.sleep(0.02)
        rows += made.take()
    assert made.over.is_set()
    return rows + made.stop()


@pytest.mark.parametrize("via", ["http", "websocket"])
def test_every_echo_comes_back_on_one_clock_and_nothing_else_is_kept(via: str, tmp_path: Path) -> None:
    with LocalEventApi() as api, lane(api, tmp_path, via=via) as (made, run):
        rows = settle(made)
        published = [entry for entry in api.published if entry.channel == CHANNEL]
        assert api.subscriptions == 0
    assert [row.sequence for row in sorted(rows)] == list(range(10))
    for row in rows:
        assert row.intended_ns == run.timeline.warmup_ns + row.sequence * 50 * MS
        assert row.intended_ns <= row.sent_ns < row.arrival_ns <= row.read_ns
    assert {len(entry.event) for entry in published} == {300}
    assert {entry.payload["_lg"][1] for entry in published} == {ECHO_PUBLISHER}
    told = made.to_dict()
    assert (told["sent"], told["returned"], told["unexpected"], told["note"]) == (10, 10, 0, None)
    assert told["errors"] == {}
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_is_refused_is_a_note(tmp_path: Path) -> None:
    with LocalEventApi() as api, lane(api, tmp_path, api_key="da2-" + "x" * 26) as (made, _):
        assert settle(made) == []
    assert str(made.note).startswith("the service refused: ")
    assert made.sent == 0


def test_a_channel_that_is_refused_is_a_note(tmp_path: Path) -> None:
    with LocalEventApi(["other"]) as api, lane(api, tmp_path) as (made, _):
        assert settle(made) == []
    assert str(made.note).startswith(f"the service refused: subscription to {CHANNEL} refused: ")


def test_a_publish_that_is_refused_is_counted_and_the_lane_goes_on(tmp_path: Path) -> None:
    def refuse(*_: Any) -> Any:
        raise RuntimeError("not today")

    with LocalEventApi([Namespace("default", on_publish=refuse)]) as api, lane(api, tmp_path) as (made, run):
        gevent.sleep(1.2)
        run.stopping = True
        rows = settle(made)
    assert [row.arrival_ns for row in rows] == [None] * 10
    assert sum(made.to_dict()["errors"].values()) == 10
    assert made.note is None


def test_a_service_that_goes_away_is_counted_and_ends_nothing(tmp_path: Path) -> None:
    serving = ExitStack()
    api = serving.enter_context(LocalEventApi())
    with serving, lane(api, tmp_path, publish_s=60) as (made, run):
        while not made.take():
            gevent.sleep(0.02)
        serving.close()
        gevent.sleep(0.5)
        run.publishing_over = run.stopping = True
        begun = time.monotonic()
        settle(made)
        assert time.monotonic() - begun < 3
    told = made.to_dict()
    assert told["lost_connections"] == 1
    assert told["errors"]


def test_a_refused_plan_opens_no_connection(tmp_path: Path) -> None:
    run = cast(WorkerRun, SimpleNamespace())
    made = EchoLane(run, EchoPlan(SECOND, 0, CHANNEL, True, 100, "because"), 7, SpoolWriter(tmp_path, 0))
    made.start()
    assert made.stop() == []
    assert made.to_dict()["note"] == "because"
