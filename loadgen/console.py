"""Messages to the user at the terminal."""

import os
import sys
import textwrap
from typing import Final

from analysis.console import protect_output

__all__ = ["protect_output", "say"]

_LINES_MAX: Final = 200
_LINE_MAX: Final = 4_000


def say(text: str) -> None:
    """Print text to standard error: at most 200 lines of 4,000 characters, with `?` for non-printable characters.

    On a terminal, lines are wrapped between words.
    """
    columns = _columns()
    lines = text[: _LINES_MAX * _LINE_MAX].splitlines() or [""]
    for line in lines[:_LINES_MAX]:
        shown = "".join(character if character.isprintable() else "?" for character in line)
        if len(shown) > _LINE_MAX:
            shown = f"{shown[: _LINE_MAX - 1]}…"
        for part in _wrapped(f"loadgen: {shown}", columns):
            print(part, file=sys.stderr, flush=True)


def _columns() -> int | None:
    """Return the width of the terminal to which standard error is connected, or None if there is no terminal."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _wrapped(line: str, columns: int | None) -> list[str]:
    """Wrap a line at ``columns``; a longer word, such as a path, stays in one piece so that it can be copied."""
    if columns is None or len(line) <= columns:
        return [line]
    return textwrap.wrap(line, columns, break_long_words=False, break_on_hyphens=False)
