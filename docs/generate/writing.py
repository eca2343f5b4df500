"""Functions that write parts of Markdown pages."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def head(title: str, source: str) -> str:
    """Return the beginning of a page: title, and a comment that names the ``source`` from which it is generated."""
    return f"<!-- Written by `python docs/generate` from {source}. Do not edit. -->\n\n# {title}\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; in cells, which are Markdown, bars are escaped and line ends become spaces."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|") or " "


def code(text: object) -> str:
    """Return text as inline code, even if it contains backticks."""
    shown = str(text)
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def prose(text: str) -> str:
    """Return a docstring's text as Markdown that shows it unchanged: tags are escaped, and `{name}` becomes code."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    for place in range(0, len(parts), 2):
        plain = re.sub(r"(?<![\w`])(\{[^{}]*\})", r"`\1`", parts[place])
        outside = re.split(r"(`[^`]+`)", plain)
        parts[place] = "".join(
            piece if odd % 2 else piece.replace("<", "&lt;").replace("*", "\\*")
            for odd, piece in enumerate(outside)
        )
    return "".join(parts)


def anchor(heading: str) -> str:
    """Return the anchor that code hosts and our site give a heading."""
    plain = re.sub(r"[`*]", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def attribute_docs(cls: type) -> dict[str, str]:
    """Return the documentation of each attribute of a class: the string below it, or the `#:` comment above it."""
    source = textwrap.dedent(inspect.getsource(cls))
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    body = definition.body
    for place, node in enumerate(body):
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                pass
            case _:
                continue
        comment: list[str] = []
        above = node.lineno - 2
        while above >= 0 and lines[above].strip().startswith("#:"):
            comment.insert(0, lines[above].strip().removeprefix("#:").strip())
            above -= 1
        if comment:
            found[name] = " ".join(comment)
        match body[place + 1] if place + 1 < len(body) else None:
            case ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found
