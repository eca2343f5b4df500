"""Test messages at the terminal: lines are wrapped between words there, and not wrapped elsewhere."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import console
from tests.terminals import shown

SENTENCE = "note: the machine is busy: tasks waited for a CPU in 60 % of the last 10 s"


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal_a_sentence_is_wrapped_between_words(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(terminal: int) -> None:
        with open(terminal, "w", closefd=False) as stream:
            monkeypatch.setattr(sys, "stderr", stream)
            console.say(SENTENCE)

    lines = shown(say, columns).splitlines()
    assert all(len(line) <= columns for line in lines)
    assert " ".join(lines) == f"loadgen: {SENTENCE}"
    assert (len(lines) > 1) == (columns < 90)


def test_elsewhere_a_line_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    console.say(f"{SENTENCE} {SENTENCE}\nand a second line")
    assert log.getvalue() == f"loadgen: {SENTENCE} {SENTENCE}\nloadgen: and a second line\n"


@given(st.text("ab -/", max_size=200), st.integers(1, 100))
def test_no_word_is_ever_divided(line: str, columns: int) -> None:
    assert " ".join(console._wrapped(line, columns)).split() == line.split()
