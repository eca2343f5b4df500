"""Test `loadgen verify` on a capacity search: its results and the curve fitted to them follow from the trials' runs."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analysis.loading.run import load as load_run
from analysis.verify import check
from analysis.verify.compared import Verification, conclusion, leaves, shown
from loadgen.capacity import conduct
from loadgen.capacity import verify as capacity
from loadgen.capacity.conduct import Search
from loadgen.capacity.record import NAME
from loadgen.capacity.verify import verify
from loadgen.cli import verify as registered
from loadgen.cli.app import app
from tests.analysis import reckoned
from tests.capacity.searches import GOAL, loaded, made_up_search

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def _reckoned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recompute each trial's record only once for all tests, because it takes long.

    That a run's record is verified correctly is tested elsewhere.
    """
    monkeypatch.setattr(capacity, "Reckoned", reckoned.once)
    monkeypatch.setattr(conduct, "load", loaded)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a search that found a limit of 100 events/s."""
    with pytest.MonkeyPatch.context() as patch:
        return made_up_search(tmp_path_factory.mktemp("whole") / "capacity-x", patch, drawn=True)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a search of a few trials, for a target that fails even at the lowest load."""
    with pytest.MonkeyPatch.context() as patch:
        return made_up_search(tmp_path_factory.mktemp("short") / "capacity-x", patch, takes=10.0)


@pytest.fixture
def search(short: Path, tmp_path: Path) -> Path:
    return shutil.copytree(short, tmp_path / "capacity-x")


def content_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / NAME).read_text())
    return content


def write(folder: Path, content: Any) -> None:
    (folder / NAME).write_text(json.dumps(content))


def command(path: Path) -> tuple[int, list[str]]:
    assert registered.verify.__name__ == "verify"
    done = CliRunner().invoke(app, ["verify", str(path)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output.splitlines()


def test_a_search_agrees_with_its_runs(whole: Path) -> None:
    content = content_of(whole)
    assert content["status"] == "complete"
    assert content["limits"][0]["kind"] == "found"
    assert content["usl"]["rate"] is not None
    found = verify(whole)
    assert found.disagreements == []
    assert found.compared[NAME] > 300
    assert found.compared["the trials' own files"] > 1_000
    assert found.compared["the trials' loads"] == 4 * len(content["trials"])
    assert found.compared["votes counted again"] == 4
    assert found.compared["capacity.html"] > 100
    assert conclusion(found) == "all agree"


def test_the_command_says_that_a_search_agrees(search: Path) -> None:
    code, lines = command(search)
    assert (code, lines[-1]) == (0, "all agree")


@pytest.mark.parametrize(
    "more",
    [
        {"goals": (GOAL, "delivery.loss < 1%")},
        {"refuses_from": 90.0},
        {"takes": 1e9},
        {"low": None, "high": None, "takes": 150.0},
    ],
)
def test_searches_of_every_end_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    # A precision of 0.2 saves time: the search has fewer trials than with 0.05, but of the same kinds.
    folder = made_up_search(tmp_path / "capacity-x", monkeypatch, precision=0.2, **more)
    assert verify(folder).disagreements == []


@pytest.mark.parametrize("status", ["budget", "interrupted", "running"])
def test_a_search_that_ended_before_its_time_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    real = Search._make

    def make(self: Search, ask: Any) -> None:
        if len(self.trials) < 2:
            real(self, ask)
        elif status == "budget":
            monkeypatch.setattr("loadgen.capacity.conduct.time.monotonic_ns", lambda: 10**30)
            object.__setattr__(self._request, "budget_ns", 1)
            real(self, ask)
        elif status == "interrupted":
            raise KeyboardInterrupt
        else:
            raise SystemExit

    monkeypatch.setattr(Search, "_make", make)
    if status == "running":
        with pytest.raises(SystemExit):
            made_up_search(tmp_path / "capacity-x", monkeypatch)
    else:
        made_up_search(tmp_path / "capacity-x", monkeypatch)
    assert content_of(tmp_path / "capacity-x")["status"] == status
    assert verify(tmp_path / "capacity-x").disagreements == []


#: Values in a search's record that cannot be recomputed: they were given to the search, or say where its files are.
GIVEN = ("format", "made_by", "status", "request", "short_ns", "full_ns", "unit", "plan.start", "plan.proof")


def test_any_value_that_was_changed_is_named(search: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change only values in the search's record; other tests change the files of runs."""
    monkeypatch.setattr(check, "verify", lambda *_: Verification())
    monkeypatch.setattr(capacity, "load_run", cache(load_run))
    whole = content_of(search)
    tried = 0
    for steps in leaves(whole):
        path = shown(steps)
        if path.startswith(GIVEN) or steps[-1] == "folder" or (steps[0] == "trials" and steps[1] != 0):
            continue
        other = json.loads(json.dumps(whole))
        at = other
        for step in steps[:-1]:
            at = at[step]
        value = at[steps[-1]]
        if isinstance(value, dict | list):
            continue
        at[steps[-1]] = (
            not value
            if isinstance(value, bool)
            else f"{value} x"
            if isinstance(value, str)
            else 7
            if value is None
            else value + 1
        )
        write(search, other)
        tried += 1
        said = verify(search).disagreements
        assert any(line.startswith(f"{NAME}: {path} is ") for line in said) or any(
            line.startswith(("trial 1 (", f"{NAME}: trial ")) for line in said
        ), (path, said)
    assert tried > 50


def test_a_vote_that_was_turned_round_is_named_with_the_limit_that_comes_of_it(search: Path) -> None:
    content = content_of(search)
    content["trials"][0]["votes"] = ["passed"]
    write(search, content)
    found = verify(search)
    assert f'{NAME}: trials.0.votes.0 is "passed", and "failed" by the tables' in found.disagreements
    content = content_of(search)
    content["trials"][0]["votes"] = ["failed"]
    content["limits"][0] |= {"lower": 30.0, "lower_votes": [2, 0], "kind": "found"}
    write(search, content)
    code, lines = command(search)
    assert code == 3
    assert f"{NAME}: limits.0.lower is 30.0, and null by the tables" in lines
    assert lines[-1] == "3 disagree"


def test_tables_that_were_changed_and_folders_that_were_swapped_are_found(
    whole: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(whole, tmp_path / "capacity-x")
    trials = folder / "trials"
    (trials / "001").rename(trials / "x")
    (trials / "002").rename(trials / "001")
    (trials / "x").rename(trials / "002")
    found = verify(folder)
    said = f"the run had a load of 40 events/s, and {NAME} says 20"
    assert any(line.endswith(said) for line in found.disagreements), found.disagreements
    (run,) = (trials / "003").glob("*/")
    (run / "summary.json").write_text("{")
    assert any(
        line == f"trials/003/{run.name}: summary.json cannot be read: it is not JSON from line 1 on"
        for line in verify(folder).disagreements
    )


def test_a_run_that_is_gone_is_not_there_and_the_rest_is_verified(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "capacity-x")
    for name in ("002", "003", "005"):
        shutil.rmtree(folder / "trials" / name)
    found = verify(folder)
    assert found.disagreements == []
    assert found.absent == [f"run of trials/{name}" for name in ("002", "003", "005")]
    assert conclusion(found).startswith("all that is there agrees; 3 ")
    assert any("what capacity.json says of these trials is believed" in note for note in found.notes)
    assert command(folder)[0] == 0
    content = content_of(folder)
    content["limits"][0]["lower_votes"] = [3, 0]
    write(folder, content)
    assert not verify(folder).agrees


def test_a_search_of_an_older_version_agrees_and_is_named(search: Path) -> None:
    content = content_of(search)
    del content["made_by"]
    del content["usl"]["confidence"]
    write(search, content)
    found = verify(search)
    assert found.disagreements == []
    assert found.absent == [f"{NAME}: usl.confidence"]
    assert found.notes[0].startswith(f"{NAME} was made by an older version (a version from before revisions")
    assert conclusion(found).endswith(f"`loadgen capacity --resume {search}` makes them")


def test_a_page_that_was_changed_is_found(search: Path) -> None:
    page = search / "capacity.html"
    page.write_text(page.read_text().replace("less than 20 events/s", "less than 30 events/s"))
    (said,) = verify(search).disagreements
    assert said.startswith("capacity.html: it is 30 where it is 20 by the tables, after “load: less than”")
    page.write_bytes(b"\xff")
    assert verify(search).disagreements == ["capacity.html cannot be read: it is not UTF-8"]
    page.unlink()
    assert command(search)[0] == 0


def test_without_the_scenario_the_commands_are_left_out(search: Path) -> None:
    content = content_of(search)
    content["request"]["scenario"] = "/nowhere/x.yaml"
    write(search, content)
    (search / "capacity.html").unlink()
    found = verify(search)
    assert found.disagreements == []
    assert any("the commands of the trials are not compared" in note for note in found.notes)


def _with(path: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    def changed(content: dict[str, Any]) -> Any:
        at: Any = content
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        for step in steps:
            at = at[step]
        at[last] = value
        return content

    return changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: [], "holds no JSON object"),
        (lambda _: {}, "is not of format 1"),
        (lambda _: {"format": 1}, "is damaged: status: Field required"),
        (_with("request", 1), "is damaged: request"),
        (_with("request.axis", "colour"), "is damaged: 'colour' is not a valid Axis"),
        (_with("request.goals", ["delivery.latency <"]), "is damaged"),
        (_with("plan.low", "x"), "is damaged: plan.low"),
        (_with("trials", [{}]), "is damaged: trials.0.load"),
        (_with("trials.0.load", None), "is damaged: trials.0.load"),
        (_with("trials.0.folder", "../../.."), "trial 1 is not in its folder"),
        (_with("trials.0.folder", "/etc"), "trial 1 is not in its folder"),
        (_with("status", "done"), "is damaged: status"),
    ],
)
def test_a_damaged_record_is_said_in_a_sentence(
    search: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    write(search, change(content_of(search)))
    code, lines = command(search)
    assert (code, len(lines)) == (2, 1), lines
    assert said in lines[0]


def test_odd_numbers_end_in_a_sentence(search: Path) -> None:
    for path, value in (
        ("trials.0.load", float("nan")),
        ("trials.0.load", -1),
        ("trials.0.load", 0),
        ("plan.precision", -1),
        ("plan.low", 0),
        ("limits", 7),
        ("usl", []),
        ("trials.0.votes", 5),
        ("short_ns", 10**30),
    ):
        shutil.copy(search / NAME, search / "kept")
        write(search, _with(path, value)(content_of(search)))
        code, lines = command(search)
        assert code in (2, 3), (path, value, lines)
        shutil.move(search / "kept", search / NAME)
    for broken in (b"", b'{"format": 1,', b"\xff", b"[" * 100_000):
        (search / NAME).write_bytes(broken)
        code, lines = command(search)
        assert (code, len(lines)) == (2, 1)


def test_a_trial_whose_run_has_a_damaged_record_is_said_in_a_sentence(search: Path) -> None:
    (manifest,) = (search / "trials" / "001").glob("*/manifest.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "workers": 3}))
    code, lines = command(search)
    assert (code, len(lines)) == (2, 1)
    assert "holds a damaged record" in lines[0]


def test_a_mistake_in_counting_votes_would_be_found(search: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = content_of(search)
    content["limits"][0]["upper_votes"] = [0, 4]
    write(search, content)
    named = conduct.named
    monkeypatch.setattr(
        conduct,
        "named",
        lambda goals, limits: [{**each, "upper_votes": [0, 4]} for each in named(goals, limits)],
    )
    (said,) = verify(search).disagreements
    assert said.startswith(f"{NAME}: at 20 the trials have the votes [0, 2], and the limit says [0, 4]")
