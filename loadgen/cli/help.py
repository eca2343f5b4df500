"""The help pages: plain text in groups, as wide as the terminal, without truncated texts."""

import re
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
#: The order of the groups on a help page: arguments, the groups of a run's options, then options without a group, such
#: as --help. Groups that are not in this list come last.
_ORDER: Final = (_ARGUMENTS, *(panel.value for panel in Panel), _OPTIONS)
#: Maximum width of the first column, which has the names. If an option's names are longer, its description begins on
#: the next line.
_COLUMN: Final = 27
_KINDS: Final = {
    "<int>": "NUMBER",
    "<int range>": "NUMBER",
    "<float>": "NUMBER",
    "<float range>": "NUMBER",
    "<str>": "TEXT",
    "<path>": "PATH",
}
_CHOICES: Final = re.compile(r"<(?:list\[)?([^<>\[\]]*\|[^<>\[\]]*)\]?>")
_NUMBER: Final = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
#: Default and limits as Typer writes them at the end of a description, such as `[default: 24.0; 0.01<=x<=24]`.
_EXTRA: Final = re.compile(r"  \[([^\[\]]*)\]$")
_LIMITS: Final = re.compile(rf"(?:(?P<low>{_NUMBER})<=)?x(?P<side>[<>]=)(?P<limit>{_NUMBER})")
_DEFAULT: Final = re.compile(rf"default: (?P<number>{_NUMBER})(?=;|$)")
#: A default that is given as text, which Typer puts in parentheses.
_TEXT_DEFAULT: Final = re.compile(r"^default: \((.*)\)$")
#: The one limit that the help does not print: users expect that a number is at least 0.
_NONNEGATIVE: Final = "at least 0"
#: Characters put in place of hyphens and of spaces in code while text is broken into lines, so that no line is broken
#: there.
_HYPHEN: Final = "\u2011"
_SPACE: Final = "\u00a0"
#: Code between two backticks. All code is matched, so that the end of one is not taken for the beginning of another.
_CODE: Final = re.compile(r"`[^`]*`")
#: Code of at most this many characters stays on one line. It fits beside the names in a terminal of 60 columns.
_CODE_MAX: Final = 28
#: Matches the error message for a surplus argument if the argument is a URL.
_ONE_TOO_MANY: Final = re.compile(r"unexpected extra argument\S* \((?P<url>[^\s()]+://[^\s()]*)")


_Formatter: Any = typer.Context.formatter_class


class Formatter(_Formatter):  # type: ignore[misc]  # of the click that Typer uses, its own or the package
    """Breaks lines only at spaces, but not inside short code, so that names and commands can be copied."""

    def write(self, string: str) -> None:
        """Write text that was broken into lines, and restore its hyphens and spaces."""
        super().write(string.replace(_HYPHEN, "-").replace(_SPACE, " "))

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        super().write_text(_unbroken(text))

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names and their descriptions in two columns."""
        super().write_dl([(name, _unbroken(text)) for name, text in rows], col_max, col_spacing)


class Command(TyperCommand):
    """A command whose help groups the options by their ``rich_help_panel``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments. If a URL is a surplus argument, the error says that a target needs ``--target``."""
        try:
            parsed: list[str] = super().parse_args(ctx, args)
        except Exception as error:
            found = _ONE_TOO_MANY.search(str(getattr(error, "message", "")))
            takes_target = any("--target" in each.opts for each in self.get_params(ctx))
            if found is not None and takes_target:
                error.message = f"a target needs its option: --target {found['url']}"  # type: ignore[attr-defined]
            raise
        return parsed

    def get_help(self, ctx: Any) -> str:
        """Return the help page."""
        return _page(self, ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line after the command's name."""
        return ["[OPTIONS]", *(_argument(each) for each in self.get_params(ctx) if _is_argument(each))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options."""
        _write_parameters(self.get_params(ctx), ctx, formatter)


class Group(TyperGroup):
    """A command with subcommands; the help of `loadgen` itself lists its subcommands in groups."""

    def get_help(self, ctx: Any) -> str:
        """Return the help page."""
        return _page(self, ctx)

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


def _page(command: Any, ctx: Any) -> str:
    formatter = Formatter(width=ctx.terminal_width, max_width=ctx.max_content_width)
    command.format_help(ctx, formatter)
    return str(formatter.getvalue()).rstrip("\n")


def _unbroken(text: str) -> str:
    return _CODE.sub(_kept_together, text).replace("-", _HYPHEN)


def _kept_together(code: re.Match[str]) -> str:
    written = code[0]
    return written.replace(" ", _SPACE) if len(written) <= _CODE_MAX + 2 and "\n" not in written else written


def _grouped(names: Sequence[str]) -> dict[str, list[str]]:
    """Return command names by group title; commands in no group, such as `aws up`, have the title "Commands"."""
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
            groups.setdefault(each.rich_help_panel or _OPTIONS, []).append(
                (_plain(names), _EXTRA.sub(_extra, meaning))
            )
    for title in sorted(groups, key=lambda title: _ORDER.index(title) if title in _ORDER else len(_ORDER)):
        with formatter.section(title):
            formatter.write_dl(groups[title], col_max=_COLUMN)


def _plain(names: str) -> str:
    """Return an option's names with a readable kind of value, such as NUMBER in place of `<int>`."""
    for kind, ours in _KINDS.items():
        names = names.replace(kind, ours)
    return _CHOICES.sub(r"\1", names)


def _extra(found: re.Match[str]) -> str:
    """Return an option's default and limits in readable form, such as `[default: 24; 0.01 to 24]`."""
    parts = [
        _LIMITS.sub(_limits, _DEFAULT.sub(lambda default: f"default: {_short(default['number'])}", part))
        for part in (_TEXT_DEFAULT.sub(r"default: \1", each) for each in found[1].split("; "))
    ]
    said = [part.replace(" ", _SPACE) for part in parts if part != _NONNEGATIVE]
    return f"  [{'; '.join(said)}]" if said else ""


def _limits(found: re.Match[str]) -> str:
    low, side, limit = found["low"], found["side"], _short(found["limit"])
    if low is not None:
        return f"{_short(low)} to {limit}"
    return f"at {'least' if side == '>=' else 'most'} {limit}"


def _short(number: str) -> str:
    """Return the text of a number without a final `.0`."""
    return number.removesuffix(".0")


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _argument(argument: Any) -> str:
    name = _name(argument) + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"
