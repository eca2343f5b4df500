"""The CI action: its file is sound, and its step does what it says, run as a runner would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.paths import REPO

SCENARIO = """version: 1
clients:
  readers: {count: 5, subscribe: "/default/*"}
  writers: {count: 1, publish: {channel: /default/a, rate: 20/s}}
phases: {warmup: 200ms, measure: 1s, drain: 300ms}
gates: ["delivery.latency.p99 < LIMIT"]
"""


def step(tmp_path: Path, limit: str, **inputs: str) -> tuple[int, dict[str, str], str]:
    """Run the action's script; return its exit code, its outputs and the job's summary."""
    scenario = tmp_path / "gate.yaml"
    scenario.write_text(SCENARIO.replace("LIMIT", limit))
    command = tmp_path / "loadgen"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m loadgen "$@"\n')
    command.chmod(0o755)
    variables = {
        "INPUT_SCENARIO": str(scenario),
        "INPUT_TARGET": "",
        "INPUT_ALLOW_REMOTE": "false",
        "INPUT_AUTH": "",
        "INPUT_SET": "",
        "INPUT_RESULTS": str(tmp_path / "results"),
        "INPUT_INCONCLUSIVE": "fail",
        "LOADGEN": str(command),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "PYTHONPATH": str(REPO),
    }
    done = subprocess.run(
        ["bash", str(REPO / "docs/ci/run.sh")],
        env={**os.environ, **variables, **inputs},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    lines = (tmp_path / "output").read_text().splitlines()
    summary = tmp_path / "summary"
    return (
        done.returncode,
        dict(line.split("=", 1) for line in lines),
        summary.read_text() if summary.exists() else "",
    )


def test_a_gate_that_holds(tmp_path: Path) -> None:
    code, outputs, summary = step(tmp_path, "2s", INPUT_SET="phases.measure=2s\nclients.readers.count=3\n")
    assert code == 0
    assert outputs["exit-code"] == "0"
    folder = Path(outputs["folder"])
    assert {"report.html", "junit.xml", "summary.md", "summary.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert "✓ passed" in summary
    assert "delivered 120 of 120 expected" in summary


def test_a_gate_that_fails_and_a_mistake(tmp_path: Path) -> None:
    code, outputs, summary = step(tmp_path, "1us")
    assert (code, outputs["exit-code"]) == (1, "1")
    assert "✗ failed" in summary
    other = tmp_path / "other"
    other.mkdir()
    code, outputs, summary = step(other, "soon")
    assert (code, outputs["exit-code"], outputs["folder"], summary) == (2, "2", "", "")


def test_a_target_elsewhere_must_be_allowed(tmp_path: Path) -> None:
    # Nobody answers there, and nobody is asked: names under .invalid do not exist.
    target = {"INPUT_TARGET": "https://api.invalid/event", "INPUT_AUTH": "api-key:HOME"}
    assert step(tmp_path, "2s", **target)[0] == 2
    (tmp_path / "output").unlink()
    assert step(tmp_path, "2s", **target, INPUT_ALLOW_REMOTE="true")[0] == 4


@pytest.mark.parametrize(("choice", "code"), [("fail", 3), ("pass", 0)])
def test_inconclusive_is_as_one_chooses(tmp_path: Path, choice: str, code: int) -> None:
    # Where subscriptions settle instead of being probed, the gap before readiness has no samples.
    scenario_limit = '2s", "ready.gap.p50 < 1s'
    found, outputs, _ = step(
        tmp_path, scenario_limit, INPUT_INCONCLUSIVE=choice, INPUT_SET="phases.ready={settle: 100ms}"
    )
    assert (found, outputs["exit-code"]) == (code, "3")


def test_the_files_of_the_action_are_sound() -> None:
    yaml = YAML(typ="safe")
    action = yaml.load(REPO / "action.yml")
    run = next(step for step in action["runs"]["steps"] if step.get("id") == "run")
    assert {name.lower() for name in run["env"] if name.startswith("INPUT_")} == {
        f"input_{name.replace('-', '_')}" for name in action["inputs"]
    }
    # What an input holds must not become part of a script.
    assert all("${{" not in step["run"] for step in action["runs"]["steps"])
    workflow = yaml.load(REPO / "docs/ci/workflow.yml")
    used = next(step for step in workflow["jobs"]["gate"]["steps"] if step.get("id") == "load")
    assert set(used["with"]) <= set(action["inputs"])
