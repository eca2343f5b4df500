"""A small calibration: the same cases as `loadgen calibrate`, with fewer deliveries."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from loadgen.calibrate import cases, runner
from loadgen.calibrate.cases import Case
from loadgen.run.exits import ExitCode
from tests.paths import REPO

SMALL = cases.cases(deliveries=60_000, seconds=5)


# The busy case needs a core to itself to mean anything; it is part of `loadgen calibrate`.
@pytest.mark.parametrize("case", [case for case in SMALL if not case.busy], ids=lambda case: case.name)
def test_the_harness_finds_what_the_server_did(case: Case, tmp_path: Path) -> None:
    outcome = runner.run_case(case, tmp_path)
    assert outcome.failure is None
    assert [line for line in outcome.lines if line.passed is False] == []
    assert any(line.passed for line in outcome.lines)


def test_a_journal_that_disagrees_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a lost connection missed was never decided by the server: to the check for drops that is a difference."""
    churn = next(case for case in SMALL if case.name == "churn")
    wrong = Case(
        "wrong",
        "the ledger check on losses that are no drops",
        churn.faults,
        churn.overrides,
        SMALL[0].checks,
    )
    code = runner.calibrate([wrong], tmp_path, Console(width=150))
    assert code is ExitCode.INCONCLUSIVE
    assert "NOT calibrated" in capsys.readouterr().out


def test_an_unknown_case_is_named(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "loadgen", "calibrate", "--only", "ledgr"],
        cwd=REPO,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert "there is no case 'ledgr': known are ledger, delay" in finished.stderr
