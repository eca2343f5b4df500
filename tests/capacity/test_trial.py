"""What a trial says: the committed sample run, with gates and findings put into its summary."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from loadgen.capacity.axes import Axis, scale_of
from loadgen.capacity.search import Status, Trial
from loadgen.capacity.trial import Runs, goals_of, read
from loadgen.scenario import load
from tests.run.harness import REPO

GOAL = "delivery.loss < 1%"
RUNS = Runs("comments", (), (), goals_of([GOAL]), 10**9, 10**9)


def said(
    tmp_path: Path, code: int = 0, status: str = "passed", **changes: Any
) -> tuple[Trial, dict[str, Any]]:
    folder = tmp_path / "trials" / "001"
    shutil.copytree(REPO / "results" / "sample", folder / "sample")
    summary = json.loads((folder / "sample" / "summary.json").read_text())
    summary |= {"gates": [{"status": status, "value": 0.001}], "exit_code": code}
    summary["verdict"] = {"kind": "valid", "findings": changes.pop("findings", [])}
    summary["ledger"] |= changes.pop("ledger", {})
    (folder / "sample" / "summary.json").write_text(json.dumps(summary))
    return read(folder, RUNS, scale_of(load("comments"), Axis.EVENTS), 100.0, True, code)


def finding(severity: str, subject: str) -> dict[str, str]:
    return {"severity": severity, "subject": subject, "reason": f"{subject} is off", "advice": ""}


def test_a_valid_run_votes_as_its_gates(tmp_path: Path) -> None:
    trial, figures = said(tmp_path)
    assert [(vote.status, vote.hint) for vote in trial.votes] == [(Status.PASSED, None)]
    assert figures["goodput_per_s"] == pytest.approx(figures["offered_deliveries_per_s"], rel=0.02)


def test_goodput_short_of_what_was_offered_hints_at_the_limit(tmp_path: Path) -> None:
    before = json.loads((REPO / "results" / "sample" / "summary.json").read_text())["ledger"]["expected"]
    trial, _ = said(tmp_path, 1, "failed", ledger={"expected": before * 2})
    (vote,) = trial.votes
    assert vote.status is Status.FAILED
    # Half of what was offered arrived, and of that one in a hundred may be lost.
    assert vote.hint == pytest.approx(100 / 2 / 0.99, rel=0.02)


@pytest.mark.parametrize(
    ("severity", "subject", "generator"),
    [
        ("degraded", "cpu", True),
        ("invalid", "schedule", True),
        ("invalid", "record", False),
        ("degraded", "clock", False),
    ],
)
def test_a_doubtful_run_has_no_vote(tmp_path: Path, severity: str, subject: str, generator: bool) -> None:
    trial, _ = said(tmp_path, findings=[finding(severity, subject)])
    assert (trial.votes, trial.doubt, trial.generator) == ((), f"{subject} is off", generator)


def test_a_target_that_is_away_or_refuses_fails_every_goal(tmp_path: Path) -> None:
    trial, _ = said(tmp_path / "away", 4)
    assert [vote.status for vote in trial.votes] == [Status.FAILED]
    (tmp_path / "refused" / "trials" / "001").mkdir(parents=True)
    scale = scale_of(load("comments"), Axis.EVENTS)
    refused, _ = read(tmp_path / "refused" / "trials" / "001", RUNS, scale, 100.0, True, 4)
    assert [vote.status for vote in refused.votes] == [Status.FAILED]
    broken, _ = read(tmp_path / "refused" / "trials" / "001", RUNS, scale, 100.0, True, 3)
    assert (broken.votes, broken.doubt) == ((), "the run ended with exit code 3: it said nothing")
