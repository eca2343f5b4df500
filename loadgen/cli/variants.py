"""Check the arguments of several runs before the first of them is made."""

import shlex
from typing import Any, Final

import typer

from loadgen.cli import users_files
from loadgen.cli.app import app
from loadgen.config.problems import ScenarioError

#: The parser's class of usage errors, from Typer's own copy of click or from the package click.
_UsageError: Final[Any] = typer.BadParameter.__base__


def problem(said: str) -> str | None:
    """Return the error in ``said``, the arguments of a `loadgen run`, or None if they are valid. Nothing is run.

    A locustfile, a target and a login are checked only by the run itself.
    """
    from loadgen.resolve.resolver import planned

    group: Any = typer.main.get_command(app)
    try:
        given = group.commands["run"].make_context("run", shlex.split(said)).params
    except _UsageError as error:
        return str(error.format_message())
    except ValueError as error:
        return f"{said!a} cannot be split into arguments: {error}"
    scenario = given["scenario"]
    if scenario is None:
        return f"{said!a} names no scenario"
    if users_files.is_locustfile(scenario):
        return None
    try:
        planned(scenario, given["overrides"] or (), given["target"])
    except ScenarioError as error:
        return str(error)
    return None
