"""Test the table of errors: it counts each kind and shows its first example."""

from pathlib import Path

import analysis
from analysis import text
from analysis.figures import errors
from analysis.report.page import render
from analysis.text import utc
from tests.analysis.synthetic import SECOND, connection, event, simple_run, subscription, write_run


def test_errors_of_one_kind_are_counted_together_with_the_first_as_example(tmp_path: Path) -> None:
    events = [
        event(7, 0, "/a", 2 * SECOND, status="error", error="timeout after 5.0 s at 10.0.0.2:443"),
        event(7, 1, "/b", SECOND, status="error", error="timeout after 3.5 s at 10.0.0.1:443"),
        event(7, 2, "/a", 0, status="rejected", error="Unauthorized"),
        event(7, 3, "/a", 3 * SECOND),
    ]
    tables = {
        "events": events,
        "connections": [
            {**connection(1), "error": "closed: id 0f8fad5b-d9cb-469f-a165-70867728950e"},
            {**connection(2), "error": "closed: id 7c9e6679-7425-40de-944b-e07fc1f90ae7"},
            connection(3),
        ],
        "subscriptions": [subscription(4, "/a", error="refused")],
    }
    run = analysis.load(write_run(tmp_path / "run", tables))
    rows = {(where, kind): (count, at, example) for where, kind, count, at, example in errors.rows(run)}
    assert {key: found[0] for key, found in rows.items()} == {
        ("publish", "timeout after … s at …"): "2",
        ("publish", "Unauthorized"): "1",
        ("connection", "closed: id …"): "2",
        ("subscription", "refused"): "1",
    }
    _, at, example = rows["publish", "timeout after … s at …"]
    # The example shown is the earliest failure of its kind, although it is not the first in the file.
    assert example.endswith("publisher 7, channel /b: timeout after 3.5 s at 10.0.0.1:443")
    seconds_in = (events[1]["intended_ns"] - run.manifest["created_ns"]) / SECOND
    assert at == f"{utc(events[1]['intended_ns'])}, {seconds_in:.1f} s in"


def test_a_run_without_errors_has_no_rows(tmp_path: Path) -> None:
    tables = {"events": [event(7, 0, "/a", 0)], "connections": [connection(1)]}
    assert errors.rows(analysis.load(write_run(tmp_path / "run", tables))) == []


def test_foreign_text_is_cleaned_and_cut() -> None:
    kind = text.kind_of("\x1b[31m" + "x" * 1000)
    assert "\x1b" not in kind
    assert len(kind) == 300


def broken(error: str, messages: list[tuple[bool, str]]) -> dict[str, object]:
    said = [
        {"sent": sent, "before_ns": 1_500_000 * number, "size_bytes": len(text), "text": text}
        for number, (sent, text) in enumerate(messages)
    ]
    return {"error": error, "connection": 7, "life": 1, "messages": said}


def worker_with(entries: list[dict[str, object]]) -> dict[str, object]:
    """The manifest's entry of a worker with broken connections."""
    return {
        "worker": 0,
        "id": "x",
        "hostname": "h",
        "pid": 1,
        "finished": True,
        "broken_connections": entries,
    }


def test_the_last_messages_are_told_as_text_on_a_page_of_their_own_lines(tmp_path: Path) -> None:
    hostile = "\x1b[31m</pre><script>alert(1)</script>"
    entries = [
        broken("closed with code 1008", [(True, "subscribe to /a"), (False, hostile)]),
        broken("none", []),
    ]
    run = analysis.load(simple_run(tmp_path / "run", workers=[worker_with(entries)]))
    (told,) = errors.last_messages(run)
    assert told.of == "worker 0, connection 7, life 1: closed with code 1008"
    assert told.lines == [
        "→ 0 before the end, 15 bytes: subscribe to /a",
        "← 1.50 ms before the end, 36 bytes: \ufffd[31m</pre><script>alert(1)</script>",
    ]


def test_the_report_shows_them_beside_the_errors_escaped(tmp_path: Path) -> None:
    entries = [broken("closed with code 1008", [(False, "</pre><script>alert(1)</script>")])] * 30
    tables = {"connections": [connection(1, error="closed with code 1008")]}
    run = analysis.load(write_run(tmp_path / "run", tables, workers=[worker_with(entries)]))
    page = render(run, analysis.summarise(run), drawn=False)
    assert page.count("&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;") == errors.MOST_SHOWN
    assert "<script>alert" not in page
    assert page.index('id="errors"') < page.index('id="last-messages"') < page.index('id="phases"')
