"""Test that the modules and names that notebooks, pages and quoted programs import exist.

No type checker reads these texts.
"""

import ast
import functools
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import REPO
from tests.tracked import tracked

PACKAGES = ("loadgen", "analysis", "tests", "benchmarks")
#: Found in each source file that may hold a program as a text: an import between quotes, or a text of several lines.
SUSPECT = re.compile(r"""["'][^\n]*\bimport |[=(,\[{:]\s*[rf]?(?:\"{3}|'{3})""")
PYTHON_BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def programs(path: Path) -> Iterator[str]:
    """Yield each Python program within a file: cells of a notebook, blocks of a page, texts in a source file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        for cell in json.loads(text)["cells"]:
            if cell["cell_type"] == "code":
                yield "".join(cell["source"])
    elif path.suffix == ".md":
        for found in PYTHON_BLOCK.finditer(text):
            yield textwrap.dedent(found[2])
    elif SUSPECT.search(text):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import " in node.value:
                yield textwrap.dedent(node.value)


def imported(program: str) -> Iterator[tuple[str, str | None]]:
    """Yield each module of this project that a program imports, with the imported name (None for `import module`)."""
    try:
        tree = ast.parse(program)
    except SyntaxError:  # The text is a sentence about an import, or only a part of a program.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found: list[tuple[str, str | None]] = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        yield from ((module, name) for module, name in found if module.split(".")[0] in PACKAGES)


def defined(body: list[ast.stmt]) -> Iterator[str]:
    """Yield each name that a module's statements define, including statements within `if` and `try`."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
        else:
            yield from (each.id for each in ast.walk(node) if isinstance(each, ast.Name))
            for inner in ("body", "orelse", "handlers", "finalbody"):
                yield from defined(getattr(node, inner, []))


@functools.cache
def names_of(module: str) -> frozenset[str] | None:
    """Return the names that can be imported from a module of this project, or None if there is no such module.

    The source is read, since importing some modules would change this process (Locust replaces parts of Python).
    """
    place = REPO.joinpath(*module.split("."))
    sources = (place / "__init__.py", place.with_suffix(".py"), place.with_suffix(".pyi"))
    source = next((each for each in sources if each.is_file()), None)
    if source is None:
        return None
    within = {each.stem for each in place.iterdir()} if place.is_dir() else set()
    return frozenset({*defined(ast.parse(source.read_text(encoding="utf-8")).body), *within})


def exists(module: str, name: str | None) -> bool:
    """Return True if a module of this project exists and, unless ``name`` is None, has something of this name."""
    names = names_of(module)
    return names is not None and (name is None or name in names)


def test_what_is_imported_where_no_type_checker_looks_is_there() -> None:
    found = {
        (name, *each)
        for name in tracked(".ipynb", ".md", ".py")
        if name != Path(__file__).relative_to(REPO).as_posix()
        for program in programs(REPO / name)
        for each in imported(program)
    }
    assert {name.rsplit(".", 1)[1] for name, _, _ in found} == {"ipynb", "md", "py"}
    assert len(found) > 50
    assert sorted((name, module, what) for name, module, what in found if not exists(module, what)) == []


@pytest.mark.parametrize(
    ("program", "missing"),
    [
        ("from analysis.compare.profile import values_of, bins", []),
        ("from analysis.compare.profile import value_of", [("analysis.compare.profile", "value_of")]),
        ("def f():\n    import analysis.nothing", [("analysis.nothing", None)]),
        ("from loadgen import users", []),
        ("import an example from loadgen", []),
    ],
)
def test_a_missing_name_is_found(program: str, missing: list[tuple[str, str | None]]) -> None:
    assert [each for each in imported(program) if not exists(*each)] == missing


def test_programs_are_found_in_each_kind_of_file(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "code", "source": ["import a\n", "b"]},
        {"cell_type": "markdown", "source": ["import c"]},
    ]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "p.md").write_text(
        "import x\n\n    ```python\n    import d\n    ```\n\n```bash\nimport e\n```\n"
    )
    (tmp_path / "s.py").write_text('import f\nrun("-c", "import g")\n')
    found = {path.name: list(programs(path)) for path in tmp_path.iterdir()}
    assert found == {"n.ipynb": ["import a\nb"], "p.md": ["import d\n"], "s.py": ["import g"]}
