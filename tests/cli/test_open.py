"""Test `loadgen open`: which page it opens, and its message if there is none."""

import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner

import loadgen.cli.open  # noqa: F401  registers the command
from loadgen.cli.app import app


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(webbrowser, "open", seen.append)
    return seen


@pytest.mark.parametrize("name", ["report.html", "capacity.html"])
@pytest.mark.parametrize("by", ["folder", "page"])
def test_it_opens_the_page_of_a_run_or_of_a_search(
    tmp_path: Path, opened: list[str], name: str, by: str
) -> None:
    page = tmp_path / "a run" / name
    page.parent.mkdir()
    page.write_text("<p>x", encoding="utf-8")
    done = CliRunner().invoke(app, ["open", str(page.parent if by == "folder" else page)])
    assert done.exit_code == 0, done.output
    assert opened == [page.resolve().as_uri()]
    assert str(page) in done.output.replace("\n", "")


def test_the_newest_run_is_the_default(tmp_path: Path, opened: list[str]) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "report.html").write_text("<p>x", encoding="utf-8")
    (tmp_path / "latest").symlink_to("one")
    assert CliRunner().invoke(app, ["open", "--results", str(tmp_path)]).exit_code == 0
    assert opened == [(tmp_path / "one" / "report.html").as_uri()]


@pytest.mark.parametrize(("there", "said"), [(False, "there is no run"), (True, "has no report.html")])
def test_without_a_page_it_says_what_to_do(
    tmp_path: Path, opened: list[str], there: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "empty"
    if there:
        folder.mkdir()
    done = CliRunner().invoke(app, ["open", str(folder)])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert opened == []
