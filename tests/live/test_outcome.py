"""Test what the web UI says about a run that is over, from its folder, which is not trusted."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from loadgen.exits import ExitCode
from loadgen.live import outcome as outcomes
from loadgen.live.outcome import Outcome
from tests.paths import REPO

SAMPLE = REPO / "results" / "sample"


def summary(folder: Path, **changes: Any) -> Path:
    found = json.loads((SAMPLE / "summary.json").read_text()) | changes
    (folder / "summary.json").write_text(json.dumps(found))
    return folder


def test_it_says_what_the_summary_says() -> None:
    found = json.loads((SAMPLE / "summary.json").read_text())
    made = Outcome.of(SAMPLE, ExitCode(found["exit_code"]))
    assert f"{found['ledger']['delivered']:,} of {found['ledger']['expected']:,}" in made.sentence
    assert made.judged is not None
    assert made.judged[0] == found["verdict"]["kind"]
    assert made.ledger == {name: found["ledger"][name] for name in ("expected", "delivered", "lost")}
    assert [gate["text"] for gate in made.gates] == [gate["gate"] for gate in found["gates"]]
    assert [gate["holds"] for gate in made.gates] == [
        {"passed": True, "failed": False}.get(gate["status"]) for gate in found["gates"]
    ]


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "{}", '{"ledger": 1}', "[" * 100_000, '{"exit_code": 0}', "\udcff"]
)
def test_an_unreadable_summary_is_an_unknown_result_and_no_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    for code, sentence in (
        (ExitCode.INCONCLUSIVE, "Inconclusive: no summary was made"),
        (ExitCode.INTERRUPTED, "Interrupted: no summary was made"),
    ):
        made = Outcome.of(tmp_path, code)
        assert (made.kind, made.sentence, made.judged, made.ledger) == ("bad", sentence, None, None)
    assert Outcome.of(tmp_path / "missing", ExitCode.INCONCLUSIVE).report() is None


def test_foreign_text_is_cleaned_and_cut(tmp_path: Path) -> None:
    findings = [{"reason": "\x1b[31m" + "x" * 5_000}]
    made = Outcome.of(
        summary(tmp_path, verdict={"kind": "degraded\n", "findings": findings}), ExitCode.PASSED
    )
    assert made.judged is not None
    assert made.judged[0].isprintable()
    assert made.judged[1][0].isprintable()
    assert len(made.judged[1][0]) == 300


def test_only_a_regular_file_of_the_folder_itself_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Outcome(tmp_path, ExitCode.PASSED, "good", "Valid")
    report = tmp_path / "report.html"
    assert not made.has_report
    report.write_bytes(b"<p>")
    assert made.has_report
    assert made.report() == b"<p>"
    monkeypatch.setattr(outcomes, "_REPORT_MAX_BYTES", 2)
    assert not made.has_report
    assert made.report() is None
    monkeypatch.undo()
    secret = tmp_path / "secret"
    secret.write_text("secret")
    report.unlink()
    report.symlink_to(secret)
    assert not made.has_report
    assert made.report() is None
    report.unlink()
    # Opening this named pipe must not wait for a writer.
    os.mkfifo(report)
    assert not made.has_report
    assert made.report() is None
