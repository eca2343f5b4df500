"""Test the CI action with a fake command: its file is valid, and its step handles each exit code.

tests/system/run/test_ci_action.py runs the step with the real command.
"""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.docs.ci_step import run_step
from tests.paths import REPO

#: A stand-in for the `loadgen` command. It writes its arguments to a file, makes the run folder `$LEAVES` if that is
#: set, and exits with the code `$ENDS`.
COMMAND = """#!/bin/sh
printf '%s\\n' "$@" > arguments
if [ -n "$LEAVES" ]; then
    mkdir -p "results/$LEAVES"
    echo "{}" > "results/$LEAVES/manifest.json"
    echo "# what came of it" > "results/$LEAVES/summary.md"
fi
exit "$ENDS"
"""


def step(tmp_path: Path, ends: int, leaves: str = "run-2", **inputs: str) -> tuple[int, dict[str, str], str]:
    """Run the action's script; return its exit code, its outputs and the job's summary."""
    # Left by an earlier step: the action must not take this folder for the one that its own run made.
    (tmp_path / "results" / "run-1").mkdir(parents=True)
    (tmp_path / "results" / "run-1" / "manifest.json").write_text("{}")
    return run_step(tmp_path, COMMAND, {"ENDS": str(ends), "LEAVES": leaves, **inputs})


@pytest.mark.parametrize(
    ("ends", "choice", "code"),
    [
        (0, "fail", 0),
        (1, "fail", 1),
        (1, "pass", 1),
        (3, "fail", 3),
        (3, "pass", 0),
        (4, "pass", 4),
        (130, "pass", 130),
    ],
)
def test_the_step_ends_as_the_run_unless_inconclusive_is_to_pass(
    ends: int, choice: str, code: int, tmp_path: Path
) -> None:
    found, outputs, summary = step(tmp_path, ends, INPUT_INCONCLUSIVE=choice)
    assert (found, outputs) == (code, {"exit-code": str(ends), "folder": "results/run-2"})
    assert summary == "# what came of it\n"


def test_a_run_that_did_not_start_has_no_folder(tmp_path: Path) -> None:
    code, outputs, summary = step(tmp_path, 2, leaves="")
    assert (code, outputs, summary) == (2, {"exit-code": "2", "folder": ""}, "")


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, []),
        ({"INPUT_SET": "a.b=2s\nc.d.e=3\n"}, ["--set", "a.b=2s", "--set", "c.d.e=3"]),
        (
            {"INPUT_TARGET": "https://a.invalid/event", "INPUT_AUTH": "api-key:K"},
            ["--target", "https://a.invalid/event", "--auth", "api-key:K"],
        ),
        (
            {"INPUT_TARGET": "https://a.invalid/event", "INPUT_ALLOW_REMOTE": "true"},
            ["--target", "https://a.invalid/event", "--allow-remote"],
        ),
        # Text that a shell would expand is passed on as it is.
        ({"INPUT_AUTH": "$(touch here) `x`"}, ["--auth", "$(touch here) `x`"]),
    ],
)  # fmt: skip
def test_inputs_become_arguments(inputs: dict[str, str], expected: list[str], tmp_path: Path) -> None:
    step(tmp_path, 0, **inputs)
    said = (tmp_path / "arguments").read_text().splitlines()
    assert said == ["run", "gate.yaml", "--results", "results", *expected]


def test_the_files_of_the_action_are_sound() -> None:
    yaml = YAML(typ="safe")
    action = yaml.load(REPO / "action.yml")
    run = next(step for step in action["runs"]["steps"] if step.get("id") == "run")
    assert {name.lower() for name in run["env"] if name.startswith("INPUT_")} == {
        f"input_{name.replace('-', '_')}" for name in action["inputs"]
    }
    # Inputs must not be expanded within a script, where their content would be executed.
    assert all("${{" not in step["run"] for step in action["runs"]["steps"])
    workflow = yaml.load(REPO / "docs/ci/workflow.yml")
    used = next(step for step in workflow["jobs"]["gate"]["steps"] if step.get("id") == "load")
    assert set(used["with"]) <= set(action["inputs"])
