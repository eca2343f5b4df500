"""Test that a command's module is imported only if the command is run, help is shown or the command line is wrong."""

import subprocess
import sys

import pytest

from loadgen.cli import commands

_SHOW = """
import sys
from loadgen.cli import commands
app = commands.load({arguments!r})
names = [command.name or command.callback.__name__ for command in app.registered_commands]
names += [group.name for group in app.registered_groups]
print(*names)
print(*sorted(name for name in sys.modules if name.startswith("loadgen.cli.")))
"""


def _loaded(*arguments: str) -> tuple[set[str], set[str]]:
    """Start the application in a new process; return its commands and the modules of `loadgen.cli` that it imports."""
    names, modules = subprocess.run(
        [sys.executable, "-c", _SHOW.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    own = {name.removeprefix("loadgen.cli.") for name in modules.split()} - {"app", "commands"}
    return set(names.split()), own


def test_a_run_loads_no_other_command() -> None:
    names, modules = _loaded("run", "comments")
    assert names == set(commands.ALWAYS)
    assert not modules & set(commands.COMMANDS)


def test_a_command_loads_its_own_module() -> None:
    names, modules = _loaded("history", "results")
    assert names == {*commands.ALWAYS, "compare", "baseline", "history", "ab"}
    assert modules & set(commands.COMMANDS) == {"compare"}


@pytest.mark.parametrize("arguments", [(), ("--help",), ("capcity",), ("--verbose", "run")])
def test_help_and_mistakes_know_every_command(arguments: tuple[str, ...]) -> None:
    names, _ = _loaded(*arguments)
    assert names == {*commands.ALWAYS, *(name for each in commands.COMMANDS.values() for name in each)}
