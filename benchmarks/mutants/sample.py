"""Make the mutants of some modules with Cosmic Ray's operators, and draw a sample of them."""

import ast
import difflib
import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray import plugins
from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec

Place = tuple[int, int]


@dataclass(frozen=True)
class Mutant:
    """A module with one change."""

    module: str
    operator: str
    line: int
    #: The changed lines of the original and of the mutant, without indentation.
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.operator}\n    - {self.before}\n    + {self.after}"


def drawn(top: Path, modules: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Return ``count`` mutants of the modules, or all if there are fewer.

    Each place in the source is drawn at most once per kind of mutation. An operator such as ``+`` has a dozen
    replacements, most of which any test notices; if all were drawn, they would crowd out the other mutants. The same
    seed draws the same mutants from the same sources.
    """
    places: dict[tuple[str, Place, str], list[MutationSpec]] = {}
    for spec in _specs(top, modules):
        family = spec.operator_name.partition("_")[0]
        places.setdefault((str(spec.module_path), spec.start_pos, family), []).append(spec)
    chance = random.Random(f"{seed}/{'/'.join(modules)}")
    order = sorted(places)
    chance.shuffle(order)
    found: list[Mutant] = []
    for place in order:
        if len(found) == count:
            break
        specs = sorted(places[place], key=lambda spec: (spec.operator_name, spec.occurrence))
        if (mutant := _made(top, chance.choice(specs))) is not None:
            found.append(mutant)
    return found


def _specs(top: Path, modules: Sequence[str]) -> Iterable[MutationSpec]:
    """Return every mutation, except those of code that never runs."""
    with (
        tempfile.TemporaryDirectory() as folder,
        use_db(Path(folder) / "session.sqlite", WorkDB.Mode.create) as session,
    ):
        init([top / each for each in modules], session, {})
        specs = [spec for item in session.work_items for spec in item.mutations]
    silent = {str(top / each): _never_run((top / each).read_text()) for each in modules}
    return [
        spec
        for spec in specs
        if not any(begin <= spec.start_pos < end for begin, end in silent[str(spec.module_path)])
    ]


def _never_run(source: str) -> list[tuple[Place, Place]]:
    """Return the parts of the source that never run: annotations and `TYPE_CHECKING` blocks."""
    lines = source.splitlines()

    def place(line: int, column: int) -> Place:
        return line, len(lines[line - 1].encode()[:column].decode())

    nodes: list[ast.AST] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            nodes.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            nodes.append(node.returns)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            nodes += [node.test, *node.body]
    return [
        (place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset))
        for node in nodes
        if isinstance(node, ast.expr | ast.stmt)
        and node.end_lineno is not None
        and node.end_col_offset is not None
    ]


def _made(top: Path, spec: MutationSpec) -> Mutant | None:
    """Return the mutant of a mutation, or None if it changes nothing or is not valid Python."""
    path = Path(spec.module_path)
    source = path.read_text(encoding="utf-8")
    changed = mutate_code(
        source, plugins.get_operator(spec.operator_name)(**spec.operator_args), spec.occurrence
    )
    if changed is None or changed == source:
        return None
    try:
        if ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source)):
            return None
    except SyntaxError:
        return None
    differences = list(difflib.ndiff(source.splitlines(), changed.splitlines()))
    before, after = (
        " / ".join(" ".join(line[2:].split()) for line in differences if line.startswith(sign))
        for sign in "-+"
    )
    name = spec.operator_name.rpartition("/")[2]
    return Mutant(str(path.relative_to(top)), name, spec.start_pos[0], before, after, changed)
