"""Test the files that a user starts from: each is valid, has the chosen load, and replaces no file."""

import ast
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.planning.catalogue import portrait
from loadgen.scenario import ScenarioError
from loadgen.scenario.starting import Kind, starter, write


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(Kind), st.integers(1, 5_000), st.integers(1, 5_000))
def test_a_scenario_has_the_clients_and_the_rate_that_were_asked_for(
    kind: Kind, clients: int, rate: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mine.yaml"
        write(file, starter(file, kind, clients, rate))
        found = portrait(str(file), file)
    assert found.scenario.name == "mine"
    assert found.run.totals.subscriptions == clients
    assert found.events.peak == pytest.approx(rate)
    if found.deliveries is not None:
        reached = {Kind.BROADCAST: clients, Kind.ROOMS: clients / max(1, clients // 20), Kind.FEEDS: 1.0}[
            kind
        ]
        assert found.deliveries.peak == pytest.approx(rate * reached, rel=0.05)


def test_the_text_names_the_file_in_its_commands() -> None:
    for kind in Kind:
        assert "loadgen run my-feed.yaml" in starter(Path("deep/my-feed.yaml"), kind, 10, 10)
    text = starter(Path("me.py"), Kind.ROOMS, 12, 10)
    assert "loadgen run me.py --users 12" in text
    assert ast.get_docstring(ast.parse(text))


def test_nothing_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, "mine")
    with pytest.raises(ScenarioError, match=r"a\.yaml: this file exists"):
        write(file, "other")
    assert file.read_text() == "mine"
    with pytest.raises(ScenarioError, match="cannot be written"):
        write(tmp_path / "none" / "a.yaml", "x")
