"""Test the help pages of all commands."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from loadgen.cli import commands
from loadgen.cli.help import SETTINGS, Formatter, Group
from loadgen.run.option import Panel
from loadgen.run.options import ENTRIES
from loadgen.version import VERSION

_WHOLE: Any = typer.main.get_command(commands.load(["--help"]))


def _pages(width: int) -> Iterator[tuple[str, Any, str]]:
    """Yield the name, the command and the help of `loadgen`, and of each of its commands."""
    root = typer.Context(_WHOLE, info_name="loadgen", terminal_width=width, **SETTINGS)
    waiting = [(root, _WHOLE)]
    while waiting:
        context, command = waiting.pop()
        yield context.command_path, command, command.get_help(context)
        for name, each in getattr(command, "commands", {}).items():
            waiting.append((typer.Context(each, info_name=name, parent=context, terminal_width=width), each))


def _page(name: str, width: int = 80) -> str:
    return next(page for path, _, page in _pages(width) if path == name)


def _sections(page: str) -> dict[str, str]:
    titles = re.split(r"^(\S.*):$", page, flags=re.MULTILINE)
    return dict(zip(titles[1::2], titles[2::2], strict=True))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_page_is_as_wide_as_the_terminal_and_cuts_nothing(width: int) -> None:
    for path, command, page in _pages(width):
        # A line may exceed the width only if it is a single word, such as a list of choices, which is not broken.
        assert all(len(line) <= width or " " not in line.strip() for line in page.splitlines()), path
        said = "".join(page.split())
        for parameter in command.params:
            if not getattr(parameter, "hidden", False):
                assert "".join((parameter.help or "").split()) in said, (path, parameter.name)
        for paragraph in (command.help or "").split("\n\n"):
            assert "".join(paragraph.split()) in said, path


def test_a_kind_of_value_is_named_in_plain_words() -> None:
    for path, _, page in _pages(80):
        assert not re.search(r"<(int|float|str|bool|path|list)\b|<[^>]*\|", page), path


def test_a_limit_is_told_in_words() -> None:
    for path, _, page in _pages(80):
        assert not re.search(r"\bx[<>]=|[<>]=x\b|\[at least 0\]|\d\.0[;\]]", page.replace("0.0.0.0", "")), (
            path
        )
    run = " ".join(_page("loadgen run").split())
    assert "Time between plain lines. [default: 5; at least 0.1]" in run
    assert "Worker processes on this machine. [default: 1; 1 to 256]" in run
    assert "With --worker: host of the master. [default: 127.0.0.1]" in run


def test_a_default_has_no_parentheses() -> None:
    for path, _, page in _pages(120):
        assert "default: (" not in page, path
    assert "default: api-key:LOADGEN_API_KEY]" in _page("loadgen probe")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_name_with_hyphens_and_a_short_command_stay_on_one_line(width: int) -> None:
    for path, command, page in _pages(width):
        texts = [command.help or "", command.epilog or "", *(each.help or "" for each in command.params)]
        for text in texts:
            code = [whole for whole in re.findall(r"`[^`]*`", text) if len(whole) <= 30 and "\n" not in whole]
            for whole in (*code, *re.findall(r"[^\s`]+-[^\s`]+", text)):
                assert whole in page, (path, whole)


def test_text_between_two_long_codes_is_broken_like_other_text() -> None:
    """The text is not mistaken for short code, which is never broken at a space."""
    formatter = Formatter(width=30)
    words = "`loadgen choose --auth password:VARIABLE` and as it is usual `password:VARIABLE of other words`"
    formatter.write_text(words)
    assert formatter.getvalue().split() == words.split()


def test_the_options_of_a_run_are_in_their_groups() -> None:
    sections = _sections(_page("loadgen run"))
    assert list(sections) == ["Arguments", *(panel.value for panel in Panel), "Options"]
    for entry in ENTRIES.values():
        if not entry.option.argument:
            listed = [
                title for title, text in sections.items() if re.search(rf"^  {entry.flag}\b", text, re.M)
            ]
            assert listed == [entry.option.panel.value], entry.flag


def test_every_command_is_in_a_group_and_described_in_one_line() -> None:
    page = _page("loadgen")
    assert "Commands" not in _sections(page)
    assert [name for names in commands.GROUPS.values() for name in names] == _WHOLE.list_commands(None)[:-1]
    hidden = {name for name, each in _WHOLE.commands.items() if each.hidden}
    assert set(_WHOLE.commands) - hidden == {name for names in commands.GROUPS.values() for name in names}
    for name, each in _WHOLE.commands.items():
        first = (each.help or "").partition("\n\n")[0]
        assert each.hidden or re.search(rf"^  {name} +{re.escape(first)}$", page, re.MULTILINE), name


def test_a_group_of_subcommands_lists_them_without_titles() -> None:
    assert isinstance(_WHOLE.commands["aws"], Group)
    assert list(_sections(_page("loadgen aws"))) == ["Commands", "Options"]


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["run", "-h"], ["aws", "up", "-h"]])
def test_help_has_a_short_name_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _WHOLE.main(words, prog_name="loadgen", standalone_mode=False) in (0, None)
    assert capsys.readouterr().out.startswith("Usage: loadgen ")


@pytest.mark.parametrize("word", ["-V", "--version"])
def test_the_version_is_one_option(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _WHOLE.main([word], prog_name="loadgen", standalone_mode=False) in (0, None)
    assert capsys.readouterr().out == f"loadgen {VERSION}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["probe", "ws://h/event"], "a target needs its option: --target ws://h/event"),
        (["run", "comments", "http://h:1/event"], "a target needs its option: --target http://h:1/event"),
        (["run", "comments", "mqtt://h", "x"], "a target needs its option: --target mqtt://h"),
        # `doctor` has no option for a target, and `other` is no URL.
        (["doctor", "ws://h"], "Got unexpected extra argument(s) (ws://h)"),
        (["run", "comments", "other"], "Got unexpected extra argument(s) (other)"),
    ],
)
def test_a_url_without_its_option_is_explained(words: list[str], said: str) -> None:
    with pytest.raises(Exception, match=re.escape(said)) as caught:
        _WHOLE.main(words, prog_name="loadgen", standalone_mode=False)
    assert (caught.value.exit_code, caught.value.message) == (2, said)  # type: ignore[attr-defined]
