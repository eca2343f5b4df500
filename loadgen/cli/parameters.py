"""Typer's parameters for the options of a run, made from the table in `loadgen.run.options`."""

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from loadgen.run.options import ENTRIES, Entry, RunOptions

_METAVARS: Final = {int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "PATH"}


def parameter(name: str, **other: Any) -> Any:
    """Return Typer's description of the option with this name in `loadgen.run.options`, to use in an annotation.

    ``other`` replaces settings of the option, such as ``help``.
    """
    entry = ENTRIES[name]
    option = entry.option
    settings: dict[str, Any] = {"help": option.help, "metavar": option.metavar or _METAVARS.get(entry.type)}
    if option.argument:
        return typer.Argument(**settings | other)
    settings["rich_help_panel"] = option.panel.value
    # Help does not show the default of a switch that is off by default.
    settings |= {"min": option.minimum, "max": option.maximum, "show_default": entry.default is not False}
    return typer.Option(_flags(entry), **settings | other)


def takes_run_options(command: Callable[[RunOptions], None]) -> Callable[..., None]:
    """Return a command for Typer that has all options of a run and passes them to ``command`` as `RunOptions`."""

    @wraps(command)
    def called(**given: Any) -> None:
        command(RunOptions(**{name: _value(ENTRIES[name], value) for name, value in given.items()}))

    # Typer reads a command's parameters from its signature.
    called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_for_typer(entry) for entry in ENTRIES.values()]
    )
    return called


def arguments(**given: Any) -> tuple[str, ...]:
    """Return the words of a `loadgen run` command line for options, given by their names in `loadgen.run.options`.

    An option and its value are two words. An option that is false, empty or at its default is left out.
    """
    return tuple(word for name, value in given.items() for word in _words(ENTRIES[name], value))


def _words(entry: Entry, value: Any) -> Iterator[str]:
    if not value or value == entry.default:
        return
    if entry.type is bool:
        yield entry.flag
        return
    for each in value if entry.repeatable else [value]:
        yield from (entry.flag, str(each))


def _value(entry: Entry, value: Any) -> Any:
    """Return a given value in the form that `RunOptions` expects: a list if the option is repeatable.

    Raises:
        BadParameter: the value is `--`, which argparse in the Locust process would drop.
    """
    values = list(value or ()) if entry.repeatable else [value]
    if "--" in map(str, values):
        name = entry.name if entry.option.argument else entry.flag
        raise typer.BadParameter("'--' is not a value", param_hint=f"'{name}'")
    return values if entry.repeatable else value


def _flags(entry: Entry) -> str:
    return f"{entry.flag}/--no-{entry.flag.removeprefix('--')}" if entry.option.negatable else entry.flag


def _for_typer(entry: Entry) -> inspect.Parameter:
    kind: Any = list[entry.type] if entry.repeatable else entry.type  # type: ignore[name-defined]
    return inspect.Parameter(
        entry.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=entry.default,
        annotation=Annotated[kind if entry.default is not None else kind | None, parameter(entry.name)],
    )
