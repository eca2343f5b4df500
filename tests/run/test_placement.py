"""Test in which folder a run is stored."""

from pathlib import Path

import pytest

from analysis.record.folders import runs_in
from loadgen.exits import ExitCode, RunError
from loadgen.run.placement import LATEST, Placement

BASE = "20260101-000000Z-chat"


def placed(place: Placement, base: str = BASE) -> tuple[Path, list[str]]:
    names: list[str] = []
    made = place.make()
    (made / "manifest.json").write_text("{}")
    return place.settle(made, base, names.append), names


def test_a_run_is_named_and_the_newest_is_linked(tmp_path: Path) -> None:
    place = Placement(tmp_path / "deep" / "results")
    first, names = placed(place)
    assert (first, names) == (place.results / BASE, [BASE])
    assert (place.results / LATEST).resolve() == first
    second, names = placed(place)
    assert (second.name, names) == (f"{BASE}-2", [f"{BASE}-2"])
    assert (place.results / LATEST).readlink() == Path(second.name)
    assert runs_in(place.results) == [first, second]
    assert {path.name for path in place.results.iterdir()} == {BASE, f"{BASE}-2", LATEST}


def test_a_folder_that_is_called_latest_stays(tmp_path: Path) -> None:
    (tmp_path / LATEST).mkdir()
    placed(Placement(tmp_path))
    assert (tmp_path / LATEST).is_dir()
    assert not (tmp_path / LATEST).is_symlink()


def test_a_link_that_points_nowhere_is_replaced(tmp_path: Path) -> None:
    (tmp_path / LATEST).symlink_to("gone")
    made, _ = placed(Placement(tmp_path))
    assert (tmp_path / LATEST).resolve() == made


@pytest.mark.parametrize("there", [False, True])
def test_an_output_is_exactly_there(tmp_path: Path, there: bool) -> None:
    output = tmp_path / "a" / "b c"
    if there:
        output.mkdir(parents=True)
    made, names = placed(Placement(tmp_path / "results", output))
    assert (made, names) == (output, [BASE])
    assert not (tmp_path / "results").exists()
    assert [path.name for path in output.parent.iterdir()] == ["b c"]


def _full(path: Path) -> None:
    path.mkdir()
    (path / "notes").write_text("mine")


@pytest.mark.parametrize(
    "taken",
    [_full, lambda path: path.write_text("mine"), lambda path: path.symlink_to("elsewhere")],
    ids=["folder", "file", "link"],
)
def test_what_is_there_already_is_refused_and_kept(tmp_path: Path, taken: object) -> None:
    output = tmp_path / "out"
    taken(output)  # type: ignore[operator]
    with pytest.raises(RunError, match="exists and is not an empty folder") as caught:
        Placement(tmp_path / "results", output).make()
    assert caught.value.code is ExitCode.USAGE
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_place_that_is_taken_while_a_run_begins_is_refused_too(tmp_path: Path) -> None:
    output = tmp_path / "out"
    place = Placement(tmp_path, output)
    made = place.make()
    _full(output)
    with pytest.raises(RunError, match="exists and is not an empty folder"):
        place.settle(made, BASE, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_cannot_be_made_is_told_by_its_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--output"):
        Placement(tmp_path, tmp_path / "file" / "run").check()
    with pytest.raises(RunError, match="--results"):
        Placement(tmp_path / "file").check()
