"""Test that every notebook runs from its first cell to its last, on the sample data and on another run.

The outputs committed with a notebook are those of its cells for the sample data. One kernel executes all
notebooks here; `loadgen notebook` starts a kernel of its own.
"""

import base64
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner

import analysis
from analysis.__main__ import main
from analysis.notebooks import FOLDER, NAMES, NotebookError, execute
from analysis.notebooks.begin import SAMPLES
from analysis.record import revisions
from analysis.verify.compared import Verification
from loadgen.cli import notebook as command  # noqa: F401
from loadgen.cli.app import app
from tests.analysis.renew_notebooks import renewed
from tests.analysis.synthetic import simple_run
from tests.paths import REPO
from tests.system.harness import STUCK_S, loadgen


@pytest.fixture(scope="module")
def kernel() -> Iterator[None]:
    from tests.system.analysis.kernel import (
        shared_kernel,
    )  # Import this module only here, because few processes need it.

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
    from analysis.verify.check import verify  # Import this module only here, because it loads matplotlib.

    return verify(analysis.load(folder))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_on_the_sample(name: str, sample: Path) -> None:
    text = outputs(execute(name, sample))
    assert "image/png" in text
    figures = {
        "throughput": ("434.8",),
        "percentiles": ("0.932",),
        "fan-out": ("446 of 446 events reached all",),
        "losses": ("4,348 expected", "accounted for once: True"),
        "clocks": ("no pings",),
        "capacity": ("The sample search", "5,087 deliveries in", "a CPU-second"),
        "comparison": ("can't tell", "compared with themselves"),
    }[name]
    for figure in figures:
        assert figure in text


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("name", NAMES)
def test_a_committed_notebook_shows_what_its_cells_make_of_the_sample_data(name: str, tmp_path: Path) -> None:
    path = FOLDER / f"{name}.ipynb"
    committed, fresh = json.loads(path.read_text()), renewed(name, tmp_path)
    renew = f"run `python -m tests.analysis.renew_notebooks {name}`, look at the pictures and commit them"
    assert [cell["id"] for cell in committed["cells"]] == [cell["id"] for cell in fresh["cells"]]
    pictures = 0
    for cell, again in zip(code_cells(committed), code_cells(fresh), strict=True):
        assert len(cell["outputs"]) == len(again["outputs"]), renew
        for output, new in zip(cell["outputs"], again["outputs"], strict=True):
            assert output.get("name") != "stderr", "a warning"
            assert said(output) == said(new), f"{cell['id']}: {renew}"
            if (picture := output.get("data", {}).get("image/png")) is not None:
                assert_same_picture(picture, new["data"]["image/png"], f"{cell['id']}: {renew}")
                pictures += 1
    assert pictures >= 1
    # The file is small enough to be committed, and contains no path of this machine.
    assert path.stat().st_size < 150_000
    for place in (str(REPO), str(Path.home()), tempfile.gettempdir(), sys.prefix):
        assert place not in path.read_text()


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def said(output: dict[str, Any]) -> dict[str, str]:
    """Return the texts of an output: printed text, and a table as plain text and as HTML."""
    texts = {"text": output.get("text", ""), **output.get("data", {})}
    return {kind: "".join(text) for kind, text in texts.items() if not kind.startswith("image/")}


def assert_same_picture(one: str, other: str, otherwise: str) -> None:
    """Compare the pixels if the same version of matplotlib drew both pictures, else only the sizes."""
    first, second = (Image.open(io.BytesIO(base64.b64decode(picture))) for picture in (one, other))
    assert first.size == second.size, otherwise
    if first.info["Software"] == second.info["Software"]:
        assert ImageChops.difference(first.convert("RGB"), second.convert("RGB")).getbbox() is None, otherwise


def test_a_changed_picture_or_text_would_be_noticed() -> None:
    def picture(colour: tuple[int, int, int], size: tuple[int, int] = (4, 4), by: str = "1") -> str:
        image, info, file = Image.new("RGB", size), PngInfo(), io.BytesIO()
        image.putpixel((1, 1), colour)
        info.add_text("Software", by)
        image.save(file, "png", pnginfo=info)
        return base64.b64encode(file.getvalue()).decode()

    red = picture((255, 0, 0))
    assert_same_picture(red, red, "the same")
    assert_same_picture(red, picture((0, 0, 9), by="2"), "another version may draw another picture")
    for other in (
        picture((254, 0, 0)),
        picture((255, 0, 0), size=(4, 5)),
        picture((255, 0, 0), (5, 4), by="2"),
    ):
        with pytest.raises(AssertionError):
            assert_same_picture(red, other, "changed")
    assert said({"data": {"text/plain": ["a", "b"], "image/png": red}}) == {"text": "", "text/plain": "ab"}


@pytest.mark.usefixtures("kernel")
def test_a_notebook_finds_nothing_that_another_defined(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If names stayed defined between notebooks, a notebook that lacks an import could pass the other tests."""
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


@pytest.mark.usefixtures("kernel")
def test_what_a_cell_prints_is_one_output_however_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat

    monkeypatch.setattr("analysis.notebooks.FOLDER", tmp_path)
    source = "import time; print(1); time.sleep(0.6); print(2)"
    slow = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbformat.write(slow, tmp_path / "slow.ipynb")
    executed = json.loads(execute("slow", None, into=tmp_path / "out").read_text())
    assert [said(output) for output in executed["cells"][0]["outputs"]] == [{"text": "1\n2\n"}]


def test_no_notebook_is_left_out() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.usefixtures("kernel")
def test_a_search_has_its_own_notebook(tmp_path: Path, small: Path) -> None:
    search = tmp_path / "search"
    search.mkdir()
    content = json.loads((SAMPLES / "capacity.json").read_text())
    content["trials"] = content["trials"][:2]
    content["limits"] = []
    (search / "capacity.json").write_text(json.dumps(content))
    text = outputs(execute("capacity", search))
    assert "Search: 2 trials of scenario known" in text
    assert "2 distinct loads are too few for a fit" in text
    refused = CliRunner().invoke(app, ["notebook", str(search), "losses"])
    assert refused.exit_code == 2
    assert "the notebook for it is capacity" in refused.output
    (search / "capacity.json").write_text("{")
    with pytest.raises(NotebookError, match="has no readable capacity"):
        execute("capacity", search)


def test_the_notebooks_can_be_copied(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["notebook", "--copy", str(tmp_path / "mine")])
    assert done.exit_code == 0
    assert {path.stem for path in (tmp_path / "mine").iterdir()} == set(NAMES)
    for arguments, reason in (
        (["--copy", str(tmp_path / "mine")], "exists already"),
        (["--copy", str(tmp_path / "other"), str(tmp_path)], "--copy needs no run"),
        ([], "name a run"),
    ):
        refused = CliRunner().invoke(app, ["notebook", *arguments])
        assert refused.exit_code == 2
        assert reason in " ".join(refused.output.split())


def test_the_command_and_another_run(small: Path, tmp_path: Path) -> None:
    done = loadgen("notebook", str(small), "fan-out", timeout_s=STUCK_S)
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
    assert said.startswith("notebooks/throughput.ipynb, output 2: ")
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
    code_cells(notebook)[0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "older words"}]
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
