import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import analysis
from analysis import text
from analysis.__main__ import main
from analysis.figures.percentiles import Percentiles, nearest_rank
from tests.analysis.synthetic import SECOND, T0, Tables, delivery, event, simple_run, subscription, write_run
from tests.system.editor.browser import Browser

Finished = Callable[[Callable[[Path], Path]], tuple[Path, str]]

HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\x07]]>"


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=300), st.floats(0.001, 100))
def test_a_percentile_is_the_smallest_sample_that_enough_samples_do_not_exceed(
    values: list[int], p: float
) -> None:
    ordered = np.sort(np.array(values, dtype=np.int64))
    found = nearest_rank(ordered, p)
    need = p / 100 * len(values) - 1e-9
    assert found in values
    assert np.count_nonzero(ordered <= found) >= need
    assert np.count_nonzero(ordered < found) < max(need, 1)


def test_percentiles_of_a_thousand_are_the_ranks_one_expects() -> None:
    figures = Percentiles.of(np.arange(1, 1001))
    assert (figures.p50, figures.p90, figures.p99, figures.p999, figures.max) == (500, 900, 990, 999, 1000)


def test_of_nothing_nothing_is_known() -> None:
    figures = Percentiles.of(np.array([], dtype=np.int64))
    assert (figures.count, figures.p50, figures.max) == (0, None, None)


def test_negative_samples_are_counted_and_stay_among_the_samples() -> None:
    figures = Percentiles.of(np.array([-5, 1, 2], dtype=np.int64))
    assert (figures.negative, figures.min, figures.count) == (1, -5, 3)


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (None, "–"),
        (0, "0"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (45_300, "45.3 µs"),
        (999_700, "1.00 ms"),
        (123_400_000, "123 ms"),
        (2_000_000_000, "2.00 s"),
        (75_000_000_000, "75.0 s"),
        (-1_500_000, "-1.50 ms"),
    ],
)
def test_durations_have_three_digits_and_a_unit(ns: int | None, shown: str) -> None:
    assert text.duration(ns) == shown


def test_a_ratio_is_never_rounded_to_all_or_nothing() -> None:
    assert text.ratio(1.0) == "100 %"
    assert text.ratio(999_999_999 / 1_000_000_000) == "99.9999999 %"
    assert text.ratio(1 / 10_000_000) == "0.00001 %"


def test_the_summary_of_a_run_that_can_be_checked_by_hand(tmp_path: Path) -> None:
    summary = analysis.summarise(analysis.load(simple_run(tmp_path / "run")))
    assert summary["ledger"]["expected"] == summary["ledger"]["delivered"] == 30
    assert summary["throughput"] == {"offered_per_s": 10.0, "accepted_per_s": 10.0, "delivered_per_s": 30.0}
    headline = summary["delivery"]["headline_ns"]
    assert (headline["min"], headline["p50"], headline["max"]) == (100_000, 200_000, 300_000)
    assert summary["delivery"]["service_ns"]["p50"] == 199_000
    assert summary["delivery"]["receive_queue_ns"]["max"] == 10_000
    fanout = summary["fanout"]
    assert (fanout["first_ns"]["max"], fanout["median_ns"]["max"], fanout["last_ns"]["max"]) == (
        100_000,
        200_000,
        300_000,
    )
    assert (fanout["events"], fanout["complete"], fanout["subscribers_per_event"]) == (10, 10, 3.0)
    assert summary["publish"]["answer_ns"]["p50"] == 999_000
    assert summary["publish"]["lateness_ns"]["max"] == 1_000


def test_only_events_due_in_the_measure_phase_count_whenever_they_arrive(tmp_path: Path) -> None:
    before = event(9, 0, "/default/a", -1)
    inside = event(9, 1, "/default/a", SECOND - 1)
    after = event(9, 2, "/default/a", SECOND)
    rows = [delivery(e, 1, 3 * SECOND) for e in (before, inside, after)]
    tables: Tables = {
        "events": [before, inside, after],
        "subscriptions": [subscription(1, "/default/a", -SECOND // 2)],
        "deliveries": rows,
    }
    summary = analysis.summarise(analysis.load(write_run(tmp_path / "run", tables)))
    assert (summary["ledger"]["expected"], summary["ledger"]["delivered"]) == (1, 1)
    assert summary["delivery"]["headline_ns"]["count"] == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Make a run and analyse it, once; return its folder and the command's output."""

    @cache
    def make(run: Callable[[Path], Path]) -> tuple[Path, str]:
        folder = run(tmp_path_factory.mktemp("finished") / "run")
        out = io.StringIO()
        with redirect_stdout(out):
            assert main(["finish", str(folder)]) == 0
        return folder, out.getvalue()

    return make


def test_finish_writes_summary_and_report_and_ends_with_the_path(finished: Finished) -> None:
    run, out = finished(simple_run)
    assert out.rstrip().splitlines()[-1] == f"report: {run / 'report.html'}"
    assert "30 of 30 expected deliveries arrived" in out
    assert json.loads((run / "summary.json").read_text())["ledger"]["delivery_ratio"] == 1.0
    page = (run / "report.html").read_text()
    # The page is self-contained: a browser fetches nothing. Its scripts are removed here; test_report_page.py tests
    # them.
    markup = re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    assert markup.count("<svg") == 7
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', markup.replace("xlink:href", "href"))


@pytest.mark.parametrize(
    ("tables", "manifest"),
    [
        ({}, {}),
        (
            {},
            {"phases": [{"name": "ramp", "start_ns": T0, "end_ns": None}], "status": "failed", "workers": []},
        ),
        ({}, {"phases": [{"name": "measure", "start_ns": T0, "end_ns": None}], "status": "running"}),
        ({"events": [event(1, 0, "/default/a", 0, sent_ns=None, acked_ns=None, status="unsent")]}, {}),
        (
            {"subscriptions": [subscription(1, "/default/a", None)]},
            {"status": "interrupted", "reason": "why"},
        ),
    ],
)
def test_a_run_that_broke_off_anywhere_is_reported_with_unknowns(
    tmp_path: Path, tables: dict[str, list[dict[str, object]]], manifest: dict[str, object]
) -> None:
    run = write_run(tmp_path / "run", tables, **manifest)
    assert main(["finish", str(run)]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert summary["partial"] is (manifest.get("status", "complete") != "complete")
    for table in ("deliveries", "events", "subscriptions", "connections", "health"):
        (run / f"{table}.parquet").unlink()
    assert main(["finish", str(run)]) == 0


def test_what_is_no_run_is_one_sentence_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["finish", str(tmp_path)]) == 2
    assert "is not a run's folder" in capsys.readouterr().err
    run = simple_run(tmp_path / "run", format=99)
    assert main(["finish", str(run)]) == 2
    assert "format 99" in capsys.readouterr().err


def hostile_run(folder: Path) -> Path:
    due = event(1, 0, "/default/a", 0)
    failed = event(1, 1, "/default/" + HOSTILE, 0, status="error", error=HOSTILE)
    connection = {"connection": 1, "started_ns": T0, "error": HOSTILE}
    tables: Tables = {
        "events": [due, failed],
        "subscriptions": [subscription(1, "/default/a", -1, error=HOSTILE)],
        "deliveries": [delivery(due, 1)],
        "connections": [connection],
    }
    return write_run(
        folder,
        tables,
        scenario={"version": 1, "name": HOSTILE, "description": HOSTILE},
        status="failed",
        reason=HOSTILE,
        host={"hostname": HOSTILE, "cpus": 2, "kernel": HOSTILE, "platform": "linux", "machine": "m"},
        workers=[{"worker": 0, "id": "x", "hostname": HOSTILE, "pid": 1, "finished": True}],
    )


def started(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """Return the elements of a page, as a browser would parse it: name and attributes."""
    found: list[tuple[str, dict[str, str | None]]] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Parser().feed(page)
    return found


def test_foreign_text_cannot_become_markup_or_terminal_commands(finished: Finished) -> None:
    run, _ = finished(hostile_run)
    page = (run / "report.html").read_text()
    # The page must have only its own four script elements: its data, two of Bokeh's scripts and one of ours.
    assert [attributes for tag, attributes in started(page) if tag == "script"] == [
        {"type": "application/json", "id": "charts"},
        {},
        {},
        {},
    ]
    assert "alert(1)" in page
    assert "<script>alert(1)" not in page
    assert "\x1b" not in page
    console = Console(force_terminal=True, record=True, width=80)
    from analysis.report.terminal import print_summary

    with console.capture() as captured:
        print_summary(analysis.summarise(analysis.load(run)), console)
    shown = captured.get()
    assert "\x07" not in shown
    # The output may have the colours that Rich adds, but not the red that the run's data tries to set.
    assert "\x1b[31m" not in shown
    assert "alert(1)" in shown


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


@pytest.mark.parametrize("make", [simple_run, hostile_run])
def test_chromium_opens_the_report_without_a_console_message(
    browser: Browser, finished: Finished, make: Callable[[Path], Path]
) -> None:
    run, _ = finished(make)
    with browser.page(f"file://{run / 'report.html'}") as page:
        assert "How it was measured" in page.text("body")
        assert page.messages == []


def test_a_console_message_is_seen(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<script>console.log('so'); throw Error('thrown')</script>")
    with browser.page(f"file://{tmp_path / 'page.html'}") as page:
        logged, thrown = page.messages
    assert "so" in logged
    assert "thrown" in thrown
