"""Test the wheel in a separate environment, outside of the checkout.

Its dependencies are taken from the tests' environment, because downloading and unpacking them took two
minutes.
"""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.system.building import build, copy
from tests.system.harness import SMALL, STUCK_S, Finished, overrides
from tests.system.run.waiting import ended_by_verdict

pytestmark = pytest.mark.long


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=STUCK_S, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


@pytest.mark.timeout(400)
def test_the_wheel_installed_outside_the_checkout_runs_the_main_job(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--no-cache-dir", "--disable-pip-version-check"]
    built, wheels = build(copy(tmp_path / "tree"))
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = wheels
    # Without pip, the environment also lacks the old setuptools that pip brings along. It would hide the newer one.
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"), cwd=tmp_path)
    own = str(tmp_path / "venv" / "bin" / "python")
    run(
        *(*pip, "--python", own, "install", "-q", "--no-deps", "--no-index", "--no-compile", str(wheel)),
        cwd=tmp_path,
    )
    site = run(
        own, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path
    ).stdout.strip()
    # Add the tests' installed packages as a path only. Then the `.pth` files in that folder are not read, one of which
    # would add the checkout.
    Path(site, "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(own, "-c", "import loadgen; print(loadgen.__file__)", cwd=tmp_path).stdout.strip()
    assert Path(where).is_relative_to(site)
    shutil.rmtree(tmp_path / "tree")
    run(*pip, "--python", own, "check", cwd=tmp_path)
    loadgen = str(tmp_path / "venv" / "bin" / "loadgen")
    process = subprocess.Popen(
        [loadgen, "run", "comments", *overrides(SMALL)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    finished = Finished(process, 120)
    folder, summary = ended_by_verdict(finished, tmp_path / "results")
    assert finished.out.rstrip().endswith(f"{folder.name}/report.html")
    ledger = summary["ledger"]
    assert ledger["delivered"] + ledger["late"] == ledger["expected"] > 100
    assert "comments" in run(loadgen, "scenarios", cwd=tmp_path).stdout
    assert "AWS::AppSync::Api" in run(loadgen, "aws", "template", cwd=tmp_path).stdout
