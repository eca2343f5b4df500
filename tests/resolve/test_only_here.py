"""How a group's clients reach the service is decided in one place; what runs asks the resolved run."""

import ast
from pathlib import Path

from tests.paths import REPO

#: Those that judge what is written before there is a run, the rules themselves, and tools that know no scenario.
MAY = {
    "loadgen/protocol/rules.py",
    "loadgen/scenario/checks.py",
    "loadgen/scenario/models.py",
    "loadgen/cli/client.py",
}


def asking(tree: ast.AST) -> set[str]:
    """Return which of the questions a module asks."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("via", "_rules"):
            found.add(f".{node.attr}")
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "over_http"
        ):
            found.add(".over_http()")
    return found


def modules(*words: str) -> dict[str, ast.AST]:
    """Return the modules in whose text one of the words stands."""
    texts = {path: path.read_text(encoding="utf-8") for path in REPO.glob("loadgen/**/*.py")}
    return {
        path.relative_to(REPO).as_posix(): ast.parse(text)
        for path, text in texts.items()
        if any(word in text for word in words)
    }


def test_no_other_module_asks_the_scenario_how_a_group_publishes() -> None:
    found = {
        name: asks for name, tree in modules(".via", "_rules", "over_http").items() if (asks := asking(tree))
    }
    elsewhere = {name for name in found if not name.startswith("loadgen/resolve/")} - MAY
    assert elsewhere == set()
    # What this looks for is there.
    assert found["loadgen/resolve/resolver.py"] == {".via", ".over_http()"}
    assert not any("._rules" in asks for asks in found.values())


def test_what_plays_a_run_imports_no_scenario() -> None:
    """Templates, texts and the error's name are the exceptions: they load no pydantic and no YAML."""
    plain = {"loadgen.scenario.template", "loadgen.config.text", "loadgen.config.problems"}
    found = set()
    for name, tree in modules("loadgen.scenario").items():
        if Path(name).parts[1] not in ("users", "live", "transport", "measure") and name not in (
            "loadgen/run/agent.py",
            "loadgen/run/coordinator.py",
            "loadgen/run/echo.py",
            "loadgen/run/shares.py",
        ):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("loadgen.scenario"):
                found.add((name, node.module))
    assert {(name, module) for name, module in found if module not in plain} == set()
