"""Test a staircase of load in a whole run: each step in the record has the scheduled events."""

from collections import Counter
from pathlib import Path

import pandas as pd

import analysis
from analysis import text
from analysis.verify.check import verify
from loadgen.resolve import Clients
from loadgen.resolve.loading import from_resolved
from loadgen.resolve.resolver import resolve
from tests.system.harness import as_judged, loadgen, only_run, read
from tests.system.service import Service

SECOND = 1_000_000_000
STAIRCASE = """\
version: 1
clients:
  readers: {count: 4, ramp: 200/s, subscribe: "/default/a"}
  writers:
    count: 3
    publish:
      channel: "/default/a"
      rate: 100/s
      batch: 2
      profile: {steps: [30%, 60%, 120%], each: 1s}
phases: {warmup: 300ms, drain: 500ms}
"""


def test_each_step_records_what_its_schedule_has_due(tmp_path: Path, service: Service) -> None:
    (tmp_path / "staircase.yaml").write_text(STAIRCASE)
    results = ("--results", str(tmp_path / "results"))
    finished = loadgen("run", str(tmp_path / "staircase.yaml"), *results, *service.options)
    run = only_run(tmp_path / "results")
    manifest, summary = read(run / "manifest.json"), as_judged(finished, run)
    plan = Clients(resolve(from_resolved(manifest["scenario"])))
    scheduled: Counter[int] = Counter()
    for number in range(4, 7):
        publish = plan.client(number).publish
        assert publish is not None
        scheduled.update((offset - 300_000_000) // SECOND for offset in publish.offsets_ns())
    steps = summary["steps"]
    # In the three seconds 30, 60 and 120 events are due. Each scheduled request has two events.
    assert [2 * scheduled[second] for second in range(3)] == [30, 60, 120]
    assert [step["events_due"] for step in steps] == [30, 60, 120]
    assert [step["intended_per_s"] for step in steps] == [30, 60, 120]
    # Each event goes to four subscribers; the table of deliveries has those that arrived.
    accepted = [step["events_accepted"] for step in steps]
    assert [step["expected"] for step in steps] == [4 * count for count in accepted]
    deliveries = pd.read_parquet(run / "deliveries.parquet")
    for step in steps:
        inside = deliveries["intended_ns"].between(step["start_ns"], step["end_ns"], inclusive="left")
        pairs = deliveries[inside].drop_duplicates(["publisher", "sequence", "subscription"])
        late = pairs["arrival_ns"] - pairs["intended_ns"] > manifest["late_after_ns"]
        assert step["delivered"] == int((~late).sum())
        assert step["headline_ns"]["count"] == int(inside.sum())
    page = (run / "summary.md").read_text()
    for number, step in enumerate(steps, start=1):
        said = f"- step {number}: {text.rate(step['intended_per_s'])} offered, {step['events_due']} due,"
        assert f"{said} {step['delivered']} of {step['expected']} delivered, fan-out latency p50 " in page
    assert summary["ledger"]["delivered"] == sum(step["delivered"] for step in steps)
    assert summary["ledger"]["balances"]
    begin_ns = next(phase["start_ns"] for phase in manifest["phases"] if phase["name"] == "measure")
    due = pd.read_parquet(run / "events.parquet")["intended_ns"]
    seconds = ((due[due >= begin_ns] - begin_ns) // SECOND).value_counts().to_dict()
    assert seconds == {0: 30, 1: 60, 2: 120}
    assert manifest["offered"] == [
        {
            "group": "writers",
            "events_per_s": 100.0,
            "points": [[n // 2 * SECOND, load] for n, load in enumerate([0.3, 0.3, 0.6, 0.6, 1.2, 1.2], 1)],
        }
    ]
    assert verify(analysis.load(run)).disagreements == []
