"""Test that a finding names its section of the documentation in every output that people read."""

import json
from typing import Any

import pytest

from analysis.report.outputs import markdown
from analysis.report.terminal import notes
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
