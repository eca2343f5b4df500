"""The wheel in an environment of its own, away from the checkout."""

import subprocess
import sys
from pathlib import Path

from tests.run.harness import REPO, SMALL, only_run, overrides, read


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=170, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


def test_the_wheel_installed_outside_the_checkout_runs_the_main_job(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip"]
    run(*pip, "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(REPO), cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"), cwd=tmp_path)
    own = str(tmp_path / "venv" / "bin" / "python")
    run(own, "-m", "pip", "install", "-q", "-c", str(REPO / "constraints.txt"), str(wheel), cwd=tmp_path)
    loadgen = str(tmp_path / "venv" / "bin" / "loadgen")
    finished = run(loadgen, "run", "comments", *overrides(SMALL), cwd=tmp_path)
    folder = only_run(tmp_path / "results")
    assert finished.stdout.rstrip().endswith(f"{folder.name}/report.html")
    ledger = read(folder / "summary.json")["ledger"]
    assert ledger["delivered"] == ledger["expected"] > 100
    assert "comments" in run(loadgen, "scenarios", cwd=tmp_path).stdout
