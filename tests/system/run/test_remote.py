"""Test that no load leaves this machine without permission; tests/cli/test_launch.py tests other cases of this."""

from pathlib import Path

from tests.run.test_remote import REMOTE, SAID
from tests.system.harness import loadgen
from tests.system.users.player import Player


def test_what_starts_runs_in_turns_refuses(tmp_path: Path) -> None:
    done = loadgen("ab", " ".join(("comments", *REMOTE)), "comments", "--results", str(tmp_path / "results"))
    assert done.code == 2, done.said
    assert [line for line in done.err.splitlines() if line] == [f"loadgen: {SAID}"]
    assert not list(tmp_path.rglob("manifest.json"))


def test_a_search_refuses(tmp_path: Path, commands: Player) -> None:
    arguments = ("capacity", "comments", "--slo", "delivery.loss == 0", *REMOTE)
    done = commands.command(tmp_path, "loadgen", *arguments, "--results", str(tmp_path / "results"))
    assert done.code == 2, done.said
    more = ", and a search makes many of them, most with a load of their own"
    assert [line for line in done.err.splitlines() if line] == [f"loadgen: {SAID}{more}"]
    assert not list(tmp_path.rglob("manifest.json"))


def test_plain_locust_refuses(tmp_path: Path, commands: Player) -> None:
    arguments = ("-f", "locustfile.py", "--headless", *REMOTE, "--results", str(tmp_path))
    done = commands.command(tmp_path, "locust", *arguments)
    assert done.code == 2, done.err
    assert f"loadgen: {SAID}" in done.err
    assert "Traceback" not in done.err
