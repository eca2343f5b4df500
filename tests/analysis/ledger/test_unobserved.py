"""Test that unobserved deliveries and unreadable messages do not count as losses."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from analysis.report.notes import notes
from tests.analysis.figures.test_recovery import at_times, two_lives
from tests.analysis.ledger.lives import lives_of
from tests.analysis.ledger.test_reconcile import ledger_of
from tests.analysis.synthetic import (
    MS,
    ZERO,
    connection,
    delivery,
    event,
    simple_run,
    subscription,
    write_run,
)

FAILED = "harness failure"


def test_from_a_failure_of_ours_until_ready_again_nothing_is_lost(tmp_path: Path) -> None:
    events = at_times(0, 5, 12, 20, 31, 40, 50)
    deliveries = [delivery(events[n], 1) for n in (0, 1, 5)]
    connections = [connection(1, 0, intent=FAILED), connection(1, 1)]
    ledger = ledger_of(tmp_path, events, two_lives(FAILED), deliveries, connections)
    # Three events are unobserved. The event due at 12 ms may have been read but not recorded, at 20 ms there was no
    # connection, and at 31 ms the subscription was not ready again. The event at 50 ms counts as lost.
    assert (ledger.expected, ledger.delivered, ledger.lost, ledger.unobserved) == (4, 3, 1, 3)
    assert (ledger.missed_in_gap, ledger.missed_away) == (0, 0)
    assert ledger.balances


def test_what_arrives_in_spite_of_it_counts_as_any_other(tmp_path: Path) -> None:
    events = at_times(0, 12, 20, 31, 40)
    deliveries = [delivery(events[n], 1) for n in (0, 1, 3, 4)]
    connections = [connection(1, 0, intent=FAILED), connection(1, 1)]
    ledger = ledger_of(tmp_path, events, two_lives(FAILED), deliveries, connections)
    assert (ledger.expected, ledger.delivered, ledger.unobserved, ledger.lost) == (4, 4, 1, 0)


def test_who_never_comes_back_loses_nothing(tmp_path: Path) -> None:
    events = at_times(0, 5, 20, 500, 900)
    lives = [subscription(1, "/default/a", 0, 10 * MS, intent=FAILED)]
    deliveries = [delivery(events[n], 1) for n in (0, 1)]
    ledger = ledger_of(tmp_path, events, lives, deliveries, [connection(1, 0, intent=FAILED)])
    assert (ledger.expected, ledger.delivered, ledger.unobserved, ledger.lost) == (2, 2, 3, 0)
    assert ledger.balances


def test_only_what_was_overdue_when_we_failed_was_lost_before(tmp_path: Path) -> None:
    # A delivery is overdue after 60 ms, so at the failure at 100 ms only the first event counts as lost. The second,
    # sent at 50 ms, counts as unobserved. It is not lost although the third arrived, because messages that are read
    # together are not processed in the order of sending.
    events = at_times(1, 50, 90)
    lives = [subscription(1, "/default/a", 0, 100 * MS, intent=FAILED)]
    ledger = ledger_of(tmp_path, events, lives, [delivery(events[2], 1)], [connection(1, 0, intent=FAILED)])
    assert (ledger.lost_otherwise, ledger.unobserved, ledger.delivered) == (1, 1, 1)
    assert ledger.balances


def test_an_attempt_that_we_spoil_ends_what_the_service_is_blamed_for(tmp_path: Path) -> None:
    events = at_times(5, 20, 30, 42, 60)
    lives = [
        subscription(1, "/default/a", 0, 15 * MS),
        subscription(1, "/default/a", None, 25 * MS, acknowledged_ns=None, life=1, intent=FAILED),
        subscription(1, "/default/a", 45 * MS, None, acknowledged_ns=ZERO + 40 * MS, life=2),
    ]
    connections = [connection(1, 0, "gone"), connection(1, 1, intent=FAILED), connection(1, 2)]
    deliveries = [delivery(events[n], 1) for n in (0, 4)]
    ledger = ledger_of(tmp_path, events, lives, deliveries, connections)
    assert (ledger.lost_in_reconnect, ledger.unobserved, ledger.delivered) == (1, 2, 2)
    assert (ledger.lost, ledger.expected) == (1, 3)
    assert ledger.balances


INTENTS = ["drop 1", "leave", "unsubscribe", FAILED, None]


@settings(max_examples=60, deadline=None)
@given(
    intents=st.lists(st.sampled_from(INTENTS), min_size=1, max_size=4),
    known=st.lists(st.booleans(), min_size=4, max_size=4),
    arrived=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_the_ledger_balances_whatever_ended_a_life(
    tmp_path_factory: pytest.TempPathFactory,
    intents: list[str | None],
    known: list[bool],
    arrived: list[bool],
) -> None:
    events = at_times(*range(0, 200, 10))
    lives, connections = lives_of(intents, known)
    deliveries = [delivery(e, 1) for e, came in zip(events, arrived, strict=True) if came]
    ledger = ledger_of(tmp_path_factory.mktemp("run"), events, lives, deliveries, connections)
    assert ledger.balances
    assert ledger.expected + ledger.missed_in_gap + ledger.missed_away + ledger.unobserved <= len(events)
    if FAILED not in intents:
        assert ledger.unobserved == 0
    if intents[0] == FAILED and len(intents) == 1:
        assert ledger.lost_in_reconnect == 0


def worker(number: int, **more: Any) -> dict[str, Any]:
    return {"worker": number, "id": f"w{number}", "hostname": "h", "pid": 1, "finished": True, **more}


def test_unobserved_deliveries_make_the_run_invalid_and_are_shown(tmp_path: Path) -> None:
    events = [event(9, n, "/default/a", n * 50 * MS) for n in range(10)]
    write_run(
        tmp_path,
        {
            "events": events,
            "subscriptions": [subscription(1, "/default/a", -MS, 220 * MS, intent=FAILED)],
            "connections": [connection(1, 0, intent=FAILED)],
            "deliveries": [delivery(each, 1) for each in events[:5]],
        },
        workers=[
            worker(
                0,
                failures=[
                    {
                        "kind": "harness",
                        "where": "serving a connection at x.py:1",
                        "message": "KeyError: 's9'",
                        "count": 1,
                        "first_ns": ZERO,
                    }
                ],
            )
        ],
    )
    summary = analysis.summarise(analysis.load(tmp_path))
    assert (summary["ledger"]["unobserved"], summary["ledger"]["lost"]) == (5, 0)
    assert summary["workers"]["unobserved"] == 5
    assert summary["exit_code"] == 3
    first, *others = (finding["reason"] for finding in summary["verdict"]["findings"])
    assert "the harness failed once" in first
    assert any(other.startswith("5 deliveries were not observed") for other in others)


def test_a_resolver_that_fails_is_named_as_the_machines_and_no_gate_fails_by_it(tmp_path: Path) -> None:
    events = [
        event(9, n, "/default/a", n * 50 * MS, "unmade", sent_ns=None, acked_ns=None) for n in range(10)
    ]
    failure = {
        "kind": "network",
        "where": "connecting at loadgen/transport/resolving.py:1",
        "message": "UnresolvedError: the host name x cannot be resolved by this machine: no",
        "count": 10,
        "first_ns": ZERO,
    }
    write_run(
        tmp_path,
        {
            "events": events,
            "subscriptions": [subscription(1, "/default/a", -MS)],
            "connections": [connection(1)],
        },
        workers=[worker(0, failures=[failure])],
        scenario={"version": 1, "name": "s", "gates": ["publish.errors == 0"]},
    )
    summary = analysis.summarise(analysis.load(tmp_path))
    assert summary["exit_code"] == 3
    first = summary["verdict"]["findings"][0]
    assert (first["severity"], first["subject"]) == ("invalid", "network")
    assert (
        "the machine of worker 0 could not connect (10 times), which is not the service's" in first["reason"]
    )
    assert "resolver" in first["advice"]


def test_messages_that_cannot_be_read_are_the_services_deviation(tmp_path: Path) -> None:
    def kind(name: str, count: int, example: str) -> dict[str, Any]:
        return {"kind": name, "count": count, "example": example}

    workers = [
        worker(0, undecodable=4, undecodable_kinds=[kind("not JSON", 1, "\x1b[31m{"), kind("A", 3, "first")]),
        worker(1, undecodable=6, undecodable_kinds=[kind("not JSON", 5, "later"), kind("B", 1, "b")]),
        # An earlier version wrote this worker's row: it has no `undecodable_kinds`.
        worker(2, undecodable=1),
    ]
    found = analysis.summarise(analysis.load(simple_run(tmp_path, workers=workers)))
    assert found["workers"]["undecodable"] == 11
    assert found["workers"]["undecodable_kinds"] == [
        kind("not JSON", 6, "\x1b[31m{"),
        kind("A", 3, "first"),
        kind("B", 1, "b"),
    ]
    (note,) = [line for line in notes(found) if "cannot be read" in line]
    assert note == (
        "the service sent 11 messages that cannot be read: not JSON (6×), first: \N{REPLACEMENT CHARACTER}[31m{;"
        " A (3×), first: first; B (1×), first: b"
    )
    # The service, not the harness, is to blame for unreadable messages, so no finding casts doubt on the figures.
    assert not [each for each in found["verdict"]["findings"] if "read" in each["reason"]]


def test_a_record_without_kinds_says_how_many(tmp_path: Path) -> None:
    found = analysis.summarise(analysis.load(simple_run(tmp_path, workers=[worker(0, undecodable=1)])))
    assert "the service sent 1 message that cannot be read" in notes(found)
