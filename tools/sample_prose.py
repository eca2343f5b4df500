"""Draw docstrings and comments at random for a reader who did not write them: `python tools/sample_prose.py`.

The bar: of 100, at most three at which the reader has to stop and guess.
"""

import argparse
import ast
import io
import random
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[1]
_PRAGMAS = ("#!", "# noqa", "# type:", "# fmt:")


class Found(NamedTuple):
    """A docstring or comment, and its place."""

    path: str
    line: int
    of: str
    text: str


def docstrings(path: str, source: str) -> Iterator[Found]:
    """Yield the docstrings of modules, classes and functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield Found(path, getattr(node, "lineno", 1), getattr(node, "name", "module"), text)


def comments(path: str, source: str) -> Iterator[Found]:
    """Yield the comments; comments on consecutive lines count as one."""
    begun: Found | None = None
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or token.string.startswith(_PRAGMAS):
            continue
        text, line = token.string.lstrip("#: "), token.start[0]
        if begun is not None and line == last + 1:
            begun = begun._replace(text=f"{begun.text} {text}")
        else:
            if begun is not None:
                yield begun
            begun = Found(path, line, "comment", text)
        last = line
    if begun is not None:
        yield begun


def drawn(seed: int, count: int) -> list[Found]:
    """Return ``count`` docstrings and comments of `loadgen` and `analysis`, drawn with a seed."""
    found: list[Found] = []
    for path in sorted([*REPO.glob("loadgen/**/*.py"), *REPO.glob("analysis/**/*.py")]):
        source = path.read_text(encoding="utf-8")
        name = path.relative_to(REPO).as_posix()
        found += [*docstrings(name, source), *comments(name, source)]
    return random.Random(seed).sample(found, count)


def main() -> None:
    """Print the sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=28)
    parser.add_argument("--count", type=int, default=100)
    chosen = parser.parse_args()
    for number, each in enumerate(drawn(chosen.seed, chosen.count), 1):
        print(f"{number}. {each.path}:{each.line} [{each.of}] {each.text}\n")


if __name__ == "__main__":
    main()
