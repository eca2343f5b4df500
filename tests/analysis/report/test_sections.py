"""Test that a finding names its section of the documentation in every output that people read."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

import analysis
from analysis.report.notes import notes
from analysis.report.outputs import markdown
from analysis.report.page import render
from analysis.report.terminal import print_summary
from analysis.verdict.findings import SUBJECTS, explained
from tests.paths import REPO


def summary(subject: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((REPO / "results/sample/summary.json").read_text(encoding="utf-8"))
    finding = {"severity": "degraded", "subject": subject, "reason": "it was slow", "advice": "be quick"}
    return {**found, "verdict": {"kind": "degraded", "findings": [finding]}}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_terminal_report_and_ci_page_name_the_section(subject: str) -> None:
    section = explained(subject)
    assert section is not None
    assert f"degraded: it was slow – be quick ({section})" in notes(summary(subject))
    assert f"- degraded: it was slow ({section})" in markdown(summary(subject)).splitlines()


@pytest.mark.parametrize("subject", ["of another version", "", "<script>"])
def test_an_unknown_subject_names_none(subject: str) -> None:
    assert "degraded: it was slow – be quick" in notes(summary(subject))
    assert "- degraded: it was slow" in markdown(summary(subject)).splitlines()


def test_gates_of_an_invalid_run_share_one_remark() -> None:
    reason = "the run is invalid: the generator itself published late"
    gate = {
        "status": "inconclusive", "margin": None, "value": None, "low": None, "high": None, "kind": "share",
        "windows": None, "window_s": None, "windows_failed": None, "reason": reason,
    }  # fmt: skip
    gates = [
        gate | {"gate": "delivery.loss == 0"},
        gate | {"gate": "publish.errors == 0"},
        gate | {"gate": "delivery.ratio > 99%", "reason": "the measurement is too short"},
    ]
    console = Console(file=io.StringIO(), width=120)
    print_summary(summary("schedule") | {"gates": gates}, console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.strip() for line in said.splitlines()]
    assert lines.count(reason) == 1
    assert (
        lines.index(reason) == next(place for place, line in enumerate(lines) if "publish.errors" in line) + 1
    )
    assert lines.count("the measurement is too short") == 1
    page = render(analysis.load(REPO / "results/sample"), summary("schedule") | {"gates": gates}, drawn=False)
    assert page.count(f'<td class="why" rowspan="2">{reason}</td>') == page.count(f">{reason}<") == 1
    assert page.count('<td class="why">the measurement is too short</td>') == 1
