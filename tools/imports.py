"""Print the table of docs/architecture.md: which part of the program imports which, read from the source.

Run `python tools/imports.py`. Every import counts, also those within functions and for types alone. Each folder of
`loadgen` is a part. The files directly in `loadgen` together are the part `loadgen`, and `analysis` is one part.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
Graph = Mapping[str, frozenset[str]]


@cache
def graph() -> Graph:
    """Return, for each part of the program, the other parts that its modules import."""
    found: dict[str, set[str]] = {}
    for path in sorted([*REPO.glob("loadgen/**/*.py"), *REPO.glob("analysis/**/*.py")]):
        own = part_of(path.relative_to(REPO).with_suffix("").as_posix().replace("/", "."))
        used = found.setdefault(own, set())
        for name in _imported(ast.parse(path.read_text(encoding="utf-8"))):
            if name.split(".")[0] in ("loadgen", "analysis"):
                used.add(part_of(name))
        used.discard(own)
    return {part: frozenset(used) for part, used in sorted(found.items())}


def part_of(module: str) -> str:
    """Return the part of the program to which a module, or a name in a module, belongs."""
    names = module.split(".")
    if names[0] == "analysis":
        return "analysis"
    if len(names) > 1 and (REPO / "loadgen" / names[1]).is_dir():
        return names[1]
    return "loadgen"


def circles(imports: Graph) -> list[frozenset[str]]:
    """Return the import cycles: groups of parts that import each other, directly or through other parts.

    The part `loadgen` is left out.
    """
    rest = {part: used - {"loadgen"} for part, used in imports.items() if part != "loadgen"}
    reached = {part: _reached(part, rest) for part in rest}
    groups = {frozenset(other for other in reached[part] if part in reached[other]) for part in rest}
    return sorted((group for group in groups if len(group) > 1), key=sorted)


def table(imports: Graph) -> str:
    """Return the table in Markdown."""
    lines = ["| part | imports |", "|---|---|"]
    for part, used in imports.items():
        shown = ", ".join(f"`{name}`" for name in sorted(used)) or "nothing of ours"
        lines.append(f"| `{part}` | {shown} |")
    return "\n".join(lines)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _reached(part: str, imports: Graph) -> set[str]:
    found: set[str] = set()
    waiting = [part]
    while waiting:
        for other in imports[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


if __name__ == "__main__":
    now = graph()
    print(table(now))
    for circle in circles(now):
        print("circle:", ", ".join(sorted(circle)))
