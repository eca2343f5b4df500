"""Test files in other encodings and number formats: they are read, or refused with advice."""

from pathlib import Path

import pytest

from loadgen.resolve.loading import load
from loadgen.scenario import ScenarioError
from tests.scenario.examples import with_publish

SCENARIO = with_publish("profile: {csv: rates.csv}")
RATES = "time,rate\n0,5\n10,10\n20,0\n"
NOT_UTF8 = "whose line 1 is not UTF-8; save it as UTF-8"
SEPARATED = (
    "whose values are separated by {}; separate them by commas, and write numbers with a point, as 100.5"
)


def loads_of(folder: Path, rates: bytes, scenario: bytes = SCENARIO.encode()) -> list[float]:
    (folder / "rates.csv").write_bytes(rates)
    (folder / "x.yaml").write_bytes(scenario)
    found = load(str(folder / "x.yaml"))
    publish = found.clients["writers"].publish
    assert publish is not None
    return [point.load for point in publish.curve(found.phases.measure_ns)]


@pytest.mark.parametrize(
    "rates",
    [
        RATES.encode(),
        b"\xef\xbb\xbf" + RATES.encode(),
        RATES.replace("\n", "\r\n").encode(),
        RATES.replace("\n", "\r").encode(),
        b"time\t,\trate\n0\t,5\n10,\t10\n20 , 0\n",
        b'"time","rate"\n"0","5"\n"10","10"\n20,0\n',
        b"note;x,time,rate\na;b,0,5\n,10,10\n;,20,0\n",
    ],
)
def test_recorded_rates_are_read_however_their_lines_end(rates: bytes, tmp_path: Path) -> None:
    assert loads_of(tmp_path, rates) == loads_of(tmp_path, RATES.encode()) == [0.5, 0.5, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        # A wrong separator is not guessed: in the first file, a comma may be a decimal comma or a thousands separator.
        (b"time;rate\n0;100,5\n10;200,0\n", SEPARATED.format("';'")),
        (b"\xef\xbb\xbftime;rate\r\n0;1.000\r\n", SEPARATED.format("';'")),
        (b'"time" ; "rate"\n0;1\n', SEPARATED.format("';'")),
        (b"note,a;time;rate\n0;1\n", SEPARATED.format("';'")),
        (b"time\trate\n0\t5\n", SEPARATED.format("tabs")),
        (b"time|rate\n0|5\n", SEPARATED.format("'|'")),
        (RATES.encode("utf-16"), NOT_UTF8),
        (RATES.encode("utf-16-le"), "which is not UTF-8; save it as UTF-8"),
        (RATES.encode("utf-16-be"), "which is not UTF-8; save it as UTF-8"),
        ("time,rate\n0,5\n# ü\n".encode("latin-1"), "whose line 3 is not UTF-8; save it as UTF-8"),
        # No separator would give this header a column `time`, so the message is about the column.
        (b"at;rate\n0;5\n", "which has no column 'time'; it has 'at;rate'"),
    ],
)
def test_what_is_written_otherwise_is_told_in_a_sentence(rates: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as refused:
        loads_of(tmp_path, rates)
    (sentence,) = str(refused.value).splitlines()
    assert sentence.endswith(f"clients.writers.publish.profile.csv names 'rates.csv', {said}")


@pytest.mark.parametrize(
    "scenario",
    [b"\xef\xbb\xbf" + SCENARIO.encode(), SCENARIO.replace("\n", "\r\n").encode()],
)
def test_a_scenario_with_bom_or_crlf_is_read(scenario: bytes, tmp_path: Path) -> None:
    assert loads_of(tmp_path, RATES.encode(), scenario) == [0.5, 0.5, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        (SCENARIO.encode("utf-16"), "x.yaml:1: the file is not UTF-8; save it as UTF-8"),
        (SCENARIO.encode("utf-16-le"), "x.yaml: the YAML cannot be read: unacceptable character #x0000"),
        (
            SCENARIO.replace("\n  ", "\n\t", 1).encode(),
            r"cannot be read: found character '\t' that cannot start any",
        ),
    ],
)
def test_a_scenario_in_utf16_or_indented_by_tabs_is_told_in_a_sentence(
    scenario: bytes, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ScenarioError) as refused:
        loads_of(tmp_path, RATES.encode(), scenario)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
