"""Gates in whole runs: exit codes, files for CI, mistakes with their line, and a run that a gate ends early."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.system.harness import Finished, loadgen, only_run, read

SCENARIO = """version: 1
clients:
  readers: {{count: 10, subscribe: "/default/*"}}
  writers: {{count: 1, publish: {{channel: /default/a, rate: 50/s}}}}
phases: {{warmup: 500ms, measure: {measure}, drain: 500ms}}
gates:
{gates}
"""


def run(tmp_path: Path, *gates: str, measure: str = "3s", more: tuple[str, ...] = ()) -> Finished:
    scenario = tmp_path / "gated.yaml"
    scenario.write_text(SCENARIO.format(measure=measure, gates="\n".join(f"  - {gate}" for gate in gates)))
    return loadgen("run", str(scenario), "--results", str(tmp_path / "results"), *more)


def test_gates_that_hold_pass(tmp_path: Path) -> None:
    done = run(
        tmp_path, "delivery.loss == 0", "{check: delivery.latency.p99 < 2s, over: 1s, abort_early: true}"
    )
    assert done.code == 0, done.said
    folder = only_run(tmp_path / "results")
    assert [gate["status"] for gate in read(folder / "summary.json")["gates"]] == ["passed", "passed"]
    suite = ElementTree.parse(folder / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "0", "0")
    # On a loaded machine the run is degraded, and the longer sentence goes over two lines.
    assert "2 of 2 gates passed" in " ".join(done.out.split())
    assert all(len(line) <= 80 for line in done.out.splitlines() if not line.startswith("results: ")), (
        done.out
    )


def test_a_gate_that_fails_is_exit_1_and_told_everywhere(tmp_path: Path) -> None:
    done = run(tmp_path, "delivery.latency.p50 < 1us", "delivery.loss == 0", more=("--report",))
    assert done.code == 1, done.said
    folder = only_run(tmp_path / "results")
    for text in (done.out, (folder / "report.html").read_text().replace("&lt;", "<")):
        assert "1 of 2 gates" in text
        assert "delivery.latency.p50 < 1us" in text
    assert "✗ failed" in (folder / "summary.md").read_text()
    suite = ElementTree.parse(folder / "junit.xml").getroot()[0]
    assert suite.get("failures") == "1"


def test_a_gate_ends_a_run_early_and_what_was_recorded_is_kept(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("delay: {fixed: 300ms}\n")
    gate = "{check: delivery.latency.p50 < 100ms, over: 2s, abort_early: true}"
    done = run(tmp_path, gate, measure="60s", more=("--faults", str(faults)))
    assert done.code == 1, done.said
    folder = only_run(tmp_path / "results")
    summary = read(folder / "summary.json")
    assert summary["status"] == "aborted"
    assert "did not hold from 0 s to 2 s" in summary["reason"]
    assert 2 <= summary["measured_seconds"] < 30
    assert [gate["status"] for gate in summary["gates"]] == ["failed"]
    assert summary["ledger"]["balances"]
    assert summary["ledger"]["delivered"] > 0
    assert "(ended early)" in done.out


@pytest.mark.parametrize(
    ("gate", "sentence"),
    [
        (
            "delivery.latncy.p99 < 1s",
            "gated.yaml:7: gates.0 cannot be: there is no metric 'delivery.latncy.p99'",
        ),
        ("{check: delivery.loss == 0, over: 5s, abort_early: true}", "goes with delivery.latency only"),
        ("{check: delivery.latency.p99 < 1s, abort_early: true}", "has abort_early without a window"),
        (
            "{check: delivery.latency.p99 < 1s, ovr: 5s}",
            "gates.0.ovr is not a known key; did you mean 'over'?",
        ),
    ],
)
def test_a_mistake_is_told_before_anything_starts(gate: str, sentence: str, tmp_path: Path) -> None:
    done = run(tmp_path, gate)
    assert done.code == 2, done.said
    assert sentence in done.err
    assert len(done.err.splitlines()) == 1
