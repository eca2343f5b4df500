"""Test which data the first cell of a notebook opens."""

import json
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from analysis import notebooks
from analysis.compare import profile
from analysis.notebooks import NotebookError, begin
from analysis.notebooks.begin import SAMPLES, latency_axis, nines_axis, open_run, open_search, open_sets
from tests.analysis.synthetic import simple_run

pytestmark = pytest.mark.usefixtures("unset")


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (begin.RUN, begin.BASE):
        monkeypatch.delenv(variable, raising=False)
    # `looks` changes matplotlib's settings. Undo this after the test, because other tests draw too.
    monkeypatch.setattr(mpl, "rcParams", mpl.rcParams.copy())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return simple_run(tmp_path / "run")


def test_the_sample_is_opened_if_nothing_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (None, ""):
        if value is not None:
            monkeypatch.setenv(begin.RUN, value)
            monkeypatch.setenv(begin.BASE, value)
        assert open_run().path == SAMPLES / "run"
        assert open_search() == json.loads((SAMPLES / "capacity.json").read_text())
        base, new = open_sets()
        assert (base, new) == (profile.read(SAMPLES / "base.json"), profile.read(SAMPLES / "new.json"))
        said = capsys.readouterr().out.splitlines()
        assert said == [
            "The sample run 20261129-080120Z-outage: scenario outage, 10 s measured, 2 workers, complete",
            "The sample search: 9 trials of scenario known, goal delivery.latency.p99 < 50ms",
            "The sample sets: 4 base runs against 4 new runs",
        ]


def test_the_sample_shows_losses_of_both_kinds_a_clock_of_its_own_and_a_limit() -> None:
    """The committed notebooks show the sample data, which must thus have losses, two clocks and a capacity limit."""
    from analysis.ledger.reconcile import reconcile

    run = open_run()
    assert run.measure is not None
    ledger = reconcile(run, run.measure).ledger
    assert ledger.balances
    assert ledger.lost_in_reconnect > 0
    assert ledger.lost_otherwise > 0
    assert [fit.shared for fit in run.clocks.values()] == [True, False]
    # Both workers ran on one machine, so the true offset is 0 at all times.
    fit = run.clocks[1]
    assert fit.offset_ns is not None
    assert fit.error_ns is not None
    assert abs(fit.offset_ns) <= fit.error_ns
    (limit,) = open_search()["limits"]
    assert limit["lower"] < 100 < limit["upper"]


def test_an_argument_goes_before_the_environment_and_that_before_the_sample(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(begin.RUN, str(folder))
    assert open_run().path == folder
    assert open_run(SAMPLES / "run").path == SAMPLES / "run"
    capsys.readouterr()
    assert open_sets()[0][0].run == open_sets()[1][0].run == folder.name
    assert "No base is named, so the runs are compared with themselves." in capsys.readouterr().out
    monkeypatch.setenv(begin.BASE, str(SAMPLES / "base.json"))
    assert [len(side) for side in open_sets()] == [4, 1]
    assert [len(side) for side in open_sets(new=SAMPLES / "new.json")] == [4, 4]
    assert [len(side) for side in open_sets(folder, folder)] == [1, 1]


def test_a_run_is_no_search_and_a_search_no_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The notebook `capacity` opens a run and a search. If one is not named, it opens the sample's and says so."""
    monkeypatch.setenv(begin.RUN, str(folder))
    assert len(open_search()["trials"]) == 9
    assert capsys.readouterr().out.startswith("The sample search")
    search = tmp_path / "search"
    search.mkdir()
    content = json.loads((SAMPLES / "capacity.json").read_text())
    (search / "capacity.json").write_text(json.dumps({**content, "trials": content["trials"][:3]}))
    monkeypatch.setenv(begin.RUN, str(search))
    assert len(open_search()["trials"]) == 3
    assert open_run().path == SAMPLES / "run"
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Search: 3 trials")
    assert said[1].startswith("The sample run")


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"trials": 1, "request": {"goals": [], "scenario": ""}}']
)
def test_what_cannot_be_opened_is_told_in_a_sentence(content: str, tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="is not a run's folder"):
        open_run(tmp_path)
    with pytest.raises(NotebookError, match="has no readable capacity"):
        open_search(tmp_path)
    (tmp_path / "capacity.json").write_text(content)
    with pytest.raises(NotebookError, match="has no readable capacity"):
        open_search(tmp_path)
    with pytest.raises(NotebookError, match="neither a run's folder"):
        open_sets(tmp_path, tmp_path)


def test_a_run_that_measured_nothing_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["phases"] = [phase for phase in manifest["phases"] if phase["name"] != "measure"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(NotebookError, match="measured nothing"):
        open_run(folder)


def test_text_from_a_run_is_cleaned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["run"] = "\x1b[31mred"
    path.write_text(json.dumps(manifest))
    open_run(folder)
    assert "\x1b" not in capsys.readouterr().out


def test_each_nine_has_a_tick_with_its_name() -> None:
    axes = Figure().subplots()
    axes.plot([1, 0.001], [1, 2])
    nines_axis(axes, smallest=1 / 3_000)
    names = axes.xaxis.get_major_formatter().format_ticks(
        list(axes.xaxis.get_major_locator().tick_values(0, 1))
    )
    assert names == ["0 %", "50 %", "90 %", "99 %", "99.9 %"]


def test_a_wide_range_of_latencies_is_logarithmic() -> None:
    for values, scale in (([1, 29], "linear"), ([1, 31], "log"), ([0, 1000], "linear"), ([-1, 50], "linear")):
        axes = Figure().subplots()
        axes.plot([0, 1], values)
        latency_axis(axes)
        assert axes.get_yscale() == scale
        low, high = axes.get_ylim()
        assert low <= min(values) < max(values) < high


def test_the_sample_data_are_beside_the_notebooks_and_so_in_the_wheel() -> None:
    assert SAMPLES.parent == notebooks.FOLDER
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 300_000
