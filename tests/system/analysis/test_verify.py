"""`loadgen verify` as a process, and of notebooks, which it executes again in kernels of their own."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import analysis
from analysis import revisions
from analysis.__main__ import main
from analysis.notebooks import execute
from analysis.revisions import SUMMARY
from analysis.verify.check import Verification, verify
from loadgen.cli import verify as verify_command  # noqa: F401
from loadgen.cli.app import app
from tests.analysis.synthetic import simple_run
from tests.paths import REPO
from tests.system.harness import loadgen


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    folder = shutil.copytree(REPO / "results" / "sample", tmp_path / "sample")
    assert main(["report", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = simple_run(tmp_path_factory.mktemp("reported") / "run")
    assert main(["report", str(folder)]) == 0
    return folder


@pytest.fixture
def small(reported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(reported, tmp_path / "run")


def check(folder: Path) -> Verification:
    return verify(analysis.load(folder))


def test_the_command(small: Path, tmp_path: Path) -> None:
    agreed = CliRunner().invoke(app, ["verify", str(small)])
    assert agreed.exit_code == 0, agreed.output
    assert agreed.stdout.splitlines()[-1] == "all agree"
    content = json.loads((small / SUMMARY).read_text())
    content["ledger"]["lost"] = 1
    (small / SUMMARY).write_text(json.dumps(content))
    done = loadgen("verify", str(small))
    assert done.code == 3, done.said
    assert "summary.json: ledger.lost is 1, and 0 by the tables" in done.out
    assert CliRunner().invoke(app, ["verify", str(tmp_path)]).exit_code == 2


def test_a_notebook_that_was_executed_is_compared_too(sample: Path) -> None:
    path = execute("throughput", sample)
    found = check(sample)
    assert found.disagreements == []
    assert found.compared["notebooks/throughput.ipynb"] > 20
    content = path.read_text()
    assert "434.8" in content
    path.write_text(content.replace("434.8", "434.9"))
    (said,) = check(sample).disagreements
    assert said.startswith("notebooks/throughput.ipynb, output 1: ")
    assert "434.9" in said
    path.write_text("{")
    (said,) = check(sample).disagreements
    assert "cannot be read" in said


def test_a_notebook_of_an_older_version_and_one_whose_base_is_gone_are_not_compared(small: Path) -> None:
    path = execute("throughput", small)
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["loadgen"]["made_by"] == revisions.made_by()
    del notebook["metadata"]["loadgen"]["made_by"]
    notebook["cells"][-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "older words"}]
    path.write_text(json.dumps(notebook))
    found = check(small)
    assert found.disagreements == []
    assert any(note.startswith("notebooks/throughput.ipynb, output") for note in found.notes)
    notebook["metadata"]["loadgen"]["base"] = "/nowhere/run"
    path.write_text(json.dumps(notebook))
    assert (
        "notebooks/throughput.ipynb: not compared, as the run that it compares with is not at /nowhere/run"
        in check(small).notes
    )
    empty = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"loadgen": 1}}
    shapes: tuple[object, ...] = ([], {"cells": 1}, empty)
    for broken in shapes:
        path.write_text(json.dumps(broken))
        (said,) = check(small).disagreements
        assert said.startswith("notebooks/throughput.ipynb: it cannot be read")
