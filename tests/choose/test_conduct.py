"""Test how a comparison of services prepares its runs."""

from pathlib import Path

import pytest

from loadgen.choose.conduct import Comparison
from loadgen.choose.services import wanted
from loadgen.config.problems import ScenarioError
from loadgen.planning.services.load import Month


def test_a_problem_of_the_scenario_itself_is_told_once(tmp_path: Path) -> None:
    comparison = Comparison(
        "broadcast",
        ("clients.nobody.count=3",),
        tmp_path,
        month=Month(),
        month_said="",
        prices=(),
    )
    with pytest.raises(ScenarioError) as error:
        comparison.prepare(wanted(["appsync-events", "api-gateway"]))
    assert len(error.value.problems) == 1
    assert "clients.nobody is not in the scenario" in error.value.problems[0]
