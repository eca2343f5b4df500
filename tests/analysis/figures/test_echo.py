"""Test the figures of echo lanes (workers that publish to themselves) with known clocks and delays."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from analysis.figures import echo
from analysis.report import notes as report_notes
from analysis.report import page as report
from analysis.report import terminal
from tests.analysis.synthetic import (
    MS,
    SECOND,
    T0,
    US,
    Row,
    connection,
    delivery,
    event,
    simple_run,
    subscription,
    write_run,
)

EVENTS = 50
PING_NS = 400 * US
LANE = {
    "channel": "/default/loadgenecho1w0", "via": "http", "interval_ns": SECOND // 2, "payload_bytes": 200,
    "sent": 9, "returned": 9, "unexpected": 0, "connects": 1, "subscribes": 1, "lost_connections": 0, "errors": {},
    "note": None,
}  # fmt: skip


def write_echoes(folder: Path, rows: list[tuple[int, int, int | None]]) -> None:
    """Write echoes as rows of (worker, due time in the measure phase, round trip or None if lost), in ns."""
    columns: dict[str, Any] = {
        name: [] for name in ("worker", "sequence", "intended_ns", "sent_ns", "arrival_ns")
    }
    for number, (worker, offset_ns, took_ns) in enumerate(rows):
        sent_ns = T0 + SECOND + offset_ns
        values = (worker, number, sent_ns, sent_ns, None if took_ns is None else sent_ns + took_ns)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    columns["read_ns"] = columns["arrival_ns"]
    types = {"worker": pa.int16()}
    arrays = {name: pa.array(values, type=types.get(name, pa.int64())) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), folder / "echo.parquet")


def worker(number: int, lane: dict[str, Any] | None = LANE, **more: Any) -> dict[str, Any]:
    return {
        "worker": number, "id": f"w{number}", "hostname": f"h{number}", "pid": number, "finished": True,
        "boot_id": f"boot-{number}", "echo": lane, "probes": 0, "probe_deliveries": 0, "foreign": 0, **more,
    }  # fmt: skip


def two_hosts(
    folder: Path,
    *,
    ways_ns: dict[tuple[int, int], int],
    echo_ns: tuple[int, int],
    wrong_ns: int = 0,
    only_a_publishes: bool = False,
) -> Any:
    """Summarise a run of two workers, each with a subscriber, of which one or both publish.

    ``ways_ns`` holds the true latency from each worker to each, by (sender, receiver). Worker 1's clock is ahead by
    ``wrong_ns``. Its pings do not show this error, because unequal delays to the master and back hide it.
    """
    events: list[Row] = []
    deliveries: list[Row] = []
    pings: list[Row] = []
    health: list[Row] = []
    for number in range(1 if only_a_publishes else 2):
        for k in range(EVENTS):
            due = event(number, k, "/default/a", k * 15 * MS, worker=number)
            sent_ns = due["sent_ns"] + number * wrong_ns
            events.append({**due, "sent_ns": sent_ns})
            for receiver in range(2):
                arrival_ns = due["sent_ns"] + ways_ns[number, receiver] + receiver * wrong_ns
                took_ns = arrival_ns - due["intended_ns"]
                deliveries.append(delivery(events[-1], receiver, took_ns, worker=receiver))
    for number in range(2):
        for k in range(9):
            at = T0 + k * SECOND // 4
            pings.append(
                {
                    "worker": number, "sent_ns": at, "master_received_ns": at + PING_NS // 2,
                    "master_sent_ns": at + PING_NS // 2, "received_ns": at + PING_NS,
                }
            )  # fmt: skip
        health += [
            {
                "worker": number, "time_ns": T0 + second * SECOND, "interval_ns": SECOND, "cpu_ns": 0,
                "lag_max_ns": MS, "gc_ns": 0, "rss_bytes": 1, "open_files": 9, "clock_moved_ns": 0,
            }
            for second in (1, 2)
        ]  # fmt: skip
    tables: dict[str, list[Row]] = {
        "events": events,
        "deliveries": deliveries,
        "subscriptions": [subscription(n, "/default/a", -MS, worker=n) for n in range(2)],
        "connections": [connection(n, worker=n) for n in range(2)],
        "clock": pings,
        "health": health,
    }
    write_run(
        folder,
        tables,
        workers=[worker(0), worker(1)],
        host={"hostname": "m", "cpus": 2, "kernel": "k", "platform": "linux", "boot_id": "boot-master"},
    )
    write_echoes(folder, [(n, k * 100 * MS, echo_ns[n]) for n in range(2) for k in range(9)])
    return analysis.summarise(analysis.load(folder))


SAME = {(0, 0): 3 * MS, (0, 1): 4 * MS, (1, 0): 4 * MS, (1, 1): 5 * MS}


def doubts(summary: Any) -> list[tuple[str, str]]:
    return [
        (finding["severity"], finding["reason"])
        for finding in summary["verdict"]["findings"]
        if finding["reason"].startswith("what workers")
    ]


def test_each_worker_has_its_own_round_trip(tmp_path: Path) -> None:
    summary = two_hosts(tmp_path, ways_ns=SAME, echo_ns=(2 * MS, 4 * MS))
    first, second = summary["echo"]["each"]
    assert (first["worker"], first["sent"], first["returned"]) == (0, 9, 9)
    assert (first["service_ns"]["p50"], second["service_ns"]["max"]) == (2 * MS, 4 * MS)
    assert first["service_ns"]["count"] == 9
    assert summary["ledger"]["balances"]
    assert summary["ledger"]["delivered"] == 2 * 2 * EVENTS


def test_the_sum_of_two_ways_is_free_of_clocks_and_half_the_difference_is_the_clocks_error(
    tmp_path: Path,
) -> None:
    for wrong_ns in (0, 150 * US, -150 * US):
        (pair,) = two_hosts(
            tmp_path / str(wrong_ns), ways_ns=SAME, echo_ns=(2 * MS, 4 * MS), wrong_ns=wrong_ns
        )["echo"]["pairs"]
        assert pair["workers"] == [0, 1]
        assert pair["there_ns"] + pair["back_ns"] == 8 * MS
        assert pair["asymmetry_ns"] == 4 * MS
        assert pair["apparent_ns"] == wrong_ns
        # On average, a delivery to a subscriber takes 4 ms and an echo to its own publisher 3 ms. So the fan-out to
        # subscribers accounts for 1 ms.
        assert (pair["echo_ns"], pair["fanout_ns"]) == (3 * MS, MS)
        assert pair["error_ns"] >= abs(wrong_ns)
        assert pair["deliveries"] == [EVENTS, EVENTS]
        assert echo.unexplained_share(pair) == 0


def test_where_one_worker_publishes_the_echoes_bound_the_clocks(tmp_path: Path) -> None:
    # Between host A and the service, a message takes 1 ms each way; between host B and the service, 2 ms. The
    # service itself takes 1 ms.
    for wrong_ns in (0, 150 * US):
        (pair,) = two_hosts(
            tmp_path / str(wrong_ns),
            ways_ns={(0, 0): 3 * MS, (0, 1): 4 * MS},
            echo_ns=(3 * MS, 5 * MS),
            wrong_ns=wrong_ns,
            only_a_publishes=True,
        )["echo"]["pairs"]
        assert pair["back_ns"] is None
        assert pair["fanout_ns"] is None
        assert pair["deliveries"] == [EVENTS, 0]
        assert (pair["apparent_ns"], pair["asymmetry_ns"]) == (wrong_ns, 4 * MS)


@pytest.mark.parametrize(
    ("wrong_ns", "severity"),
    [(0, None), (1 * MS, None), (3 * MS, "degraded"), (-3 * MS, "degraded"), (6 * MS, "invalid")],
)
def test_clocks_that_are_wrong_by_more_than_they_claim_are_named(
    wrong_ns: int, severity: str | None, tmp_path: Path
) -> None:
    summary = two_hosts(tmp_path, ways_ns=SAME, echo_ns=(2 * MS, 4 * MS), wrong_ns=wrong_ns)
    found = doubts(summary)
    assert [each for each, _ in found] == ([] if severity is None else [severity])
    if severity is not None:
        assert f"as if they were {abs(wrong_ns) // MS}.00 ms apart" in found[0][1]


def test_few_deliveries_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo, "_ENOUGH", EVENTS + 1)
    assert two_hosts(tmp_path, ways_ns=SAME, echo_ns=(2 * MS, 4 * MS))["echo"]["pairs"] == []


_WAY = st.integers(0, 50 * MS)


@settings(max_examples=200, deadline=None)
@given(_WAY, _WAY, _WAY, _WAY, _WAY, st.integers(0, 20 * MS), st.integers(-80 * MS, 80 * MS))
def test_the_clocks_error_is_always_within_what_is_said(
    up_a: int, down_a: int, up_b: int, down_b: int, service: int, fanout: int, wrong: int
) -> None:
    """For any delays, the true clock error lies within the computed bounds.

    With measured delays a and b of the two directions, the bounds are (a - b)/2 - (a + b)/2 and (a - b)/2 + (a + b)/2.
    They are computed once from deliveries in both directions, and once from one direction only.
    """
    between = {
        (0, 0): (up_a + service + fanout + down_a, 99),
        (0, 1): (up_a + service + fanout + down_b + wrong, 99),
        (1, 0): (up_b + service + fanout + down_a - wrong, 99),
    }
    own = {0: up_a + service + down_a, 1: up_b + service + down_b}
    both = echo._pair(0, 1, between, own, 0)
    one = echo._pair(0, 1, {key: way for key, way in between.items() if key != (1, 0)}, own, 0)
    other = echo._pair(1, 0, {key: way for key, way in between.items() if key != (1, 0)}, own, 0)
    for pair, sign in ((both, 1), (one, 1), (other, -1)):
        assert pair is not None
        assert abs(pair["apparent_ns"] - sign * wrong) <= pair["asymmetry_ns"] + 1


def test_one_machine_has_echoes_and_nothing_to_compare(tmp_path: Path) -> None:
    workers = [worker(0, id="local"), worker(1)]
    simple_run(tmp_path, workers=workers, host={"hostname": "h", "cpus": 2, "boot_id": "boot-1"})
    write_echoes(tmp_path, [(0, 0, MS), (1, 0, 2 * MS)])
    summary = analysis.summarise(analysis.load(tmp_path))
    assert [lane["service_ns"]["p50"] for lane in summary["echo"]["each"]] == [MS, 2 * MS]
    assert summary["echo"]["pairs"] == []


def test_a_record_without_echoes_has_no_such_section(tmp_path: Path) -> None:
    summary = analysis.summarise(analysis.load(simple_run(tmp_path)))
    assert "echo" not in summary
    assert not [note for note in report_notes.notes(summary) if "echo" in note]


def test_a_lane_that_was_refused_is_a_note_and_no_doubt(tmp_path: Path) -> None:
    refused = {**LANE, "sent": 0, "returned": 0, "note": "the service refused: \x1b[31mno"}
    simple_run(tmp_path, workers=[worker(0, refused, id="local")])
    summary = analysis.summarise(analysis.load(tmp_path))
    assert summary["verdict"] == {"kind": "valid", "findings": []}
    (note,) = [note for note in report_notes.notes(summary) if "echo" in note]
    assert note == "no echo of worker 0: the service refused: \N{REPLACEMENT CHARACTER}[31mno"


def test_echoes_that_never_came_back_are_counted_and_no_loss(tmp_path: Path) -> None:
    lane = {**LANE, "errors": {"HTTP 500": 2}}
    simple_run(tmp_path, workers=[worker(0, lane, id="local")])
    write_echoes(tmp_path, [(0, 0, MS), (0, 10 * MS, None), (0, 20 * MS, None)])
    summary = analysis.summarise(analysis.load(tmp_path))
    assert summary["ledger"]["lost"] == 0
    assert summary["verdict"]["kind"] == "valid"
    assert (
        "echo: 2 of 3 of worker 0 did not come back (HTTP 500); they are in no figure of the scenario"
        in report_notes.notes(summary)
    )


def test_only_the_measure_phase_counts(tmp_path: Path) -> None:
    simple_run(tmp_path, workers=[worker(0, id="local")])
    write_echoes(tmp_path, [(0, -10 * MS, 99 * MS), (0, 0, MS), (0, 2 * SECOND, 99 * MS)])
    (lane,) = analysis.summarise(analysis.load(tmp_path))["echo"]["each"]
    assert (lane["sent"], lane["service_ns"]["max"]) == (1, MS)


def test_report_and_terminal_show_them(tmp_path: Path) -> None:
    from rich.console import Console

    summary = two_hosts(tmp_path, ways_ns=SAME, echo_ns=(2 * MS, 4 * MS))
    console = Console(width=120, record=True, quiet=True)
    with console.capture() as shown:
        console.quiet = False
        terminal.print_summary(summary, console)
    page = report.render(analysis.load(tmp_path), summary)
    for said in (shown.get(), page):
        assert "echo, one clock (arrival − sent)" in said
        assert "9 of 9" in said
    assert "4.00 ms from 0 to 1 and 4.00 ms from 1 to 0" in page
    assert "half the sum is 4.00 ms, beside 3.00 ms of the echoes" in page


def test_what_the_lanes_did_is_in_the_cost(tmp_path: Path) -> None:
    prices = {
        "service": "s", "region": "r", "as_of": None, "certainty": "c", "message_unit_bytes": 120,
        "keepalive_interval_s": 60, "usd_per_million_operations": 1.0, "usd_per_million_connection_minutes": 0.0,
        "usd_per_gb_out": 0.0,
        "counts": dict.fromkeys(("publish", "delivery", "connect", "subscribe", "handler", "keepalive"), "always"),
    }  # fmt: skip
    operations = []
    for name, lane in (("without", None), ("with", LANE)):
        simple_run(tmp_path / name, workers=[worker(0, lane, id="local")], prices=prices)
        operations.append(analysis.summarise(analysis.load(tmp_path / name))["cost"]["operations"])
    without, with_lane = operations
    # The made-up price list bills in units of 120 bytes, so an echo of 200 bytes counts as two.
    assert with_lane["probe_publish"] - without["probe_publish"] == 18
    assert with_lane["probe_delivery"] - without["probe_delivery"] == 18
    assert with_lane["connect"] - without["connect"] == 1
    assert with_lane["subscribe"] - without["subscribe"] == 1
    assert with_lane["publish"] == without["publish"]
