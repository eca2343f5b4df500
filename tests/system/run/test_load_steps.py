"""A staircase of load through the whole program: each step's record is its schedule, to the request."""

from collections import Counter
from pathlib import Path

import pandas as pd

import analysis
from analysis.verify.check import verify
from loadgen.scenario import Plan, Scenario
from tests.system.harness import loadgen, only_run, read

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


def test_each_step_records_what_its_schedule_has_due(tmp_path: Path) -> None:
    (tmp_path / "staircase.yaml").write_text(STAIRCASE)
    finished = loadgen("run", str(tmp_path / "staircase.yaml"), "--results", str(tmp_path / "results"))
    run = only_run(tmp_path / "results")
    # Slow neighbours may make the run degraded or invalid; what was due does not depend on that.
    assert finished.code in (0, 3), finished.said
    manifest, summary = read(run / "manifest.json"), read(run / "summary.json")
    plan = Plan(Scenario.from_resolved(manifest["scenario"]))
    scheduled: Counter[int] = Counter()
    for number in range(4, 7):
        publish = plan.client(number).publish
        assert publish is not None
        scheduled.update((offset - 300_000_000) // SECOND for offset in publish.offsets_ns())
    steps = summary["steps"]
    # The mean is the integral: 30, 60 and 120 events in a second of each, two to a request.
    assert [2 * scheduled[second] for second in range(3)] == [30, 60, 120]
    assert [step["events_due"] for step in steps] == [30, 60, 120]
    assert [step["intended_per_s"] for step in steps] == [30, 60, 120]
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
