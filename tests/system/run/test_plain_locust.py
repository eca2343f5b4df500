"""Test plain `locust` with a user's own locustfile, and Ctrl-C."""

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

import analysis
from tests.paths import REPO
from tests.system.harness import (
    SMALL,
    STUCK_S,
    Finished,
    expect_by_verdict,
    only_run,
    overrides,
    read,
    spawned,
    start,
    wait_for_phase,
)
from tests.system.service import Service

CURSORS = (
    "gates=[]",
    "clients.editors.count=10",
    "variables.room.count=2",
    "clients.editors.ramp=100/s",
    "phases.warmup=500ms",
    "phases.drain=500ms",
    "phases.echo=100ms",
)


@pytest.mark.parametrize(("scenario", "processes"), [("comments", "1"), ("cursors", "2")])
def test_ctrl_c_in_the_measure_phase_keeps_and_reports_what_was_recorded(
    tmp_path: Path, scenario: str, processes: str
) -> None:
    """A SIGINT to the parent ends the run. Its case `comments` also makes a report, and `cursors` also has echoes."""
    process = start(
        *("run", scenario, "--results", str(tmp_path), "--processes", processes),
        *(["--report"] if scenario == "comments" else []),
        *overrides([*(SMALL if scenario == "comments" else CURSORS), "phases.measure=120s"]),
    )
    run = wait_for_phase(tmp_path, "measure", process=process)
    time.sleep(2 if scenario == "cursors" else 1)
    parent = psutil.Process(process.pid)
    everybody = [parent, *parent.children(recursive=True)]
    os.killpg(process.pid, signal.SIGINT)
    finished = Finished(process)
    assert finished.code == 130, finished.said
    assert "Traceback" not in finished.said
    _, alive = psutil.wait_procs(everybody, timeout=STUCK_S)
    assert not alive, (finished.said, alive)
    assert not list(tmp_path.glob(".new-*/manifest.json")), finished.said
    manifest, summary = read(run / "manifest.json"), read(run / "summary.json")
    assert (manifest["status"], manifest["reason"]) == ("interrupted", "interrupted in phase measure")
    assert (summary["partial"], summary["exit_code"]) == (True, 130)
    if scenario == "cursors":
        lanes = summary["echo"]["each"]
        assert len(lanes) == 2
        assert all(lane["returned"] == lane["sent"] > 5 for lane in lanes), finished.said
    ledger = summary["ledger"]
    assert ledger["delivered"] + ledger["late"] == ledger["expected"] > 0
    assert ledger["balances"]
    if scenario == "comments":
        assert "partial" in (run / "report.html").read_text().lower()
    assert len(analysis.load(run).deliveries) > 0


def locust(*arguments: str, cwd: Path) -> Finished:
    return Finished(spawned([sys.executable, "-m", "locust", *arguments], cwd, {"PYTHONPATH": str(REPO)}))


def test_plain_locust_runs_a_locustfile_of_ones_own(tmp_path: Path, service: Service) -> None:
    (tmp_path / "mine.py").write_text(OWN_LOCUSTFILE)
    finished = locust(
        *("-f", "mine.py", "--headless", "--scenario", "comments", "--results", str(tmp_path / "results")),
        *("--no-report", *service.options, *overrides(SMALL)),
        cwd=tmp_path,
    )
    # Locust's own statistics include deliveries.
    assert "DELIVER" in finished.said
    seen = int((tmp_path / "seen").read_text())
    run = only_run(tmp_path / "results")
    expect_by_verdict(finished, run)
    assert seen == pq.read_metadata(run / "deliveries.parquet").num_rows > 100


OWN_LOCUSTFILE = """
import json
import pathlib

from locust import events

from loadgen.run.install import ScenarioShape, install
from loadgen.users import Publisher, Subscriber

install()
seen = 0


class Reader(Subscriber):
    def on_delivery(self, channel, event):
        global seen
        assert channel.startswith("/default/comments/"), channel
        assert json.loads(event)["text"] == "first!"
        seen += 1


class Commenter(Publisher):
    def payload(self):
        return {"text": "first!"}


@events.quitting.add_listener
def _(environment, **_):
    pathlib.Path("seen").write_text(str(seen))
"""
