"""Test a sample of the calibration: the cases of `loadgen calibrate` with a thousandth of the deliveries.

The million deliveries, and how exact the latencies are, need a quiet machine (see benchmarks/README.md).
"""

import dataclasses
from pathlib import Path

import pytest
from rich.console import Console

import analysis
from analysis.record.folders import runs_in
from loadgen.calibrate import cases, runner
from loadgen.calibrate.cases import Case
from loadgen.calibrate.checks import DELAY_BAR_NS
from loadgen.calibrate.runner import Outcome
from loadgen.calibrate.truth import Truth
from loadgen.exits import ExitCode
from loadgen.server.journal_reader import Journal
from tests.system.here import here

#: A load of 500 deliveries a second, which even a busy machine can handle. Runs with an invalid verdict are compared
#: too.
LOAD = ("clients.readers.count=40", "clients.publishers.publish.rate=50/s")
SMALL = {
    case.name: dataclasses.replace(
        case, overrides=(*case.overrides, *LOAD), exit_codes=case.exit_codes | {ExitCode.INCONCLUSIVE}
    )
    for case in cases.cases(deliveries=60_000, seconds=5)
    # The busy case is meaningful only with a free core; `loadgen calibrate` runs it.
    if not case.busy
}
# With so few deliveries, faults need a rate of 5 % to occur. Refused events cause no deliveries, so one run can have
# both refusals and the faults of deliveries. Each check reads its own part of the journal.
SMALL["ledger"] = dataclasses.replace(
    SMALL["ledger"],
    faults={"seed": 3, "drop": "5%", "duplicate": "5%", "reorder": "5%", "reject": "5%"},
    overrides=SMALL["rejects"].overrides,
    checks=(*SMALL["ledger"].checks, *SMALL["rejects"].checks),
)
del SMALL["rejects"]


def demand_right(outcome: Outcome) -> None:
    assert outcome.failure is None
    wrong = [line for line in outcome.lines if line.passed is False]
    assert wrong == []
    assert any(line.passed for line in outcome.lines)


@pytest.mark.parametrize(
    "case",
    [case for name, case in SMALL.items() if name not in ("churn", "delay")],
    ids=lambda case: case.name,
)
def test_the_harness_finds_what_the_server_did(case: Case, tmp_path: Path) -> None:
    demand_right(runner.run_case(case, tmp_path))


def truth_of(results: Path) -> Truth:
    """Read the record and the journal of the only case that was run."""
    ((made,),) = filter(None, map(runs_in, results.glob("*/*")))
    return Truth.of(analysis.load(made), Journal.load(made.parent / "journal"))


def test_a_delay_is_found(tmp_path: Path) -> None:
    outcome = runner.run_case(SMALL["delay"], tmp_path)
    assert outcome.failure is None
    # Compare only the names of these two lines: their errors depend on how long after its own timestamp the server
    # writes, and so on the machine. tests/calibrate tests the error that the lines allow.
    assert [line.what for line in outcome.lines[:2]] == ["latency p50", "latency p99"]
    truth = truth_of(tmp_path)
    joined = truth.joined()
    assert len(joined) == len(truth.received) > 1_000
    # However busy the machine is, no delivery arrives before its delay is over, and at least one arrives as soon
    # as it is written.
    assert (joined["arrival_ns"] >= joined["due_ns"] - DELAY_BAR_NS).all()
    assert (joined["arrival_ns"] - joined["written_ns"].astype("int64")).abs().min() <= DELAY_BAR_NS


def test_churn_is_found_and_a_journal_that_disagrees_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the churn case deliveries are missing because connections were lost, not because the server dropped them.

    So the ledger case's check, which compares missing deliveries with the drops in the journal, must fail here.
    """
    demand_right(runner.run_case(SMALL["churn"], tmp_path))
    truth = truth_of(tmp_path)
    check, _ = SMALL["ledger"].checks
    wrong = Outcome(SMALL["ledger"], tuple(check(truth)))
    monkeypatch.setattr(runner, "run_case", lambda *_: wrong)
    assert runner.calibrate([wrong.case], tmp_path, Console(width=150)) is ExitCode.INCONCLUSIVE
    assert "NOT calibrated" in capsys.readouterr().out


def test_an_unknown_case_is_named() -> None:
    finished = here("calibrate", "--only", "ledgr", env={})
    assert finished.code == 2
    assert "there is no case 'ledgr': known are ledger, delay" in finished.err
