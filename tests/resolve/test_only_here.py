"""Test that only the resolver decides whether a group publishes over HTTP or over its connections."""

import ast
from pathlib import Path

from tests.paths import REPO

#: Modules that may read `via`, the scenario's choice of transport: the model of scenario files, and a list of limits
#: that is printed for users.
MAY = {"loadgen/scenario/models.py", "loadgen/choose/limits.py"}
#: Properties of a protocol on which the resolver's decision depends. `loadgen probe` prints them, but makes
#: no decision by them.
RULES = {"publishes_over_http", "publishes_over_connections"}
DECISIONS = (ast.BoolOp, ast.UnaryOp, ast.IfExp, ast.If, ast.While, ast.Compare, ast.Match)


def asking(tree: ast.AST) -> set[str]:
    """Return the transport attributes that a module reads (as `.via`) or tests (as `if .publishes_over_http`)."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("via", "_rules"):
            found.add(f".{node.attr}")
        elif isinstance(node, DECISIONS):
            found |= {f"if .{name}" for name in RULES & attributes(node)}
    return found


def attributes(node: ast.AST) -> set[str]:
    """Return the attributes that an expression or the condition of a statement reads."""
    read: ast.AST = node.test if isinstance(node, ast.If | ast.While) else node
    return {each.attr for each in ast.walk(read) if isinstance(each, ast.Attribute)}


def modules(*words: str) -> dict[str, ast.AST]:
    """Return the syntax trees of the modules whose text contains one of the words."""
    texts = {path: path.read_text(encoding="utf-8") for path in REPO.glob("loadgen/**/*.py")}
    return {
        path.relative_to(REPO).as_posix(): ast.parse(text)
        for path, text in texts.items()
        if any(word in text for word in words)
    }


def test_no_other_module_asks_the_scenario_how_a_group_publishes() -> None:
    found = {
        name: asks
        for name, tree in modules(".via", "_rules", "publishes_over").items()
        if (asks := asking(tree))
    }
    elsewhere = {name for name in found if not name.startswith("loadgen/resolve/")} - MAY
    assert elsewhere == set()
    # Check the search itself: it must find transport.py, the one module that is allowed to choose the transport.
    assert found["loadgen/resolve/transport.py"] == {".via", *(f"if .{name}" for name in RULES)}
    assert not any("._rules" in asks for asks in found.values())


def test_what_plays_a_run_imports_no_scenario() -> None:
    """Code that plays a run may not import the scenario package, except modules that load neither pydantic nor YAML."""
    plain = {"loadgen.scenario.template", "loadgen.config.text", "loadgen.config.problems"}
    found = set()
    for name, tree in modules("loadgen.scenario").items():
        plays = [
            *("users", "live", "transport", "measure", "run/worker", "run/echo"),
            *("run/agent.py", "run/coordinator.py", "run/shares.py"),
        ]
        if not any(Path(name).is_relative_to(f"loadgen/{each}") for each in plays):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("loadgen.scenario"):
                found.add((name, node.module))
    assert {(name, module) for name, module in found if module not in plain} == set()
