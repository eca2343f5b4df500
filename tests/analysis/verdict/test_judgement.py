"""Test the verdict on synthetic records."""

from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis import text
from tests.analysis.synthetic import (
    MS,
    SECOND,
    ZERO,
    Row,
    connection,
    delivery,
    event,
    simple_run,
    subscription,
    write_run,
)


def health(second: float, worker: int = 0, **more: Any) -> Row:
    return {
        "worker": worker,
        "time_ns": ZERO + int(second * SECOND),
        "interval_ns": SECOND,
        "cpu_ns": SECOND // 4,
        "lag_max_ns": MS,
        "gc_ns": 0,
        "rss_bytes": 10**8,
        "open_files": 100,
        "open_files_limit": 1000,
        "ports": 90,
        "ports_limit": 28_000,
        **more,
    }


def judged(
    folder: Path, *, events: list[Row] | None = None, rows: list[Row] | None = None, **manifest: Any
) -> Any:
    """Judge a run of ten events to one subscriber, all delivered; arguments replace parts of its record."""
    events = [event(1, n, "/default/a", n * 90 * MS) for n in range(10)] if events is None else events
    write_run(
        folder,
        {
            "events": events,
            "subscriptions": [subscription(1, "/default/a", -MS)],
            "deliveries": [delivery(e, 1, 4 * MS) for e in events if e["status"] == "accepted"],
            "connections": [connection(1)],
            "health": [health(0.5), health(1.5)] if rows is None else rows,
        },
        **manifest,
    )
    return analysis.summarise(analysis.load(folder))


def subjects(summary: Any) -> list[tuple[str, str]]:
    return [(finding["severity"], finding["subject"]) for finding in summary["verdict"]["findings"]]


def test_a_run_without_blemish_is_valid_and_green(tmp_path: Path) -> None:
    summary = analysis.summarise(analysis.load(simple_run(tmp_path)))
    assert summary["verdict"] == {"kind": "valid", "findings": []}
    assert text.verdict(summary)[0] == "good"
    assert summary["exit_code"] == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cpu_ns": int(0.95 * SECOND)}, [("degraded", "cpu")]),
        ({"lag_max_ns": 260 * MS}, [("invalid", "loop")]),
        ({"gc_ns": 150 * MS}, [("degraded", "gc")]),
        ({"open_files": 950}, [("degraded", "files")]),
        ({"ports": 27_000}, [("degraded", "ports")]),
    ],
)
def test_each_sign_of_strain_is_a_finding(
    tmp_path: Path, changes: Row, expected: list[tuple[str, str]]
) -> None:
    assert subjects(judged(tmp_path, rows=[health(0.5), health(1.5, **changes)])) == expected


def test_one_short_stall_of_a_long_run_makes_it_degraded(tmp_path: Path) -> None:
    phases = [{"name": "measure", "start_ns": ZERO, "end_ns": ZERO + 10 * SECOND}]
    rows = [health(n + 0.5, lag_max_ns=300 * MS if n == 4 else MS) for n in range(11)]
    summary = judged(tmp_path, rows=rows, phases=phases)
    assert subjects(summary) == [("degraded", "loop")]
    assert "300 ms" in summary["verdict"]["findings"][0]["reason"]
    assert text.verdict(summary)[0] == "warning"


def test_a_generator_that_publishes_late_makes_an_invalid_run_with_a_code_of_its_own(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * 90 * MS) for n in range(10)]
    for row in events:
        row["sent_ns"] = row["slot_ns"] + 40 * MS
    summary = judged(tmp_path, events=events)
    assert subjects(summary) == [("invalid", "schedule")]
    assert summary["exit_code"] == 3
    kind, sentence = text.verdict(summary)
    assert kind == "bad"
    assert sentence.startswith("Invalid: the generator itself published late: p99 40.0 ms")


def test_a_wait_for_the_targets_answers_is_not_the_generators_fault(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * 90 * MS) for n in range(10)]
    for row in events:
        row["slot_ns"] = row["intended_ns"] + 40 * MS
        row["sent_ns"] = row["slot_ns"] + 1000
    assert subjects(judged(tmp_path, events=events)) == []


def test_events_that_were_due_and_never_sent_make_the_run_invalid(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * 90 * MS) for n in range(10)]
    events[9].update(status="unsent", sent_ns=None, slot_ns=None, acked_ns=None)
    summary = judged(tmp_path, events=events)
    assert subjects(summary) == [("invalid", "schedule")]
    assert "1 of 10 events" in summary["verdict"]["findings"][0]["reason"]
    assert summary["ledger"]["balances"]


def test_a_lost_worker_is_named_with_the_time_from_which_its_record_is_missing(tmp_path: Path) -> None:
    workers = [
        {"worker": 0, "id": "a", "hostname": "h", "pid": 1, "finished": True},
        {"worker": 1, "id": "b", "hostname": "far\x1b[2J", "pid": 77, "finished": False},
    ]
    rows = [health(0.5), health(1.5), health(0.4, worker=1)]
    summary = judged(tmp_path, rows=rows, workers=workers)
    reason = summary["verdict"]["findings"][0]["reason"]
    assert "worker 1" in reason
    assert "pid 77" in reason
    assert "0.4 s into the measurement of 1.0 s" in reason
    assert "\x1b" not in reason
    assert summary["exit_code"] == 3


def test_a_worker_that_nothing_is_known_of_for_seconds_makes_the_run_invalid(tmp_path: Path) -> None:
    phases = [{"name": "measure", "start_ns": ZERO, "end_ns": ZERO + 10 * SECOND}]
    rows = [health(n + 0.5) for n in (0, 1, 2, 7, 8, 9, 10)]
    summary = judged(tmp_path, rows=rows, phases=phases)
    assert subjects(summary) == [("invalid", "loop")]
    assert "worker 0 for 4.00 s from 2.5 s into" in summary["verdict"]["findings"][0]["reason"]


def test_no_expected_delivery_is_never_green(tmp_path: Path) -> None:
    summary = judged(tmp_path, events=[])
    assert ("degraded", "ledger") in subjects(summary)
    assert text.verdict(summary)[0] == "warning"


def test_an_interrupted_run_keeps_its_own_exit_code(tmp_path: Path) -> None:
    summary = judged(tmp_path, status="interrupted", exit_code=130, reason="interrupted in phase measure")
    assert summary["exit_code"] == 130
    assert text.verdict(summary)[1].startswith("Partial: interrupted")


def test_a_target_that_was_away_is_said_with_its_window_and_an_exit_code_of_its_own(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * 90 * MS) for n in range(10)]
    connections = [
        connection(1, 0, "closed without a close frame", closed_ns=ZERO + 300 * MS),
        connection(1, 1, "connection refused", acknowledged_ns=None, started_ns=ZERO + 400 * MS),
        connection(1, 2, acknowledged_ns=ZERO + 700 * MS),
    ]
    write_run(
        tmp_path,
        {
            "events": events,
            "subscriptions": [
                subscription(1, "/default/a", -MS, 300 * MS),
                subscription(1, "/default/a", 750 * MS, None, life=2, acknowledged_ns=ZERO + 710 * MS),
            ],
            "deliveries": [delivery(e, 1) for e in events if not 300 < (e["sent_ns"] - ZERO) / MS < 750],
            "connections": connections,
            "health": [health(0.5), health(1.5)],
        },
    )
    summary = analysis.summarise(analysis.load(tmp_path))
    (outage,) = summary["outages"]
    assert (outage["start_ns"] - ZERO, outage["end_ns"] - ZERO) == (300 * MS, 700 * MS)
    assert (outage["connections_lost"], outage["attempts_failed"]) == (1, 1)
    assert summary["ledger"]["lost_in_reconnect"] == 4
    assert summary["ledger"]["lost_before_ready"] == 1
    assert summary["verdict"]["kind"] == "valid"
    assert summary["exit_code"] == 4
    kind, sentence = text.verdict(summary)
    assert kind == "bad"
    assert "away for 0.4 s" in sentence


def test_clients_that_hang_up_by_themselves_are_no_outage(tmp_path: Path) -> None:
    simple = analysis.load(simple_run(tmp_path))
    assert analysis.summarise(simple)["outages"] == []
