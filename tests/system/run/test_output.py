"""Test where a run's folder is made, and what is printed about the run."""

import json
from pathlib import Path

import pytest

from analysis.record.folders import runs_in
from tests.system.harness import expect_by_verdict, loadgen, read
from tests.system.service import Service

SCENARIO = """version: 1
clients:
  readers: {count: 3, subscribe: "/default/*"}
  writers: {count: 1, publish: {channel: /default/a, rate: 20/s}}
phases: {warmup: 200ms, measure: 1s, drain: 500ms}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "two words.yaml"
    path.write_text(SCENARIO)
    return str(path)


def test_json_is_all_that_is_printed(scenario: str, tmp_path: Path, service: Service) -> None:
    folder = tmp_path / "the run"
    done = loadgen("run", scenario, "--json", "--output", str(folder), "--no-report", *service.options)
    summary = expect_by_verdict(done, folder)
    assert json.loads(done.out) == summary
    assert summary["scenario"] == "two-words"
    assert str(folder) in done.err
    assert not runs_in(tmp_path / "results")
    again = loadgen("run", scenario, "--output", str(folder), *service.options)
    assert again.code == 2
    assert "is not an empty folder" in again.err
    assert read(folder / "summary.json") == summary


def test_quiet_prints_the_verdict_and_the_place(scenario: str, tmp_path: Path, service: Service) -> None:
    results = tmp_path / "results"
    done = loadgen("run", scenario, "--quiet", "--results", str(results), "--no-report", *service.options)
    (folder,) = runs_in(results)
    assert (results / "latest").resolve() == folder.resolve()
    expect_by_verdict(done, folder)
    verdict, place = done.out.splitlines()
    assert "expected deliveries arrived" in verdict
    assert place == f"results: {folder.resolve()}"
    # Notes for the user are still printed, but no progress.
    assert all(line.startswith("loadgen: ") for line in done.err.splitlines()), done.err


def test_progress_comes_as_often_as_asked(scenario: str, tmp_path: Path, service: Service) -> None:
    done = loadgen(
        *("run", scenario, "--results", str(tmp_path), "--no-report"),
        *("--progress", "plain", "--progress-interval", "0.1", *service.options),
    )
    measured = [line for line in done.err.splitlines() if line.startswith("measure ")]
    assert len(measured) >= 4, done.said
    mistaken = loadgen("run", scenario, "--progress", "loud")
    assert mistaken.code == 2
    assert "auto" in mistaken.err
