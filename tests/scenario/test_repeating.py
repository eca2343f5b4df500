"""Test taking the scenario of a run from its record, and the cases in which that is not possible."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.planning.catalogue import portrait
from loadgen.resolve.loading import load
from loadgen.scenario import ScenarioError
from loadgen.scenario.loading import find
from loadgen.scenario.repeating import is_run, scenario_of, target_of
from tests.scenario.shipped import SHIPPED


def recorded(folder: Path, scenario: Any, target: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(
        json.dumps({"scenario": scenario, "target": target or {"embedded": True}})
    )
    return folder


@pytest.mark.parametrize("name", [each.name for each in SHIPPED])
def test_a_run_is_repeated_as_it_was_or_refused_for_what_it_lacks(name: str, tmp_path: Path) -> None:
    first = load(name, {"seed": "77"})
    run = recorded(tmp_path / "a run", first.resolved())
    assert is_run(run)
    needs = any(group.users is not None for group in first.clients.values()) or first.data
    if needs:
        with pytest.raises(ScenarioError, match="which a record does not hold; run the scenario's own file"):
            load(str(run))
        return
    again = load(str(run))
    assert again.resolved() == first.resolved()
    assert again.seed == 77
    assert load(str(run), {"phases.measure": "3s"}).phases.measure_ns == 3_000_000_000
    assert portrait(str(run), run).run.totals.clients > 0


def test_a_run_in_the_working_folder_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(tmp_path / "mine", load("chat").resolved())
    monkeypatch.chdir(tmp_path)
    assert find("mine") == Path("mine")
    with pytest.raises(ScenarioError, match="there is no scenario 'other'"):
        find("other")


def test_the_target_is_told_unless_it_was_the_embedded_server(tmp_path: Path) -> None:
    url = "https://a.example/event"
    assert target_of(recorded(tmp_path, {}, {"embedded": False, "url": url})) == url
    assert target_of(recorded(tmp_path, {}, {"embedded": True, "url": url})) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[1]", "no record of a run"),
        ("{}", "it has no scenario"),
        ('{"scenario": {"version": 1, "nonsense": 2}}', "nonsense"),
        ('{"scenario": {"version": 1, "name": "../../etc"}}', "name must be"),
        (" " * 17_000_000, "larger than 16 MB"),
    ],
)
def test_a_damaged_record_is_refused_in_a_sentence(content: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ScenarioError, match=problem) as caught:
        load(str(tmp_path))
    assert "manifest.json" in str(caught.value)


def test_the_record_is_read_once_and_anew_once_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    plain = Path.read_text

    def counted(self: Path, *given: Any, **named: Any) -> str:
        read.append(self)
        return plain(self, *given, **named)

    run = recorded(tmp_path / "run", {"version": 1, "name": "a"}, {"url": "http://one/event"})
    monkeypatch.setattr(Path, "read_text", counted)
    assert target_of(run) == "http://one/event"
    scenario_of(run)["name"] = "spoiled by its caller"
    assert scenario_of(run)["name"] == "a"
    assert read == [run / "manifest.json"]
    recorded(run, {"version": 1, "name": "longer"}, {"url": "http://another/event"})
    assert (target_of(run), scenario_of(run)["name"]) == ("http://another/event", "longer")
    assert len(read) == 2
