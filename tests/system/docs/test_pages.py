"""Test the documentation: links, generated reference, commands and examples."""

import importlib
import importlib.util
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from textwrap import indent
from types import ModuleType
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

import loadgen.cli
from analysis.gates.grammar import parse
from loadgen.cli.app import app
from loadgen.resolve.loading import catalogue, load
from loadgen.scenario import ScenarioError, overrides_of
from tests.paths import REPO
from tests.system.harness import STUCK_S

PAGES = sorted(
    path.relative_to(REPO).as_posix()
    for path in [
        *REPO.glob("docs/**/*.md"),
        *(REPO / name / "README.md" for name in (".", "analysis", "benchmarks", "results", "loadgen/server")),
    ]
)
#: Pages whose YAML blocks are whole files, or parts that are valid without context.
TASKS = [
    page
    for page in PAGES
    if page.startswith(("docs/cookbook/", "docs/paths/", "docs/start", "docs/concepts"))
]


def _script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPO / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module here
    spec.loader.exec_module(module)
    return module


links = _script("docs/site/links.py")


def _blocks(page: str, *languages: str) -> Iterator[str]:
    """Yield a page's code blocks in these languages; the language `indented` stands for indented blocks."""
    lines: list[str] = []
    fence, language, blank = "", "", True
    text = (REPO / page).read_text(encoding="utf-8")
    for line in [*text.splitlines(), ""]:
        if fence:
            if line.strip() == fence:
                if language in languages:
                    yield "\n".join(lines)
                fence, lines, blank = "", [], True
            else:
                lines.append(line)
        elif found := re.match(r"(`{3,})(\S*)", line):
            fence, language, lines = found[1], found[2], []
        elif line.startswith("    ") and (blank or lines):
            lines.append(line[4:])
        else:
            if lines and "indented" in languages:
                yield "\n".join(lines)
            lines, blank = [], not line.strip()


def _commands(page: str) -> Iterator[list[str]]:
    """Yield the words of each `loadgen` command on a page, except incomplete ones with `…`."""
    for block in _blocks(page, "sh", "indented"):
        for line in block.replace("\\\n", " ").splitlines():
            if "…" in line or "<" in line.replace(" < ", " "):
                continue
            try:
                words = shlex.split(line, comments=True)
            except ValueError:
                continue  # a formula or a sentence, not a command
            while words:
                end = next((n for n, word in enumerate(words) if word in ("&&", "|", ">", ";")), len(words))
                if words[:1] and Path(words[0]).name == "loadgen" and end > 1:
                    yield words[1:end]
                words = words[end + 1 :]


@cache
def _command_line() -> Any:
    for module in pkgutil.iter_modules(loadgen.cli.__path__):
        importlib.import_module(f"loadgen.cli.{module.name}")
    return typer.main.get_command(app)


@cache
def _catalogue() -> frozenset[str]:
    return frozenset(entry.name for entry in catalogue())


def _parsed(words: list[str]) -> dict[str, Any]:
    """Return the values that the command line parses from a command; fails if it is refused."""
    node = _command_line()
    name, rest = "loadgen", words
    while hasattr(node, "commands"):
        assert rest, f"{' '.join(words)}: which command?"
        assert rest[0] in node.commands, f"there is no command {' '.join(words)}"
        node, name, rest = node.commands[rest[0]], rest[0], rest[1:]
    if rest == ["--help"]:
        return {}
    try:
        parameters: dict[str, Any] = node.make_context(name, list(rest)).params
    except Exception as error:
        message = getattr(error, "message", error)
        raise AssertionError(f"loadgen {shlex.join(words)}: {message}") from None
    return {"command": name, **parameters}


def _check(words: list[str]) -> None:
    said = _parsed(words)
    scenario = said.get("scenario") or (said.get("name") if said.get("command") == "scenarios" else None)
    if scenario in _catalogue():
        load(scenario, overrides_of(said.get("overrides") or ()))
    elif scenario is not None:
        its_run = scenario.startswith("results/")
        assert its_run or scenario.endswith((".yaml", ".py")), (
            f"{scenario} is neither in the catalogue nor a file"
        )
    for goal in said.get("slo") or ():
        parse(goal)
    if said.get("command") == "ab":
        for side in ("base", "new"):
            _check(["run", *shlex.split(said[side])])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one(page: str) -> None:
    for words in _commands(page):
        _check(words)


def test_commands_are_found_and_bad_ones_refused() -> None:
    assert sum(1 for page in PAGES for _ in _commands(page)) > 45
    for bad in (
        "run comments --no-such-option",
        "no-such-command",
        "run comments --set clients.nobody.count=3",
        "ab comments 'comments --sett a=b'",
        "run no-such-scenario",
    ):
        with pytest.raises((AssertionError, ScenarioError)):
            _check(shlex.split(bad))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    assert list(links.problems(page)) == []


def test_the_reference_is_that_of_the_code() -> None:
    """If this fails, run `python docs/generate` and commit the result."""
    done = subprocess.run(
        [sys.executable, "docs/generate", "--check"],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_site_is_built_and_fetches_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "docs/site/build.py"],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    built = sorted((REPO / "build" / "docs" / "site").rglob("*.html"))
    assert len(built) > 25
    for page in built:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(
            r'<(?:script|img|iframe|link rel="stylesheet")[^>]*"(?:https?:)?//[^"]*"', text
        ), page
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", text), page


def test_every_page_is_in_the_navigation() -> None:
    written = (REPO / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[:-] (\S+\.md)$", written.split("\nnav:")[1], re.MULTILINE))
    there = {path.removeprefix("docs/") for path in PAGES if path.startswith("docs/")}
    outside = {name for name in named if name.startswith("repository/")}
    assert named - outside == there
    for name in outside:
        assert (REPO / name.removeprefix("repository/").removesuffix(".md") / "README.md").is_file()


@pytest.mark.parametrize("page", TASKS)
def test_every_piece_of_yaml_is_valid(page: str, tmp_path: Path) -> None:
    # Use the CSV data on the page itself, or else made-up rows with the columns that the pages use.
    rows = "".join(f"u{number},a{number % 7}\n" for number in range(1_000))
    people = next(iter(_blocks(page, "csv")), "id,article\n" + rows)
    (tmp_path / "people.csv").write_text(people, encoding="utf-8")
    for block in _blocks(page, "yaml"):
        content = YAML(typ="safe").load(block)
        if "version" in content:
            whole = block
        elif "namespaces" in content:
            continue  # the block is an API file; the test of the page's example uses it
        elif set(content) == {"login"}:
            publish = "{channel: /default/a, rate: 1/s, via: websocket}"
            whole = (
                "version: 1\ndata: {people: {csv: people.csv}}\nclients:\n  users:\n    count: 2\n"
                f'    subscribe: "/default/{{people.id}}"\n    publish: {publish}\n{indent(block, " " * 4)}\n'
            )
        else:
            # The block is a part of a scenario: add the rest of a small scenario, so that it can be loaded.
            clients = "{count: 1, subscribe: /default/a, publish: {channel: /default/a, rate: 1/s}}"
            small = f"version: 1\nclients:\n  all: {clients}\n"
            assert set(content) <= {"gates", "phases"}, f"{page}: a part that this test does not know"
            whole = small + block
        (tmp_path / "piece.yaml").write_text(whole, encoding="utf-8")
        load(str(tmp_path / "piece.yaml"))


@pytest.mark.parametrize("locust", [False, True])
def test_every_piece_of_python_runs(locust: bool) -> None:
    """Examples with and without Locust run in separate processes, because Locust monkey-patches its process."""
    pieces = [
        (f"block {number} of {page}", block)
        for page in TASKS
        for number, block in enumerate(_blocks(page, "python"), 1)
        if any(name in block for name in ("from loadgen.run.install import", "import EventsUser")) is locust
    ]
    assert len(pieces) >= 4
    # Each example runs by itself, because a reader copies a single one.
    script = "\n".join(
        f"exec(compile({block!r}, {name!r}, 'exec'), {{'__name__': 'page'}})" for name, block in pieces
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPO,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
