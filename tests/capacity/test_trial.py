"""Test what a capacity search concludes from a trial's run: the sample run with changed gates and findings."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadgen.capacity.axes import Axis, scale_of
from loadgen.capacity.search import Status, Trial
from loadgen.capacity.trial import Runs, goals_of, read
from loadgen.resolve.loading import load
from tests.paths import REPO

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
    summary["delivery"]["headline_ns"] |= changes.pop("headline", {})
    summary["publish"]["events_by_status"]["unsent"] = changes.pop("unsent", 0)
    runs = replace(RUNS, goals=goals_of([changes.pop("goal", GOAL)]))
    (folder / "sample" / "summary.json").write_text(json.dumps(summary))
    return read(folder, runs, scale_of(load("comments"), Axis.EVENTS), 100.0, True, code)


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
    # The trial offered 100 events/s and half of the deliveries arrived. One delivery in a hundred may be lost, so the
    # limit is estimated as a little more than half of the load.
    assert vote.hint == pytest.approx(100 / 2 / 0.99, rel=0.02)


@pytest.mark.parametrize(
    ("severity", "subject", "generator"),
    [
        ("invalid", "schedule", True),
        ("invalid", "record", False),
        ("degraded", "ledger", False),
        # The headline figures of these runs have no bounds for the clock error, so a finding on the clock puts them in
        # doubt.
        ("degraded", "clock", False),
    ],
)
def test_a_doubtful_run_has_no_vote(tmp_path: Path, severity: str, subject: str, generator: bool) -> None:
    unknown = {"low": None, "high": None}
    trial, _ = said(tmp_path, findings=[finding(severity, subject)], headline=unknown)
    assert (trial.votes, trial.doubt, trial.generator) == ((), f"{subject} is off", generator)


INTERVALS = {"low": {"min": 1}, "high": {"min": 1}}


@pytest.mark.parametrize("subject", ["arrival", "clock"])
@pytest.mark.parametrize("status", ["passed", "failed", "inconclusive"])
def test_a_doubt_that_is_part_of_the_interval_takes_no_vote_away(
    tmp_path: Path, subject: str, status: str
) -> None:
    trial, _ = said(tmp_path, status=status, findings=[finding("degraded", subject)], headline=INTERVALS)
    assert [vote.status for vote in trial.votes] == [Status(status)]
    assert trial.doubt == ""


def test_negative_latencies_beyond_the_clocks_error_leave_no_vote(tmp_path: Path) -> None:
    beyond = {**INTERVALS, "high": {"min": -5}}
    trial, _ = said(tmp_path, findings=[finding("degraded", "clock")], headline=beyond)
    assert (trial.votes, trial.generator) == ((), False)


@pytest.mark.parametrize("subject", ["schedule", "queue", "loop", "cpu", "gc"])
def test_a_weak_generator_may_pass_a_goal_and_not_fail_it(tmp_path: Path, subject: str) -> None:
    own = [finding("degraded", subject)]
    passed, _ = said(tmp_path / "a", findings=own)
    assert [vote.status for vote in passed.votes] == [Status.PASSED]
    failed, _ = said(tmp_path / "b", 1, "failed", findings=own)
    assert (failed.votes, failed.doubt, failed.generator) == ((), f"{subject} is off", True)
    unsent, _ = said(tmp_path / "c", findings=own, unsent=3)
    assert (unsent.votes, unsent.generator) == ((), True)
    # Latencies from the actual sending time do not grow if the generator is late. They do not count either, because the
    # load was not the intended one.
    service, _ = said(tmp_path / "d", findings=own, goal="delivery.service.p99 < 50ms")
    assert (service.votes, service.generator) == ((), True)


def test_a_target_that_is_away_or_refuses_fails_every_goal(tmp_path: Path) -> None:
    trial, _ = said(tmp_path / "away", 4)
    assert [vote.status for vote in trial.votes] == [Status.FAILED]
    (tmp_path / "refused" / "trials" / "001").mkdir(parents=True)
    scale = scale_of(load("comments"), Axis.EVENTS)
    refused, _ = read(tmp_path / "refused" / "trials" / "001", RUNS, scale, 100.0, True, 4)
    assert [vote.status for vote in refused.votes] == [Status.FAILED]
    broken, _ = read(tmp_path / "refused" / "trials" / "001", RUNS, scale, 100.0, True, 3)
    assert (broken.votes, broken.doubt) == ((), "the run ended with exit code 3: it said nothing")
