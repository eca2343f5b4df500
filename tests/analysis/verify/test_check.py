"""Test `loadgen verify` on a run: unchanged files agree, and every changed number is found."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import analysis
from analysis.__main__ import main
from analysis.loading.run import ReadError
from analysis.plots import style
from analysis.record import revisions
from analysis.record.revisions import SUMMARY
from analysis.report.page import render
from analysis.verify import compared, independent
from analysis.verify.check import Verification, conclusion, verify
from loadgen.cli import verify as registered
from loadgen.cli.app import app
from tests.analysis import reckoned
from tests.analysis.synthetic import simple_run, write_run
from tests.paths import REPO

pytestmark = pytest.mark.long

SAMPLE = REPO / "results" / "sample"


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the sample and its report without drawn plots (see `conftest`), as these are not compared."""
    folder = shutil.copytree(REPO / "results" / "sample", tmp_path_factory.mktemp("reported") / "sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "to_svg", lambda _: "<svg></svg>")
        assert main(["report", str(folder)]) == 0
    return folder


@pytest.fixture
def sample(reported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(reported, tmp_path / "sample")


@pytest.fixture
def reckoned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recompute the figures of equal tables only once, for tests that change recorded figures but not the program."""
    monkeypatch.setattr("analysis.verify.check.Reckoned", reckoned.once)


def check(folder: Path) -> Verification:
    return verify(analysis.load(folder))


@pytest.mark.usefixtures("reckoned_once")
def test_the_sample_agrees_with_itself_in_every_file(sample: Path) -> None:
    found = check(sample)
    assert found.disagreements == []
    assert set(found.compared) == {
        "summary.json",
        "in SQL",
        "fanout.parquet",
        "ledger.parquet",
        "report.html",
        "junit.xml",
        "summary.md",
    }
    assert found.absent == []
    assert found.compared["summary.json"] > 150
    assert found.compared["in SQL"] >= 40
    assert found.compared["report.html"] > 100


@pytest.mark.usefixtures("reckoned_once")
def test_a_run_without_a_report_agrees_and_that_is_noted(sample: Path) -> None:
    (sample / "report.html").unlink()
    found = check(sample)
    assert found.disagreements == []
    assert any("no report.html" in note for note in found.notes)
    assert "report.html" not in found.compared


def test_of_a_run_without_deliveries_sql_says_that_no_percentile_is_known(tmp_path: Path) -> None:
    run = analysis.load(write_run(tmp_path / "run", {}))
    assert run.measure is not None
    found = independent.figures(run, run.measure)
    assert found["delivery.headline_ns.count"] == 0
    assert {found[f"delivery.headline_ns.{name}"] for name in ("min", "p50", "p999", "max")} == {None}
    # The next run gets its own SQL tables: the figures of the sample are found, although a run without deliveries came
    # first.
    sample = analysis.load(SAMPLE)
    assert sample.measure is not None
    assert independent.figures(sample, sample.measure)["ledger.expected"] == 4348


def test_tables_that_are_too_large_for_memory_have_the_same_figures(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (made, SAMPLE):
        run = analysis.load(path)
        assert run.measure is not None
        at_once = independent.figures(run, run.measure)
        with monkeypatch.context() as patch:
            patch.setattr(independent, "_SMALL_BYTES", -1)
            assert independent.figures(run, run.measure) == at_once
        assert at_once["ledger.rows"]


def test_a_made_up_run_agrees_too(made: Path) -> None:
    assert check(made).disagreements == []


@pytest.mark.usefixtures("reckoned_once")
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("summary.json", '"p99": 932276', '"p99": 932275'),
        ("summary.json", '"expected": 4348', '"expected": 4347'),
        ("report.html", "932 µs", "931 µs"),
        ("report.html", "4,348", "4,349"),
        ("report.html", "expected deliveries arrived", "expected deliveries came"),
        ("junit.xml", 'tests="1"', 'tests="2"'),
        ("junit.xml", "the run is valid", "the run is sound"),
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


@pytest.mark.usefixtures("reckoned_once")
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
    """The recomputation by SQL is independent, so it does not repeat a mistake in the summary's code."""
    from analysis.figures import bounds, percentiles, samples

    right = percentiles.rank_of
    for user in (bounds, samples):
        monkeypatch.setattr(user, "rank_of", lambda count, percent: right(count, percent - 0.5))
    assert main(["report", str(sample), "--no-report"]) == 0
    found = check(sample)
    assert any(line.startswith("in SQL delivery.headline_ns.p99 is 932276") for line in found.disagreements)


def command(path: Path) -> tuple[int, list[str]]:
    """Run `loadgen verify` in this process; return its exit code and the lines it printed."""
    assert registered.verify.__name__ == "verify"
    done = CliRunner().invoke(app, ["verify", str(path)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output.splitlines()


@pytest.mark.usefixtures("reckoned_once")
def test_the_command_says_what_disagrees_and_what_is_not_there(sample: Path, tmp_path: Path) -> None:
    code, lines = command(sample)
    assert (code, lines[-1]) == (0, "all agree")
    content = json.loads((sample / "summary.json").read_text())
    content["ledger"]["lost"] = 1
    (sample / "summary.json").write_text(json.dumps(content))
    code, lines = command(sample)
    assert code == 3
    assert "summary.json: ledger.lost is 1, and 0 by the tables" in lines
    content["ledger"]["lost"] = 0
    for key in ("target", "made_by"):
        del content[key]
    (sample / "summary.json").write_text(json.dumps(content))
    code, lines = command(sample)
    assert code == 0
    assert lines[-1] == (
        "all that is there agrees; 7 figures are not there: target.protocol, target.service, target.url,"
        f" target.embedded, target.loopback, target.setup, target.proxies; `loadgen report {sample}` makes them"
    )
    assert command(tmp_path)[0] == 2


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run and its report."""
    folder = simple_run(tmp_path_factory.mktemp("made") / "run")
    with pytest.MonkeyPatch.context() as patch:
        # Plots are not compared, so they are not drawn.
        patch.setattr(style, "to_svg", lambda _: "<svg></svg>")
        assert main(["report", str(folder)]) == 0
    return folder


@pytest.fixture
def small(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


def pruned(content: Any, key: str, kept: frozenset[str]) -> Any:
    """Return ``content`` as written by an older version that knew only the keys in ``kept``."""
    if isinstance(content, dict) and key not in revisions.FREE:
        below = {name: revisions.child(key, name) for name in content}
        return {
            name: pruned(each, below[name], kept) for name, each in content.items() if below[name] in kept
        }
    if isinstance(content, list):
        return [pruned(each, revisions.child(key, 0), kept) for each in content]
    return content


@pytest.mark.usefixtures("reckoned_once")
def test_a_summary_of_the_oldest_version_agrees_and_what_it_lacks_is_not_there(small: Path) -> None:
    summary = json.loads((small / SUMMARY).read_text())
    old = pruned(summary, f"{SUMMARY}:", revisions.keys(0))
    (small / SUMMARY).write_text(json.dumps(old))
    (small / "summary.md").write_text("older words\n")
    (small / "report.html").write_text("<p>older words</p>")
    found = check(small)
    assert found.disagreements == []
    left_out = set(compared.flat(summary)) - set(compared.flat(old)) - {"made_by.version", "made_by.revision"}
    assert {entry.removeprefix("summary.json: ") for entry in found.absent} == left_out
    assert len(left_out) > 10
    assert "the record is of format 2, written by an unknown version" in found.notes
    assert any("summary.md: not compared, as a version from before" in note for note in found.notes)
    assert any("report.html: not compared" in note for note in found.notes)
    assert conclusion(found).startswith(f"all that is there agrees; {len(left_out)} figures are not there: ")
    assert f"`loadgen report {small}` makes them" in conclusion(found)
    # The figures that the old version wrote are compared.
    old["ledger"]["lost"] = 7
    del old["throughput"]["offered_per_s"]
    (small / SUMMARY).write_text(json.dumps(old))
    found = check(small)
    assert sorted(found.disagreements) == [
        "summary.json: ledger.lost is 7, and 0 by the tables",
        "summary.json: throughput.offered_per_s is missing, and 10.0 by the tables",
    ]
    assert conclusion(found).startswith(f"2 disagree; {len(left_out)} figures are not there: ")


@pytest.mark.usefixtures("reckoned_once")
def test_a_summary_of_this_version_that_lacks_a_key_was_damaged(small: Path) -> None:
    summary = json.loads((small / SUMMARY).read_text())
    del summary["target"]["service"]
    (small / SUMMARY).write_text(json.dumps(summary))
    found = check(small)
    assert found.disagreements == [
        'summary.json: target.service is missing, and "AWS AppSync Events" by the tables'
    ]
    assert found.absent == []


@pytest.mark.usefixtures("reckoned_once")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "summary.json cannot be read: it is not JSON from line 1 on"),
        (b'{"format": 1,', "summary.json cannot be read: it is not JSON"),
        (b"[1, 2]", "summary.json holds no JSON object"),
        (b"null", "summary.json holds no JSON object"),
        (b"\xff\xfe", "summary.json cannot be read: it is not UTF-8"),
        (b'{"a": ' + b"[" * 100_000, "summary.json cannot be read: it is nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "summary.json cannot be read: "),
        (b'{"format": 1, "format": 1}', 'the key "format" stands in it twice'),
        (b'{"made_by": {"version": 1}}', "made_by is {'version': 1}, which no version writes"),
        (b'{"made_by": {"version": "1", "revision": 1e999}}', "which no version writes"),
        (b"{}", "summary.json: connections is missing"),
        (b'{"ledger": 3, "steps": {}, "gates": null, "throughput": NaN}', "more"),
    ],
)
def test_a_damaged_summary_is_said_in_a_sentence(small: Path, content: bytes, said: str) -> None:
    (small / SUMMARY).write_bytes(content)
    code, lines = command(small)
    assert code == 3
    assert any(said in line for line in lines), lines
    assert all(len(line) < 600 for line in lines)
    assert "disagree" in lines[-1]


@pytest.mark.usefixtures("reckoned_once")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("throughput", float("nan"), "throughput is NaN, and an object"),
        ("exit_code", 10**400, "exit_code is 1000"),
        ("partial", 0, "partial is 0, and false"),
        ("phases", [], "phases has 0 entries, and 2"),
        ("a.b", 1, '["a.b"] is 1, and not there'),
        ("\x1b[2J", "\ud800", '["\\u001b[2J"] is "\N{REPLACEMENT CHARACTER}", and not there'),
    ],
)
def test_odd_values_are_named(small: Path, name: str, value: Any, said: str) -> None:
    summary = json.loads((small / SUMMARY).read_text())
    (small / SUMMARY).write_text(json.dumps({**summary, name: value}))
    code, lines = command(small)
    assert code == 3
    assert lines[-1] == "1 disagrees"
    assert lines[-2].startswith(f"summary.json: {said}")


@pytest.mark.usefixtures("reckoned_once")
def test_without_a_summary_nothing_is_green(small: Path) -> None:
    (small / SUMMARY).unlink()
    code, lines = command(small)
    assert code == 3
    assert f"there is no summary.json: `loadgen report {small}` makes it" in lines
    # Without summary.json, it is unknown which version wrote the other files, so different wording is no error.
    (small / "summary.md").write_text("older words")
    code, lines = command(small)
    assert (code, lines[-1]) == (3, "1 disagrees")
    assert "summary.md: not compared, as a version that is not known wrote it in other words" in lines


@pytest.mark.usefixtures("reckoned_once")
@pytest.mark.parametrize(
    "name", ["report.html", "junit.xml", "summary.md", "fanout.parquet", "ledger.parquet"]
)
def test_a_file_that_is_not_there_is_noted_and_a_broken_one_disagrees(small: Path, name: str) -> None:
    (small / name).write_bytes(b"\xff\x00")
    code, lines = command(small)
    assert code == 3
    assert any(line.startswith(f"{name} cannot be read") for line in lines), lines
    assert lines[-1] == "1 disagrees"
    (small / name).unlink()
    code, lines = command(small)
    assert code == 0
    assert any(line.startswith(f"there is no {name} to compare") for line in lines), lines
    assert lines[-1] == "all agree"
    (small / name).mkdir()
    assert command(small)[0] == 3


@pytest.mark.usefixtures("reckoned_once")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.set_column(4, "expected", pa.array([4] * t.num_rows, pa.int32())),
            "expected of row 1 is 4",
        ),
        (lambda t: t.slice(1), "has 9 rows, and 10 by the tables"),
        (lambda t: t.drop_columns(["last_ns"]), "the column last_ns is missing"),
        (
            lambda t: t.append_column("more", pa.array([1] * t.num_rows)),
            "the column more is not made by loadgen",
        ),
    ],
)
def test_a_table_of_the_analysis_that_was_changed_is_found(small: Path, change: Any, said: str) -> None:
    path = small / "fanout.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    (found,) = check(small).disagreements
    assert found.startswith("fanout.parquet")
    assert said in found


def broken_manifest(folder: Path, **more: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **more}))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"format": 9}, "is a record of format 9, and this version reads formats 2 to 3"),
        ({"workers": "x"}, "holds a damaged record"),
        ({"workers": [{}]}, "holds a damaged record"),
        ({"phases": [{"name": "measure", "start_ns": "a", "end_ns": 1}]}, "holds a damaged record"),
        ({"phases": [{"name": "measure", "start_ns": 1 << 80, "end_ns": 1 << 81}]}, "holds a damaged record"),
        ({"scenario": {"gates": ["delivery.latency < "]}}, "holds a damaged record"),
        ({"target": None}, "holds a damaged record"),
    ],
)
def test_a_damaged_record_is_said_in_a_sentence(small: Path, more: dict[str, Any], said: str) -> None:
    broken_manifest(small, **more)
    code, lines = command(small)
    assert code == 2
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize("name", ["deliveries", "events", "subscriptions", "connections", "health"])
def test_a_broken_table_is_said_in_a_sentence(small: Path, name: str) -> None:
    path = small / f"{name}.parquet"
    table = pq.read_table(path)
    path.write_bytes(path.read_bytes()[:-20])
    code, lines = command(small)
    assert (code, len(lines)) == (2, 1)
    assert f"{name}.parquet cannot be read" in lines[0]
    pq.write_table(table.drop_columns([table.column_names[3]]), path)
    code, lines = command(small)
    assert (code, len(lines)) == (2, 1)


@pytest.mark.usefixtures("reckoned_once")
def test_what_cannot_be_verified_is_refused_with_what_could_be(tmp_path: Path, small: Path) -> None:
    (tmp_path / "page.html").write_text("<html><p>nothing</p></html>")
    (tmp_path / "other.json").write_text("{}")
    for path, said in (
        (tmp_path / "nowhere", "is not a run's folder"),
        (tmp_path, "is not a run's folder"),
        (tmp_path / "page.html", "of a run's report.html name the run's folder"),
        (small / "report.html", "of a run's report.html name the run's folder"),
        (tmp_path / "other.json", "is no comparison: name a run's folder"),
        (small / "deliveries.parquet", "cannot be read: it is not UTF-8"),
    ):
        code, lines = command(path)
        assert (code, len(lines)) == (2, 1)
        assert said in lines[0]


def test_a_report_is_the_same_in_every_time_zone(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = analysis.load(small)
    summary = analysis.summarise(run)
    pages = []
    try:
        for zone in ("UTC", "Asia/Tokyo", "America/Lima"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            # Text in plots is drawn as shapes, which are not compared.
            pages.append(compared.page(render(run, summary, drawn=False)))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert pages[0] == pages[1] == pages[2]
    assert "UTC" in pages[0]


def test_a_mistake_in_what_was_delivered_would_be_found(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from analysis.ledger.reconcile import Ledger

    right = Ledger.to_dict
    monkeypatch.setattr(
        Ledger, "to_dict", lambda self: {**right(self), "delivered": right(self)["delivered"] - 1}
    )
    assert "in SQL ledger.delivered is 30, and 29 in the summary" in check(small).disagreements


def test_a_defect_while_verifying_is_one_sentence(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("p99")

    monkeypatch.setattr("analysis.verify.check.junit", broken)
    with pytest.raises(ReadError, match=r"damaged record: .*\(KeyError: 'p99'\)"):
        check(small)
