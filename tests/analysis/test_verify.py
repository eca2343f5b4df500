"""`loadgen verify`: a record agrees with what was made of it, and any number that was changed is found."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis.__main__ import main
from analysis.notebooks import execute
from analysis.verify.check import Verification, verify
from tests.analysis.synthetic import simple_run
from tests.run.harness import REPO, loadgen


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    folder = tmp_path / "sample"
    shutil.copytree(REPO / "results" / "sample", folder)
    assert main(["report", str(folder)]) == 0
    return folder


def check(folder: Path) -> Verification:
    return verify(analysis.load(folder))


def test_the_sample_agrees_with_itself_in_every_file(sample: Path) -> None:
    found = check(sample)
    assert found.disagreements == []
    assert set(found.compared) == {"summary.json", "in SQL", "report.html", "junit.xml", "summary.md"}
    assert found.compared["summary.json"] > 150
    assert found.compared["in SQL"] >= 40
    assert found.compared["report.html"] > 100


def test_a_run_without_a_report_agrees_and_that_is_noted(sample: Path) -> None:
    (sample / "report.html").unlink()
    found = check(sample)
    assert found.disagreements == []
    assert any("no report.html" in note for note in found.notes)
    assert "report.html" not in found.compared


def test_a_made_up_run_agrees_too(tmp_path: Path) -> None:
    folder = simple_run(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    assert check(folder).disagreements == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("summary.json", '"p99": 932276', '"p99": 932275'),
        ("summary.json", '"expected": 4348', '"expected": 4347'),
        ("report.html", "932 µs", "931 µs"),
        ("report.html", "4,348", "4,349"),
        ("junit.xml", 'tests="1"', 'tests="2"'),
        ("summary.md", "4,348 of", "4,349 of"),
    ],
)
def test_a_number_that_was_changed_is_found(sample: Path, name: str, old: str, new: str) -> None:
    path = sample / name
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))
    found = check(sample)
    assert len(found.disagreements) == 1
    assert found.disagreements[0].startswith(name)


def test_a_table_that_was_changed_is_found_everywhere(sample: Path) -> None:
    path = sample / "deliveries.parquet"
    table = pq.read_table(path)
    arrival_ns, intended_ns = (table.column(name).to_pylist() for name in ("arrival_ns", "intended_ns"))
    window = analysis.load(sample).measure
    assert window is not None
    inside = [row for row, due_ns in enumerate(intended_ns) if window.start_ns <= due_ns < window.end_ns]
    slowest = max(inside, key=lambda row: arrival_ns[row] - intended_ns[row])
    arrival_ns[slowest] += 5_000_000
    place = table.column_names.index("arrival_ns")
    pq.write_table(table.set_column(place, "arrival_ns", pa.array(arrival_ns)), path)
    found = check(sample)
    assert {line.partition(":")[0] for line in found.disagreements} >= {"summary.json", "report.html"}
    assert not any(line.startswith("in SQL") for line in found.disagreements), (
        "the two ways see the same tables"
    )


def test_a_wrong_summary_code_would_be_found(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second opinion is one: a mistake in the figures' own code does not hide behind its own recomputation."""
    from analysis import percentiles

    right = percentiles.nearest_rank
    monkeypatch.setattr(percentiles, "nearest_rank", lambda ordered, percent: right(ordered, percent - 0.5))
    assert main(["report", str(sample)]) == 0
    found = check(sample)
    assert any(line.startswith("in SQL delivery.headline_ns.p99 is 932276") for line in found.disagreements)


def test_the_command(sample: Path, tmp_path: Path) -> None:
    done = loadgen("verify", str(sample))
    assert done.code == 0, done.said
    assert done.out.splitlines()[-1] == "all agree"
    content = json.loads((sample / "summary.json").read_text())
    content["ledger"]["lost"] = 1
    (sample / "summary.json").write_text(json.dumps(content))
    done = loadgen("verify", str(sample))
    assert done.code == 3, done.said
    assert "summary.json: ledger.lost is 1, and 0 by the tables" in done.out
    assert loadgen("verify", str(tmp_path)).code == 2


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
