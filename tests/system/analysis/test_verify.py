"""Test `loadgen verify` as a process; tests/analysis/verify/test_check.py tests its findings."""

import json
from pathlib import Path

from analysis.__main__ import main
from analysis.record.revisions import SUMMARY
from tests.analysis.synthetic import simple_run
from tests.system.harness import loadgen


def test_the_command(tmp_path: Path) -> None:
    run = simple_run(tmp_path / "run")
    assert main(["report", str(run), "--no-report"]) == 0
    content = json.loads((run / SUMMARY).read_text())
    content["ledger"]["lost"] = 1
    (run / SUMMARY).write_text(json.dumps(content))
    done = loadgen("verify", str(run))
    assert done.code == 3, done.said
    assert "summary.json: ledger.lost is 1, and 0 by the tables" in done.out
    # DuckDB would print objects that were not freed at exit.
    assert done.err == ""
