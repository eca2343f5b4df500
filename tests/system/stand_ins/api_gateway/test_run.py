"""Test whole runs against the stand-in of API Gateway, and compare their ledgers with its journal."""

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.verify.check import verify
from loadgen.protocol.generic.channels import matches
from loadgen.server.process import ServerProcess
from tests.system.harness import SMALL, as_judged, expect_by_verdict, loadgen, overrides, read
from tests.system.harness import only_run as only

KEY = "da2-canary0000000000000000"
FEW = (*SMALL, "clients.commenters.publish.rate=20/s")
FEWER_USERS = (
    "gates=[]",
    "variables.user.count=20",
    "variables.anyone.count=20",
    "clients.users.count=20",
    "clients.backend.count=2",
    "clients.backend.publish.rate=50/s",
    "phases.warmup=500ms",
)
Pair = tuple[int, int, int]
"""(publisher, sequence, subscription) of a delivery."""


@dataclass
class StandIn:
    """A running stand-in and its journal."""

    target: str
    stats_url: str
    journal: Path

    def noted(self, kind: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [line for line in lines if line["kind"] == kind]

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.stats_url, timeout=20) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def lost(self) -> list[Pair]:
        """Return the deliveries that are lost according to the journal, with the record's numbers.

        The id `s7` stands for subscription 7 of the record; the backend knows the connection of each id.
        """
        subscriptions = {
            (line["connection"], line["channel"]): int(line["id"][1:]) for line in self.noted("subscribed")
        }
        return [
            (line["stamp"][1], line["stamp"][2], subscriptions[line["connection"], line["channel"]])
            for line in self.noted("lost")
        ]


@contextmanager
def standing_in(folder: Path, **options: str) -> Iterator[StandIn]:
    journal = folder / "journal.jsonl"
    given = [
        part for name, value in options.items() for part in ("--option", f"{name.replace('_', '-')}={value}")
    ]
    process = ServerProcess(
        ["--service", "api-gateway", "--journal", str(journal), *given],
        api_key=KEY,
        module="loadgen.stand_ins",
    )
    with process:
        said = process.announcement
        yield StandIn(said.target, said.http_url.rpartition("/")[0] + "/stats", journal)


def missing(run: analysis.Run) -> set[Pair]:
    """Return the deliveries that should be on record but are not.

    In these runs every subscription is ready before the first event, and stays to the end.
    """
    subscriptions = run.subscriptions[["subscription", "channel"]].drop_duplicates()
    arrived = set(
        run.deliveries[["publisher", "sequence", "subscription"]].itertuples(index=False, name=None)
    )
    return {
        (publisher, sequence, subscription)
        for publisher, sequence, channel in run.events[["publisher", "sequence", "channel"]].itertuples(
            index=False, name=None
        )
        for subscription, pattern in subscriptions.itertuples(index=False, name=None)
        if matches(pattern, channel)
    } - arrived


def test_comments_run_with_nothing_lost_and_the_fan_out_is_measured(tmp_path: Path) -> None:
    with standing_in(tmp_path) as service:
        done = loadgen(
            *("run", "comments", "--target", f"{service.target}?wildcards=yes"),
            *("--results", str(tmp_path / "results"), *overrides(FEW)),
        )
        stats = service.stats()
    folder = only(tmp_path / "results")
    summary = as_judged(done, folder)
    ledger = summary["ledger"]
    assert ledger["lost"] == 0
    assert ledger["expected"] > 100
    assert ledger["events_accepted"] == ledger["events_due"]
    assert summary["workers"]["deviations"] == {}
    assert summary["workers"]["undecodable"] == 0
    assert summary["workers"]["unknown_subscription"] == 0
    assert summary["connections"]["kernel_timestamps"] in (0.0, 1.0)
    run = analysis.load(folder)
    assert verify(run).disagreements == []
    assert missing(run) == set()
    manifest = read(folder / "manifest.json")
    assert manifest["target"]["protocol"] == "api-gateway"
    assert manifest["prices"] is None
    assert summary["cost"] is None
    assert f"API Gateway WebSocket API · {service.target}" in done.out
    # The backend counts a POST for each delivery, including deliveries of readiness probes.
    backend = stats["backend"]
    assert backend["posts_by_status"] == {"200": backend["posts"]}
    assert backend["posts"] >= ledger["rows"]
    assert backend["fan_outs"] > ledger["events_due"]
    assert backend["cpu_s"] > 0


def test_every_lost_delivery_is_found_in_the_journal(tmp_path: Path) -> None:
    with standing_in(tmp_path, lose_every="40", throttle_every="45", retries="0") as service:
        done = loadgen(
            *("run", "comments", "--target", f"{service.target}?wildcards=yes"),
            *("--results", str(tmp_path / "results"), *overrides(FEW)),
        )
        lost = service.lost()
        whys = {line["why"] for line in service.noted("lost")}
        stats = service.stats()
    folder = only(tmp_path / "results")
    summary = expect_by_verdict(done, folder, lossy=True)
    run = analysis.load(folder)
    events = set(run.events[["publisher", "sequence"]].itertuples(index=False, name=None))
    # Readiness probes may be lost too. They are not events of the run, so leave them out.
    of_events = [pair for pair in lost if pair[:2] in events]
    assert len(set(of_events)) == len(of_events) > 0
    assert missing(run) == set(of_events)
    assert 0 < summary["ledger"]["lost"] <= len(of_events)
    assert whys == {"lose-every", "throttled"}
    assert stats["backend"]["posts_by_status"]["429"] == stats["backend"]["lost"] > 0
    assert verify(run).disagreements == []


def test_a_throttled_post_is_repeated_and_a_gone_connection_comes_back(tmp_path: Path) -> None:
    with standing_in(tmp_path, throttle_every="9", gone_every="100") as service:
        done = loadgen(
            *("run", "comments", "--target", f"{service.target}?wildcards=yes"),
            *("--results", str(tmp_path / "results")),
            *overrides([*FEW, "clients.readers.reconnect={first: 50ms, jitter: none}"]),
        )
        stats, gone = service.stats(), service.noted("gone")
        whys = [line["why"] for line in service.noted("lost")]
        lost = set(service.lost())
    folder = only(tmp_path / "results")
    summary = expect_by_verdict(done, folder, lossy=True)
    backend = stats["backend"]
    assert backend["posts_by_status"]["429"] == backend["retries"] > 0
    assert "throttled" not in whys, "each was repeated"
    assert backend["posts_by_status"]["410"] == len(gone) == whys.count("gone") > 0
    # A delivery is lost if the client was away or the service answered that its connection was gone.
    run = analysis.load(folder)
    events = set(run.events[["publisher", "sequence"]].itertuples(index=False, name=None))
    assert {pair for pair in lost if pair[:2] in events} <= missing(run)
    ledger, reconnects = summary["ledger"], summary["recovery"]["reconnects"]
    assert ledger["lost_otherwise"] == 0
    assert 0 < reconnects["attempts"] - reconnects["failed"] == summary["connections"]["connected"] - 43
    assert verify(run).disagreements == []


@pytest.mark.parametrize("authorizer", ["none", "iam"])
def test_the_harness_posts_to_the_connections_of_single_users_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authorizer: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDLOCAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-canary")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("BACKEND_KEY", KEY)
    auth = "iam" if authorizer == "iam" else "api-key:BACKEND_KEY"
    with standing_in(tmp_path, authorizer=authorizer, lose_every="50") as service:
        done = loadgen(
            *("run", "notifications", "--target", f"{service.target}?form=connections", "--auth", auth),
            *("--results", str(tmp_path / "results")),
            *overrides([*FEWER_USERS, "phases.measure=2s", "phases.drain=1s"]),
        )
        lost, stats = service.lost(), service.stats()
    folder = only(tmp_path / "results")
    summary = expect_by_verdict(done, folder, lossy=True)
    run = analysis.load(folder)
    events = set(run.events[["publisher", "sequence"]].itertuples(index=False, name=None))
    assert missing(run) == {pair for pair in lost if pair[:2] in events} != set()
    assert summary["ledger"]["events_accepted"] == summary["ledger"]["events_due"] > 50
    assert stats["backend"]["posts"] == 0, "the backend only told the connections' ids"
    assert "publish" not in stats["backend"]["invocations"]
    assert verify(run).disagreements == []
    assert read(folder / "manifest.json")["target"]["http_url"].endswith("/production/@connections")
    kept = "".join(path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file())
    assert "canary" not in kept + done.said


def test_long_events_travel_in_frames_of_32_kb_and_too_long_ones_end_the_connection(tmp_path: Path) -> None:
    scenario = tmp_path / "long.yaml"
    scenario.write_text(
        """version: 1
clients:
  listeners: {count: 4, subscribe: "/room"}
  speaker: {count: 1, publish: {channel: "/room", rate: 10/s, payload: 100KB}}
  shouter: {count: 1, publish: {channel: "/hall", rate: 1/s, payload: 140KB}, reconnect: {first: 50ms}}
phases: {warmup: 300ms, measure: 2s, drain: 1s}
"""
    )
    with standing_in(tmp_path) as service:
        done = loadgen(
            *("run", str(scenario), "--target", service.target, "--results", str(tmp_path / "results")),
        )
        gateway = service.stats()["gateway"]
    folder = only(tmp_path / "results")
    summary = expect_by_verdict(done, folder)
    assert (
        summary["ledger"]["delivered"] + summary["ledger"]["late"] == summary["ledger"]["expected"] >= 4 * 15
    )
    assert gateway["closed with 1009"] > 0
    assert "closed with code 1009" in " ".join(summary["connections"]["errors"])
    run = analysis.load(folder)
    assert verify(run).disagreements == []


NOTIFICATIONS = """version: 1
data:
  people: {csv: people.csv, secret: [token]}
  anyone: {csv: people.csv, assign: random}
clients:
  users:
    count: 12
    subscribe: "/users/{people.id}"
    login: {mode: lambda, token: "{people.token}"}
  backend:
    count: 2
    publish: {channel: "/users/{anyone.id}", rate: 40/s, via: http}
phases: {warmup: 300ms, measure: 2s, drain: 1s}
"""


def test_each_user_connects_with_its_own_token_and_gets_its_own_notifications(tmp_path: Path) -> None:
    people = [(f"user-{number}", f"tok-canary-{number}") for number in range(12)]
    (tmp_path / "people.csv").write_text("id,token\n" + "".join(f"{id_},{token}\n" for id_, token in people))
    (tmp_path / "served.csv").write_text(
        "id,token\n" + "".join(f"{id_},{token}\n" for id_, token in people if id_ != "user-5")
    )
    (tmp_path / "own.yaml").write_text(NOTIFICATIONS)
    for where in ("header:Authorization", "query:token"):
        results = tmp_path / where.partition(":")[0]
        with standing_in(tmp_path, authorizer="custom", users=str(tmp_path / "served.csv")) as service:
            done = loadgen(
                *("run", str(tmp_path / "own.yaml"), "--target", f"{service.target}?token={where}"),
                *("--auth", "lambda:BACKEND_TOKEN", "--results", str(results)),
                env={**os.environ, "BACKEND_TOKEN": KEY},
            )
            refused = service.stats()["gateway"]["refused: 403"]
        folder = only(results)
        summary = expect_by_verdict(done, folder)
        assert refused >= 1
        assert "client 5 of users (people.csv:7): the service refused the login: " in done.err
        assert summary["connections"]["connected"] == 11 + 2
        run = analysis.load(folder)
        ready = run.subscriptions[run.subscriptions["ready_ns"].notna()]
        assert sorted(ready["channel"].unique()) == sorted(
            f"/users/{id_}" for id_, _ in people if id_ != "user-5"
        )
        assert verify(run).disagreements == []
        kept = "".join(
            path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()
        )
        assert "canary" not in kept + done.said


def test_a_signed_handshake_is_accepted_and_an_unsigned_one_refused(tmp_path: Path) -> None:
    keys = {
        "AWS_ACCESS_KEY_ID": "AKIDLOCAL",
        "AWS_SECRET_ACCESS_KEY": "secret-canary",
        "AWS_REGION": "eu-west-1",
    }
    before = {name: os.environ.get(name) for name in keys}
    os.environ.update(keys)
    try:
        with standing_in(tmp_path, authorizer="iam") as service:
            done = loadgen("probe", "--target", service.target, "--auth", "iam")
            assert done.code == 0, done.said
            assert "all is well" in done.out
            refused = loadgen("probe", "--target", service.target)
            assert refused.code != 0
            assert "403" in refused.out
            assert "canary" not in done.said + refused.said
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
