"""Test whole runs over server-sent events: on nchan, and on a hub that loses or repeats events and cuts connections."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pandas as pd
import pytest

import analysis
from loadgen.client.probe import FILE_ADVICE, Probe
from loadgen.targets import protocol_of
from tests.paths import REPO
from tests.system.harness import (
    Finished,
    command_lines,
    expect_by_verdict,
    loadgen,
    only_run,
    overrides,
    read,
    start,
    wait_for_phase,
)
from tests.system.run import generic_servers
from tests.system.run.echoes import check_echoes
from tests.system.run.sse_hub import Hub, Lost, running

#: Each reader subscribes to a single comment thread instead of a wildcard, because nchan has none.
COMMENTS = (
    "gates=[]",
    "clients.readers.count=30",
    "clients.readers.subscribe=/default/comments/{article}/{thread}",
    "clients.readers.ramp=200/s",
    "clients.commenters.count=3",
    "clients.commenters.publish.rate=100/s",
    "phases.warmup=200ms",
    "phases.measure=2s",
    "phases.drain=1s",
)
USERS = 20
HUB = """
    version: 1
    channels: {lead: ""}
    connect: {transport: sse, url: "{target}/sub/{channel}"}
    publish: {http: {url: "{target}/pub/{channel}", expect: [202]}}
    deliver: "{event}"
"""
SEVERAL = """
    version: 1
    channels: {lead: ""}
    connect:
      transport: sse
      url: "{target}/stream?topics={channels}"
      messages: json
      events: [message]
    publish:
      http:
        url: "{target}/hub"
        headers: {content-type: application/x-www-form-urlencoded}
        body: "topic={channel}&data={event_form}"
        expect: [202]
    deliver: {channel: /topic, event: /data}
"""


def run_of(
    tmp_path: Path,
    target: str,
    *settings: str,
    scenario: str = "comments",
    more: tuple[str, ...] = (),
    **kwargs: Any,
) -> Finished:
    results = ("--results", str(tmp_path / "results"))
    return loadgen("run", scenario, "--target", target, *results, *more, *overrides(settings), **kwargs)


def folder_of(tmp_path: Path, done: Finished) -> Path:
    assert list(tmp_path.glob("results/*/manifest.json")), done.said
    return only_run(tmp_path / "results")


def target_of(tmp_path: Path, hub: Hub, text: str = HUB) -> str:
    (tmp_path / "hub.yaml").write_text(dedent(text))
    return f"{tmp_path / 'hub.yaml'}+{hub.url}"


def expect_kernel_stamps(folder: Path) -> None:
    assert pd.read_parquet(folder / "connections.parquet")["kernel_timestamps"].all()
    deliveries = pd.read_parquet(folder / "deliveries.parquet")
    assert (deliveries["arrival_ns"] <= deliveries["read_ns"]).all()


def stamp_of(lost: Lost) -> list[int]:
    stamp: list[int] = json.loads(lost[1])["_lg"]
    return stamp


def expect_verified(folder: Path) -> None:
    verified = loadgen("verify", str(folder))
    assert verified.code == 0, verified.said
    assert "all agree" in verified.out


@pytest.fixture(scope="module")
def nchan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with generic_servers.nchan(tmp_path_factory.mktemp("nchan"), kept=1000) as url:
        yield url.replace("ws", "http", 1)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running(Hub()) as made:
        yield made


def test_comments_on_nchan(tmp_path: Path, nchan: str) -> None:
    done = run_of(tmp_path, f"nchan-sse+{nchan}", *COMMENTS, "phases.echo=100ms")
    folder = folder_of(tmp_path, done)
    summary = expect_by_verdict(done, folder)
    assert summary["ledger"]["expected"] > 100
    assert summary["ledger"]["duplicates"] == 0
    manifest = read(folder / "manifest.json")
    (worker,) = manifest["workers"]
    assert worker["undecodable"] == 0
    check_echoes(worker, 22, "http")
    assert manifest["target"]["setup"]["carried by"] == "server-sent events over HTTP/1.1"
    expect_kernel_stamps(folder)
    expect_verified(folder)


def test_clients_that_are_cut_off_get_from_nchan_what_they_have_missed(tmp_path: Path, nchan: str) -> None:
    settings = (
        "clients.readers.drops=[{at: 700ms, share: 100%}]",
        "clients.readers.reconnect={first: 300ms, jitter: none}",
    )
    done = run_of(tmp_path, f"nchan-sse+{nchan}", *COMMENTS, *settings)
    folder = folder_of(tmp_path, done)
    # The clients sent Last-Event-ID when they reconnected. Without it, the events of the 300 ms before would be lost.
    summary = expect_by_verdict(done, folder)
    assert (summary["ledger"]["lost"], summary["ledger"]["duplicates"]) == (0, 0)
    connections = pd.read_parquet(folder / "connections.parquet")
    assert len(connections) == 60
    # The events sent during the disconnection arrived after the reconnect, so their latency includes the wait.
    run = analysis.load(folder)
    assert (run.deliveries["arrival_ns"] - run.deliveries["intended_ns"]).max() > 200_000_000
    expect_verified(folder)


@pytest.mark.parametrize("where", ["header", "url"])
def test_each_user_of_notifications_has_a_token_of_its_own(tmp_path: Path, nchan: str, where: str) -> None:
    rows = [f"secret-{number}" for number in range(USERS)]
    rows[7] = "canary-secret-wrong"
    (tmp_path / "people.csv").write_text("token\n" + "".join(f"{row}\n" for row in rows))
    by = {
        "header": 'url: "{target}/own/sub/{channel}"\n      headers: {authorization: "Bearer {login.token}"}',
        "url": 'url: "{target}/own/sub/{channel}?token={login.token}"',
    }[where]
    own = f"""
    version: 1
    channels: {{lead: ""}}
    connect:
      transport: sse
      {by}
    publish: {{http: {{url: "{{target}}/own/pub/{{channel}}", expect: [201, 202]}}}}
    deliver: "{{event}}"
    """
    (tmp_path / "own.yaml").write_text(dedent(own))
    data = "data: {people: {csv: people.csv, secret: [token]}}\n"
    (tmp_path / "notifications.yaml").write_text(
        (REPO / "scenarios/notifications.yaml").read_text().replace("variables:", f"{data}variables:", 1)
    )
    scenario = (
        'clients.users.login={mode: lambda, token: "{people.token}"}',
        *("gates=[]", f"clients.users.count={USERS}", f"variables.user.count={USERS}"),
        *(f"variables.anyone.count={USERS}", "clients.backend.publish.rate=100/s"),
        *("phases.warmup=200ms", "phases.measure=2s", "phases.drain=1s"),
    )
    with command_lines() as listed:
        done = run_of(
            tmp_path,
            f"{tmp_path / 'own.yaml'}+{nchan}",
            *scenario,
            scenario=str(tmp_path / "notifications.yaml"),
            env={"BACKEND": "secret-of-the-backend"},
            more=("--auth", "lambda:BACKEND", "--allow-file", str(tmp_path)),
        )
    folder = folder_of(tmp_path, done)
    summary = expect_by_verdict(done, folder)
    assert "client 7 of users (people.csv:9): the service refused the login: " in done.err
    assert "HTTP 401 (Unauthorized)" in done.err
    assert summary["connections"]["connected"] == USERS - 1
    run = analysis.load(folder)
    ready = run.subscriptions[run.subscriptions["ready_ns"].notna()]
    channels = ready.drop_duplicates("subscription").set_index("subscription")["channel"]
    assert channels.to_dict() == {number: f"/default/user/{number}" for number in range(USERS) if number != 7}
    left = "".join(each.read_bytes().decode(errors="replace") for each in folder.rglob("*") if each.is_file())
    assert "secret-" not in left + done.said + "".join(listed)
    expect_kernel_stamps(folder)


def test_each_lost_delivery_is_found(tmp_path: Path, hub: Hub) -> None:
    hub.lose_every = 7
    done = run_of(tmp_path, target_of(tmp_path, hub), *COMMENTS)
    folder = folder_of(tmp_path, done)
    summary = expect_by_verdict(done, folder, lossy=True)
    run = analysis.load(folder)
    # Compare the hub's journal with the deliveries, event by event, and with the ledger for the measure
    # phase.
    written = Counter(zip(run.deliveries["publisher"], run.deliveries["sequence"], strict=True))
    readers = run.subscriptions.drop_duplicates("subscription")["channel"].value_counts()
    (window,) = (each for each in run.manifest["phases"] if each["name"] == "measure")
    lost = Counter((stamp[1], stamp[2]) for stamp in map(stamp_of, hub.lost))
    counted = 0
    columns = ("publisher", "sequence", "channel", "intended_ns")
    for publisher, sequence, channel, intended_ns in zip(
        *(run.events[name] for name in columns), strict=True
    ):
        missing = readers.get(channel, 0) - written[publisher, sequence]
        assert missing == lost[publisher, sequence]
        counted += missing * (window["start_ns"] <= intended_ns < window["end_ns"])
    assert summary["ledger"]["lost"] == counted > 10
    expect_verified(folder)


def test_streams_that_the_service_cuts_resume_and_what_it_repeats_is_a_duplicate(
    tmp_path: Path, hub: Hub
) -> None:
    hub.retry_ms, hub.repeated = 400, 1
    target = target_of(tmp_path, hub)
    results = tmp_path / "results"
    process = start(*("run", "comments", "--target", target, "--results", str(results)), *overrides(COMMENTS))
    wait_for_phase(results, "measure", process=process)
    timer = threading.Timer(0.6, hub.cut)
    timer.start()
    done = Finished(process)
    timer.join()
    folder = folder_of(tmp_path, done)
    summary = expect_by_verdict(done, folder, outage=True)
    connections = pd.read_parquet(folder / "connections.parquet").sort_values(["connection", "life"])
    assert len(connections) == 60, done.said
    assert connections["error"].dropna().str.endswith("the server ended the event stream").all()
    assert connections["error"].notna().sum() == 30
    # Each client that has received events asks for those after its last event, and gets one older event again.
    assert 0 < len(hub.resumed) <= 30
    assert hub.replayed > 0
    assert summary["ledger"]["lost"] == 0
    assert 0 < summary["ledger"]["duplicates"] <= len(hub.resumed)
    lives = connections.groupby("connection")
    waits_ns = lives["started_ns"].last() - lives["closed_ns"].first()
    assert (waits_ns >= 400_000_000).all(), "nobody comes back before `retry` is over"
    expect_verified(folder)


def test_204_ends_the_clients_for_good(tmp_path: Path, hub: Hub) -> None:
    target, results = target_of(tmp_path, hub), tmp_path / "results"
    process = start(*("run", "comments", "--target", target, "--results", str(results)), *overrides(COMMENTS))
    wait_for_phase(results, "measure", process=process)
    hub.status = 204
    before = hub.requests
    hub.cut()
    done = Finished(process)
    assert "HTTP 204 (No Content), by which a service tells its clients not to come back" in done.said
    # Each client connects once more, and then stays away.
    assert hub.requests - before <= 31


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, 4, "refused us: 127.0.0.1:"),
        (204, 4, "tells its clients not to come back"),
    ],
)
def test_a_refusal_is_told_before_the_load(
    tmp_path: Path, hub: Hub, status: int, code: int, says: str
) -> None:
    hub.status = status
    done = run_of(tmp_path, target_of(tmp_path, hub), *COMMENTS)
    assert done.code == code, done.said
    assert f"HTTP {status}" in done.err
    assert says in done.err
    assert hub.requests < 20


def test_one_connection_with_several_channels(tmp_path: Path, hub: Hub) -> None:
    target = target_of(tmp_path, hub, SEVERAL)
    settings = (*COMMENTS, 'clients.readers.subscribe=["/default/comments/{article}/{thread}", /default/all]')
    editors = "  editors: {count: 1, publish: {channel: /default/all, rate: 10/s}}\n"
    (tmp_path / "more.yaml").write_text(
        (REPO / "scenarios/comments.yaml").read_text().replace("phases:", f"{editors}phases:", 1)
    )
    done = run_of(tmp_path, target, *settings, scenario=str(tmp_path / "more.yaml"))
    folder = folder_of(tmp_path, done)
    summary = expect_by_verdict(done, folder)
    assert summary["ledger"]["expected"] > 600
    run = analysis.load(folder)
    assert len(run.subscriptions.drop_duplicates("subscription")) == 60
    assert len(run.connections) == 30
    expect_kernel_stamps(folder)
    expect_verified(folder)


def test_the_probe_shows_the_stream(hub: Hub, tmp_path: Path) -> None:
    target = target_of(tmp_path, hub)
    protocol = protocol_of(target)
    service = protocol.service(protocol.endpoints(target), None)
    probe = Probe(service, "/default/a", over_connection=False, advice=FILE_ADVICE, with_frames=True)
    steps = {step.name: step for step in probe.run()}
    assert [step.ok for step in steps.values()] == [True] * len(steps)
    assert steps["event stream"].detail == "answered with an event stream, kernel timestamps"
    assert steps["login"].detail == "none: the service has accepted with its answer"
