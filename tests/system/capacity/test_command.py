"""Test that `loadgen capacity` can be killed and resumed; tests/capacity/test_command.py tests invalid calls."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.system.harness import STUCK_S, Finished, loadgen, read, start

pytestmark = pytest.mark.long

SCENARIO = """version: 1
clients:
  readers: {count: 5, ramp: 250/s, subscribe: /default/known}
  writers: {count: 1, publish: {channel: /default/known, rate: 20/s}}
phases: {ready: probe, warmup: 200ms, measure: 1s, drain: 300ms}
"""


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "known.yaml").write_text(SCENARIO)
    # The server can handle 50 events/s with five deliveries each, so even the lowest load is too much.
    (tmp_path / "faults.yaml").write_text(json.dumps({"throttle": "250/s", "throttle_queue": 10}))
    process = start(
        *(
            "capacity",
            str(tmp_path / "known.yaml"),
            "--slo",
            "delivery.loss < 2%",
            "--from",
            "60",
            "--to",
            "90",
        ),
        *("--faults", str(tmp_path / "faults.yaml"), "--results", str(tmp_path)),
    )
    deadline = time.monotonic() + STUCK_S
    while time.monotonic() < deadline:
        records = list(tmp_path.glob("capacity-*/capacity.json"))
        if records and read(records[0])["trials"]:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    Finished(process)
    (record,) = tmp_path.glob("capacity-*/capacity.json")
    before = read(record)
    # One trial is complete, or more if the test was slow to send the signal.
    known = len(before["trials"])
    assert known >= 1
    assert before["status"] == "running"

    done = loadgen("capacity", "--resume", str(record.parent))
    after = read(record)
    assert after["trials"][:known] == before["trials"]
    assert len(after["trials"]) > known
    assert after["status"] == "complete", done.said
    limit = after["limits"][0]
    # On a busy machine runs are degraded, so the limit stays unknown; the exit code says so.
    assert (done.code, limit["kind"]) in ((1, "below"), (3, "undecided"), (3, "generator")), done.said
    if limit["kind"] == "below":
        assert (limit["lower"], limit["upper"], limit["upper_votes"]) == (None, 60, [0, 2])
        assert "below the lowest load: less than 60 events/s (failed 2 of 2 full-length trials)" in done.out
        # At the lowest load 300 deliveries/s are offered and 250/s are delivered.
        assert all(row["goodput_per_s"] < 260 < row["offered_deliveries_per_s"] for row in after["trials"])
    for row in after["trials"]:
        assert list((record.parent / row["folder"]).glob("*/summary.json"))
        assert f"clients.writers.publish.rate={row['load']:g}/s" in row["command"]
    assert (record.parent / "knee.png").stat().st_size > 1_000
    page = (record.parent / "capacity.html").read_text()
    assert "delivery.loss &lt; 2%" in page
    assert "distinct loads are too few" in page
