"""Test gates in whole runs: exit codes, files for CI, messages with line numbers, and early ends."""

import re
from pathlib import Path
from xml.etree import ElementTree

from tests.system.harness import Finished, expect_by_verdict, expect_gates, loadgen, only_run
from tests.system.run.pages import page
from tests.system.service import Service

SCENARIO = """version: 1
clients:
  readers: {{count: 10, subscribe: "/default/*"}}
  writers: {{count: 1, publish: {{channel: /default/a, rate: 50/s}}}}
phases: {{warmup: 300ms, measure: {measure}, drain: 1s}}
gates:
{gates}
"""


def run(tmp_path: Path, *gates: str, measure: str = "2s", more: tuple[str, ...] = ()) -> Finished:
    scenario = tmp_path / "gated.yaml"
    scenario.write_text(SCENARIO.format(measure=measure, gates="\n".join(f"  - {gate}" for gate in gates)))
    return loadgen("run", str(scenario), "--results", str(tmp_path / "results"), *more)


def test_gates_that_hold_pass(tmp_path: Path, service: Service) -> None:
    windowed = "{check: delivery.latency.p99 < 60s, over: 1s, abort_early: true}"
    done = run(tmp_path, "delivery.loss == 0", windowed, more=service.options)
    folder = only_run(tmp_path / "results")
    summary = expect_by_verdict(done, folder)
    expect_gates(summary, "passed", "passed")
    suite = ElementTree.parse(folder / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "0")
    if summary["verdict"]["kind"] != "invalid":
        assert suite.get("errors") == "0"
        # Without a terminal no line is wrapped, so that a log can be searched by lines.
        (verdict,) = [line for line in done.out.splitlines() if "2 of 2 gates passed" in line]
        assert "expected deliveries arrived" in verdict


def test_a_gate_that_fails_is_exit_1_and_told_everywhere(tmp_path: Path, service: Service) -> None:
    done = run(tmp_path, "delivery.latency.p50 < 1us", "delivery.loss == 0", more=service.options)
    folder = only_run(tmp_path / "results")
    summary = expect_by_verdict(done, folder)
    expect_gates(summary, "failed", "passed")
    invalid = summary["verdict"]["kind"] == "invalid"
    for text in (done.out, page(folder).replace("&lt;", "<")):
        assert "delivery.latency.p50 < 1us" in text
        assert invalid or "1 of 2 gates" in text
    suite = ElementTree.parse(folder / "junit.xml").getroot()[0]
    assert suite.get("failures") == ("0" if invalid else "1")
    assert invalid or "✗ failed" in (folder / "summary.md").read_text()


def test_a_gate_ends_a_run_early_and_what_was_recorded_is_kept(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("delay: {fixed: 300ms}\n")
    gate = "{check: delivery.latency.p50 < 100ms, over: 2s, abort_early: true}"
    done = run(tmp_path, gate, measure="100s", more=("--faults", str(faults)))
    folder = only_run(tmp_path / "results")
    summary = expect_by_verdict(done, folder)
    assert done.code == 1, done.said
    assert summary["status"] == "aborted"
    # The reason may name any window of 2 s: one in which the machine was too busy decides nothing, and the next one
    # fails as well.
    assert re.search(r"did not hold from \d+ s to \d+ s of the measurement", summary["reason"]), summary[
        "reason"
    ]
    assert 2 <= summary["measured_seconds"] < 100
    expect_gates(summary, "failed")
    assert summary["ledger"]["delivered"] > 0
    # The output says that the run ended early; for an invalid run it may only say that the run is invalid.
    assert "(ended early)" in done.out or summary["verdict"]["kind"] == "invalid"
