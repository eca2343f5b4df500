"""Test `loadgen scenarios`: it explains every scenario in 80 columns, with the figures of its plan."""

import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from loadgen.cli import scenarios as command
from loadgen.cli.app import app
from loadgen.planning.catalogue import CURVE_COLUMNS, Portrait, portrait, sparkline
from tests.scenario.examples import GOOD, with_publish
from tests.scenario.shipped import SHIPPED, Shipped

ENTRIES = SHIPPED


def told(path: Path, text: str) -> Portrait:
    path.write_text(text)
    return portrait(str(path), path)


def shown(width: int, *portraits: Portrait, listed: bool = False) -> list[str]:
    console = Console(width=width, record=True, highlight=False)
    if listed:
        command._list(list(portraits), console)
    else:
        command._explain(portraits[0], console)
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [80, 100])
def test_the_list_names_every_scenario_and_its_question_within_the_width(width: int) -> None:
    portraits = [portrait(entry.name, entry.path) for entry in ENTRIES]
    lines = shown(width, *portraits, listed=True)
    assert all(len(line.rstrip()) <= width for line in lines)
    for each in portraits:
        assert each.question is not None, f"{each.scenario.name} does not say what it answers"
        (row,) = (line for line in lines if line.startswith(f"{each.scenario.name} "))
        assert f"{each.run.totals.clients:,}" in row
        assert each.question.split("?")[0].split()[-1] + "?" in " ".join(lines)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_scenario_is_explained_within_80_columns(entry: Shipped) -> None:
    each = portrait(entry.name, entry.path)
    lines = shown(80, each)
    # A path is printed in one line, however long, so that it can be copied.
    assert all(len(line.rstrip()) <= 80 for line in lines if str(entry.path.parent) not in line)
    text = " ".join(" ".join(lines).split())
    for wanted in ("clients", "load", "phases", "gates", f"loadgen run {entry.name}"):
        assert wanted in text
    for name in each.scenario.clients:
        assert f"{name}: " in text
    assert " ".join(each.scenario.description.split()) in text


def test_figures_are_those_of_the_scenario(tmp_path: Path) -> None:
    text = with_publish("batch: 2\n      profile: {steps: [50%, 100%], each: 30s}")
    each = told(tmp_path / "x.yaml", text.replace("{count: 20}", "{count: 1}"))
    assert (each.run.totals.clients, each.run.totals.subscriptions) == (7, 5)
    assert (each.events.mean, each.events.peak) == (75, 100)
    assert each.deliveries is not None
    assert (each.deliveries.mean, each.deliveries.peak) == (375, 500)
    assert each.curve == pytest.approx([50] * (CURVE_COLUMNS // 2) + [100] * (CURVE_COLUMNS // 2))
    # The sum of a ramp of 4 intervals at 250/s, one second of warm-up, one minute of the curve, and two
    # seconds of drain.
    assert each.seconds == pytest.approx(0.016 + 1 + 60 + 2)
    assert not each.steady
    lines = [line.strip() for line in shown(80, each)]
    assert "▅" * 30 + "█" * 30 in lines
    assert "mean 75 events/s, at most 100" in lines
    assert "mean 375 deliveries/s, at most 500" in lines


def test_a_steady_load_has_no_curve(tmp_path: Path) -> None:
    each = told(tmp_path / "x.yaml", GOOD)
    assert each.steady
    assert not any("█" in line for line in shown(80, each))
    assert each.question is None


def test_comments_are_told_by_paragraphs_and_the_first_question_leads(tmp_path: Path) -> None:
    comments = "# One thing. Is it so,\n# or not? Or so?\n#\n# More.\n"
    each = told(tmp_path / "x.yaml", comments + GOOD + "# The end.\n")
    assert each.comments == ("One thing. Is it so, or not? Or so?", "More.", "The end.")
    assert each.question == "Is it so, or not?"


def test_commands_in_comments_stay_on_lines_of_their_own(tmp_path: Path) -> None:
    comments = "# Try:\n#   loadgen run x.yaml    here\n#   loadgen plan x.yaml   its cost\n"
    each = told(tmp_path / "x.yaml", comments + GOOD)
    assert each.comments == ("Try:\nloadgen run x.yaml    here\nloadgen plan x.yaml   its cost",)


def test_what_a_file_says_cannot_reach_the_terminal(tmp_path: Path) -> None:
    text = GOOD + 'description: "a \\e[31mred [bold]word[/bold]"\n# \x1b]0;title\x07 ?\n'.replace("\x07", "")
    path = tmp_path / "x.yaml"
    path.write_text(text.replace("\x1b", ""))
    lines = "\n".join(shown(80, portrait("x.yaml", path)))
    assert "\x1b" not in lines
    assert "[bold]word[/bold]" in lines


@pytest.mark.parametrize(
    ("values", "line", "plain"),
    [
        ([0, 1, 2, 4, 8], " ▂▃▅█", " :-+@"),
        ([3.0], "█", "@"),
        ([0.0, 0.0], "  ", "  "),
        ([1e-9, 1], "▁█", ".@"),
        ([], "", ""),
    ],
)
def test_a_curve_as_a_line(values: list[float], line: str, plain: str) -> None:
    assert sparkline(values) == line
    assert sparkline(values, plain=True) == plain


def test_as_json() -> None:
    listed = CliRunner().invoke(app, ["scenarios", "--format", "json"])
    assert listed.exit_code == 0, listed.output
    entries = json.loads(listed.output)
    assert [entry["name"] for entry in entries] == [entry.name for entry in ENTRIES]
    one = json.loads(CliRunner().invoke(app, ["scenarios", "broadcast", "--format", "json"]).output)
    assert one == next(entry for entry in entries if entry["name"] == "broadcast")
    assert one["deliveries_per_s"] == {"mean": 10_000, "peak": 10_000}
    assert one["groups"]["audience"]["count"] == 1000
    assert one["command"] == "loadgen run broadcast"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("brodcast", "loadgen: there is no scenario 'brodcast'; did you mean 'broadcast'?"),
        ("nowhere.yaml", "loadgen: nowhere.yaml: there is no such file"),
    ],
)
def test_what_is_no_scenario_is_said(name: str, said: str) -> None:
    result = CliRunner().invoke(app, ["scenarios", name])
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_file_of_ones_own_is_explained_and_its_command_can_be_copied(tmp_path: Path) -> None:
    path = tmp_path / "my own" / "x.yaml"
    path.parent.mkdir()
    path.write_text(GOOD)
    result = CliRunner().invoke(app, ["scenarios", str(path)])
    assert result.exit_code == 0, result.output
    assert f"loadgen run '{path}'" in result.output
