"""Test that all times in a run's files are in UTC, whatever the time zone."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from analysis import load, text
from analysis.report.outputs import junit
from analysis.report.page import render
from analysis.summary import summarise
from loadgen.run.placement import Placement
from loadgen.run.record import RunFolder
from tests.analysis.synthetic import simple_run

#: 2026-03-07, one minute before midnight UTC. In Kolkata (+05:30) it is the next day; in St. John's (-03:30)
#: the minutes differ too.
AT_NS = 1_772_927_940_123_456_789


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_the_folders_name_is_in_utc_and_says_so(zone: str, tmp_path: Path) -> None:
    folder = RunFolder.create(Placement(tmp_path), {"name": "comments"}, {}, 1, AT_NS)
    assert folder.path.name == "20260307-235900Z-comments"
    if zone != "UTC":
        assert time.strftime("%H:%M", time.localtime(AT_NS // 10**9)) != "23:59"


def test_report_and_junit_say_the_same_moment(zone: str, tmp_path: Path) -> None:
    run = load(simple_run(tmp_path / zone.replace("/", "-"), created_ns=AT_NS))
    summary = summarise(run)
    assert "2026-03-07 23:59:00 UTC" in render(run, summary, drawn=False)
    suite = ElementTree.fromstring(junit(summary)).find("testsuite")
    assert suite is not None
    assert suite.get("timestamp") == "2026-03-07T23:59:00Z"
    # Nothing else in the page looks like a time of the day.
    page = re.sub(r"<svg.*?</svg>", "", render(run, summary, drawn=False), flags=re.DOTALL)
    assert set(re.findall(r"\b\d\d:\d\d(?::\d\d)?\b", page)) == {"23:59:00"}


def test_a_second_is_not_rounded_into_the_next(zone: str) -> None:
    assert text.utc(AT_NS // 10**9 * 10**9 + 999_999_999) == "2026-03-07 23:59:00 UTC"
