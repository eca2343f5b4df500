"""Test how a comparison of services prepares its runs."""

import shlex
from pathlib import Path

import pytest

from analysis.choose import record
from loadgen.choose.conduct import Comparison
from loadgen.choose.services import wanted
from loadgen.config.problems import ScenarioError
from loadgen.planning.services.load import Month


def test_a_problem_of_the_scenario_itself_is_told_once(tmp_path: Path) -> None:
    comparison = Comparison(
        "broadcast",
        ("clients.nobody.count=3",),
        tmp_path / "folder",
        month=Month(),
        month_said="",
        prices=(),
    )
    with pytest.raises(ScenarioError) as error:
        comparison.prepare(wanted(["appsync-events", "api-gateway"]))
    assert len(error.value.problems) == 1
    assert "clients.nobody is not in the scenario" in error.value.problems[0]
    assert not (tmp_path / "folder").exists()


def test_the_command_to_repeat_a_run_starts_the_service_again(tmp_path: Path) -> None:
    comparison = Comparison(
        "broadcast", ("clients.audience.count=5",), tmp_path, month=Month(), month_said="", prices=()
    )
    comparison.prepare(
        wanted(
            [
                "appsync-events --set seed=2",
                "mqtt?qos=0",
                "mqtt://127.0.0.1:1883 --auth password:USER:PASSWORD",
            ]
        )
    )
    commands = [tried.command for tried in record.read(tmp_path).services]
    again = "loadgen choose broadcast --set clients.audience.count=5 --service"
    assert commands[0] == f"{again} 'appsync-events --set seed=2'"
    assert commands[1] == f"{again} 'mqtt?qos=0'"
    assert commands[2].startswith(
        "loadgen run broadcast --set clients.audience.count=5 --target mqtt://127.0.0.1"
    )
    for command in commands[:2]:
        words = shlex.split(command)
        assert wanted([words[-1]])[0].local == ("appsync-events" if "appsync" in command else "mqtt")
