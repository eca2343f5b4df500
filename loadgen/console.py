"""What the program says to the person at the terminal."""

import sys

from analysis.console import protect_output

__all__ = ["protect_output", "say"]


def say(text: str) -> None:
    """Print sentences to standard error, a line each; foreign text in them cannot move the cursor."""
    for line in text.splitlines() or [""]:
        shown = "".join(character if character.isprintable() else "?" for character in line)
        print(f"loadgen: {shown}", file=sys.stderr, flush=True)
