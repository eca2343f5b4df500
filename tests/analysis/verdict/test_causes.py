"""Test findings on pauses and clock steps: they name worker, time and effect, and causes come before symptoms."""

from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis import text
from tests.analysis.synthetic import (
    MS,
    SECOND,
    T0,
    ZERO,
    Row,
    connection,
    delivery,
    event,
    subscription,
    write_run,
)
from tests.analysis.verdict.test_judgement import health, judged, subjects

#: A measure phase of ten seconds, of which a pause of 100 ms is only 1 %.
LONG: list[Row] = [{"name": "measure", "start_ns": ZERO, "end_ns": ZERO + 10 * SECOND}]


def paused(second: float, lasted_ns: int, worker: int = 0, **more: Any) -> Row:
    """Return a health row of a process that paused; the pause ended a tenth of a second before the row was written."""
    until_ns = ZERO + int((second - 0.1) * SECOND)
    return health(second, worker=worker, paused_ns=lasted_ns, paused_until_ns=until_ns, **more)


def findings(summary: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = summary["verdict"]["findings"]
    return found


def seconds(*rows: Row, of: int = 10) -> list[Row]:
    """Return one health row for each second; each of ``rows`` replaces the ordinary row with the same time."""
    taken = {row["time_ns"]: row for row in rows}
    every = [health(n + 0.5) for n in range(of + 1)]
    return [taken.pop(row["time_ns"], row) for row in every] + list(taken.values())


def test_a_stopped_process_is_named_with_its_window_and_effect_and_its_stall_refers_to_it(
    tmp_path: Path,
) -> None:
    rows = seconds(paused(4.5, 1500 * MS, lag_max_ns=1520 * MS, interval_ns=2500 * MS))
    summary = judged(tmp_path, rows=rows, phases=LONG)
    assert subjects(summary) == [("invalid", "pause"), ("invalid", "loop")]
    first, second = findings(summary)
    assert first["reason"] == (
        "the whole run was paused for 1.50 s at 2.9 s into the measurement:"
        " what was sent and received then is not the service's doing"
    )
    assert second["advice"] == "the pause named above explains this: fix that first"
    assert summary["exit_code"] == 3
    assert text.verdict(summary)[1].startswith("Invalid: the whole run was paused for 1.50 s")
    (pause,) = summary["clock"]["pauses"]
    assert pause == {
        "worker": 0,
        "kind": "stopped",
        "start_ns": ZERO + 2900 * MS,
        "end_ns": ZERO + 4400 * MS,
        "lasted_ns": 1500 * MS,
    }


@pytest.mark.parametrize(
    ("lasted_ns", "length_s", "severity"),
    [(230 * MS, 60, "invalid"), (120 * MS, 60, "degraded"), (120 * MS, 10, "invalid"), (0, 10, None)],
)
def test_a_pause_is_as_grave_as_it_is_long(
    tmp_path: Path, lasted_ns: int, length_s: int, severity: str | None
) -> None:
    phases = [{"name": "measure", "start_ns": ZERO, "end_ns": ZERO + length_s * SECOND}]
    row = paused(4.5, lasted_ns) if lasted_ns else health(4.5, paused_ns=0)
    summary = judged(tmp_path, rows=seconds(row, of=length_s), phases=phases)
    assert subjects(summary) == ([(severity, "pause")] if severity else [])


def test_a_pause_before_the_measurement_and_one_after_the_last_arrival_are_no_reason_to_doubt(
    tmp_path: Path,
) -> None:
    rows = seconds(paused(0.05, 500 * MS), paused(12.5, 500 * MS))
    rows[-2]["paused_until_ns"] = ZERO - MS
    summary = judged(tmp_path, rows=rows, phases=LONG)
    assert [pause["lasted_ns"] for pause in summary["clock"]["pauses"]] == [500 * MS, 500 * MS]
    assert subjects(summary) == []


def test_deliveries_of_the_measurement_arrive_in_the_drain_and_a_pause_then_delays_them(
    tmp_path: Path,
) -> None:
    rows = seconds(paused(10.9, 500 * MS), of=11)
    summary = judged(tmp_path, rows=rows, phases=LONG, late_after_ns=2 * SECOND)
    assert subjects(summary) == [("invalid", "pause")]
    assert "at 0.3 s after the measurement" in findings(summary)[0]["reason"]


def test_processes_that_stood_still_together_are_one_finding(tmp_path: Path) -> None:
    workers = [{"worker": n, "id": f"w{n}", "hostname": "h", "pid": n, "finished": True} for n in range(3)]
    for number in range(3):
        workers[number]["boot_id"] = "here"
    host = {"hostname": "h", "cpus": 2, "boot_id": "here"}
    rows = [health(n + 0.5, worker=w) for n in range(11) for w in range(3) if n != 4 or w == 2]
    rows += [paused(4.5, 800 * MS, worker=0), paused(4.5, 810 * MS, worker=1)]
    summary = judged(tmp_path, rows=rows, phases=LONG, workers=workers, host=host)
    (finding,) = findings(summary)
    assert finding["reason"].startswith("workers 0, 1 were paused for 810 ms")
    assert "what their clients sent and received then" in finding["reason"]


def test_a_suspended_machine_is_no_stepped_clock(tmp_path: Path) -> None:
    row = health(4.5, suspended_ns=40 * SECOND, clock_moved_ns=40 * SECOND + 3_000)
    phases = [{"name": "measure", "start_ns": ZERO - 40 * SECOND, "end_ns": ZERO + 10 * SECOND}]
    summary = judged(tmp_path, rows=seconds(row), phases=phases)
    assert summary["clock"]["steps"] == []
    assert subjects(summary)[0] == ("invalid", "pause")
    assert "worker 0 was suspended with the machine for 40.0 s" in findings(summary)[0]["reason"]


def test_a_step_explains_what_looks_late_and_is_named_first_without_advice_on_the_load(
    tmp_path: Path,
) -> None:
    events = [event(1, n, "/default/a", n * 90 * MS) for n in range(10)]
    for row in events[5:]:
        row["sent_ns"] = row["slot_ns"] + 3 * SECOND
        row["acked_ns"] = row["sent_ns"] + MS
    rows = [health(0.5), health(1.5, clock_moved_ns=3 * SECOND)]
    summary = judged(tmp_path, events=events, rows=rows)
    assert subjects(summary)[:2] == [("invalid", "clock"), ("invalid", "schedule")]
    step, late = findings(summary)[:2]
    assert step["reason"].startswith("the clock of worker 0 stepped by +3.00 s in the 1.00 s up to")
    assert late["advice"] == "the step of the clock named above explains this: fix that first"
    assert "lower the rate" not in late["advice"]


def test_a_cause_that_is_too_small_explains_nothing(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * 90 * MS) for n in range(10)]
    for row in events:
        row["sent_ns"] = row["slot_ns"] + 400 * MS
    rows = [health(0.5), health(1.5, clock_moved_ns=2 * MS)]
    summary = judged(tmp_path, events=events, rows=rows)
    assert subjects(summary) == [("invalid", "clock"), ("invalid", "schedule")]
    assert "lower the rate" in findings(summary)[1]["advice"]


def test_a_cause_is_as_grave_as_what_it_explains(tmp_path: Path) -> None:
    """A pause of 120 ms in a minute makes figures doubtful; if it makes a tenth of all events late, they are wrong."""
    phases = [{"name": "measure", "start_ns": ZERO, "end_ns": ZERO + 60 * SECOND}]
    events = [event(1, n, "/default/a", n * 90 * MS) for n in range(10)]
    events[4]["sent_ns"] = events[4]["slot_ns"] + 110 * MS
    rows = seconds(paused(0.5, 120 * MS), of=60)
    summary = judged(tmp_path, rows=rows, events=events, phases=phases)
    assert subjects(summary) == [("invalid", "pause"), ("invalid", "schedule")]


def test_a_step_below_a_millisecond_counts_where_it_is_much_of_the_latency(tmp_path: Path) -> None:
    rows = [health(0.5), health(1.5, clock_moved_ns=900_000)]
    events = [event(1, n, "/default/a", n * 90 * MS) for n in range(10)]

    def run(folder: Path, latency_ns: int) -> Any:
        write_run(
            folder,
            {
                "events": events,
                "subscriptions": [subscription(1, "/default/a", -MS)],
                "deliveries": [delivery(row, 1, latency_ns) for row in events],
                "connections": [connection(1)],
                "health": rows,
            },
        )
        return analysis.summarise(analysis.load(folder))

    assert subjects(run(tmp_path / "quick", 4 * MS)) == [("degraded", "clock")]
    assert subjects(run(tmp_path / "slow", 90 * MS)) == []


def pings(count: int = 40, *, moved: Any = lambda second: 0, frozen: Any = lambda second: 0) -> list[Row]:
    """Return the rows of pings by worker 0, which the master answers within 0.2 ms.

    At each second, the worker's wall clock has been set ``moved(second)`` ns ahead, and both its clocks have lost
    ``frozen(second)`` ns, as if its machine had stood still.
    """
    rows = []
    for number in range(count):
        second = number / 4
        true_ns = T0 + int(second * SECOND)
        own = [true_ns + step - frozen(second) + moved(second) for step in (0, 200_000)]
        raw = [true_ns - T0 + step - frozen(second) + SECOND for step in (0, 200_000)]
        rows.append(
            {
                "sent_ns": own[0],
                "master_received_ns": true_ns + 100_000,
                "master_sent_ns": true_ns + 100_000,
                "received_ns": own[1],
                "sent_raw_ns": raw[0],
                "master_raw_ns": true_ns - T0 + 100_000 + 7 * SECOND,
                "received_raw_ns": raw[1],
            }
        )
    return rows


def remote(folder: Path, clock: list[Row], rows: list[Row], **changes: Any) -> Any:
    """Return the summary of a run with one worker, on another machine; ``rows`` are its health rows, one per second."""
    workers = [{"worker": 0, "id": "w", "hostname": "h", "pid": 1, "boot_id": "other", "finished": True}]
    events = [event(1, n, "/default/a", n * 90 * MS) for n in range(100)]
    write_run(
        folder,
        {
            "events": events,
            "subscriptions": [subscription(1, "/default/a", -MS)],
            "deliveries": [delivery(row, 1, 4 * MS) for row in events],
            "connections": [connection(1)],
            "health": rows,
            "clock": clock,
        },
        workers=workers,
        phases=[{"name": "measure", "start_ns": ZERO, "end_ns": ZERO + 8 * SECOND}],
        host={"hostname": "h", "cpus": 2, "boot_id": "here"},
        **changes,
    )
    return analysis.summarise(analysis.load(folder))


def test_a_virtual_machine_that_stood_still_is_named_from_the_pings_alone(tmp_path: Path) -> None:
    """The worker's machine notices nothing: its health rows and its own clocks look normal."""
    clock = pings(frozen=lambda second: 230 * MS if second > 5 else 0)
    summary = remote(tmp_path, clock, seconds(of=9))
    (pause,) = summary["clock"]["pauses"]
    assert (pause["worker"], pause["kind"]) == (0, "frozen")
    assert abs(pause["lasted_ns"] - 230 * MS) < MS
    assert subjects(summary)[0] == ("invalid", "pause")
    assert findings(summary)[0]["reason"].startswith(
        "worker 0 stood still with the machine, clocks and all, for 230 ms at 4.0 s into the measurement:"
    )
    assert summary["exit_code"] == 3


def test_a_master_that_stood_still_is_named_as_such(tmp_path: Path) -> None:
    clock = pings(frozen=lambda second: -230 * MS if second > 5 else 0)
    summary = remote(tmp_path, clock, seconds(of=9))
    (pause,) = summary["clock"]["pauses"]
    assert (pause["worker"], pause["kind"]) == (None, "frozen")
    assert findings(summary)[0]["reason"].startswith("the master stood still with the machine")


def test_a_step_that_pings_and_health_show_is_one_step(tmp_path: Path) -> None:
    clock = pings(moved=lambda second: 50 * MS if second > 5 else 0)
    summary = remote(tmp_path, clock, seconds(health(4.5, clock_moved_ns=50 * MS), of=9))
    (step,) = summary["clock"]["steps"]
    assert step["worker"] == 0
    assert step["within_ns"] < SECOND // 3
    assert summary["clock"]["pauses"] == []
    assert subjects(summary)[0] == ("invalid", "clock")


def test_a_clock_that_is_stepped_again_and_again_is_one_finding(tmp_path: Path) -> None:
    summary = remote(tmp_path, pings(moved=lambda second: int(second // 1.5) * 900_000), seconds(of=9))
    assert len(summary["clock"]["steps"]) == 6
    clock = [finding["reason"] for finding in findings(summary) if "stepped" in finding["reason"]]
    assert len(clock) == 1
    assert clock[0].startswith("the clock of worker 0 stepped 6 times, most by +900 µs in the 250 ms up to")


def test_an_older_record_shows_a_jump_whose_cause_is_not_known(tmp_path: Path) -> None:
    clock = pings(frozen=lambda second: 230 * MS if second > 5 else 0)
    for row in clock:
        for name in ("sent_raw_ns", "master_raw_ns", "received_raw_ns"):
            del row[name]
    summary = remote(tmp_path, clock, seconds(of=9))
    (pause,) = summary["clock"]["pauses"]
    assert (pause["worker"], pause["kind"]) == (0, "apart")
    assert (
        "worker 0 or the master was paused, or one of their clocks stepped, by 230 ms"
        in (findings(summary)[0]["reason"])
    )


def test_lateness_and_slot_wait_count_from_the_masters_schedule_and_carry_the_clocks_error(
    tmp_path: Path,
) -> None:
    summary = remote(tmp_path, pings(), seconds(of=9))
    publish = summary["publish"]
    assert 100_000 <= publish["lateness_ns"]["error_ns"] < 200_000
    assert publish["slot_wait_ns"]["error_ns"] == publish["lateness_ns"]["error_ns"]
    assert "error_ns" not in publish["own_lateness_ns"]
    assert "error_ns" not in publish["answer_ns"]
