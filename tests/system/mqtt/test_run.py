"""Test whole runs on a real MQTT broker, with the channel syntax of AppSync Events and with echo measurement."""

from pathlib import Path

import pandas as pd

import analysis
from analysis.verify.check import verify
from tests.system.harness import SMALL, STUCK_S, loadgen, only_run, overrides, read
from tests.system.mqtt.broker import Broker
from tests.system.run.echoes import check_echoes
from tests.system.run.pages import page
from tests.system.run.waiting import ended_by_verdict


def test_clients_come_and_go_over_tcp_at_qos_1_and_nothing_is_lost(broker: Broker, tmp_path: Path) -> None:
    scenario = tmp_path / "coming-and-going.yaml"
    scenario.write_text(
        """version: 1
variables:
  topic: {count: 4}
clients:
  movers:
    count: 10
    subscribe: ["/default/{topic}", "/default/below/{topic}/*"]
    churn: {subscriptions: 20/s, away: 100ms}
  dropped:
    count: 10
    subscribe: "/default/{topic}"
    reconnect: {first: 200ms, jitter: none}
    drops: [{at: 500ms, share: 50%}, {at: 1500ms, share: 50%, close: frame}]
  writers:
    count: 2
    publish: {channel: "/default/{topic}", rate: 80/s, batch: 2}
  deep:
    count: 1
    publish: {channel: "/default/below/{topic}/a/b", rate: 40/s, via: websocket}
gates: ["delivery.loss == 0", "publish.errors == 0"]
phases: {warmup: 300ms, measure: 2s, drain: 1s, echo: 100ms}
"""
    )
    results = tmp_path / "results"
    done = loadgen("run", str(scenario), "--target", broker.tcp, "--results", str(results), timeout_s=STUCK_S)
    folder, summary = ended_by_verdict(done, results)
    manifest = read(folder / "manifest.json")
    # The gates pass, or are inconclusive if a busy machine makes the run invalid.
    invalid = summary["verdict"]["kind"] == "invalid"
    assert [gate["status"] for gate in summary["gates"]] == 2 * ["inconclusive" if invalid else "passed"]
    ledger = summary["ledger"]
    assert ledger["balances"]
    assert ledger["lost"] == 0, done.said
    assert ledger["events_accepted"] == ledger["events_due"] > 200
    assert ledger["expected"] > 500
    assert summary["workers"]["deviations"] == {}
    assert summary["workers"]["unknown_subscription"] == 0
    assert summary["connections"]["errors"] == {}
    assert summary["connections"]["kernel_timestamps"] in (0.0, 1.0)
    purpose = summary["recovery"]["on_purpose"]
    assert purpose["dropped"] == 10
    assert purpose["unsubscribed"] > 20
    # Every publish was answered. All events of one request have the time of the same answer.
    events = pd.read_parquet(folder / "events.parquet")
    assert events["acked_ns"].notna().all()
    assert (events["acked_ns"] >= events["sent_ns"]).all()
    assert events.groupby(["publisher", "batch"])["acked_ns"].nunique().eq(1).all()
    assert events["batch"].nunique() < len(events)
    # The manifest and the output describe the MQTT broker, and contain no prices of AppSync.
    assert manifest["target"]["protocol"] == "mqtt"
    assert manifest["target"]["setup"]["quality of service"] == "QoS 1"
    assert manifest["prices"] is None
    assert summary["cost"] is None
    assert f"MQTT 5 · {broker.tcp} · QoS 1" in done.out
    report = page(folder)
    assert "MQTT 5" in report
    assert "AppSync" not in report
    assert "on AWS" not in report
    (worker,) = manifest["workers"]
    check_echoes(worker, 23, "websocket")


def test_over_a_websocket_at_qos_0_nobody_knows_what_was_accepted(broker: Broker, tmp_path: Path) -> None:
    done = loadgen(
        *("run", "comments", "--target", f"{broker.websocket}?qos=0", "--results", str(tmp_path)),
        *overrides([*SMALL, "phases.measure=1s", "phases.drain=500ms", "phases.echo=100ms"]),
        *overrides(['gates=["publish.errors == 0"]']),
        timeout_s=STUCK_S,
    )
    # A gate on an unknown figure is inconclusive.
    assert done.code == 3, done.said
    folder = only_run(tmp_path)
    summary = read(folder / "summary.json")
    ledger = summary["ledger"]
    assert ledger["balances"]
    assert ledger["delivered"] + ledger["late"] == ledger["expected"] > 100
    assert ledger["lost"] == 0
    assert ledger["events_accepted"] is None
    assert summary["throughput"]["accepted_per_s"] is None
    assert summary["publish"]["events_by_status"] == {"sent": ledger["events_due"]}
    assert summary["publish"]["answer_ns"]["count"] == 0
    assert pd.read_parquet(folder / "events.parquet")["acked_ns"].isna().all()
    assert "not known: it answers no publish" in page(folder)
    (worker,) = read(folder / "manifest.json")["workers"]
    check_echoes(worker, 15, "websocket")
    assert verify(analysis.load(folder)).disagreements == []
