"""Whole runs with the self-echo lane; the lane by itself is in tests/run/test_echo.py.

That a run which is interrupted keeps its echoes is told in test_plain_locust.py.
"""

from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.verify import independent
from tests.system.harness import SMALL, Finished, loadgen, only_run, overrides, read
from tests.system.mqtt import broker
from tests.system.run import generic_servers
from tests.system.run.netns import network
from tests.system.run.test_clocks import MS, WrongClock
from tests.system.run.test_distributed import KEY, Site, shown, wait_until_here
from tests.system.run.test_generic import CHAT, COMMENTS

ECHOING = (*SMALL, "phases.echo=100ms")


# Lanes of one kind are alike: two of them are there once, and one of the other.
@pytest.mark.parametrize(("via", "workers"), [("http", 2), ("websocket", 1)])
def test_echoes_are_in_no_figure_of_the_scenario_though_its_wildcards_receive_them(
    via: str, workers: int, tmp_path: Path
) -> None:
    settings = [*ECHOING, "clients.readers.subscribe=/default/*", "clients.readers.count=10"]
    done = loadgen(
        *("run", "comments", "--processes", str(workers), "--results", str(tmp_path)),
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
        n: list(range(25)) for n in range(workers)
    }
    for entry in manifest["workers"]:
        told = entry["echo"]
        assert (told["sent"], told["returned"], told["via"], told["note"]) == (25, 25, via, None)
        assert told["connects"] == (2 if via == "websocket" else 1)
        # The ten readers hear the echoes of all workers, as probes.
        assert entry["probe_deliveries"] >= 10 // workers * 25 * workers
    assert [lane["sent"] for lane in summary["echo"]["each"]] == [20] * workers
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
            finished = Finished(site.master)
            for worker in (wrong, right):
                Finished(worker)
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
        # The fastest of six: on a busy machine the others may wait.
        assert least_ns / 2 <= each["service_ns"]["min"] < 120 * MS
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
