"""Test that writing to a terminal, a pipe or a file never fails, even if it is closed or cannot show the text."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from analysis.console import _Display, _Forgiving, screen, sentence
from tests.paths import REPO

TEXT = "✓ passed – p99 4 µs ± 1 · π ≤ 4 \x1b]0;title\x07 \ud800"
ENCODINGS = ("ascii", "latin-1", "utf-8", "cp437")


def pipe_without_a_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def closed() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    return writer


def full_pipe() -> int:
    _, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while os.write(writer, bytes(65_536)):
            pass
    return writer


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "sink",
    [lambda: os.open("/dev/full", os.O_WRONLY), pipe_without_a_reader, closed, full_pipe],
    ids=["a full disk", "a closed pipe", "a closed descriptor", "a full pipe"],
)
def test_what_takes_nothing_loses_text_and_raises_nothing(sink: Callable[[], int], encoding: str) -> None:
    display = _Display(_Forgiving(sink()), encoding, for_people=True)
    for _ in range(3):
        assert display.write(TEXT + "\n") == len(TEXT) + 1
        display.flush()


@settings(deadline=None)
@given(text=st.text(), encoding=st.sampled_from(ENCODINGS), for_people=st.booleans())
def test_any_text_is_written_in_any_encoding(text: str, encoding: str, for_people: bool) -> None:
    reader, writer = os.pipe()
    try:
        display = _Display(_Forgiving(writer), encoding, for_people=for_people)
        assert display.write(text) == len(text)
        display.flush()
        os.close(writer)
        with os.fdopen(reader, "rb") as read:
            shown = read.read().decode(encoding)
    finally:
        display.detach()
    assert len(shown) == len(text)
    # Characters of the encoding are shown unchanged, unless they could control the terminal.
    for was, now in zip(text, shown, strict=True):
        assert now in (was, "?")
        if was.isascii() and was.isprintable():
            assert now == was


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "latin-1", "locale C"],
)
def test_a_process_says_all_it_can(environment: dict[str, str]) -> None:
    program = (
        "import sys\nfrom analysis.console import protect_output\nprotect_output()\n"
        "for stream in (sys.stdout, sys.stderr):\n    print('a \\u2713 \\xb5 z', file=stream)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        cwd=REPO,
        capture_output=True,
        check=False,
    )
    micro = b"\xb5" if environment.get("PYTHONIOENCODING") == "latin-1" else b"?"
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        b"a ? " + micro + b" z\n",
        b"a ? " + micro + b" z\n",
    )


_LONG = " ".join(["word"] * 60)


@pytest.mark.parametrize("columns", [None, "70"])
def test_a_log_gets_whole_sentences_and_tables_of_a_bounded_width(
    columns: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    console = screen(log_columns=90)
    sentence(console, _LONG)
    table = Table(box=None)
    table.add_column(overflow="fold")
    table.add_row(_LONG)
    console.print(table)
    first, *others = written.getvalue().splitlines()
    assert first == _LONG
    assert max(map(len, others)) == (90 if columns is None else 70)
    assert " ".join(" ".join(others).split()) == _LONG


def test_a_terminal_wraps_sentences_at_its_width() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    written = Terminal()
    sentence(Console(file=written, width=40, force_terminal=False), _LONG)
    assert max(map(len, written.getvalue().splitlines())) <= 40
