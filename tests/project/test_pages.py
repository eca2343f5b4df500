"""Test that the project's pages agree with the code and the repository's files."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPO = Path(__file__).resolve().parents[2]
FACTS = "docs/reference/appsync-events.md"


def _script(path: str) -> ModuleType:
    name = "project_" + Path(path).stem
    spec = importlib.util.spec_from_file_location(name, REPO / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


imports = _script("tools/imports.py")
links = _script("docs/site/links.py")


def _text(path: str) -> str:
    return (REPO / path).read_text(encoding="utf-8")


def test_the_table_of_imports_is_that_of_the_code() -> None:
    """If this fails, put the output of `python tools/imports.py` into docs/architecture.md."""
    behind = _text("docs/architecture.md").split("<!-- imports -->\n", 1)[1]
    assert behind.split("\n\n", 1)[0] == imports.table(imports.graph())


def test_the_walk_of_an_event_leads_to_functions_that_are_there() -> None:
    walk = _text("docs/architecture.md").split("<!-- walk -->\n", 1)[1].split("\n\n", 1)[0]
    steps = re.findall(r"^\| (\d+) \|.*\| `([^`]+)` \| `([^`]+)` \|$", walk, re.MULTILINE)
    assert [int(number) for number, _, _ in steps] == list(range(1, len(steps) + 1))
    assert 8 <= len(steps) <= 12
    defined = r"(?:def |^[\w ]*\b[\w*]+ \*?){}\("
    missing = [
        (file, function)
        for _, file, function in steps
        if not re.search(defined.format(function), _text(file), re.MULTILINE)
    ]
    assert missing == []


def test_no_part_is_in_a_circle_and_the_contracts_name_all_parts() -> None:
    now = imports.graph()
    assert imports.circles(now) == []
    contracts = _text(".importlinter")
    assert [part for part in now if not re.search(rf"\b{part}\b", contracts)] == []


def test_imports_are_found_wherever_they_stand() -> None:
    tree = imports.ast.parse(
        "import loadgen.run.wire as w\ndef f():\n    from loadgen.users import roles\nfrom . import x\n"
    )
    assert [imports.part_of(name) for name in imports._imported(tree)] == ["run", "users"]
    assert imports.part_of("loadgen.console") == "loadgen"
    circle = imports.circles({"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"b"})})
    assert circle == [{"b", "c"}]


def test_modules_that_the_architecture_names_exist() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.(?:py|c))`", _text("docs/architecture.md")))
    assert len(named) > 20
    folders = ("loadgen", "analysis", ".")
    missing = [name for name in named if not any((REPO / folder / name).is_file() for folder in folders)]
    assert missing == []


def test_the_picture_is_what_its_script_draws() -> None:
    assert _text("docs/images/architecture.svg") == _script("docs/images/architecture.py").picture()


def test_every_decision_is_in_the_index_and_complete() -> None:
    folder = REPO / "docs" / "decisions"
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    listed = re.findall(
        r"\| (\d+) \| \[([^\]]+)\]\(([^)]+)\) \| \d{4}-\d\d-\d\d \|", _text("docs/decisions/index.md")
    )
    assert [name for _, _, name in listed] == pages
    for number, title, name in listed:
        text = (folder / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. {title}\n")
        assert name.startswith(f"{int(number):04}-")
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert headings[:3] == ["Context", "Decision", "What follows"]
        assert headings[3:] in (["What else was tried"], ["What else was considered"])


def test_whoever_cites_the_fact_sheet_names_it_and_a_section_that_is_there() -> None:
    sections = set(re.findall(r"^#{2,3} (\d(?:\.\d)?)\.? ", _text(FACTS), re.MULTILINE))
    cited = 0
    for path in sorted([*(REPO / "loadgen").rglob("*.py"), *(REPO / "loadgen").rglob("*.yaml")]):
        text = " ".join(path.read_text(encoding="utf-8").replace("#:", " ").split())
        if "fact sheet" in text or "fact report" in text:
            assert FACTS in text, path
        for found in re.finditer(re.escape(FACTS) + r"(?: gives it \(|, )?(?:section (\d(?:\.\d)?))?", text):
            cited += 1
            assert found[1] is None or found[1] in sections, f"{path}: {found[0]}"
    assert cited >= 7


def test_facts_have_a_known_tag() -> None:
    text = _text(FACTS)
    tags = {"doc", "real", "fixture", "2nd", "inf", "?", "botocore", "SWIFT's", "ANDROID's"}
    for head, column in (("1.2 Messages", 3), ("1.4 Errors", 2)):
        rows = re.findall(r"^\| (.*) \|$", text.split(f"### {head}\n")[1].split("\n### ")[0], re.MULTILINE)[
            2:
        ]
        assert len(rows) > 10
        for row in rows:
            said = row.split(" | ")[column]
            assert (
                any(said.startswith(tag) or f"({tag})" in said or f"; {tag}" in said for tag in tags)
                or "(doc)" in row
            ), row


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_of_the_top_pages_lead_somewhere(page: str) -> None:
    assert list(links.problems(page)) == []


def test_the_changelog_keeps_its_form() -> None:
    text = _text("CHANGELOG.md")
    releases = re.findall(r"^## \[(.*?)\]", text, re.MULTILINE)
    assert releases[0] == "Unreleased"
    kinds = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert text.count("**Breaking:**") >= 1


def test_no_address_or_registry_is_made_up() -> None:
    for page in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        assert not re.search(r"[\w.]+@[\w.]+\.\w+", _text(page)), page
