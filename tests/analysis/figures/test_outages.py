"""Test silent connections and throttling targets with synthetic records."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis import text
from analysis.report import notes as report_notes
from analysis.verdict.causes import in_causal_order
from analysis.verdict.findings import Finding
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
from tests.analysis.verdict.test_judgement import health, subjects

SILENT = "silent for 0.3 s: nothing at all came, and the service must be heard within that time"


def silent_run(folder: Path, clients: int = 1, others: int = 0) -> dict[str, Any]:
    return analysis.summarise(analysis.load(write_silent(folder, clients, others)))


def write_silent(
    folder: Path,
    clients: int = 1,
    others: int = 0,
    refused: Sequence[Row] = (),
    refused_subscriptions: Sequence[Row] = (),
) -> Path:
    """Write a run whose ``clients`` fall silent, and whose ``others`` stay connected.

    The clients were last heard 200 ms into the phase, closed the connection at 500 ms, and were connected
    again at 700 ms. An event is due every 50 ms; those from 200 to 700 ms do not reach these clients.
    """
    events = [event(9, n, "/default/a", n * 50 * MS) for n in range(20)]
    subscriptions: list[Row] = []
    connections: list[Row] = []
    deliveries: list[Row] = []
    for number in range(clients):
        subscriptions += [
            subscription(number, "/default/a", -MS, 500 * MS),
            subscription(number, "/default/a", 700 * MS, life=1, acknowledged_ns=ZERO + 700 * MS),
        ]
        connections += [
            connection(
                number,
                0,
                SILENT,
                closed_ns=ZERO + 500 * MS,
                silent_since_ns=ZERO + 200 * MS,
            ),
            connection(number, 1, started_ns=ZERO + 690 * MS, acknowledged_ns=ZERO + 700 * MS),
        ]
        deliveries += [
            delivery(e, number) for e in events if not 200 * MS <= e["intended_ns"] - ZERO < 700 * MS
        ]
    for number in range(clients, clients + others):
        subscriptions.append(subscription(number, "/default/a", -MS))
        connections.append(connection(number))
        deliveries += [delivery(e, number) for e in events]
    return write_run(
        folder,
        {
            "events": events,
            "subscriptions": [*subscriptions, *refused_subscriptions],
            "deliveries": deliveries,
            "connections": [*connections, *refused],
            "health": [health(0.5), health(1.5)],
        },
        late_after_ns=100 * MS,
    )


def write_golden(folder: Path) -> Path:
    """Write a run whose summary has every key about silences, outages and throttling."""
    refused = connection(0, 0, "HTTP 429", acknowledged_ns=None, closed_ns=T0) | {"refusal": "throttled"}
    attempt = subscription(0, "/default/a", None, -SECOND, turn=1, acknowledged_ns=None, error="slow down")
    return write_silent(
        folder,
        clients=3,
        refused=[{**refused, "life": 2}],
        refused_subscriptions=[{**attempt, "refusal": "throttled"}],
    )


def test_what_a_silent_connection_missed_is_lost_in_reconnect_however_long_it_was_silent(
    tmp_path: Path,
) -> None:
    # The silence was noticed 300 ms after it began, when some of its events were already overdue (after 100 ms). Even
    # so, all ten events that were due during the silence count as lost in the reconnect.
    ledger = silent_run(tmp_path)["ledger"]
    assert (ledger["expected"], ledger["delivered"]) == (20, 10)
    assert (ledger["lost_in_reconnect"], ledger["lost_otherwise"]) == (10, 0)
    assert ledger["balances"]


def test_a_loss_before_the_silence_is_none_of_the_reconnect(tmp_path: Path) -> None:
    events = [event(9, n, "/default/a", n * 50 * MS) for n in range(20)]
    # The event due at 0 ms was lost before the silence began: the events due at 50 and 100 ms still arrived.
    lost = {0, *range(4, 14)}
    write_run(
        tmp_path,
        {
            "events": events,
            "subscriptions": [
                subscription(1, "/default/a", -MS, 500 * MS),
                subscription(1, "/default/a", 700 * MS, life=1, acknowledged_ns=ZERO + 700 * MS),
            ],
            "deliveries": [delivery(e, 1) for n, e in enumerate(events) if n not in lost],
            "connections": [
                connection(1, 0, SILENT, closed_ns=ZERO + 500 * MS, silent_since_ns=ZERO + 200 * MS),
                connection(1, 1, acknowledged_ns=ZERO + 700 * MS),
            ],
            "health": [health(0.5), health(1.5)],
        },
        late_after_ns=100 * MS,
    )
    ledger = analysis.summarise(analysis.load(tmp_path))["ledger"]
    assert (ledger["lost_in_reconnect"], ledger["lost_otherwise"]) == (10, 1)


def test_where_all_were_silent_the_target_was_away(tmp_path: Path) -> None:
    summary = silent_run(tmp_path, clients=3)
    (outage,) = summary["outages"]
    # The outage begins when the last client was last heard, not when the silence was noticed.
    assert (outage["start_ns"] - ZERO, outage["end_ns"] - ZERO) == (200 * MS, 700 * MS)
    assert (outage["connections_lost"], outage["connections_silent"], outage["attempts_failed"]) == (3, 3, 0)
    assert summary["exit_code"] == 4
    assert text.verdict(summary)[1].startswith("The target was away for 0.5 s")
    assert any("3 connections lost (3 had fallen silent)" in line for line in report_notes.notes(summary))


def test_where_some_were_silent_a_finding_names_it_and_not_the_generator(tmp_path: Path) -> None:
    summary = silent_run(tmp_path, clients=2, others=3)
    assert summary["outages"] == []
    (silence,) = summary["silences"]
    assert (silence["start_ns"] - ZERO, silence["end_ns"] - ZERO) == (200 * MS, 700 * MS)
    assert (silence["connections"], silence["connected"]) == (2, 5)
    assert silence["longest_ns"] == 300 * MS
    assert subjects(summary) == [("degraded", "network")]
    reason = summary["verdict"]["findings"][0]["reason"]
    assert "2 of 5 connections fell silent 0.2 s into the measurement, for 500 ms" in reason
    assert summary["connections"]["errors"] == {SILENT: 2}


def test_a_silence_explains_none_of_the_generators_own_doings() -> None:
    silence = Finding("degraded", "network", "silent", "look there", 5 * SECOND)
    late = Finding("degraded", "schedule", "late", "add workers", 14 * MS)
    shared = Finding("degraded", "arrival", "shared", "add workers", 2 * SECOND)
    found = in_causal_order([silence], [late, shared])
    assert [finding.subject for finding in found] == ["network", "schedule", "arrival"]
    assert found[1].advice == "add workers"
    assert found[2].advice.startswith("the silence of the connections named above explains this")


def test_silences_apart_in_time_are_two(tmp_path: Path) -> None:
    lives = [
        connection(1, 0, SILENT, closed_ns=ZERO + 200 * MS, silent_since_ns=ZERO + 100 * MS),
        connection(1, 1, SILENT, acknowledged_ns=ZERO + 300 * MS, closed_ns=ZERO + 600 * MS)
        | {"silent_since_ns": ZERO + 500 * MS},
        connection(2, 0),
    ]
    write_run(
        tmp_path,
        {
            "events": [event(9, 0, "/default/a", 0)],
            "subscriptions": [subscription(2, "/default/a", -MS)],
            "connections": lives,
            "health": [health(0.5), health(1.5)],
        },
    )
    first, second = analysis.summarise(analysis.load(tmp_path))["silences"]
    assert (first["start_ns"] - ZERO, first["end_ns"] - ZERO) == (100 * MS, 300 * MS)
    # The second silence lasts until the end of the measurement, because the client never connected again.
    assert (second["start_ns"] - ZERO, second["end_ns"] - ZERO) == (500 * MS, SECOND)


@pytest.mark.parametrize(
    ("seconds", "subject"),
    [
        # The generator was awake, so data waited behind data that was lost on the network.
        ([{"queue_max_ns": 3 * SECOND}], "network"),
        ([{"queue_max_ns": 3 * SECOND, "cpu_ns": int(0.95 * SECOND)}], "queue"),
        ([{"queue_max_ns": 3 * SECOND, "lag_max_ns": 240 * MS}], "network"),
        ([{"queue_max_ns": 3 * SECOND, "lag_max_ns": 260 * MS}], "queue"),
        # The generator stood still in the second before the one in which the wait was recorded.
        ([{"lag_max_ns": 2 * SECOND}, {"queue_max_ns": 2 * SECOND}], "queue"),
    ],
)
def test_the_generator_is_blamed_for_what_waited_only_where_it_was_not_awake(
    tmp_path: Path, seconds: list[dict[str, int]], subject: str
) -> None:
    events = [event(9, n, "/default/a", n * 90 * MS) for n in range(10)]
    write_run(
        tmp_path,
        {
            "events": events,
            "subscriptions": [subscription(1, "/default/a", -MS)],
            "deliveries": [delivery(e, 1, read_ns=e["intended_ns"] + 500_000 + 2_500 * MS) for e in events],
            "connections": [connection(1)],
            "health": [health(0.5 + place, **more) for place, more in enumerate(seconds)] + [health(3.0)],
        },
        late_after_ns=3 * SECOND,
    )
    found = [s for _, s in subjects(analysis.summarise(analysis.load(tmp_path)))]
    assert subject in found
    assert not {"queue", "network"} - {subject} & set(found)


@pytest.mark.parametrize(
    ("second", "advice"),
    [
        ({}, "held back by the network"),
        ({"lag_max_ns": 100 * MS}, "the generator reads too slowly"),
        ({"cpu_ns": int(0.95 * SECOND)}, "the generator reads too slowly"),
    ],
)
def test_what_came_at_once_is_laid_to_the_generator_only_where_it_was_not_awake(
    tmp_path: Path, second: dict[str, int], advice: str
) -> None:
    events = [event(9, n, "/default/a", n * 9 * MS) for n in range(100)]
    write_run(
        tmp_path,
        {
            "events": events,
            "subscriptions": [subscription(1, "/default/a", -MS)],
            "deliveries": [delivery(e, 1, 400 * MS, uncertain_ns=300 * MS) for e in events],
            "connections": [connection(1)],
            "health": [health(0.5), health(1.5, **second)],
        },
        late_after_ns=SECOND,
        format=3,
    )
    findings = analysis.summarise(analysis.load(tmp_path))["verdict"]["findings"]
    (found,) = [finding for finding in findings if finding["subject"] == "arrival"]
    assert advice in found["advice"]


def test_throttling_is_counted_and_the_rate_is_that_while_it_went_on(tmp_path: Path) -> None:
    said = "x:80 does not accept the WebSocket handshake now: HTTP 429 (Too Many Requests)"
    connections: list[Row] = [
        # Twenty clients connect at once, as many as a token bucket holds. Then ten a second connect for two seconds.
        *(connection(n, acknowledged_ns=T0 + MS) for n in range(20)),
        *(connection(20 + n, 1, acknowledged_ns=T0 + 100 * MS + n * 100 * MS) for n in range(1, 20)),
        *(
            connection(20 + n, 0, said, acknowledged_ns=None, closed_ns=T0 + 100 * MS + n * 100 * MS)
            | {"refusal": "throttled"}
            for n in range(21)
        ),
        connection(60, 0, "no", acknowledged_ns=None, closed_ns=T0, refusal="denied"),
    ]
    write_run(
        tmp_path,
        {
            "events": [event(9, 0, "/default/a", 0)],
            "subscriptions": [
                subscription(1, "/default/a", -MS),
                subscription(2, "/default/a", None, -900 * MS, acknowledged_ns=None, error="slow down")
                | {"refusal": "throttled"},
            ],
            "connections": connections,
            "health": [health(0.5), health(1.5)],
        },
    )
    summary = analysis.summarise(analysis.load(tmp_path))
    its = summary["throttling"]["connections"]
    assert (its["refused"], its["admitted"]) == (21, 19)
    assert its["admitted_per_s"] == pytest.approx(9.5)
    assert its["answers"] == {said: 21}
    other = summary["throttling"]["subscriptions"]
    assert (other["refused"], other["admitted"], other["admitted_per_s"]) == (1, 0, None)
    notes = "\n".join(report_notes.notes(summary))
    assert "refused 21 of 61 attempts to connect for now, from 0.1 s to 2.1 s of the run" in notes
    assert "admitted 19 meanwhile, 9.50 a second" in notes


def test_without_throttling_nothing_is_said_of_it(tmp_path: Path) -> None:
    summary = silent_run(tmp_path)
    assert summary["throttling"] is None
