"""Test whole runs with echo lanes; tests/run/test_echo.py tests the lane itself.

Other files test echoes over other protocols (mqtt/test_run.py, test_generic.py), on separate machines
(test_distributed.py), and in an interrupted run (test_plain_locust.py).
"""

from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.verify import independent
from tests.system.harness import SMALL, loadgen, only_run, overrides, read
from tests.system.service import Service

ECHOING = (*SMALL, "phases.echo=100ms")


# On the echo lane, a worker publishes events to itself. Two workers test it over HTTP, and one over WebSocket.
@pytest.mark.parametrize(("via", "workers"), [("http", 2), ("websocket", 1)])
def test_echoes_are_in_no_figure_of_the_scenario_though_its_wildcards_receive_them(
    via: str, workers: int, tmp_path: Path, service: Service
) -> None:
    settings = [*ECHOING, "clients.readers.subscribe=/default/*", "clients.readers.count=10"]
    done = loadgen(
        *("run", "comments", "--processes", str(workers), "--results", str(tmp_path), *service.options),
        *overrides([*settings, f"clients.commenters.publish.via={via}"]),
    )
    folder = only_run(tmp_path)
    manifest, summary = read(folder / "manifest.json"), read(folder / "summary.json")
    ledger, events = summary["ledger"], pd.read_parquet(folder / "events.parquet")
    assert ledger["balances"], done.said
    # Each reader expects each event of the scenario, and no echo.
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
        n: list(range(25)) for n in range(workers)
    }
    for entry in manifest["workers"]:
        told = entry["echo"]
        assert (told["sent"], told["returned"], told["via"], told["note"]) == (25, 25, via, None)
        assert told["connects"] == (2 if via == "websocket" else 1)
        # The ten readers receive the echoes of all workers, and count them as deliveries of probes.
        assert entry["probe_deliveries"] >= 10 // workers * 25 * workers
    assert [lane["sent"] for lane in summary["echo"]["each"]] == [20] * workers
    assert summary["echo"]["pairs"] == []
    assert "echo, one clock (arrival − sent)" in done.out
    # Compare the round trips, and the cost of the echo lanes' connections, with an independent computation.
    run = analysis.load(folder)
    assert run.measure is not None
    theirs = independent.figures(run, run.measure)
    for place, each in enumerate(summary["echo"]["each"]):
        assert theirs[f"echo.each.{place}.service_ns.p99"] == each["service_ns"]["p99"]
    for kind in ("connect", "subscribe"):
        assert theirs[f"cost.operations.{kind}"] == summary["cost"]["operations"][kind]
