"""Test the arguments, files and errors of `ScenarioRun`, without a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import loadgen
from loadgen import scenario_run
from loadgen.exits import ExitCode, RunError
from loadgen.run.options import ENTRIES
from loadgen.scenario_run import ScenarioRun, command, files, run_scenario


def arguments(**given: object) -> list[str]:
    return scenario_run._arguments(given)


def test_options_become_arguments() -> None:
    assert arguments(
        processes=2, allow_env=["A", "B"], report=False, yes=True, target=None, results=Path("r")
    ) == ["--processes=2", "--allow-env=A", "--allow-env=B", "--no-report", "--yes", "--results=r"]
    assert arguments(report=True, yes=False) == []


def test_each_option_but_those_of_a_terminal_is_one_here() -> None:
    for name, entry in ENTRIES.items():
        value = [] if entry.repeatable else entry.default if entry.type is bool else None
        if entry.option.argument or name in scenario_run._NOT_HERE:
            with pytest.raises(TypeError, match=f"no option '{name}'"):
                arguments(**{name: value})
        else:
            assert arguments(**{name: value}) == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"target": "http://127.0.0.1:1", "api_key": "k", "auth": "iam"}, "each is a way to log in"),
        ({"files": {"a.csv": ""}}, "files go with a scenario that is a mapping"),
        ({"nonsense": 1}, "no option 'nonsense'"),
        ({"report": 1}, "report is True or False"),
        ({"allow_env": "TOKEN"}, "allow_env is a list, not str"),
    ],
)
def test_wrong_arguments_start_nothing(given: dict[str, object], why: str) -> None:
    with pytest.raises(TypeError, match=why):
        run_scenario("comments", **given)  # type: ignore[arg-type]


def test_files_are_written_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("id\n1\n")
    rows = [{"id": "ü,1", "n": 1}, {"id": "b", "n": 2}]
    path = tmp_path / "at" / "x.yaml"
    files.write(
        path,
        {"version": 1},
        {
            "copied.csv": tmp_path / "mine.csv",
            "text.csv": "id\r\n1\r\n",
            "bytes.bin": b"\x00\xff",
            "rows.csv": rows,
            "rows.jsonl": rows,
            "sub/frame.parquet": pd.DataFrame(rows),
        },
    )
    at = path.parent
    assert json.loads(path.read_text()) == {"version": 1}
    assert (at / "copied.csv").read_text() == "id\n1\n"
    assert (at / "text.csv").read_bytes() == b"id\r\n1\r\n"
    assert (at / "bytes.bin").read_bytes() == b"\x00\xff"
    assert pd.read_csv(at / "rows.csv").to_dict("records") == rows
    assert [json.loads(line) for line in (at / "rows.jsonl").read_text().splitlines()] == rows
    assert pd.read_parquet(at / "sub/frame.parquet").to_dict("records") == rows


@pytest.mark.parametrize("name", ["../a.csv", "/tmp/a.csv", "x.yaml", "a.txt"])
def test_files_elsewhere_or_of_no_known_format_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TypeError, match=r"a file|the file"):
        files.write(tmp_path / "at" / "x.yaml", {}, {name: [{"a": 1}]})


def test_a_run_without_a_summary_says_what_the_command_said(tmp_path: Path) -> None:
    run = ScenarioRun(tmp_path, ExitCode.INCONCLUSIVE, "loadgen: it broke")
    assert not run.passed
    assert "no summary" in repr(run)
    with pytest.raises(RunError, match="it broke"):
        _ = run.summary


def test_a_summary_is_read(tmp_path: Path) -> None:
    gate = {
        "gate": "delivery.loss == 0%", "metric": "delivery.loss", "kind": "fraction", "op": "==", "threshold": 0.0,
        "status": "failed", "value": 0.5, "low": 0.5, "high": 0.5, "margin": None, "reason": "",
    }  # fmt: skip
    finding = {"severity": "degraded", "subject": "cpu", "reason": "the CPU was busy", "advice": ""}
    summary = {"verdict": {"kind": "degraded", "findings": [finding]}, "gates": [gate], "ledger": None}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    run = ScenarioRun(tmp_path, ExitCode.GATE_FAILED, "")
    assert (run.verdict, run.gates[0].status, run.gates[0].value) == ("degraded", "failed", 0.5)
    assert "failed: delivery.loss == 0%" in repr(run)
    assert "the CPU was busy" in repr(run)
    with pytest.raises(RunError, match="nothing was measured"):
        _ = run.ledger


def test_the_package_has_the_names_and_no_others() -> None:
    assert loadgen.run_scenario is run_scenario
    assert set(loadgen.__all__) == set(scenario_run.__all__)
    with pytest.raises(AttributeError, match="no attribute 'runscenario'"):
        _ = loadgen.runscenario


def test_output_is_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_OUTPUT", 10)
    process = subprocess.Popen(
        [sys.executable, "-c", "print('x' * 100_000 + 'the end')"], stdout=subprocess.PIPE
    )
    output, interrupted = command._followed(process, echo=False)
    command._end(process)
    assert (output, interrupted) == ("xxthe end\n", False)
    assert os.WEXITSTATUS(process.returncode) == 0
