"""Draw docstrings and comments at random for a reader who did not write them: `python tools/sample_prose.py`.

The reader sees what a reader of the file sees beside the text. A docstring is followed by the signature of its class or
function, up to the colon. A comment is followed by the next two lines of code, or by its own line if that has code too.
`--bare` prints the text alone.

The bar: of 100, at most three at which the reader has to stop and guess.
"""

import argparse
import ast
import io
import random
import textwrap
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[1]
_PRAGMAS = ("#!", "# noqa", "# type:", "# fmt:")
#: Number of lines of code to show below a comment.
_LINES_SHOWN = 2


class Found(NamedTuple):
    """A docstring or comment, its place, and the code beside it."""

    path: str
    line: int
    of: str
    text: str
    code: str = ""


def signature(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, lines: Sequence[str]) -> str:
    """Return the lines of a class or function from `class` or `def` to the colon, without common indentation."""
    first = node.body[0]
    if first.lineno == node.lineno:
        return lines[node.lineno - 1][: first.col_offset].strip()
    return textwrap.dedent("\n".join(lines[node.lineno - 1 : first.lineno - 1])).strip()


def docstrings(path: str, source: str) -> Iterator[Found]:
    """Yield the docstrings of modules, classes and functions."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node)
        if not text:
            continue
        if isinstance(node, ast.Module):
            yield Found(path, 1, "module", text)
        else:
            yield Found(path, node.lineno, node.name, text, signature(node, lines))


def code_below(lines: Sequence[str], line: int) -> str:
    """Return the next lines of code after a line (from 1), without blank lines, comments and common indentation."""
    below = (each for each in lines[line:] if each.strip() and not each.lstrip().startswith("#"))
    return textwrap.dedent("\n".join(each for each, _ in zip(below, range(_LINES_SHOWN), strict=False)))


def comments(path: str, source: str) -> Iterator[Found]:
    """Yield the comments; comments on consecutive lines count as one, except a comment that follows code."""
    lines = source.splitlines()
    begun: Found | None = None
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or token.string.startswith(_PRAGMAS):
            continue
        text, line = token.string.lstrip("#: "), token.start[0]
        trailing = bool(token.line[: token.start[1]].strip())
        if begun is not None and line == last + 1 and not trailing:
            begun = begun._replace(text=f"{begun.text} {text}", code=code_below(lines, line))
        else:
            if begun is not None:
                yield begun
            begun = None
            code = lines[line - 1].strip() if trailing else code_below(lines, line)
            found = Found(path, line, "comment", text, code)
            if trailing:
                yield found
            else:
                begun = found
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=28)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument(
        "--bare", action="store_true", help="Print the text alone, without the code beside it."
    )
    chosen = parser.parse_args()
    for number, each in enumerate(drawn(chosen.seed, chosen.count), 1):
        print(f"{number}. {each.path}:{each.line} [{each.of}] {each.text}\n")
        if each.code and not chosen.bare:
            print(textwrap.indent(each.code, "        ") + "\n")


if __name__ == "__main__":
    main()
