"""The page on the command line: each command with its arguments, options and exit codes, from the command's parser."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from writing import attribute_docs, code, head, prose, table

import loadgen.cli
from loadgen.cli.app import app
from loadgen.exits import ExitCode


def page() -> str:
    """Return the page."""
    group = command()
    context = typer.Context(group, info_name="loadgen")
    parts = [
        head("The command line", "`loadgen/cli`"),
        "`loadgen COMMAND --help` prints the same in the terminal. [Units](scenario-file.md#units) explains how to"
        " write times, sizes and rates.\n",
        "## Exit codes\n",
        "Exit codes of `loadgen run`. Commands whose codes differ list them below.\n",
        table(
            ("code", "name", "meaning"),
            [(str(int(each)), code(each.name), prose(_MEANINGS[each.name])) for each in ExitCode],
        ),
    ]
    for path, each in _commands(group, ()):
        parts += _section(" ".join(("loadgen", *path)), each, context)
    return "\n".join(parts)


def command() -> Any:
    """Import all modules of `loadgen.cli`, and return the command group with all commands."""
    for module in pkgutil.iter_modules(loadgen.cli.__path__):
        importlib.import_module(f"loadgen.cli.{module.name}")
    return typer.main.get_command(app)


_MEANINGS = attribute_docs(ExitCode)


def _commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, each in sorted(group.commands.items()):
        if each.hidden:
            continue
        if hasattr(each, "commands"):
            yield from _commands(each, (*path, name))
        else:
            yield (*path, name), each


def _section(name: str, each: Any, parent: Any) -> list[str]:
    context = type(parent)(each, info_name=name.split(maxsplit=1)[1], parent=parent)
    known = inspect.signature(each.callback, eval_str=True).parameters
    arguments = [p for p in each.params if p.param_type_name == "argument"]
    options = [p for p in each.params if p.param_type_name == "option" and not p.hidden]
    usage = [name, "[OPTIONS]" if options else "", *(_argument(p) for p in arguments)]
    parts = [f"## {name}\n", f"```text\n{' '.join(filter(None, usage))}\n```\n"]
    parts += [prose(paragraph) + "\n" for paragraph in (each.help or "").split("\n\n")]
    if arguments:
        meanings = [(code(p.name.upper()), _help(p, known[p.name].annotation)) for p in arguments]
        parts.append(table(("argument", "meaning"), meanings))
    if options:
        found = [(p, known[p.name].annotation) for p in options if p.name in known]
        rows = [
            (_names(p, annotation), _default(p, context), _help(p, annotation)) for p, annotation in found
        ]
        parts.append(table(("option", "default", "meaning"), rows))
    return parts


def _argument(parameter: Any) -> str:
    name = parameter.name.upper() + ("..." if parameter.nargs != 1 else "")
    return name if parameter.required else f"[{name}]"


def _names(parameter: Any, annotation: Any) -> str:
    names = ", ".join(code(name) for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.is_flag:
        return names
    kinds = {int: "NUMBER", float: "NUMBER", Path: "PATH"}
    shown = parameter.metavar or next((kinds[kind] for kind in _types(annotation) if kind in kinds), "TEXT")
    if any(issubclass(kind, Enum) for kind in _types(annotation)):
        shown = "CHOICE"
    return f"{names} {code(shown)}"


def _default(parameter: Any, context: Any) -> str:
    if isinstance(parameter.show_default, str):
        return code(parameter.show_default)
    value = parameter.get_default(context, call=False)
    if parameter.is_flag or value is None or value in ((), [], ""):
        return ""
    return code(f"{value:g}" if isinstance(value, float) else getattr(value, "value", value))


def _help(parameter: Any, annotation: Any) -> str:
    text = prose(parameter.help or "")
    for kind in _types(annotation):
        if issubclass(kind, Enum) and not all(str(each.value) in text for each in kind):
            text += " One of " + ", ".join(code(each.value) for each in kind) + "."
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if low is not None and high is not None:
        text += f" From {low:,} to {high:,}."
    elif low is not None and low > 0:
        text += f" At least {low:,}."
    if getattr(parameter, "multiple", False) and "repeatable" not in text:
        text += " Repeatable."
    if parameter.envvar:
        text += f" Environment: {code(parameter.envvar)}."
    return text


def _types(annotation: Any) -> Iterator[type]:
    """Yield the plain types in an annotation."""
    if get_origin(annotation) is Annotated:
        yield from _types(get_args(annotation)[0])
    elif get_args(annotation):
        for each in get_args(annotation):
            yield from _types(each)
    elif isinstance(annotation, type):
        yield annotation
