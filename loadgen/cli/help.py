"""The help pages: plain text in groups, as wide as the terminal, without truncated texts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from loadgen.cli.commands import GROUPS
from loadgen.run.option import Panel

#: Settings of every command. The maximum width keeps lines of text readable.
SETTINGS: Final[Mapping[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
_ARGUMENTS: Final = "Arguments"
_OPTIONS: Final = "Options"
#: The groups of options in the order of the help page. Options without a group, such as --help, follow the groups of a
#: run's options; groups of a single command follow them.
_ORDER: Final = (_ARGUMENTS, *(panel.value for panel in Panel), _OPTIONS)
#: Maximum width of the first column (the names); the description of an option with longer names begins below.
_COLUMN: Final = 26
_KINDS: Final = {
    "<int>": "NUMBER",
    "<int range>": "NUMBER",
    "<float>": "NUMBER",
    "<float range>": "NUMBER",
    "<str>": "TEXT",
    "<path>": "PATH",
}


class Command(TyperCommand):
    """A command whose help lists the options in the groups that they name (``rich_help_panel``)."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line after the command's name."""
        return ["[OPTIONS]", *(_argument(each) for each in self.get_params(ctx) if _is_argument(each))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options."""
        _write_parameters(self.get_params(ctx), ctx, formatter)


class Group(TyperGroup):
    """A command with subcommands; the help lists those of `loadgen` itself in groups."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in the order of the help."""
        order = [name for names in GROUPS.values() for name in names]
        return sorted(self.commands, key=lambda name: order.index(name) if name in order else len(order))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options."""
        names = [name for name in self.list_commands(ctx) if not self.commands[name].hidden]
        groups = _grouped(names)
        width = max(map(len, names), default=0)
        for title, of_title in groups.items():
            with formatter.section(title):
                room = formatter.width - width - 4
                # Pad all names to one width, so that the columns of every group of commands align.
                formatter.write_dl(
                    [(f"{name:<{width}}", self.commands[name].get_short_help_str(room)) for name in of_title]
                )
        _write_parameters(self.get_params(ctx), ctx, formatter)


class Application(typer.Typer):
    """A Typer application with the help pages of this module."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=Group, rich_markup_mode=None, context_settings=dict(SETTINGS), **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Register a command, as `typer.Typer.command` does."""
        return super().command(name, **{"cls": Command} | settings)


def _grouped(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of commands by the title of their group; subcommands are in no group."""
    found: dict[str, list[str]] = {}
    for name in names:
        title = next((title for title, of_title in GROUPS.items() if name in of_title), "Commands")
        found.setdefault(title, []).append(name)
    return found


def _write_parameters(parameters: Iterable[Any], ctx: Any, formatter: Any) -> None:
    groups: dict[str, list[tuple[str, str]]] = {}
    for each in parameters:
        if _is_argument(each):
            groups.setdefault(_ARGUMENTS, []).append((_name(each), each.help or ""))
        elif (record := each.get_help_record(ctx)) is not None:
            names, meaning = record
            groups.setdefault(each.rich_help_panel or _OPTIONS, []).append((_plain(names), meaning))
    for title in sorted(groups, key=lambda title: _ORDER.index(title) if title in _ORDER else len(_ORDER)):
        with formatter.section(title):
            formatter.write_dl(groups[title], col_max=_COLUMN)


def _plain(names: str) -> str:
    """Return an option's names with a readable kind of value, such as NUMBER in place of `<int>`."""
    for kind, ours in _KINDS.items():
        names = names.replace(kind, ours)
    return names


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _argument(argument: Any) -> str:
    name = _name(argument) + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"
