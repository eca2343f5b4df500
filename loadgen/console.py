"""Messages to the user at the terminal."""

import sys
from typing import Final

from analysis.console import protect_output

__all__ = ["protect_output", "say"]

_LINES_MAX: Final = 200
_LINE_MAX: Final = 4_000


def say(text: str) -> None:
    """Print text to standard error: at most 200 lines of 4,000 characters, with `?` for non-printable characters."""
    lines = text[: _LINES_MAX * _LINE_MAX].splitlines() or [""]
    for line in lines[:_LINES_MAX]:
        shown = "".join(character if character.isprintable() else "?" for character in line)
        if len(shown) > _LINE_MAX:
            shown = f"{shown[: _LINE_MAX - 1]}…"
        print(f"loadgen: {shown}", file=sys.stderr, flush=True)
