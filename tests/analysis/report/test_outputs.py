"""Test how the three output formats word the results of gates, with units and uncertainty."""

from typing import Any
from xml.etree import ElementTree

import pytest

from analysis.figures import cloudwatch
from analysis.report.outputs import escaped, junit, margin, markdown, remark, shown, value

MS = 1_000_000


def result(**fields: Any) -> dict[str, Any]:
    return {
        "gate": "delivery.latency.p99 < 5ms",
        "metric": "delivery.latency.p99",
        "kind": "duration",
        "op": "<",
        "threshold": 5 * MS,
        "status": "passed",
        "value": 4 * MS,
        "low": 4 * MS,
        "high": 4 * MS,
        "margin": 0.2,
        "reason": "",
        "window_s": None,
        "windows": None,
        "windows_failed": None,
        **fields,
    }


@pytest.mark.parametrize(
    ("kind", "number", "said"),
    [
        ("duration", 4_000_000, "4.00 ms"),
        ("share", 0.25, "25.00 %"),
        ("rate", 12.5, "12.5/s"),
        ("count", 1234.0, "1,234"),
        ("duration", None, "–"),
    ],
)
def test_a_figure_has_the_unit_of_its_metric(kind: str, number: float | None, said: str) -> None:
    assert value({"kind": kind}, number) == said


def test_a_figure_is_shown_with_its_doubt_where_it_has_one() -> None:
    assert shown(result()) == "4.00 ms"
    assert shown(result(low=3 * MS)) == "4.00 ms (3.00 ms … 4.00 ms)"
    assert shown(result(low=None)) == shown(result(high=None)) == "4.00 ms"
    assert shown(result(value=None, low=None, high=None)) == "–"


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.2, "+20.0 %"),
        (-0.034, "−3.4 %"),
        (0.0, "+0.0 %"),
        (9.999, "+999.9 %"),
        (10.0, "11 × the limit"),
        (-12.34, "13 × the limit"),
        (-25_476.0, "25,477 × the limit"),
        (-3e9, "> 1,000,000 × the limit"),
        (None, "–"),
    ],
)
def test_a_margin_is_a_percentage_with_its_sign_or_a_multiple_of_the_limit(
    share: float | None, said: str
) -> None:
    assert margin(result(margin=share)) == said


def test_a_remark_names_the_window_and_the_reason() -> None:
    assert remark(result()) == ""
    assert remark(result(reason="why")) == "why"
    windows = {"windows": 4, "windows_failed": 0, "window_s": (1.0, 2.5)}
    assert remark(result(**windows)) == "4 windows hold, the worst from 1 s to 2.5 s"
    windows["windows_failed"] = 3
    assert remark(result(**windows, reason="why")) == (
        "3 of 4 windows fail, the worst from 1 s to 2.5 s; why"
    )


def summary(*gates: dict[str, Any], **fields: Any) -> dict[str, Any]:
    headline = {"p50": MS, "p90": 2 * MS, "p99": 3 * MS, "p999": 4 * MS, "max": 5 * MS}
    return {
        "scenario": "chat",
        "status": "complete",
        "reason": None,
        "created_ns": 1_795_490_000 * 10**9,
        "measured_seconds": 12.3456,
        "gates": list(gates),
        "verdict": {"kind": "valid", "findings": []},
        "ledger": {
            "expected": 2000,
            "delivered": 1990,
            "lost": 10,
            "late": 0,
            "duplicates": 0,
            "delivery_ratio": 0.995,
        },
        "throughput": {"offered_per_s": 10.0, "accepted_per_s": 9.5, "delivered_per_s": 19.0},
        "delivery": {"headline_ns": headline},
        "outages": [],
        "checks": None,
        "steps": [],
        "cost": None,
        "target": {"service": "AppSync", "url": "http://x/event", "embedded": True, "setup": {}},
        **fields,
    }


def suite_of(made: dict[str, Any]) -> ElementTree.Element:
    text = junit(made)
    assert text.startswith('<?xml version="1.0" encoding="utf-8"?>\n<testsuites>\n')
    assert text.endswith("</testsuites>\n")
    (suite,) = ElementTree.fromstring(text.encode())
    return suite


def test_junit_has_a_case_for_the_run_and_for_each_gate() -> None:
    failed = result(
        status="failed",
        value=6 * MS,
        low=6 * MS,
        high=6 * MS,
        margin=-0.2,
        windows=2,
        windows_failed=1,
        window_s=(0.0, 1.0),
    )
    open_ = result(status="inconclusive", value=None, low=None, high=None, margin=None, reason="no samples")
    suite = suite_of(summary(result(), failed, open_))
    assert suite.attrib == {
        "name": "loadgen chat",
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "time": "12.346",
        "timestamp": "2026-11-24T03:13:20Z",
    }
    run, passed, bad, unknown = suite
    assert (run.get("classname"), run.get("name"), list(run)) == ("loadgen", "the run is valid", [])
    assert {case.get("classname") for case in (passed, bad, unknown)} == {"loadgen.gate"}
    assert {case.get("name") for case in (passed, bad, unknown)} == {"delivery.latency.p99 < 5ms"}
    assert [child.tag for child in passed] == ["properties", "system-out"]
    assert passed.findtext("system-out") == "measured 4.00 ms, margin +20.0 %"
    properties = {each.get("name"): each.get("value") for each in passed.iter("property")}
    assert properties == {
        "metric": "delivery.latency.p99",
        "value": "4000000",
        "threshold": "5000000",
        "margin": "0.2",
    }
    failure = bad.find("failure")
    assert failure is not None
    said = "measured 6.00 ms, margin −20.0 %; 1 of 2 windows fail, the worst from 0 s to 1 s"
    assert failure.attrib == {"type": "failed", "message": said}
    error = unknown.find("error")
    assert error is not None
    assert error.attrib == {"type": "inconclusive", "message": "measured –, margin –; no samples"}
    # Unknown figures are left out.
    assert [each.get("name") for each in unknown.iter("property")] == ["metric", "threshold"]


def test_an_invalid_run_is_an_error_with_all_its_reasons() -> None:
    findings = [
        {"severity": "invalid", "subject": "a", "reason": "one", "advice": ""},
        {"severity": "degraded", "subject": "b", "reason": "two", "advice": ""},
    ]
    suite = suite_of(summary(verdict={"kind": "invalid", "findings": findings}, measured_seconds=None))
    error = suite[0].find("error")
    assert error is not None
    assert error.attrib == {"type": "invalid", "message": "one; two"}
    assert (suite.get("errors"), suite.get("time")) == ("1", "0.000")
    degraded = suite_of(summary(verdict={"kind": "degraded", "findings": findings[1:]}))
    assert (degraded.get("errors"), list(degraded[0])) == ("0", [])


def test_markdown_has_the_verdict_the_gates_and_the_figures() -> None:
    made = summary(
        result(),
        steps=[
            {
                "intended_per_s": 30.0,
                "events_due": 1030,
                "delivered": 1020,
                "expected": 1030,
                "headline_ns": {"p50": MS, "p99": 2 * MS},
            }
        ],
        verdict={"kind": "degraded", "findings": [{"severity": "degraded", "reason": "slow"}]},
    )
    lines = markdown(made).splitlines()
    assert lines[0].startswith(
        "### ⚠️ chat: Passed, but degraded: 1 of 1 gates passed; 1,990 of 2,000 expected"
    )
    assert lines[1:5] == [
        "",
        "| gate | result | measured | margin | |",
        "|---|---|---|---|---|",
        r"| delivery.latency.p99 \< 5ms | ✓ passed | 4.00 ms | \+20.0 % |  |",
    ]
    assert lines[5] == ""
    assert lines[7:] == [
        "- fan\\-out latency: p50 1.00 ms, p90 2.00 ms, p99 3.00 ms, p99.9 4.00 ms, max 5.00 ms".replace(
            "fan\\-out", "fan-out"
        ),
        "- delivered 1,990 of 2,000 expected (99.50 %), 19.0/s",
        "- offered 10.0/s, accepted 9.50/s",
        "- step 1: 30.0/s offered, 1,030 due, 1,020 of 1,030 delivered, fan-out latency p50 1.00 ms, p99 2.00 ms",
        "- degraded: slow",
    ]


def test_markdown_of_a_run_that_measured_nothing_has_no_figures() -> None:
    made = summary(
        ledger=None, verdict={"kind": "invalid", "findings": [{"severity": "invalid", "reason": "x"}]}
    )
    assert markdown(made).splitlines() == [
        "### ❌ chat: Invalid: x; nothing was measured",
        "",
        "- invalid: x",
    ]


def test_the_sign_of_each_gate() -> None:
    gates = [result(status=status) for status in ("passed", "failed", "inconclusive")]
    rows = [
        line.split(" | ")[1] for line in markdown(summary(*gates)).splitlines() if line.startswith("| del")
    ]
    assert rows == ["✓ passed", "✗ failed", "? inconclusive"]


def test_cloudwatch_has_a_table_of_its_own() -> None:
    row = {
        "name": "publishes",
        "metric": "PublishRequests",
        "ours": 10,
        "theirs": 11,
        "difference": 1,
        "share": 0.1,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloudwatch, "when", lambda theirs: "when_it_was")
        patch.setattr(cloudwatch, "cells", lambda each: ("10", "11", "+1", "10 %"))
        lines = markdown(summary(cloudwatch={"rows": [row]})).splitlines()
    place = lines.index(r"CloudWatch, when\_it\_was:")
    assert lines[place - 1 :][:7] == [
        "",
        r"CloudWatch, when\_it\_was:",
        "",
        "| | ours | CloudWatch | difference | of ours |",
        "|---|---:|---:|---:|---:|",
        r"| publishes \(PublishRequests\) | 10 | 11 | \+1 | 10 % |",
        "",
    ]


def test_what_markdown_would_read_is_escaped() -> None:
    assert escaped("a|b *c* <d> `e` [f](g) #h -i") == r"a\|b \*c\* \<d\> \`e\` \[f\]\(g\) \#h \-i"
