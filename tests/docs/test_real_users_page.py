"""Test the page on real users: its scenarios load as described, and its Python uses names that exist."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import loadgen
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import planned
from loadgen.run.options import ENTRIES
from loadgen.scenario.models import Group
from tests.paths import REPO

TEXT = (REPO / "docs" / "real-users.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
YAML = [text for language, text in BLOCKS if language == "yaml"]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("id,token,plan\n" + "".join(f"u{n},tok-{n},free\n" for n in range(200)))


def block(beginning: str) -> str:
    found: list[str] = [text for text in YAML if text.startswith(beginning)]
    assert len(found) == 1
    return found[0]


def write(text: str) -> str:
    Path("x.yaml").write_text(text)
    return "x.yaml"


def test_the_first_scenario_is_whole() -> None:
    scenario, run = planned(write(block("version: 1\n")))
    assert scenario.data["people"].first == 200
    assert run.groups[0].logins is not None


def test_operations_and_subscriptions_may_differ() -> None:
    head = "version: 1\ndata:\n  people: {csv: people.csv}\n  anyone: {csv: people.csv, assign: random}\n"
    scenario = load(write(head + block("clients:\n  users:\n")))
    assert scenario.clients["users"].login is not None


def logins() -> list[str]:
    section = TEXT.split("## How does each client log in?")[1].split("## ")[0]
    return re.findall(r"^\| `(\{mode.*\})` \|", section, re.MULTILINE)


@pytest.mark.parametrize("login", logins())
def test_every_login_of_the_table_is_one(login: str) -> None:
    Path("people.csv").write_text("id,token,key,name,password\n" + "1,2,3,4,5\n" * 2)
    load(
        write(
            "version: 1\ndata: {people: {csv: people.csv}}\nclients:\n"
            f'  x: {{count: 1, subscribe: "/default/a", login: {login}}}\n'
            "  y: {count: 1, publish: {channel: /default/a, rate: 1/s}}\n"
        )
    )


def test_there_are_six_logins() -> None:
    assert len(logins()) == 6


@pytest.mark.skipif(find_spec("loadgen.payloads") is None, reason="payloads are another part of issue 22")
def test_the_payload_is_one() -> None:
    publish = "".join(f"    {line}\n" for line in block("publish:\n").splitlines())
    load(
        write(
            "version: 1\ndata: {anyone: {csv: people.csv, assign: random}}\nclients:\n"
            '  x: {count: 1, subscribe: "/default/users/*"}\n'
            f"  y:\n    count: 1\n{publish}"
        )
    )


@pytest.mark.skipif("respond" not in Group.model_fields, reason="reactions are another part of issue 22")
def test_the_reaction_is_whole_but_for_its_version() -> None:
    scenario = load(write("version: 1\n" + block("variables:\n  person:")))
    assert scenario.clients["assistant"].respond is not None


def test_the_python_is_valid_and_names_what_there_is() -> None:
    for language, text in BLOCKS:
        if language == "python":
            ast.parse(text)
    assert {"run_scenario", "RunInterrupted"} <= set(loadgen.__all__)
    for name in re.findall(r"`(allow_file|faults)=", TEXT):
        assert name in ENTRIES
