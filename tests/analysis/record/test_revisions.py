"""Test that the list of each revision's keys is complete, and that the outputs equal the committed golden files."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis.__main__ import main
from analysis.figures import derived
from analysis.plots import style
from analysis.record import revisions
from analysis.record.revisions import Maker, maker_of, shape
from tests.analysis import golden, renew
from tests.analysis.synthetic import simple_run
from tests.paths import REPO
from tests.programs import require

pytestmark = pytest.mark.long

RENEW = "run `python -m tests.analysis.renew`, look at the diff and commit it"
#: Files and folders that `loadgen report` and the notebooks create in the sample's folder; git ignores them.
BESIDE = ("report.html", "report.pdf", "notebooks")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, golden.Written]:
    return golden.all_written(tmp_path_factory.mktemp("golden"))


def test_the_keys_that_are_written_are_those_of_the_current_revision(
    runs: dict[str, golden.Written], tmp_path: Path
) -> None:
    now, listed = renew.keys_now(runs, tmp_path), revisions.keys(revisions.current())
    assert (sorted(now - listed), sorted(listed - now)) == ([], []), f"keys have come or gone: {RENEW}"


def test_figures_and_words_are_those_of_the_current_revision(runs: dict[str, golden.Written]) -> None:
    assert {path.stem for path in golden.FOLDER.glob("*.json")} == set(runs)
    changed = [
        line
        for name, after in runs.items()
        for line in renew.differences(name, golden.Written.read(name), after)
    ]
    assert changed == [], f"figures or words have changed. Where that is meant: {RENEW}"


def test_a_change_of_a_key_a_figure_or_a_word_would_be_noticed() -> None:
    before = golden.Written.read("staircase")
    ledger = before.summary["ledger"]

    def differs(**more: Any) -> list[str]:
        return renew.differences("run", before, golden.Written({**before.summary, **more}, before.texts))

    assert differs() == []
    assert differs(ledger={**ledger, "lost": 7})[0].startswith("run: summary.json: ledger.lost is")
    assert "news is missing" in differs(news=1)[0]
    texts = {**before.texts, "summary.md": before.texts["summary.md"].replace("delivered", "received", 1)}
    (said,) = renew.differences("run", before, golden.Written(before.summary, texts))
    assert said.startswith("run: summary.md: it is delivered where it is received")
    assert renew.changed_keys(before, golden.Written({**before.summary, "ledger": {"lost": 7}}, texts)) == {
        "summary.json:ledger.lost",
        "summary.md:",
    }


def test_the_list_is_sound() -> None:
    before: set[str] = set()
    for number, entry in enumerate(revisions._entries()):
        assert set(entry) == {"revision", "added", "removed", "changed"}
        assert entry["revision"] == number
        assert not before & set(entry["added"])
        assert set(entry["removed"]) <= before
        before = before | set(entry["added"]) - set(entry["removed"])
        before -= set(entry["removed"])
        for key in entry["changed"]:
            assert key in before or key.endswith(":"), key


def test_the_sample_is_what_this_version_makes_of_its_tables_and_its_report_changes_no_tracked_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Do not draw the sample's plots here; tests/system/run/test_working_folder.py draws them.
    monkeypatch.setattr(style, "to_svg", lambda _: "<svg></svg>")
    folder = tmp_path / "sample"
    shutil.copytree(renew.SAMPLE, folder, ignore=shutil.ignore_patterns(*BESIDE))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["report", str(folder)]) == 0
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    changed = [name for name in before if after.get(name) != before[name]]
    assert changed == [], f"the sample is not current: {RENEW}"
    assert set(after) - set(before) <= set(BESIDE)


def test_the_sample_is_a_record_of_format_2() -> None:
    """Keep the sample in the old format 2, since reading it tests that old records can still be read."""
    assert analysis.load(renew.SAMPLE).manifest["format"] == 2


def test_git_ignores_what_a_report_adds_to_the_sample() -> None:
    require("git")
    if not (REPO / ".git").exists():
        pytest.skip("this is no git checkout")

    def ignored(name: str) -> bool:
        command = ["git", "check-ignore", "-q", f"results/sample/{name}"]
        return subprocess.run(command, cwd=REPO, check=False).returncode == 0

    assert all(ignored(name) for name in ("report.html", "report.pdf", "notebooks/throughput.ipynb"))
    assert not any(ignored(name) for name in ("summary.json", "fanout.parquet", "summary.md"))


def test_tables_with_the_same_rows_are_left_alone_however_they_are_encoded(tmp_path: Path) -> None:
    run = analysis.load(simple_run(tmp_path / "run"))
    derived.write(run)
    for name in derived.NAMES:
        path = run.path / f"{name}.parquet"
        table = pq.read_table(path)
        other = pa.table(
            {
                column: values.cast(pa.string()) if column in ("channel", "key", "dimension") else values
                for column, values in zip(table.column_names, table.columns, strict=True)
            }
        )
        pq.write_table(other, path, compression="gzip")
        there = path.read_bytes()
        derived.write(run)
        assert path.read_bytes() == there
        rows = other.slice(0, other.num_rows - 1)
        pq.write_table(rows, path)
        derived.write(run)
        assert derived.plain(pq.read_table(path)).equals(derived.plain(table))
        path.write_bytes(b"PAR1")
        derived.write(run)
        assert derived.same(path, table)


@pytest.mark.parametrize(
    "said",
    [
        None,
        1,
        [],
        {},
        {"version": "1"},
        {"version": 1, "revision": 1},
        {"version": "1", "revision": 0},
        {"version": "1", "revision": True},
        {"version": "1", "revision": 1.0},
        {"version": "1", "revision": 1, "more": 1},
    ],
)
def test_a_made_by_that_no_version_writes_is_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="made_by is"):
        maker_of({"made_by": said})


def test_a_file_says_who_made_it_and_an_old_one_does_not(tmp_path: Path) -> None:
    summary = analysis.summarise(analysis.load(simple_run(tmp_path / "run")))
    assert maker_of(summary) == Maker(revisions.version(), revisions.current())
    assert maker_of(summary).same
    del summary["made_by"]
    assert maker_of(summary) == Maker(None, 0)
    assert maker_of(summary).older
    assert maker_of([]) == Maker(None, 0)
    assert re.fullmatch(r"\d+\.\d+\.\d+", revisions.version() or "")


def test_keys_that_are_data_are_not_on_the_list() -> None:
    content = {"publish": {"errors": {"it broke": 3}, "requests": 1}, "gates": [{"status": "passed"}, {}]}
    assert shape("summary.json", content) == {
        f"summary.json:{key}"
        for key in ("publish", "publish.errors", "publish.requests", "gates", "gates[].status")
    }
