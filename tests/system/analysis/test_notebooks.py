"""Every notebook runs from its first cell to its last on the sample, and on another run by a parameter."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import analysis
from analysis.notebooks import FOLDER, NAMES, execute
from loadgen.cli import notebook  # noqa: F401
from loadgen.cli.app import app
from tests.analysis.synthetic import simple_run
from tests.paths import REPO
from tests.system.harness import loadgen


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    folder = tmp_path / "sample"
    shutil.copytree(REPO / "results" / "sample", folder)
    return folder


def outputs(path: Path) -> str:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    assert all(output["output_type"] != "error" for cell in cells for output in cell["outputs"])
    return json.dumps([cell["outputs"] for cell in cells])


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


def test_no_notebook_is_committed_with_outputs_and_none_is_left_out() -> None:
    files = sorted(FOLDER.glob("*.ipynb"))
    assert {path.stem for path in files} == set(NAMES)
    for path in files:
        for cell in json.loads(path.read_text())["cells"]:
            assert not cell.get("outputs")


def test_the_command_and_another_run(tmp_path: Path) -> None:
    folder = simple_run(tmp_path / "run")
    assert analysis.__all__
    assert CliRunner().invoke(app, ["report", str(folder)]).exit_code == 0
    done = loadgen("notebook", str(folder), "fan-out", timeout_s=120)
    assert done.code == 0, done.said
    assert "10 of 10 events reached all" in outputs(Path(done.out.strip()))
    for refused in ((str(folder), "nonsense"), (str(tmp_path),)):
        assert CliRunner().invoke(app, ["notebook", *refused]).exit_code == 2
