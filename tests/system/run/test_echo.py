"""The self-echo lane: what it publishes where, what becomes of it when the service does not want it, and whole runs."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pandas as pd
import pytest

import analysis
from analysis.verify import independent
from loadgen.measure.clock import now_ns
from loadgen.measure.spool import SpoolWriter
from loadgen.run.echo import (
    DEFAULT_INTERVAL_NS,
    ECHO_PUBLISHER,
    EchoLane,
    EchoPlan,
    interval_ns,
    plan_echo,
)
from loadgen.run.target import Target
from loadgen.scenario import Plan, Scenario, load
from loadgen.server.testing import LocalEventApi, Namespace
from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer
from loadgen.users.worker import Timeline, WorkerRun
from tests.system.harness import SMALL, Finished, loadgen, only_run, overrides, read, start, wait_for_phase
from tests.system.mqtt import broker
from tests.system.run import generic_servers
from tests.system.run.netns import network
from tests.system.run.test_clocks import MS, WrongClock
from tests.system.run.test_distributed import KEY, Site, shown, wait_until_here
from tests.system.run.test_generic import CHAT, COMMENTS

CHANNEL = "/default/loadgenecho7w0"
SECOND = 1_000_000_000


def planned(scenario: Scenario, worker: int = 0, workers: int = 1) -> EchoPlan:
    return plan_echo(scenario, Plan(scenario), SECOND, 0x7F, worker, workers)


@pytest.mark.parametrize(
    ("wanted", "boot_ids", "expected"),
    [
        (None, ["a"], None),
        (None, ["a", "a"], None),
        (None, ["a", "b", "a"], DEFAULT_INTERVAL_NS),
        # Nobody knows of any kernel: one machine, as far as can be told.
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
    assert interval_ns(scenario, boot_ids) == expected


def test_the_lane_does_as_the_group_that_publishes_most() -> None:
    scenario = Scenario.from_resolved(
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
    assert plan == EchoPlan(SECOND, SECOND // 2, "/loud/loadgenecho7fw2", "websocket", 900)


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
    refusal = planned(Scenario.from_resolved(data)).refusal
    assert (refusal is not None) == heard
    if heard:
        assert f"subscriptions of the scenario to {pattern} would receive each echo" in str(refusal)
        asked = Scenario.from_resolved({**data, "phases": {"echo": "1s"}})
        assert planned(asked).refusal is None


class Run:
    """What a lane needs of a run."""

    def __init__(self, service: Any, publish_s: float) -> None:
        self.service = service
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
    """A lane that echoes twenty times a second."""
    run = Run(Target(api.http_url, api_key=api_key or api.api_key).service(), publish_s)
    plan = EchoPlan(50 * MS, 0, CHANNEL, cast(Any, via), 300)
    made = EchoLane(cast(WorkerRun, run), plan, 7, SpoolWriter(folder, 0))
    made.start()
    try:
        yield made, run
    finally:
        run.stopping = True
        made.stop()


def settle(made: EchoLane, timeout_s: float = 5) -> list[Any]:
    """Take what comes back until the lane is over."""
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
    made = EchoLane(run, EchoPlan(SECOND, 0, CHANNEL, "http", 100, "because"), 7, SpoolWriter(tmp_path, 0))
    made.start()
    assert made.stop() == []
    assert made.to_dict()["note"] == "because"


# Whole runs.

ECHOING = (*SMALL, "phases.echo=100ms")


@pytest.mark.parametrize("via", ["http", "websocket"])
def test_echoes_are_in_no_figure_of_the_scenario_though_its_wildcards_receive_them(
    via: str, tmp_path: Path
) -> None:
    settings = [*ECHOING, "clients.readers.subscribe=/default/*", "clients.readers.count=10"]
    done = loadgen(
        *("run", "comments", "--processes", "2", "--results", str(tmp_path)),
        *overrides([*settings, f"clients.commenters.publish.via={via}"]),
    )
    folder = only_run(tmp_path)
    manifest, summary = read(folder / "manifest.json"), read(folder / "summary.json")
    ledger, events = summary["ledger"], pd.read_parquet(folder / "events.parquet")
    assert ledger["balances"], done.said
    # Each event of the scenario to each reader, and not one more.
    assert ledger["expected"] == 10 * ledger["events_due"] > 0
    assert ledger["delivered"] + ledger["late"] == ledger["rows"] == ledger["expected"], done.said
    assert events["publisher"].min() >= 0
    assert pd.read_parquet(folder / "deliveries.parquet")["publisher"].min() >= 0
    assert summary["connections"]["clients"] == manifest["scenario"]["clients"]["readers"]["count"] + (
        3 if via == "websocket" else 0
    )
    assert summary["workers"]["foreign"] == summary["workers"]["unknown_subscription"] == 0
    echoes = pd.read_parquet(folder / "echo.parquet")
    assert echoes.groupby("worker")["sequence"].apply(list).to_dict() == {
        n: list(range(25)) for n in range(2)
    }
    for entry in manifest["workers"]:
        told = entry["echo"]
        assert (told["sent"], told["returned"], told["via"], told["note"]) == (25, 25, via, None)
        assert told["connects"] == (2 if via == "websocket" else 1)
        # Five readers of each worker hear the echoes of both, as probes.
        assert entry["probe_deliveries"] >= 5 * 50
    assert [lane["sent"] for lane in summary["echo"]["each"]] == [20, 20]
    assert summary["echo"]["pairs"] == []
    assert "echo, one clock (arrival − sent)" in done.out
    # A second opinion on the round trips, and on what the lanes' connections cost.
    run = analysis.load(folder)
    assert run.measure is not None
    theirs = independent.figures(run, run.measure)
    for place, each in enumerate(summary["echo"]["each"]):
        assert theirs[f"echo.each.{place}.service_ns.p99"] == each["service_ns"]["p99"]
    for kind in ("connect", "subscribe"):
        assert theirs[f"cost.operations.{kind}"] == summary["cost"]["operations"][kind]


def test_an_interrupted_run_keeps_the_echoes_so_far(tmp_path: Path) -> None:
    process = start(
        *("run", "comments", "--processes", "2", "--results", str(tmp_path)),
        *overrides([*ECHOING, "phases.measure=30s"]),
    )
    folder = wait_for_phase(tmp_path, "measure")
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    done = Finished(process, 60)
    assert done.code == 130, done.said
    assert "Traceback" not in done.err
    summary = read(folder / "summary.json")
    assert all(lane["returned"] == lane["sent"] > 5 for lane in summary["echo"]["each"]), done.said
    assert summary["ledger"]["balances"]


def test_on_separate_machines_the_echo_is_right_where_a_clock_is_wrong(tmp_path: Path) -> None:
    """One clock is 250 ms ahead and drifts; cables delay each packet by 5 ms; nobody asks for echoes."""
    results = tmp_path / "hidden" / "results"
    results.mkdir(parents=True)
    clock = WrongClock(tmp_path / "clock", 250 * MS, 20)
    with network(tmp_path, 2, delay_ms=5, hidden=[tmp_path / "hidden"]) as net:
        shown(net)
        asked = [] if net.separate else ["phases.echo=500ms"]
        site = Site(net, results, 2, "phases.measure=3s", *asked)
        try:
            wrong = net.on_node(0, *site.worker, env={**KEY, **clock.env})
            wait_until_here(site, wrong)
            right = net.on_node(1, *site.worker, env=KEY)
            finished = Finished(site.master, 90)
            for worker in (wrong, right):
                Finished(worker, 30)
        finally:
            site.close()
    (folder,) = (path.parent for path in results.glob("*/manifest.json"))
    summary = read(folder / "summary.json")
    print(summary["echo"], summary["clock"]["workers"], summary["delivery"]["service_ns"])
    assert summary["ledger"]["balances"], site.said
    assert summary["workers"]["foreign"] == 0
    least_ns = 20 * MS if net.separate else 0
    for each in summary["echo"]["each"]:
        assert each["returned"] == each["sent"] == 6
        # Two ways of 5 ms up (HTTP) and down; 250 ms of a wrong clock are not in it.
        assert least_ns / 2 <= each["service_ns"]["min"] <= each["service_ns"]["p50"] < 120 * MS
    (pair,) = summary["echo"]["pairs"]
    assert pair["there_ns"] is not None
    assert pair["back_ns"] is not None
    # What a reader of the raw record would believe of the clocks, and what is left of it.
    raw = pd.read_parquet(folder / "deliveries.parquet")
    assert (raw["arrival_ns"] - raw["sent_ns"]).abs().max() > 200 * MS
    assert abs(pair["apparent_ns"]) <= pair["asymmetry_ns"] + pair["error_ns"]
    assert finished.code in (0, 3), finished.said
    assert not [f for f in summary["verdict"]["findings"] if f["reason"].startswith("what workers")]
    assert analysis.load(folder).measure is not None


@pytest.mark.parametrize(
    ("service", "scenario", "via"),
    [
        ("mqtt", "comments", "websocket"),
        ("mqtt at QoS 0", "comments", "websocket"),
        ("nats", "comments", "websocket"),
        ("nchan", "chat", "http"),
    ],
)
def test_other_protocols_echo_by_their_own_rules(
    service: str, scenario: str, via: str, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    with ExitStack() as stack:
        if service.startswith("mqtt"):
            found = stack.enter_context(broker.running(tmp_path))
            target = found.tcp if service == "mqtt" else f"{found.websocket}?qos=0"
        else:
            target = f"{service}+{stack.enter_context(getattr(generic_servers, service)(tmp_path))}"
        settings = CHAT if scenario == "chat" else COMMENTS
        done = loadgen(
            *("run", scenario, "--target", target, "--results", str(results)),
            *overrides([*settings, "phases.echo=100ms"]),
        )
    folder = only_run(results)
    (entry,) = read(folder / "manifest.json")["workers"]
    summary = read(folder / "summary.json")
    assert summary["ledger"]["balances"], done.said
    assert summary["ledger"]["lost"] == 0, done.said
    told = entry["echo"]
    assert (told["sent"], told["returned"], told["unexpected"], told["via"]) == (17, 17, 0, via), done.said
    assert (told["errors"], told["note"]) == ({}, None)
    assert entry["foreign"] == entry["unknown_subscription"] == 0
    assert entry["deviations"] == {}
