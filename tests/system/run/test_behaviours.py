"""Test scenarios of the catalogue in which clients come and go, run for a few seconds.

The ledger balances, and no expected delivery is lost. Disconnects made on purpose are reported, and do not
count as errors of the target.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.system.harness import expect_by_verdict, loadgen, only_run, overrides
from tests.system.service import Service

_SHORT = ("gates=[]", "phases.warmup=300ms", "phases.drain=1s")


def run(service: Service, tmp_path: Path, scenario: str, *settings: str) -> tuple[Path, dict[str, Any], str]:
    done = loadgen(
        "run", scenario, "--results", str(tmp_path), *service.options, *overrides([*_SHORT, *settings])
    )
    folder = only_run(tmp_path)
    summary = expect_by_verdict(done, folder)
    assert summary["ledger"]["expected"] > 100
    assert summary["connections"]["errors"] == {}
    return folder, summary, " ".join(done.out.split())


def test_dropped_clients_come_back_and_are_counted(tmp_path: Path, service: Service) -> None:
    folder, summary, said = run(
        service,
        tmp_path,
        "deploy-drop",
        "clients.readers.count=40",
        "clients.readers.reconnect={first: 300ms, jitter: none}",
        # All clients are back long before the second drop, even on a busy machine.
        "clients.readers.drops=[{at: 500ms, share: 25%}, {at: 3500ms, share: 100%, close: frame}]",
        "phases.measure=5s",
    )
    assert [
        (d["connections"], d["subscriptions"], d["ready_again"]) for d in summary["recovery"]["drops"]
    ] == [
        (10, 10, 10),
        (40, 40, 40),
    ]
    for drop in summary["recovery"]["drops"]:
        # Without jitter no client is back before its first wait is over.
        assert drop["to_50_ns"] >= 300_000_000
    # Each dropped client missed about six of twenty events a second, during its gap of 300 ms.
    assert summary["ledger"]["missed_in_gap"] >= 40 * 4
    assert summary["recovery"]["reconnects"]["attempts"] == 50
    assert "on purpose: 50 connections were cut" in said
    connections = pd.read_parquet(folder / "connections.parquet")
    abrupt, framed = (connections[connections["intent"] == f"drop {n}"]["close_code"] for n in (1, 2))
    assert abrupt.isna().all()
    assert set(framed) == {1000}


def test_subscriptions_change_clients_leave_or_read_slowly_and_nothing_is_lost(
    tmp_path: Path, service: Service
) -> None:
    scenario = tmp_path / "coming-and-going.yaml"
    scenario.write_text(
        """version: 1
variables:
  topic: {count: 4}
clients:
  movers:
    count: 20
    subscribe: ["/default/{topic}", "/default/own/{topic}"]
    churn: {subscriptions: 40/s, away: 100ms}
  leavers:
    count: 20
    subscribe: "/default/{topic}"
    churn: {lifetime: 1s, away: 200ms}
  never:
    count: 10
    subscribe: "/default/{topic}"
    reconnect: never
    drops: [{at: 1s, share: 50%}]
  slow:
    count: 20
    subscribe: "/default/large"
    slow: {share: 10%, read: 20KB/s}
  writers:
    count: 2
    publish: {channel: "/default/{topic}", rate: 80/s}
  editor:
    count: 1
    publish: {channel: "/default/large", rate: 20/s, payload: 20KB}
gates: []
"""
    )
    folder, summary, said = run(service, tmp_path / "results", str(scenario), "phases.measure=3s")
    purpose = summary["recovery"]["on_purpose"]
    assert (purpose["dropped"], purpose["slow_clients"]) == (5, 2)
    # About 132 subscription changes are expected (Poisson); only ready subscriptions change. Each of 20
    # clients leaves about every 1.2 s.
    assert 60 < purpose["unsubscribed"] < 200
    assert 20 < purpose["left"] < 100
    (drop,) = summary["recovery"]["drops"]
    assert (drop["subscriptions"], drop["ready_again"], drop["to_99_ns"]) == (5, 0, None)
    assert summary["recovery"]["reconnects"]["attempts"] == 0
    assert summary["ledger"]["missed_away"] > 0
    assert summary["ledger"]["missed_in_gap"] > 0
    subscriptions = pd.read_parquet(folder / "subscriptions.parquet")
    assert not subscriptions.duplicated(["subscription", "life", "turn"]).any()
    assert subscriptions[subscriptions["group"] == "movers"]["turn"].max() >= 2
    # Events that arrive after the unsubscribe carry the ended subscription's id, which the client still knows.
    assert summary["workers"]["unknown_subscription"] == 0
    assert "subscriptions were given up" in said
    # Two of twenty clients read a twentieth of the data sent to them. The time for which that data waits to
    # be read does not count as delay of the generator.
    deliveries = pd.read_parquet(folder / "deliveries.parquet")
    connections = pd.read_parquet(folder / "connections.parquet")
    slow = subscriptions[subscriptions["connection"].isin(connections[connections["slow"]]["connection"])]
    assert set(slow["group"]) == {"slow"}
    waited = (deliveries["read_ns"] - deliveries["intended_ns"]).groupby(deliveries["subscription"]).median()
    waited = waited[subscriptions[subscriptions["group"] == "slow"]["subscription"].unique()]
    assert set(waited.nlargest(2).index) == set(slow["subscription"])
    assert waited.nsmallest(18).max() < waited.nlargest(2).min()
    # The queue delay may include waits on a busy machine, but not the waits of the slow clients' data.
    ours = deliveries[~deliveries["subscription"].isin(slow["subscription"])]
    assert summary["delivery"]["receive_queue_ns"]["max"] <= (ours["read_ns"] - ours["arrival_ns"]).max()
    assert "2 clients read slowly" in said


@pytest.mark.parametrize("jitter", ["full", "none"])
def test_plans_of_a_storm_differ_in_jitter_alone(jitter: str) -> None:
    from loadgen.resolve import Clients
    from loadgen.resolve.loading import load
    from loadgen.resolve.resolver import resolve
    from loadgen.users.reconnect import ReconnectPolicy

    plan = Clients(resolve(load("reconnect-storm", {"clients.readers.reconnect.jitter": jitter})))
    waits = [ReconnectPolicy(plan.client(number).behaviour).wait_s(None) for number in range(200)]
    busiest = max(
        sum(at <= other < at + 1 for other in waits if other is not None) for at in (0.0, 1.0, 2.0, 3.0)
    )
    assert (busiest == 200) == (jitter == "none")
