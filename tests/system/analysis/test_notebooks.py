"""Every notebook runs from its first cell to its last on the sample, and on another run by a parameter.

One kernel executes them all, but for the command, which starts its own.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import analysis
from analysis.__main__ import main
from analysis.notebooks import FOLDER, NAMES, NotebookError, execute
from analysis.record import revisions
from analysis.verify.compared import Verification
from loadgen.cli import notebook as command  # noqa: F401
from loadgen.cli.app import app
from tests.analysis.synthetic import simple_run
from tests.paths import REPO
from tests.system.harness import loadgen


@pytest.fixture(scope="module")
def kernel() -> Iterator[None]:
    from tests.system.analysis.kernel import (
        shared_kernel,
    )  # here: only the process that has this module needs it

    with shared_kernel():
        yield


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    folder = tmp_path / "sample"
    shutil.copytree(REPO / "results" / "sample", folder)
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = simple_run(tmp_path / "run")
    assert main(["report", str(folder), "--no-report"]) == 0
    return folder


def outputs(path: Path) -> str:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    assert all(output["output_type"] != "error" for cell in cells for output in cell["outputs"])
    return json.dumps([cell["outputs"] for cell in cells])


def check(folder: Path) -> Verification:
    from analysis.verify.check import verify  # here: it loads matplotlib

    return verify(analysis.load(folder))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_on_the_sample(name: str, sample: Path) -> None:
    text = outputs(execute(name, sample))
    if name != "comparison":
        assert "image/svg+xml" in text
    figure = {
        "throughput": "434.8",
        "percentiles": "0.932",
        "fan-out": "446 of 446 events reached all",
        "capacity": "a CPU-second",
        "comparison": "can't tell",
    }[name]
    assert figure in text


@pytest.mark.usefixtures("kernel")
def test_a_notebook_finds_nothing_that_another_defined(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the test above could pass for a notebook that lacks an import."""
    import nbformat

    monkeypatch.setattr("analysis.notebooks.FOLDER", tmp_path)
    for name, source in (("defines", "import json; found = 1"), ("uses", "found"), ("imports", "json")):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    execute("defines", small)
    with pytest.raises(NotebookError, match="name 'found' is not defined"):
        execute("uses", small)
    with pytest.raises(NotebookError, match="name 'json' is not defined"):
        execute("imports", small)


def test_no_notebook_is_committed_with_outputs_and_none_is_left_out() -> None:
    files = sorted(FOLDER.glob("*.ipynb"))
    assert {path.stem for path in files} == set(NAMES)
    for path in files:
        for cell in json.loads(path.read_text())["cells"]:
            assert not cell.get("outputs")


def test_the_command_and_another_run(small: Path, tmp_path: Path) -> None:
    done = loadgen("notebook", str(small), "fan-out", timeout_s=120)
    assert done.code == 0, done.said
    assert "10 of 10 events reached all" in outputs(Path(done.out.strip()))
    (tmp_path / "no-run").mkdir()
    for refused in ((str(small), "nonsense"), (str(tmp_path / "no-run"),)):
        assert CliRunner().invoke(app, ["notebook", *refused]).exit_code == 2


@pytest.mark.usefixtures("kernel")
def test_verify_compares_a_notebook_that_was_executed_too(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.analysis import reckoned

    monkeypatch.setattr("analysis.verify.check.Reckoned", reckoned.once)
    assert main(["report", str(sample), "--no-report"]) == 0
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


@pytest.mark.usefixtures("kernel")
def test_verify_compares_no_notebook_of_an_older_version_and_none_whose_base_is_gone(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.analysis import reckoned

    monkeypatch.setattr("analysis.verify.check.Reckoned", reckoned.once)
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
