"""Test whole runs on a real broker, with all QoS levels, shared subscriptions, retained events and resumed sessions."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis.ledger.reconcile import Reconciled, reconcile
from analysis.verify.check import verify
from loadgen.protocol.mqtt.incoming import RETAINED
from loadgen.protocol.mqtt.memory import LOST_SESSION
from loadgen.protocol.mqtt.outgoing import SENT_AGAIN
from tests.system.harness import SMALL, STUCK_S, free_port, loadgen, overrides, read
from tests.system.mqtt import lossy
from tests.system.mqtt.broker import Broker, mosquitto, retained
from tests.system.run.pages import page
from tests.system.run.waiting import ended_by_verdict

NOTIFICATIONS = (
    "gates=[]",
    "variables.user.count=30",
    "variables.anyone.count=30",
    "clients.users.count=30",
    "clients.backend.publish.rate=60/s",
    "phases.warmup=300ms",
    "phases.measure=2s",
    "phases.drain=1s",
)


def run(
    scenario: str, target: str, results: Path, settings: tuple[str, ...] = ()
) -> tuple[Path, dict[str, Any]]:
    done = loadgen(
        *("run", scenario, "--target", target, "--results", str(results)),
        *overrides(settings),
        timeout_s=STUCK_S,
    )
    folder, summary = ended_by_verdict(done, results)
    ledger = summary["ledger"]
    assert ledger["balances"], done.said
    assert summary["connections"]["kernel_timestamps"] in (0.0, 1.0)
    found = verify(analysis.load(folder))
    assert found.disagreements == []
    return folder, summary


def settled(folder: Path) -> Reconciled:
    loaded = analysis.load(folder)
    assert loaded.measure is not None
    return reconcile(loaded, loaded.measure)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize(("scenario", "settings"), [("comments", SMALL), ("notifications", NOTIFICATIONS)])
def test_an_unchanged_scenario_at_each_quality_of_service(
    broker: Broker, tmp_path: Path, version: str, qos: int, scenario: str, settings: tuple[str, ...]
) -> None:
    carried = broker.websocket if qos == 1 else broker.tcp
    folder, summary = run(scenario, f"{carried}?qos={qos}&version={version}", tmp_path, settings)
    ledger = summary["ledger"]
    assert ledger["lost"] == ledger["duplicates"] == ledger["outside_live_window"] == 0
    assert ledger["delivered"] + ledger["late"] == ledger["expected"] > 50
    assert ledger["events_accepted"] == (ledger["events_due"] if qos else None)
    workers = summary["workers"]
    assert workers["deviations"] == workers["asides"] == {}
    assert workers["unknown_subscription"] == workers["undecodable"] == 0
    manifest = read(folder / "manifest.json")
    assert manifest["target"]["service"] == f"MQTT {version}"
    assert manifest["target"]["setup"]["quality of service"].startswith(f"QoS {qos}")


SHARED = """version: 1
variables:
  topic: {count: 3}
clients:
  team:
    count: 5
    subscribe: "/$share/team/default/shared/*"
  alone:
    count: 2
    subscribe: "/default/shared/*"
  writers:
    count: 2
    publish: {channel: "/default/shared/{topic}", rate: 100/s}
phases: {warmup: 300ms, measure: 2s, drain: 1s}
"""


@pytest.mark.parametrize("query", ["?qos=0", "?qos=1", "?qos=2&version=3.1.1"])
def test_a_group_gets_each_event_once(broker: Broker, tmp_path: Path, query: str) -> None:
    (tmp_path / "shared.yaml").write_text(SHARED)
    folder, summary = run(str(tmp_path / "shared.yaml"), broker.tcp + query, tmp_path / "results")
    ledger = summary["ledger"]
    assert ledger["expected"] == 3 * ledger["events_due"] > 300, "two on their own, and the group"
    assert ledger["lost"] == ledger["duplicates"] == 0
    assert ledger["delivered"] + ledger["late"] == ledger["expected"]
    subscriptions = pd.read_parquet(folder / "subscriptions.parquet")
    assert set(subscriptions["channel"]) == {"/default/shared/*"}
    groups = Counter(each if isinstance(each, str) else None for each in subscriptions["shared"])
    assert groups == {"team": 5, None: 2}
    # Mosquitto gives the events to the members in turn, so each has a share.
    deliveries = pd.read_parquet(folder / "deliveries.parquet")
    by_member = deliveries[deliveries["subscription"] < 5].groupby("subscription").size()
    assert len(by_member) == 5
    assert by_member.sum() < 2 * len(deliveries) / 3
    # The report explains how a group is counted.
    assert "5 subscriptions share their events in one group" in page(folder)


def test_what_a_proxy_drops_and_repeats_within_a_group_is_found_one_by_one(
    broker: Broker, tmp_path: Path
) -> None:
    (tmp_path / "shared.yaml").write_text(SHARED)
    port = int(broker.tcp.rpartition(":")[2])
    with lossy.before(port) as proxy:
        target = f"mqtt://127.0.0.1:{proxy.port}?qos=0"
        folder, summary = run(str(tmp_path / "shared.yaml"), target, tmp_path / "results")
    found = settled(folder)
    part = found.whole
    measured = {(key >> 32, key & 0xFFFF_FFFF) for key in part.events.key.tolist()}
    missing = {
        (key >> 32, key & 0xFFFF_FFFF): int(count)
        for key, count in zip(part.events.key.tolist(), (part.expected - part.arrived).tolist(), strict=True)
        if count
    }
    dropped = [event for event in proxy.journal.dropped if event in measured]
    repeated = [event for event in proxy.journal.repeated if event in measured]
    assert len(dropped) > 10
    assert len(repeated) > 5
    assert missing == Counter(dropped)
    ledger = summary["ledger"]
    assert (ledger["lost"], ledger["lost_otherwise"]) == (len(dropped), len(dropped))
    assert ledger["duplicates"] == len(repeated)
    # Only the group, which counts as one subscription, has losses.
    assert ledger["subscriptions_with_loss"] == 1
    (worst,) = found.breakdown.worst("subscription")
    assert worst["key"] == "0"


@contextmanager
def broker_with(folder: Path, *lines: str) -> Iterator[str]:
    """Run another broker, with ``lines`` added to its configuration; yield the URL of its listener."""
    folder.mkdir()
    port = free_port()
    with mosquitto(folder, (f"listener {port} 127.0.0.1", "allow_anonymous true", *lines), [port]):
        yield f"mqtt://127.0.0.1:{port}"


DROPS = """version: 1
clients:
  readers:
    count: 8
    subscribe: "/default/kept"
    reconnect: {first: AWAY, jitter: none}
    drops: [{at: 600ms, share: 50%, close: CLOSE}]
  writers:
    count: 1
    publish: {channel: "/default/kept", rate: 60/s}
phases: {warmup: 300ms, measure: 3s, drain: 3s}
"""


def dropping(folder: Path, away: str = "700ms", close: str = "abrupt") -> str:
    path = folder / "drops.yaml"
    path.write_text(DROPS.replace("AWAY", away).replace("CLOSE", close))
    return str(path)


@pytest.mark.parametrize("close", ["abrupt", "frame"])
@pytest.mark.parametrize("query", ["qos=1", "qos=2", "qos=1&version=3.1.1", "qos=2&version=3.1.1"])
def test_a_resumed_session_brings_what_was_sent_meanwhile(tmp_path: Path, query: str, close: str) -> None:
    with broker_with(tmp_path / "mosquitto") as url:
        folder, summary = run(
            dropping(tmp_path, close=close), f"{url}?{query}&clean=false", tmp_path / "results"
        )
    ledger = summary["ledger"]
    assert ledger["expected"] == 8 * ledger["events_due"] > 500, "nothing is excused"
    assert ledger["lost"] == ledger["missed_in_gap"] == 0
    assert ledger["delivered"] + ledger["late"] == ledger["expected"]
    assert summary["workers"]["deviations"] == {}
    assert summary["workers"]["unknown_subscription"] == 0
    connections = pd.read_parquet(folder / "connections.parquet")
    accepted = connections[connections["acknowledged_ns"].notna()]
    sessions = Counter(zip(accepted["life"], accepted["session"].astype(str), strict=True))
    assert sessions == {(0, "new"): 9, (1, "resumed"): 4}
    assert "sessions that clients kept over a reconnect: 4 resumed" in page(folder)
    # The events that waited for the client arrived late, over its new connection.
    deliveries = pd.read_parquet(folder / "deliveries.parquet")
    assert (deliveries["arrival_ns"] - deliveries["intended_ns"]).max() > 500_000_000


def test_without_a_kept_session_the_same_drops_are_excused(tmp_path: Path) -> None:
    with broker_with(tmp_path / "mosquitto") as url:
        _, summary = run(dropping(tmp_path), f"{url}?qos=1", tmp_path / "results")
    ledger = summary["ledger"]
    assert ledger["lost"] == 0
    assert ledger["missed_in_gap"] > 50
    assert ledger["expected"] + ledger["missed_in_gap"] == 8 * ledger["events_due"]


def test_a_session_whose_time_is_over_excuses_too(tmp_path: Path) -> None:
    with broker_with(tmp_path / "mosquitto") as url:
        target = f"{url}?qos=1&clean=false&expiry=1"
        folder, summary = run(dropping(tmp_path, away="2500ms"), target, tmp_path / "results")
    connections = pd.read_parquet(folder / "connections.parquet")
    assert set(connections.loc[connections["life"] == 1, "session"].dropna()) <= {"expired", "resumed"}
    ledger = summary["ledger"]
    assert ledger["balances"]
    assert LOST_SESSION not in summary["workers"]["deviations"]
    if set(connections.loc[connections["life"] == 1, "session"].dropna()) == {"expired"}:
        assert ledger["missed_in_gap"] > 0
        assert ledger["lost"] == 0


def test_what_the_brokers_queue_does_not_hold_is_lost_and_not_excused(tmp_path: Path) -> None:
    """For each absent client the broker keeps a limited number of messages, and drops any more."""
    limits = ("max_queued_messages 10", "max_inflight_messages 1", "sys_interval 1")
    with broker_with(tmp_path / "mosquitto", *limits) as url:
        folder, summary = run(dropping(tmp_path), f"{url}?qos=1&clean=false", tmp_path / "results")
        dropped = int(retained(url, "$SYS/broker/publish/messages/dropped"))
    ledger = summary["ledger"]
    assert ledger["expected"] == 8 * ledger["events_due"]
    assert ledger["missed_in_gap"] == 0
    assert ledger["lost_in_reconnect"] + ledger["lost_before_ready"] > 40
    # On a busy machine the queues of the other clients may be full, too. The broker also drops readiness
    # probes.
    assert ledger["lost"] <= dropped
    # Four clients were away. Their queues hold only the first events that they missed, so the others are
    # lost.
    rows = settled(folder).breakdown.by("subscription")
    losing = rows[rows["lost_in_reconnect"] > 0]
    assert len(losing) == 4
    assert (rows["expected"] == ledger["events_due"]).all()


RETAIN = """version: 1
variables:
  topic: {count: 3}
clients:
  readers:
    count: 6
    subscribe: "/retained/RUN/{topic}"
    churn: {subscriptions: 20/s, away: 100ms}
  writers:
    count: 2
    publish: {channel: "/retained/RUN/{topic}", rate: 60/s}
phases: {warmup: 300ms, measure: 2s, drain: 1s}
"""


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_retained_events_are_counted_apart(broker: Broker, tmp_path: Path, version: str) -> None:
    (tmp_path / "retain.yaml").write_text(RETAIN.replace("RUN", f"v{version}"))
    target = f"{broker.tcp}?qos=1&retain=true&version={version}"
    _, summary = run(str(tmp_path / "retain.yaml"), target, tmp_path / "results")
    ledger, workers = summary["ledger"], summary["workers"]
    assert workers["asides"][RETAINED] >= 20
    assert ledger["lost"] == ledger["duplicates"] == 0
    assert workers["unknown_subscription"] == 0
    assert workers["deviations"] == {}
    assert summary["recovery"]["on_purpose"]["unsubscribed"] > 10


BREAKING = """version: 1
clients:
  readers: {count: 3, subscribe: "/default/breaking"}
  writers:
    count: 3
    publish: {channel: "/default/breaking", rate: 900/s, via: websocket}
    reconnect: {first: 150ms, jitter: none}
    drops: [{at: 500ms, share: 100%}, {at: 1200ms, share: 100%}]
phases: {warmup: 300ms, measure: 2s, drain: 6s}
"""


@pytest.mark.parametrize("query", ["qos=2", "qos=2&version=3.1.1"])
def test_publishes_under_way_at_a_break_go_on_and_arrive_once(tmp_path: Path, query: str) -> None:
    (tmp_path / "breaking.yaml").write_text(BREAKING)
    with broker_with(tmp_path / "mosquitto", "max_queued_messages 0") as url:
        target = f"{url}?{query}&clean=false"
        folder, summary = run(str(tmp_path / "breaking.yaml"), target, tmp_path / "results")
    ledger = summary["ledger"]
    assert ledger["lost"] == ledger["duplicates"] == ledger["unrecorded"] == 0
    assert ledger["delivered"] + ledger["late"] == ledger["expected"] > 1000
    assert summary["workers"]["deviations"] == {}
    # Events that were sent again have no answer on record; each one that arrived has reached all three
    # readers.
    assert ledger["not_acknowledged"] % 3 == 0
    if (again := summary["workers"]["asides"].get(SENT_AGAIN, 0)) and ledger["not_acknowledged"]:
        assert ledger["not_acknowledged"] <= 3 * again
    writers = pd.read_parquet(folder / "connections.parquet").query("group == 'writers' and life > 0")
    assert set(writers["session"].dropna().astype(str)) == {"resumed"}
