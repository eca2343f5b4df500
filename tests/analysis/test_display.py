"""Test that printed text cannot control a terminal, however it is printed."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from analysis.console import _Display, _Forgiving, drawing, indented, note, print_line
from loadgen.console import say
from tests.paths import REPO
from tests.terminals import shown

HOSTILE = "a\x1b]0;owned\x07b\x1b[2Jc\x1b[31mred\x1b[0m\x9b2Jd\rE\x08f\x00\x7f\u202egnp\ttab\nline"
SAFE = "a?]0;owned?b?[2Jc\x1b[31mred\x1b[0m?2Jd?E?f???gnp\ttab\nline"
CODE = """
import logging, sys
from analysis.console import protect_output
protect_output()
text = {text!r}
print(text)
print(text, file=sys.stderr)
logging.basicConfig(stream=sys.stderr, format="%(message)s")
logging.warning("%s", text)
sys.stdout.writelines([text, "\\n"])
"""


def through_a_terminal(code: str) -> str:
    def run(terminal: int) -> None:
        subprocess.run([sys.executable, "-c", code], stdout=terminal, stderr=terminal, cwd=REPO, check=True)

    return shown(run)


def test_print_and_logging_to_a_terminal_are_harmless() -> None:
    assert through_a_terminal(CODE.format(text=HOSTILE)) == (SAFE + "\n") * 4


def written(text: str, for_people: bool) -> str:
    read, write = os.pipe()
    stream = _Display(_Forgiving(write), "utf-8", for_people=for_people)
    assert stream.write(text) == len(text)
    stream.flush()
    os.close(write)
    said = b""
    while part := os.read(read, 65_536):
        said += part
    os.close(read)
    return said.decode()


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_no_control_character_is_written_and_plain_text_is_left_alone(text: str) -> None:
    for for_people in (True, False):
        shown = written(text, for_people)
        assert len(shown) == len(text)
        assert all(
            c in "\n\t" or (ord(c) >= 32 and not 127 <= ord(c) < 160) for c in shown.replace("\x1b[0m", "")
        )
        if text.isprintable():
            assert shown == text
    # JSON for programs keeps every character that JSON allows.
    assert written("\u202e\u2028", False) == "\u202e\u2028"


def test_our_own_drawing_may_move_the_cursor() -> None:
    read, write = os.pipe()
    stream = _Display(_Forgiving(write), "utf-8", for_people=True)
    drawing(stream).write("\x1b[2K\x1b[1A\n")
    assert os.read(read, 100) == b"\x1b[2K\x1b[1A\n"
    os.close(read)
    os.close(write)
    plain = io.StringIO()
    assert drawing(plain) is plain


@pytest.mark.parametrize(
    "text",
    ["x" * 10_000_000, "line\n" * 1_000_000, "\x1b[2J" * 100_000],
    ids=["one line", "many lines", "control sequences"],
)
def test_what_is_said_is_cut(text: str) -> None:
    with redirect_stderr(io.StringIO()) as said:
        say(text)
    lines = said.getvalue().splitlines()
    assert 1 <= len(lines) <= 200
    assert max(map(len, lines)) < 4_100
    assert "\x1b" not in said.getvalue()


LONG = "  trial 3: " + "passed in short trials only, " * 6 + "the budget is spent"


def test_a_printed_line_is_wrapped_between_words_on_a_terminal_and_whole_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_line(LONG)
    assert capsys.readouterr().out == f"{LONG}\n"

    def lines(show: Callable[[Console], None]) -> list[str]:
        def write(terminal: int) -> None:
            with open(terminal, "w", closefd=False) as stream:
                monkeypatch.setattr(sys, "stdout", stream)
                monkeypatch.setenv("TERM", "xterm")
                # Set the width: rich would ask only the terminals of descriptors 0 to 2, and this one is another.
                monkeypatch.setenv("COLUMNS", "60")
                show(Console(file=stream))

        found = [line.rstrip() for line in shown(write, 60).splitlines()]
        assert all(len(line) <= 60 for line in found)
        assert " ".join(" ".join(found).split()).removeprefix("· ") == LONG.strip()
        return found

    assert len(lines(lambda _: print_line(LONG))) > 2
    # The further lines of a remark, and of an indented text, begin below its first word.
    for show in (
        lambda console: note(console, Text(LONG.strip())),
        lambda console: indented(console, LONG.strip()),
    ):
        assert all(line.startswith("  ") for line in lines(show)[1:])
