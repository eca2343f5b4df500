"""Test the replay of recorded series: their points, and the exact message for each mistake in the file."""

# ruff: noqa: E501 - each message stays on one line, so that a search finds it

import json
import os
from pathlib import Path

import pytest

from loadgen.resolve import Clients
from loadgen.resolve.loading import from_resolved, load
from loadgen.resolve.resolver import resolve
from loadgen.scenario import Scenario, ScenarioError, recordings
from tests.scenario.examples import with_publish
from tests.scenario.publishing import publish_of

SECOND = 1_000_000_000
SERIES = "time,rate\n0,10\n30,40\n60,20\n"
PROFILE = "clients.writers.publish.profile.csv names 'rates.csv'"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def replayed(tmp_path: Path, series: str | bytes = SERIES, options: str = "") -> Scenario:
    (tmp_path / "rates.csv").write_bytes(series if isinstance(series, bytes) else series.encode())
    (tmp_path / "x.yaml").write_text(with_publish(f"profile: {{csv: rates.csv{options}}}"))
    return load("x.yaml")


def points_of(scenario: Scenario) -> list[tuple[float, float]]:
    publish = scenario.clients["writers"].publish
    assert publish is not None
    return [(point.at_ns / SECOND, point.load) for point in publish.curve(scenario.phases.measure_ns)]


FLAT = [(0, 0.25), (30, 0.25), (30, 1), (60, 1), (60, 0.5), (90, 0.5)]


@pytest.mark.parametrize(
    ("series", "options", "points"),
    [
        (SERIES, "", FLAT),
        (SERIES, ", speed: 10", [(at / 10, load) for at, load in FLAT]),
        (SERIES, ", peak: 50%", [(at, load / 2) for at, load in FLAT]),
        (SERIES, ", between: lines", [(0, 0.25), (30, 1), (60, 0.5)]),
        # With `values: events/s`, the recorded values are divided by the group's rate of 100/s to get loads.
        (SERIES, ", values: events/s, between: lines", [(0, 0.1), (30, 0.4), (60, 0.2)]),
        (
            "\ufeff id , when , value \r\n1,2026-01-31T18:00:00Z,10\r\n\r\n2,2026-01-31T18:00:30Z,40\r\n"
            "3,2026-01-31T20:01:00+02:00,20\r\n",
            ", time_column: when, rate_column: value",
            FLAT,
        ),
        ("time,rate\n2026-01-31 18:00,1\n2026-01-31 18:00:30,4\n2026-01-31 18:01,2\n", "", FLAT),
        ("\ufefftime,rate\n0,10\n30,40\n60,20\n", "", FLAT),
        ("time,rate,note\n0,10,a\u2028b\n30,40,c\x0cd\n60,20,e\x85f\n", "", FLAT),
        ("rate,time\n1e1,1000.5\n40.0,1030.5\n20,1060.5\n", "", FLAT),
    ],
)
def test_what_a_file_stands_for(
    tmp_path: Path, series: str | bytes, options: str, points: list[tuple[float, float]]
) -> None:
    assert points_of(replayed(tmp_path, series, options)) == points


def test_the_record_needs_the_file_no_more(tmp_path: Path) -> None:
    scenario = replayed(tmp_path, options=", speed: 30")
    resolved = json.loads(json.dumps(scenario.resolved()))
    (tmp_path / "rates.csv").unlink()
    again = from_resolved(resolved)
    assert again == scenario
    for number in (5, 6):
        assert [*publish_of(Clients(resolve(again)), number).offsets_ns()] == [
            *publish_of(Clients(resolve(scenario)), number).offsets_ns()
        ]
    assert resolved["clients"]["writers"]["publish"]["profile"]["source"] == "rates.csv"
    # The measure phase is as long as the series in rates.csv: three rows of one second each.
    assert again.phases.measure_ns == 3 * SECOND


def test_the_file_is_looked_for_beside_the_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = replayed(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load("../x.yaml") == scenario


def test_a_series_longer_than_the_measurement_is_said(tmp_path: Path) -> None:
    replayed(tmp_path)
    assert list(resolve(load("x.yaml", {"phases.measure": "1m"})).warnings) == [
        "clients.writers.publish.profile lasts 90s, longer than the measure phase (1m)"
    ]


def test_another_place_than_a_file_cannot_name_one(tmp_path: Path) -> None:
    scenario = replayed(tmp_path).resolved()
    scenario["clients"]["writers"]["publish"]["profile"] = {"csv": "rates.csv"}
    with pytest.raises(ScenarioError) as caught:
        from_resolved(scenario)
    assert str(caught.value) == (
        "scenario: clients.writers.publish.profile.csv names a file, which is read with a scenario's own file only; "
        "give the points instead"
    )


@pytest.mark.parametrize(
    ("series", "options", "sentence"),
    [
        ("", "", f"x.yaml:13: {PROFILE}, which has no header; its first line is 'time,rate'"),
        ("time;rate\n1;2\n", "", f"x.yaml:13: {PROFILE}, whose values are separated by ';'; separate them by commas, and write numbers with a point, as 100.5"),
        ('"time,rate\n1,2\n', "", f"x.yaml:13: {PROFILE}, whose header cannot be read as CSV: unexpected end of data"),
        ("time,rate,rate\n", "", f"x.yaml:13: {PROFILE}, which has several columns 'rate'; it has 'time', 'rate', 'rate'"),
        ("time,rate\n0,1\n", "", f"x.yaml:13: {PROFILE}, which has one row; a curve takes 2 or more"),
        ("time,rate\n0,0\n1,0\n", "", f"x.yaml:13: {PROFILE}, which has no rate above 0"),
        ("time,rate\n0,1\n1,1e9\n", ", values: events/s", f"x.yaml:13: {PROFILE}, whose highest rate 1e+09 is more than 100000% of the group's rate"),
        ("time,rate\n0,1\n0.0000000001,2\n", "", f"x.yaml:13: {PROFILE}, whose lines 2 and 3 fall together at this speed"),
        ("time,rate\n0,1\n500000,2\n", "", f"x.yaml:13: {PROFILE}, which lasts 277.8h, longer than the 168h that a phase may last; give it a higher speed"),
        (b"time,rate\n0,1\n1,caf\xe9\n", "", f"x.yaml:13: {PROFILE}, whose line 3 is not UTF-8; save it as UTF-8"),
        pytest.param(b"time,rate\n" + b" " * 10_000_000, "", f"x.yaml:13: {PROFILE}, which is larger than 10 MB", id="large"),
        ("time,rate\n0,1\n1,many\n", "", "rates.csv:3: rate must be a number such as 120.5, not 'many'"),
        ("time,rate\n0,1\n1,nan\n", "", "rates.csv:3: rate must be a number such as 120.5, not 'nan'"),
        ("time,rate\n0,1\n1,1e9999\n", "", "rates.csv:3: rate must be a number such as 120.5, not '1e9999'"),
        ("time,rate\n0,1\n1,-2\n", "", "rates.csv:3: rate must be at least 0, not '-2'"),
        ("time,rate\n0,1\nsoon,2\n", "", "rates.csv:3: time must be seconds such as 12.5 or a timestamp such as 2026-01-31T18:00:00Z, not 'soon'"),
        ("time,rate\n0,1\n\n1\n", "", "rates.csv:4: has 1 values where the header has 2"),
        ("time,rate\n0,1\n0,2\n", "", "rates.csv:3: has the time of line 2; each row needs its own"),
        ("time,rate\n5,1\n3,2\n", "", "rates.csv:3: goes back in time behind line 2; rows must be in order of time"),
        ("time,rate\n0,1\n2026-01-31T18:00:00Z,2\n", "", "rates.csv:3: mixes seconds and timestamps; keep to one of them"),
        ("time,rate\n2026-01-31T18:00:00,1\n2026-01-31T18:00:01Z,2\n", "", "rates.csv:3: mixes timestamps with and without an offset from UTC; keep to one of them"),
        ('time,rate\n0,1\n1,"2\n', "", "rates.csv:3: cannot be read as CSV: unexpected end of data"),
        ("time,rate\n0,da2-abcdefghijklmnop\n1,2\n", "", "rates.csv:2: rate must be a number such as 120.5, not 'da2-…'"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named_with_its_line(
    tmp_path: Path, series: str | bytes, options: str, sentence: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        replayed(tmp_path, series, options)
    assert str(caught.value) == sentence


def test_a_missing_file_is_named_beside_what_else_is_wrong(tmp_path: Path) -> None:
    replayed(tmp_path)
    (tmp_path / "rates.csv").unlink()
    (tmp_path / "x.yaml").write_text((tmp_path / "x.yaml").read_text().replace("warmup: 1s", "warmup: 1"))
    with pytest.raises(ScenarioError) as caught:
        load("x.yaml")
    assert caught.value.problems == (
        "x.yaml:15: phases.warmup is 1 without a unit; write '1s' if that is meant",
        f"x.yaml:13: {PROFILE}, which is not there; looked for 'rates.csv'",
    )


def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.yaml").write_text(with_publish("profile: {csv: pipe}"))
    with pytest.raises(ScenarioError) as caught:
        load("x.yaml")
    assert str(caught.value) == (
        "x.yaml:13: clients.writers.publish.profile.csv names 'pipe', which is not a regular file; name a CSV file"
    )


@pytest.mark.parametrize(
    "name", ["/dev/zero", "../outside.csv", "inside/../../outside.csv", "link.csv", "absolute"]
)
def test_only_files_beside_the_scenario_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / "scenarios"
    (folder / "inside").mkdir(parents=True)
    (tmp_path / "outside.csv").write_text("time,rate\n0,1\n1,2\n")
    (folder / "link.csv").symlink_to(tmp_path / "outside.csv")
    name = str(tmp_path / "outside.csv") if name == "absolute" else name
    (folder / "x.yaml").write_text(with_publish(f"profile: {{csv: {name}}}"))
    monkeypatch.chdir(folder)
    with pytest.raises(
        ScenarioError, match="which is outside the scenario's folder; put the file beside the scenario"
    ):
        load("x.yaml")
    (folder / "inside" / "rates.csv").write_text("time,rate\n0,1\n1,2\n")
    for inside in ("inside/rates.csv", str(folder / "inside" / "rates.csv")):
        (folder / "x.yaml").write_text(with_publish(f"profile: {{csv: {inside}}}"))
        load("x.yaml")


def test_of_many_mistakes_the_first_ten_are_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        replayed(tmp_path, "time,rate\n" + "".join(f"{n},x\n" for n in range(30)))
    assert len(caught.value.problems) == 11
    assert caught.value.problems[-1] == "rates.csv: and 20 more"


def test_a_file_of_too_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "MAX_ROWS", 2)
    with pytest.raises(ScenarioError, match="which has more than 2 rows"):
        replayed(tmp_path)
