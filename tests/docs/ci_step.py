"""Run the step of the CI action as a runner would."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.paths import REPO


def run_step(
    tmp_path: Path, command: str, variables: Mapping[str, str], timeout_s: float | None = None
) -> tuple[int, dict[str, str], str]:
    """Run the action's script with ``command`` in place of `loadgen`; return exit code, outputs, job summary.

    ``variables`` are added to those that a runner sets.
    """
    program = tmp_path / "loadgen"
    program.write_text(command)
    program.chmod(0o755)
    runners = {
        "INPUT_SCENARIO": "gate.yaml",
        "INPUT_TARGET": "",
        "INPUT_ALLOW_REMOTE": "false",
        "INPUT_AUTH": "",
        "INPUT_SET": "",
        "INPUT_RESULTS": "results",
        "INPUT_INCONCLUSIVE": "fail",
        "LOADGEN": str(program),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }
    done = subprocess.run(
        ["bash", str(REPO / "docs/ci/run.sh")],
        env={**os.environ, **runners, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    lines = (tmp_path / "output").read_text().splitlines()
    summary = tmp_path / "summary"
    return (
        done.returncode,
        dict(line.split("=", 1) for line in lines),
        summary.read_text() if summary.exists() else "",
    )
