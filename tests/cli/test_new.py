"""Test `loadgen new` and `loadgen open`: the questions they ask, the files they write or open, and what they refuse."""

import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadgen.cli import commands, new
from loadgen.resolve.loading import load


def _invoke(*words: str, said: str | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(commands.load([words[0]]), list(words), input=said)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_terminal_nothing_is_asked() -> None:
    code, said, _ = _invoke("new", "mine", "--rate", "7")
    assert code == 0
    assert "loadgen run mine.yaml" in said
    assert {group.count for group in load("mine.yaml").clients.values()} == {200, 1}


def test_three_questions_make_a_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new, "_is_terminal", lambda: True)
    code, said, _ = _invoke("new", "mine", said="9\n2\n40\n0\n60\n")
    assert code == 0, said
    assert "What do the clients do?" in said
    scenario = load("mine.yaml")
    assert scenario.clients["people"].count == 40
    assert scenario.variables["room"].count == 2
    assert "60/s" in Path("mine.yaml").read_text()


def test_what_options_say_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new, "_is_terminal", lambda: True)
    code, said, _ = _invoke("new", "mine.yml", "--kind", "feeds", "--clients", "5", "--rate", "6", said="")
    assert (code, Path("mine.yml").exists()) == (0, True), said
    assert "?" not in said


@pytest.mark.parametrize("words", [("mine", "--users"), ("mine.py",)])
def test_a_locustfile_has_a_user_class(words: tuple[str, ...]) -> None:
    code, said, _ = _invoke("new", *words)
    assert code == 0
    assert "--users 200" in said
    assert "class Person(EventsUser)" in Path("mine.py").read_text()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("two words",), "letters, digits"),
        (("../../-x",), "letters, digits"),
        (("mine.yaml", "--users"), "mine.py"),
        (("none/mine",), "cannot be written"),
    ],
)
def test_mistakes_write_nothing(words: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    code, _, said = _invoke("new", *words)
    assert code == 2
    assert problem in said
    assert not list(tmp_path.iterdir())


def test_the_newest_report_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    code, _, said = _invoke("open")
    assert (code, opened) == (2, [])
    assert "there is no run" in said
    run = tmp_path / "results" / "a run"
    run.mkdir(parents=True)
    (run.parent / "latest").symlink_to(run.name)
    code, _, said = _invoke("open")
    assert (code, opened) == (2, [])
    assert "loadgen report" in said
    (run / "report.html").write_text("<html>")
    code, printed, _ = _invoke("open")
    assert (code, printed) == (0, f"report: {run / 'report.html'}\n")
    assert opened == [(run / "report.html").as_uri()]
    _invoke("open", str(run))
    assert opened[1:] == opened[:1]
