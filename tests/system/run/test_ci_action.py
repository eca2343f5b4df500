"""Test the CI action's step with the real command; tests/docs tests the action's logic."""

import sys
from pathlib import Path

from tests.docs.ci_step import run_step
from tests.paths import REPO
from tests.system.harness import STUCK_S, demanded, read

SCENARIO = """version: 1
clients:
  readers: {count: 5, subscribe: "/default/*"}
  writers: {count: 1, publish: {channel: /default/a, rate: 20/s}}
phases: {warmup: 200ms, measure: 1s, drain: 1s}
gates: ["delivery.latency.p99 < LIMIT"]
"""


def step(tmp_path: Path, limit: str, **inputs: str) -> tuple[int, dict[str, str], str]:
    """Run the action's script; return its exit code, its outputs and the job's summary."""
    scenario = tmp_path / "gate.yaml"
    scenario.write_text(SCENARIO.replace("LIMIT", limit))
    command = f'#!/bin/sh\nexec {sys.executable} -m loadgen "$@"\n'
    its = {
        "INPUT_SCENARIO": str(scenario),
        "INPUT_RESULTS": str(tmp_path / "results"),
        "PYTHONPATH": str(REPO),
    }
    return run_step(tmp_path, command, {**its, **inputs}, STUCK_S)


def test_a_gate_that_holds(tmp_path: Path) -> None:
    code, outputs, summary = step(tmp_path, "60s", INPUT_SET="phases.measure=2s\nclients.readers.count=3\n")
    folder = Path(outputs["folder"])
    found = read(folder / "summary.json")
    # The gate holds, or the machine is so busy that the run is inconclusive.
    assert (code, outputs["exit-code"]) == (demanded(found), str(demanded(found)))
    assert code in (0, 3)
    assert {"report.html", "junit.xml", "summary.md", "summary.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert summary == (folder / "summary.md").read_text()
    assert code == 3 or "✓ passed" in summary
    assert "delivered 120 of 120 expected" in summary


def test_a_mistake(tmp_path: Path) -> None:
    code, outputs, summary = step(tmp_path, "soon")
    assert (code, outputs["exit-code"], outputs["folder"], summary) == (2, "2", "", "")


def test_a_target_elsewhere_must_be_allowed(tmp_path: Path) -> None:
    # Nothing is sent: names under .invalid do not exist.
    target = {"INPUT_TARGET": "https://api.invalid/event", "INPUT_AUTH": "api-key:HOME"}
    assert step(tmp_path, "2s", **target)[0] == 2
    (tmp_path / "output").unlink()
    assert step(tmp_path, "2s", **target, INPUT_ALLOW_REMOTE="true")[0] == 4
