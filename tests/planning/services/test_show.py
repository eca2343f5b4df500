"""Test a comparison's tables, Markdown, JSON and picture, and the command that makes them."""

import io
import json
import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from rich.console import Console
from typer.testing import CliRunner

from loadgen.cli import commands
from loadgen.planning.prices import PACKAGED
from loadgen.planning.services import show
from loadgen.planning.services.costing import costings
from loadgen.planning.services.crossings import crossings, curves
from loadgen.planning.services.files import FOLDER
from loadgen.planning.services.load import AXES
from loadgen.planning.services.plot import draw, save
from loadgen.planning.services.span import UNKNOWN, Span
from tests.planning.services.loads import example

app = commands.load(["plan"])
EXAMPLE = [
    "plan", "--clients", "10000", "--rate", "10/s", "--fan-out", "100", "--event-size", "1KiB", "--channels", "100",
    "--hours-per-day", "8", "--days", "30",
]  # fmt: skip


def said(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def test_amounts_in_words() -> None:
    assert show.usd(Span.of(Fraction(88_476, 100))) == "$884.76"
    assert show.usd(Span(Fraction(615), Fraction(1047))) == "$615.00 – $1,047.00"
    assert show.usd(Span(Fraction(25), None)) == "≥ $25.00"
    assert show.usd(UNKNOWN) == "unknown"
    # A range whose two ends look equal when rounded is printed as one amount.
    assert show.usd(Span(Fraction(1), Fraction(1) + Fraction(1, 10**6))) == "$1.00"


def test_the_tables_of_the_example() -> None:
    # Among these services is one of each kind: with two offers, with a range, with a backend, with an unknown price.
    found = costings(example(), "api-gateway,aws-iot-core,azure-web-pubsub:standard,momento")
    console = Console(width=200, record=True, highlight=False, file=io.StringIO())
    show.print_services(example(), found, crossings(found), console)
    text = console.export_text()
    lines = {line.split()[0]: " ".join(line.split()) for line in reversed(text.splitlines()) if line.strip()}
    assert "$909.84 $21.53 $79.63 assumes" in lines["api-gateway"]
    assert lines["momento"].startswith("momento unknown unknown unknown")
    assert "not known: operations" in lines["momento"]
    assert "$615.00 – $1,047.00 range" in lines["azure-web-pubsub:standard"]
    # Offers with the same quotas share a row.
    assert "aws-iot-core messages delivered 1,000/s 20,000/s 5.00 %" in " ".join(text.split())


def test_a_load_in_words() -> None:
    first, month = show.heading(example())
    assert first == (
        "10,000 connections, 10,000 subscriptions, 100 channels; 10 events/s of 1,024 bytes, each to 100 subscribers"
    )
    assert month.startswith("a month: 30 days of 8 h, a client connects 1 × a day")
    one = replace(example(), channels=Fraction(1)).grown("fan-out", Fraction(1, 100))
    assert ", 1 channel;" in next(iter(show.heading(one)))
    assert next(iter(show.heading(one))).endswith("each to 1 subscriber")
    unknown = list(show.heading(replace(example(), known=False)))
    assert unknown[0].startswith("clients run tasks of users")
    assert unknown[1].endswith("unknown different users")


def test_json_has_every_crossing_and_null_for_the_unknown() -> None:
    document = json.loads(said(*EXAMPLE, "--services", "supabase,ably,momento", "--format", "json"))
    assert document["load"]["event_bytes"] == 1024
    assert [each["service"] for each in document["services"]] == ["supabase", "ably", "ably", "momento"]
    assert document["services"][0]["month"]["usd"]["min"] == pytest.approx(2386.22624)
    assert document["services"][3]["month"]["usd"] == {"min": None, "max": None}
    equal = [each for each in document["crossings"] if each["axis"] == "payload" and not each["step"]]
    assert {(each["cheaper_below"], each["cheaper_above"]) for each in equal} >= {
        ("supabase", "ably:per-minute")
    }
    for each in equal:
        if each["sure"]:
            assert each["usd_cheaper_below"]["min"] == pytest.approx(
                each["usd_cheaper_above"]["min"], abs=0.01
            )


def test_markdown_is_tables() -> None:
    text = said("plan", "comments", "--services", "appsync-events,api-gateway", "--format", "md")
    assert text.startswith("### comments\n")
    assert "| service | a run | an hour | a month |" in text
    assert r"| as this grows | at | cheaper below |" in text


def test_a_scenario_has_the_cost_of_a_run() -> None:
    document = json.loads(
        said("plan", "comments", "--services", "aws-iot-core:qos0,pusher", "--format", "json")
    )
    iot, pusher = document["services"]
    assert 0 < iot["run"]["usd_metered"]["min"] < 1
    assert iot["run"]["usd_lasting"] == {"min": 0, "max": 0}
    # The plan that the run needs is paid for a whole month. A whole month of this load exceeds every plan of Pusher.
    assert pusher["run"]["usd_lasting"] == {"min": 49, "max": 49}
    assert pusher["month"]["usd"] == {"min": None, "max": None}


def test_the_picture_is_written(tmp_path: Path) -> None:
    path = tmp_path / "costs.png"
    said(*EXAMPLE, "--services", "api-gateway,momento", "--plot", str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


def test_what_is_drawn_says_how_sure_it_is(tmp_path: Path) -> None:
    load = example()
    found = costings(load, "supabase,pubnub:mau,firebase,momento")
    along = [curves(found, axis) for axis in AXES]
    figure = draw(load, along, crossings(found))
    assert len(figure.axes) == len(AXES)
    styles = {}
    for ax in figure.axes:
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        names = [each.get_text() for each in ax.texts]
        assert sorted(names) == ["firebase", "pubnub:mau", "supabase"]
        styles[ax.get_title()] = [line.get_linestyle() for line in ax.lines if len(line.get_xdata()) > 10]  # type: ignore[arg-type]
        # Only Firebase's cost is a range, which is drawn as a band.
        assert len(ax.collections) == 1
    assert any("--" in each and "-" in each for each in styles.values())
    assert figure.get_supxlabel().endswith("not drawn, price unknown: momento")
    save(figure, tmp_path / "x.svg")
    assert ElementTree.parse(tmp_path / "x.svg").getroot().tag.endswith("svg")
    with pytest.raises(ValueError, match=r"must end in \.png or \.svg"):
        save(figure, tmp_path / "x.gif")


REFUSED = [
    (["plan", "comments", "--days", "3"], "--days is for a comparison of services: add --services all"),
    (["plan", "comments", "--plot", "x.png"], "--plot is for a comparison of services"),
    (["plan", "--services", "all"], "--clients is missing"),
    ([*EXAMPLE[:3], "--services", "all"], "--rate is missing"),
    ([*EXAMPLE, "--rate", "10", "--services", "all"], "--rate is '10' without a unit; write '10/s'"),
    ([*EXAMPLE, "--event-size", "5", "--services", "all"], "--event-size is '5' without a unit; write '5B'"),
    (["plan", "comments", "--clients", "5", "--services", "all"], "--clients is for a load without a scenario"),
    (["plan", "comments", "--services", "abbly"], "there is no service 'abbly'; did you mean 'ably'?"),
    (["plan", "comments", "--services", "ably", "--plot", "x.gif"], "must end in .png or .svg, not 'x.gif'"),
    (["plan", "comments", "--services", "ably", "--plot", "/none/x.png"], "there is no folder '/none' for the picture"),
    (["plan", "comments", "--services", "ably", "--calibrate"], "--calibrate and --machine-"),
    (["plan", "comments", "--prices", str(FOLDER / "ably.yaml")], "is a service file, which only a comparison"),
    (
        ["plan", "comments", "--prices", str(PACKAGED), "--prices", str(PACKAGED)],
        "several --prices are for a comparison of services",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_bad_input_is_told_in_a_sentence(arguments: list[str], sentence: str) -> None:
    output = said(*arguments, code=2)
    assert sentence in output
    assert len(output.strip().splitlines()) == 1


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_name_that_the_font_lacks_is_saved_without_a_warning(ending: str, tmp_path: Path) -> None:
    figure = Figure()
    figure.suptitle("默认 😀")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(figure, tmp_path / f"services.{ending}")
    assert (tmp_path / f"services.{ending}").stat().st_size > 1_000
