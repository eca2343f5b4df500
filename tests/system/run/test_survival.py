"""Test that a run does not pass if it loses a worker, the master, the target or disk space, or is late."""

import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from loadgen.measure.spool import read_batches
from loadgen.server.process import ServerProcess
from tests.system.harness import (
    SMALL,
    STUCK_S,
    Finished,
    expect_by_verdict,
    free_port,
    loadgen,
    may_unshare,
    only_run,
    overrides,
    read,
    start,
    wait_for_phase,
)
from tests.system.run.pages import page
from tests.system.run.waiting import until
from tests.system.service import Service

KEY = "da2-" + "s" * 26


def recording(run: Path) -> set[str]:
    """Return the workers that have written at least a second of the measure phase to disk.

    Each second, a worker writes its deliveries and then a health row. The report takes the last health row as the
    worker's last sign of life, so both files are checked.
    """
    (begin_ns,) = (p["start_ns"] for p in read(run / "manifest.json")["phases"] if p["name"] == "measure")
    begun = [
        {
            path.stem.rpartition("-")[2]
            for path in run.rglob(f"{table}-*.arrows")
            if any(max(batch[time].to_pylist(), default=0) >= begin_ns for batch in read_batches(path))
        }
        for table, time in (("deliveries", "intended_ns"), ("health", "time_ns"))
    ]
    return begun[0] & begun[1]


def test_a_worker_killed_in_the_measure_phase_is_named_and_the_run_is_not_green(
    tmp_path: Path, service: Service
) -> None:
    process = start(
        *("run", "comments", "--results", str(tmp_path), "--processes", "2", *service.options),
        *overrides([*SMALL, "phases.measure=6s"]),
    )
    run = wait_for_phase(tmp_path, "measure", process=process)
    until(lambda: len(recording(run)) == 2, "both workers have put deliveries of the measurement on disk")
    master = psutil.Process(process.pid).children()[0]
    victim = max(
        (child for child in master.children() if "loadgen.server" not in child.cmdline()),
        key=lambda child: child.pid,
    )
    victim.kill()
    finished = Finished(process)
    assert finished.code == 3, finished.said
    manifest, summary = read(run / "manifest.json"), read(run / "summary.json")
    assert manifest["status"] == "failed"
    assert f"pid {victim.pid}" in manifest["reason"]
    assert sorted(worker["finished"] for worker in manifest["workers"]) == [False, True]
    # The record has all rows of the surviving worker, and those of the killed one up to its last second.
    deliveries = pd.read_parquet(run / "deliveries.parquet")
    assert set(deliveries["worker"]) == {0, 1}
    assert len(summary["workers"]["unfinished"]) == 1
    assert "was lost" in page(run)
    # The record has the killed worker's subscriptions. No delivery to them is expected after the worker's
    # last sign of life.
    (reason,) = [f["reason"] for f in summary["verdict"]["findings"] if "measurement of" in f["reason"]]
    assert f"pid {victim.pid}" in reason
    assert "s into the measurement of 6.0 s" in reason
    assert summary["verdict"]["kind"] == "invalid"
    subscriptions = pd.read_parquet(run / "subscriptions.parquet")
    assert len(subscriptions) == 40
    assert subscriptions["ended_ns"].isna().any()
    ledger = summary["ledger"]
    assert ledger["balances"]
    assert ledger["outside_live_window"] < ledger["delivered"] / 10


def test_a_master_killed_in_the_measure_phase_leaves_a_reported_record(
    tmp_path: Path, service: Service
) -> None:
    process = start(
        *("run", "comments", "--results", str(tmp_path), "--processes", "2", *service.options),
        *overrides([*SMALL, "phases.measure=60s"]),
    )
    run = wait_for_phase(tmp_path, "measure", process=process)
    time.sleep(2)
    master = psutil.Process(process.pid).children()[0]
    family = master.children(recursive=True)
    master.kill()
    finished = Finished(process)
    assert finished.code == 3, finished.said
    manifest = read(run / "manifest.json")
    assert manifest["status"] == "failed"
    assert "signal 9" in manifest["reason"]
    assert set(pd.read_parquet(run / "deliveries.parquet")["worker"]) == {0, 1}
    assert "Partial" in page(run)
    # No process must stay behind and load the target.
    _, alive = psutil.wait_procs(family, timeout=STUCK_S)
    assert not alive


def test_a_full_disk_ends_the_run_and_says_so(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    # The results are on a disk of 300 KiB. tests/system/run/test_record.py tests that a record is completed
    # once there is room.
    small = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=300k none {results} && exec "$@"', "sh"]
    if not may_unshare():
        pytest.skip("needs the right to make a mount namespace (unshare -m)")
    finished = loadgen(
        *("run", "comments", "--results", str(results)),
        *overrides([*SMALL, "clients.readers.count=100", "clients.readers.ramp=600/s", "phases.measure=60s"]),
        prefix=small,
    )
    assert finished.code == 3, finished.said
    assert "cannot write its record: No space left on device" in finished.err
    assert "make room, then run `loadgen report" in finished.err
    assert "Traceback" not in finished.said


def test_a_target_that_is_killed_and_comes_back_is_an_outage_with_its_window(tmp_path: Path) -> None:
    port = free_port()
    options = ["--port", str(port)]
    server = ServerProcess(options, api_key=KEY)
    server.start()
    process = start(
        *("run", "comments", "--results", str(tmp_path), "--target", server.announcement.http_url),
        *("--api-key-env", "TARGET_KEY"),
        *overrides([*SMALL, "phases.measure=9s", "phases.drain=2s"]),
        env={"TARGET_KEY": KEY},
    )
    try:
        run = wait_for_phase(tmp_path, "measure", process=process)
        # The rest of the measurement must suffice for all clients to reconnect, even on a busy machine.
        time.sleep(1)
        psutil.Process(server.announcement.pid).kill()
        time.sleep(1.2)
        server.stop()
        server = ServerProcess(options, api_key=KEY)
        server.start()
        finished = Finished(process)
    finally:
        server.stop()
    # The exit code is 4, or 3 on a machine so busy that the run is invalid as well.
    summary = expect_by_verdict(finished, run, lossy=True, outage=True)
    assert finished.code in (3, 4), finished.said
    assert summary["status"] == "complete"
    (outage,) = summary["outages"]
    assert outage["connections_lost"] == 40
    assert outage["end_ns"] - outage["start_ns"] > 1_000_000_000
    # Most events during the outage were refused, so few deliveries are lost. The refused events are on
    # record.
    assert summary["publish"]["events_by_status"]["error"] > 10
    # All subscriptions are back, proven ready again, and receive events.
    subscriptions = pd.read_parquet(run / "subscriptions.parquet")
    again = subscriptions[subscriptions["life"] > 0]
    assert again[again["ready_ns"].notna()]["subscription"].nunique() == 40
    deliveries = pd.read_parquet(run / "deliveries.parquet")
    assert (deliveries["arrival_ns"] > outage["end_ns"]).sum() > 100
    # If the run is invalid, it prints that instead of the outage; tests/analysis/verdict/test_judgement.py tests the
    # outage's sentence.
    assert "The target was away for" in finished.out or summary["verdict"]["kind"] == "invalid"


def test_a_generator_driven_beyond_its_means_says_that_its_figures_are_invalid(tmp_path: Path) -> None:
    finished = loadgen(
        *("run", "cursors", "--results", str(tmp_path)),
        *overrides(
            [
                "clients.editors.publish.rate_per_client=8000/s",
                "phases.warmup=0s",
                "phases.measure=1s",
                "phases.drain=500ms",
            ]
        ),
    )
    assert finished.code == 3, finished.said
    summary = read(only_run(tmp_path) / "summary.json")
    assert summary["verdict"]["kind"] == "invalid"
    assert "schedule" in {f["subject"] for f in summary["verdict"]["findings"]}
    assert summary["ledger"]["balances"]
    assert "Invalid: " in finished.out
    assert "add workers" in finished.out


def test_faults_of_the_embedded_server_are_in_the_record_and_said(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("drop: 10%\n")
    finished = loadgen(
        *("run", "comments", "--results", str(tmp_path / "results"), "--faults", str(faults)),
        *("--journal", str(tmp_path / "journal")),
        *overrides(SMALL),
    )
    run = only_run(tmp_path / "results")
    summary = expect_by_verdict(finished, run, lossy=True)
    assert read(run / "manifest.json")["target"]["faults"] == {"drop": "10%"}
    assert 0 < summary["ledger"]["lost_otherwise"] == summary["ledger"]["lost"]
    assert "injected faults on purpose" in finished.out
    assert (tmp_path / "journal" / "deliveries.arrows").stat().st_size > 1000
