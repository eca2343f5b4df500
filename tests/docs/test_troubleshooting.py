"""Test docs/troubleshooting.md: it explains every finding, and quotes only sentences that the code has."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from analysis.verdict import causes
from analysis.verdict.findings import PAGE, SUBJECTS, anchor, explained
from tests.paths import REPO

#: Modules whose function `doubts` yields (severity, reason, advice); the value is the subject of these findings.
DOUBTS = {
    "analysis/verdict/clockbound.py": "clock",
    "analysis/figures/echo.py": "clock",
    "analysis/figures/reaction_figures.py": "schedule",
}
#: Least length of a piece of a sentence: shorter ones, such as ` of `, identify nothing.
ENOUGH = 8


@cache
def _sections() -> dict[str, str]:
    """Return the text below each heading, without its subsections, by the heading's anchor."""
    parts = re.split(r"^#{1,6} (.+)$", (REPO / PAGE).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        title.lower().replace(" ", "-"): body for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def _quoted(section: str) -> list[str]:
    """Return the sentences in backquotes with which the section's items and paragraphs begin, before a colon."""
    begun = [line.removeprefix("- ") for line in section.splitlines() if line.startswith(("- `", "`"))]
    heads = [re.match(r"`[^`]*`(?: or `[^`]*`)*(?=:)", line) for line in begun]
    return [quote for head in heads if head for quote in re.findall(r"`([^`]*)`", head[0])]


def _texts(node: ast.AST) -> list[str]:
    return [
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]


def _shown(node: ast.AST) -> Iterator[str]:
    """Yield the parts of a message that readers see: no keys, no format specifiers, no arguments of calls."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.FormattedValue):
        yield from _shown(node.value)
    elif isinstance(node, ast.IfExp):
        yield from (*_shown(node.body), *_shown(node.orelse))
    elif isinstance(node, ast.JoinedStr | ast.BinOp):
        for child in ast.iter_child_nodes(node):
            yield from _shown(child)


def _subjects(node: ast.expr) -> list[str]:
    """Return all subjects that an argument of `Finding` may evaluate to.

    The argument is a literal, a conditional expression or a variable.
    """
    if isinstance(node, ast.Name):
        return {"SUBJECT": ["network"], "subject": ["user code", "harness"]}[node.id]
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    return _texts(node)


def _findings() -> Iterator[tuple[str, list[str]]]:
    """Yield (subject, constant pieces of the reason's text) for each place in the code that creates a finding."""
    texts = (path.read_text(encoding="utf-8") for path in sorted((REPO / "analysis").rglob("*.py")))
    # Parse only files that create findings, because every pytest process parses them when it collects the tests.
    for text in (text for text in texts if "Finding(" in text):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                reason = node.args[2]
                if isinstance(reason, ast.Name):
                    continue  # the reason is a variable: its text is in a function `doubts` (see DOUBTS)
                both = {"user code": "the harness", "harness": "your code"}
                pieces = list(_shown(reason))
                for subject in (subjects := _subjects(node.args[1])):
                    yield (
                        subject,
                        [text for text in pieces if len(subjects) == 1 or text != both.get(subject)],
                    )
    for name, subject in DOUBTS.items():
        tree = ast.parse((REPO / name).read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name == "doubts":
                for node in ast.walk(function):
                    if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
                        yield subject, list(_shown(node.value.elts[1]))


def test_every_place_that_makes_a_finding_was_found() -> None:
    assert {subject for subject, _ in _findings()} == set(SUBJECTS)
    calls = sum(
        len(re.findall(r"\bFinding\($", path.read_text(encoding="utf-8"), re.MULTILINE))
        for path in (REPO / "analysis").rglob("*.py")
    )
    assert len(list(_findings())) > calls > 20


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_has_a_section(subject: str) -> None:
    assert anchor(subject) in _sections()  # type: ignore[arg-type]
    assert explained(subject) == f"{PAGE}#{anchor(subject)}"  # type: ignore[arg-type]
    assert (REPO / PAGE).is_file()


@pytest.mark.parametrize("foreign", [None, "", "no such", "Pause", 3, "<b>"])
def test_a_subject_of_another_version_has_none(foreign: object) -> None:
    assert explained(foreign) is None


# Findings about a pause are left out: their sentences come from the table `causes.PAUSED`, which the next test checks.
@pytest.mark.parametrize(("subject", "pieces"), [each for each in _findings() if each[0] != "pause"])
def test_every_finding_is_quoted_in_its_section(subject: str, pieces: list[str]) -> None:
    section = " ".join(_quoted(_sections()[subject.replace(" ", "-")]))
    longest = max(pieces, key=len).strip()
    assert longest in section, f"{PAGE}, section {subject}: quote the sentence with {longest!r}"


def test_every_kind_of_pause_is_quoted() -> None:
    section = " ".join(_quoted(_sections()["pause"]))
    assert len(causes.PAUSED) == 4
    for sentence in causes.PAUSED.values():
        assert sentence.removeprefix("{was} ") in section


@cache
def _code() -> str:
    """Return all string literals in the code, joined."""
    return "\n".join(
        text
        for folder in ("analysis", "loadgen")
        for path in sorted((REPO / folder).rglob("*.py"))
        for text in _texts(ast.parse(path.read_text(encoding="utf-8")))
    )


@pytest.mark.parametrize("quote", [quote for section in _sections().values() for quote in _quoted(section)])
def test_every_quoted_sentence_is_in_the_code(quote: str) -> None:
    pieces = [piece.strip(" :;,()") for piece in quote.split("…")]
    for piece in pieces:
        assert piece in _code(), f"{PAGE}: no sentence of the code has {piece!r}"
    assert max(map(len, pieces)) >= ENOUGH, f"{quote!r} is too short to be found"


def test_a_made_up_sentence_would_be_found() -> None:
    assert "the generator itself published late: p99 " in _code()
    assert "the generator was on holiday" not in _code()


def test_every_step_of_a_probe_has_a_section() -> None:
    source = ast.parse(Path(REPO / "loadgen/client/probe.py").read_text(encoding="utf-8"))
    (run,) = (node for node in ast.walk(source) if isinstance(node, ast.FunctionDef) and node.name == "run")
    names = [text for node in ast.walk(run) if isinstance(node, ast.List) for text in _texts(node)]
    assert len(names) == 7
    for name in (*names, "publish", "delivery"):
        assert name.lower().replace(" ", "-") in _sections()
