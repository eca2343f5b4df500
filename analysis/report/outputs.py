"""Verdict and gates as words, JUnit XML and Markdown. Text from the run is cleaned and escaped."""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from analysis import text
from analysis.figures import cloudwatch
from analysis.report import reactions
from analysis.verdict import checks, loops, silent
from analysis.verdict.evaluate import FAILED, INCONCLUSIVE
from analysis.verdict.findings import explained

SIGNS = {"passed": "✓", "failed": "✗", "inconclusive": "?"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$@-])")


def value(result: Mapping[str, Any], number: float | None) -> str:
    """Return a figure of a gate with the unit of its metric."""
    if number is None:
        return text.UNKNOWN
    match result["kind"]:
        case "duration":
            return text.duration(number)
        case "share":
            return text.ratio(number)
        case "rate":
            return text.rate(number)
    return text.count(number)


def shown(result: Mapping[str, Any]) -> str:
    """Return the measured figure as text, with its lower and upper bound if these differ."""
    said = value(result, result["value"])
    low, high = result["low"], result["high"]
    if low is None or high is None or low == high:
        return said
    return f"{said} ({value(result, low)} … {value(result, high)})"


def margin(result: Mapping[str, Any]) -> str:
    """Return the margin to the threshold as text, such as `+12 %` (better than the threshold) or `−3 %` (worse).

    A value of at least eleven times the threshold is shown as a multiple, such as `70 × the limit`.
    """
    share = result["margin"]
    if share is None:
        return text.UNKNOWN
    if abs(share) >= 10:
        # A value below the threshold is at most 100 % away from it, so this one is above it: 1 + |share| times as high.
        times = 1 + abs(share)
        return f"{times:,.0f} × the limit" if times < 1e6 else "> 1,000,000 × the limit"
    return f"{'+' if share >= 0 else '−'}{abs(share) * 100:.1f} %"


def remark(result: Mapping[str, Any]) -> str:
    """Return how many of a gate's windows failed, the time of the worst window, and the gate's reason, if any."""
    parts = []
    if result["windows"]:
        begin, end = result["window_s"]
        failed = result["windows_failed"]
        of = (
            f"{failed} of {result['windows']} windows fail" if failed else f"{result['windows']} windows hold"
        )
        parts.append(f"{of}, the worst from {begin:g} s to {end:g} s")
    if result["reason"]:
        parts.append(result["reason"])
    return "; ".join(parts)


def junit(summary: Mapping[str, Any]) -> str:
    """Return JUnit XML with one suite: a test case for the verdict and one for each gate.

    A failed gate is a failure. An inconclusive gate and an invalid run are errors.
    """
    gates, verdict = summary["gates"], summary["verdict"]
    cases = []
    own = ElementTree.Element("testcase", classname="loadgen", name="the run is valid")
    if verdict["kind"] == "invalid":
        reasons = "; ".join(finding["reason"] for finding in verdict["findings"])
        _add(own, "error", "invalid", reasons)
    cases.append(own)
    for result in gates:
        case = ElementTree.Element("testcase", classname="loadgen.gate", name=_xml(result["gate"]))
        said = f"measured {shown(result)}, margin {margin(result)}"
        if note := remark(result):
            said += f"; {note}"
        if result["status"] == FAILED:
            _add(case, "failure", FAILED, said)
        elif result["status"] == INCONCLUSIVE:
            _add(case, "error", INCONCLUSIVE, said)
        properties = ElementTree.SubElement(case, "properties")
        for name in ("metric", "value", "threshold", "margin"):
            if result[name] is not None:
                number = result[name]
                ElementTree.SubElement(
                    properties,
                    "property",
                    name=name,
                    value=_xml(number if name == "metric" else repr(number)),
                )
        ElementTree.SubElement(case, "system-out").text = _xml(said)
        cases.append(case)
    failures = sum(case.find("failure") is not None for case in cases)
    errors = sum(case.find("error") is not None for case in cases)
    suite = ElementTree.Element(
        "testsuite",
        name=_xml(f"loadgen {summary['scenario']}"),
        tests=str(len(cases)),
        failures=str(failures),
        errors=str(errors),
        time=f"{summary['measured_seconds'] or 0:.3f}",
        timestamp=text.utc(summary["created_ns"]).removesuffix(" UTC").replace(" ", "T") + "Z",
    )
    suite.extend(cases)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"
    )


def markdown(summary: Mapping[str, Any]) -> str:
    """Return Markdown for the page of a CI job: verdict, gates, key figures."""
    kind, sentence = text.verdict(summary)
    sign = {"good": "✅", "warning": "⚠️", "bad": "❌"}.get(kind, "")
    lines = [f"### {sign} {escaped(summary['scenario'])}: {escaped(sentence)}", ""]
    if summary["gates"]:
        lines += ["| gate | result | measured | margin | |", "|---|---|---|---|---|"]
        for result in summary["gates"]:
            cells = (
                result["gate"],
                f"{SIGNS[result['status']]} {result['status']}",
                shown(result),
                margin(result),
                remark(result),
            )
            lines.append("| " + " | ".join(escaped(cell) for cell in cells) + " |")
        lines.append("")
    if summary["ledger"] is not None:
        ledger, throughput, headline = (
            summary["ledger"],
            summary["throughput"],
            summary["delivery"]["headline_ns"],
        )
        latency = ", ".join(
            f"{name} {text.duration(headline[key])}"
            for name, key in (
                ("p50", "p50"),
                ("p90", "p90"),
                ("p99", "p99"),
                ("p99.9", "p999"),
                ("max", "max"),
            )
        )
        lines += [
            f"- {escaped(text.target(summary['target']))}",
            f"- fan-out latency: {escaped(latency)}",
            f"- delivered {ledger['delivered']:,} of {ledger['expected']:,} expected"
            f" ({text.ratio(ledger['delivery_ratio'])}), {text.rate(throughput['delivered_per_s'])}",
            f"- offered {text.rate(throughput['offered_per_s'])}, accepted {text.rate(throughput['accepted_per_s'])}",
        ]
    if (reacted := reactions.sentence(summary)) is not None:
        lines.append(f"- {escaped(reacted)}")
    lines += [f"- {escaped(line)}" for line in (*loops.sentences(summary), *silent.notes(summary))]
    if (made := checks.sentence(summary)) is not None:
        lines += [f"- {escaped(line)}" for line in (made, *checks.failing(summary))]
    for number, step in enumerate(summary["steps"], start=1):
        headline = step["headline_ns"]
        lines.append(
            f"- step {number}: {text.rate(step['intended_per_s'])} offered, {step['events_due']:,} due,"
            f" {step['delivered']:,} of {step['expected']:,} delivered, fan-out latency"
            f" p50 {text.duration(headline['p50'])}, p99 {text.duration(headline['p99'])}"
        )
    if (cost := text.cost(summary)) is not None:
        lines.append(f"- {escaped(cost)}")
    if (theirs := summary.get("cloudwatch")) is not None:
        lines += ["", f"CloudWatch, {escaped(cloudwatch.when(theirs))}:", ""]
        lines += ["| | ours | CloudWatch | difference | of ours |", "|---|---:|---:|---:|---:|"]
        for row in theirs["rows"]:
            shown_cells = (f"{row['name']} ({row['metric']})", *cloudwatch.cells(row))
            lines.append("| " + " | ".join(escaped(cell) for cell in shown_cells) + " |")
        lines.append("")
    lines += [
        f"- {finding['severity']}: {escaped(finding['reason'])}{_section(finding)}"
        for finding in summary["verdict"]["findings"]
    ]
    return "\n".join(lines) + "\n"


def _section(finding: dict[str, Any]) -> str:
    """Return the section of the documentation on a finding, in brackets, or an empty string if there is none."""
    section = explained(finding.get("subject"))
    return "" if section is None else f" ({section})"


def _add(case: ElementTree.Element, tag: str, kind: str, message: str) -> None:
    ElementTree.SubElement(case, tag, type=kind, message=_xml(message))


def _xml(content: object) -> str:
    """Return text without characters that XML cannot hold; the writer escapes the rest."""
    return "".join(c for c in text.clean(str(content)) if c.isprintable())


def escaped(content: object) -> str:
    """Return text on one line, escaped so that Markdown shows it unchanged."""
    return _MARKDOWN.sub(r"\\\1", text.clean(str(content)).replace("\n", " "))
