"""Test copying a scenario of the catalogue together with its files."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import loadgen.cli.scenarios  # noqa: F401  registers the command
from loadgen.cli.app import app
from loadgen.paths import bundle
from loadgen.resolve.loading import load
from loadgen.scenario import ScenarioError
from loadgen.scenario.copying import copy


def test_a_copy_has_every_file_and_is_a_scenario(tmp_path: Path) -> None:
    copied = copy("private-feeds", tmp_path / "mine")
    assert {path.relative_to(tmp_path / "mine").as_posix() for path in copied} == {
        "private-feeds.yaml",
        *(f"private-feeds/{name}" for name in ("api.yaml", "handlers.py", "people.csv")),
    }
    assert load(str(copied[0])).data["people"].first == 500
    with pytest.raises(ScenarioError, match="this file exists; copy into another folder"):
        copy("private-feeds", tmp_path / "mine")


def test_keys_and_compiled_files_stay_behind(tmp_path: Path) -> None:
    shutil.copytree(bundle("scenarios") / "private-feeds", tmp_path / "x")
    (tmp_path / "x.yaml").write_text("version: 1\n")
    for name in ("signing.pem", "jwks.json", "__pycache__/handlers.pyc"):
        (tmp_path / "x" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "x" / name).write_text("")
    copied = copy(str(tmp_path / "x.yaml"), tmp_path / "y")
    assert sorted(path.name for path in copied) == ["api.yaml", "handlers.py", "people.csv", "x.yaml"]


def test_the_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["scenarios", "comments", "--copy", str(tmp_path)])
    assert (done.exit_code, done.output.strip()) == (0, str(tmp_path / "comments.yaml"))
    for arguments, why in (
        (["scenarios", "comments", "--copy", str(tmp_path)], "this file exists"),
        (["scenarios", "--copy", str(tmp_path)], "name the scenario to copy"),
        (["scenarios", "no-such", "--copy", str(tmp_path)], "there is no scenario 'no-such'"),
    ):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2
        assert why in done.output
