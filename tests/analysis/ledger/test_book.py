"""Test the ledger of a record with every kind of delivery, counted by hand, read at once or in several parts."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.figures.fanout import by_event
from analysis.ledger.events import events_in
from analysis.ledger.reconcile import Reconciled, pairs_of, reconcile
from analysis.loading import slices
from tests.analysis.ledger.test_reconcile import LATE_NS
from tests.analysis.synthetic import (
    MS,
    SECOND,
    T0,
    ZERO,
    connection,
    delivery,
    event,
    subscription,
    write_run,
)

DROPPED = "drop 1"
GONE, UNKNOWN = 77, 50


def run_of(folder: Path) -> analysis.Run:
    """Write three seconds of events on channels a and b, and later c.

    Subscription 1 is cut off on purpose for a while; subscription 2 is ready all the time. There is one delivery of
    each kind: lost, late, perhaps late, duplicated, out of order, of an event that is not on record, and to a
    subscription that is not on record.
    """
    events = [event(1, n, f"/default/{'ab'[n % 2]}", n * 100 * MS) for n in range(30)]
    last = [event(2, n, "/default/c", (2_500 + n) * MS) for n in range(2)]
    latency = {7: 200 * MS, 9: 70 * MS}
    subscriptions = [
        subscription(1, "/default/a", 0, 1_050 * MS, intent=DROPPED),
        subscription(1, "/default/a", 1_450 * MS, None, life=1, acknowledged_ns=ZERO + 1_400 * MS),
        subscription(2, "/default/*"),
    ]
    deliveries = [delivery(events[n], 1) for n in range(0, 30, 2) if n not in (12, 14)]
    deliveries += [
        delivery(events[n], 2, latency.get(n, MS), uncertain_ns=30 * MS if n == 9 else 0)
        for n in range(30)
        if n != 3
    ]
    deliveries += [delivery(last[1], 2, MS), delivery(last[0], 2, 10 * MS)]
    deliveries += [delivery(events[5], 2, 2 * MS)]
    deliveries += [delivery(event(UNKNOWN, 0, "/default/a", 500 * MS), 2, k * MS) for k in (1, 2)]
    deliveries += [delivery(events[4], GONE, k * MS) for k in (1, 2)]
    phases = [
        {"name": "ramp", "start_ns": T0, "end_ns": ZERO},
        {"name": "measure", "start_ns": ZERO, "end_ns": ZERO + 3 * SECOND},
    ]
    tables = {
        "events": [*events, *last],
        "subscriptions": subscriptions,
        "connections": [connection(1, 0, intent=DROPPED), connection(1, 1), connection(2)],
        "deliveries": deliveries,
    }
    return analysis.load(write_run(folder, tables, late_after_ns=LATE_NS, phases=phases))


def settled_of(run: analysis.Run) -> Reconciled:
    assert run.measure is not None
    return reconcile(run, run.measure)


COUNTED: dict[str, Any] = {
    "events_due": 32,
    "events_accepted": 32,
    # Subscription 1 should get 15 events but missed two while it was cut off. Subscription 2 should get 32.
    "expected": 13 + 32,
    "missed_in_gap": 2,
    "delivered": 42,
    "late": 2,
    "late_least": 1,
    "late_most": 2,
    "lost_otherwise": 1,
    "duplicates": 3,
    "unrecorded": 1,
    "outside_live_window": 1,
    "rows": 42 + 2 + 3 + 1 + 1,
    "reordered": 1,
    "events_with_loss": 1,
    "subscriptions_with_loss": 1,
}


def test_everything_is_counted_as_by_hand(tmp_path: Path) -> None:
    settled = settled_of(run_of(tmp_path))
    ledger = asdict(settled.ledger)
    assert {name: ledger.pop(name) for name in COUNTED} == COUNTED
    assert ledger.pop("altered") is None
    assert ledger.pop("breakdown_agrees") is True
    assert set(ledger.values()) == {0}
    assert settled.ledger.balances
    by = {of: settled.breakdown.by(of) for of in ("subscription", "channel", "publisher")}
    assert by["subscription"]["expected"].to_dict() == {"1": 13, "2": 32}
    assert by["subscription"]["missed_in_gap"].to_dict() == {"1": 2, "2": 0}
    assert by["channel"]["expected"].to_dict() == {"/default/a": 13 + 15, "/default/b": 15, "/default/c": 2}
    assert by["channel"]["reordered"].to_dict() == {"/default/a": 0, "/default/b": 0, "/default/c": 1}
    assert by["publisher"]["reordered"].to_dict() == {"1": 0, "2": 1}


def test_what_is_expected_of_each_event_is_without_what_was_missed(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    assert run.measure is not None
    pairs = pairs_of(run, run.measure, events_in(run, run.measure, None))
    # Two subscriptions expect each event of channel a, except the two that subscription 1 missed.
    by_hand = [1 if n % 2 or n in (12, 14) else 2 for n in range(30)] + [1, 1]
    assert pairs.expected.tolist() == by_hand


def test_in_stretches_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = settled_of(run_of(tmp_path / "whole"))
    monkeypatch.setattr(slices, "STRETCH_EVENTS", 5)
    cut = settled_of(run_of(tmp_path / "cut"))
    assert (len(whole.parts), len(cut.parts)) == (1, 3)
    assert cut.ledger == whole.ledger
    assert cut.channels == whole.channels == ["/default/a", "/default/b", "/default/c"]
    pd.testing.assert_frame_equal(cut.breakdown.frame, whole.breakdown.frame)
    pd.testing.assert_frame_equal(by_event(cut), by_event(whole))
    # Event 9 reached its only subscriber up to 30 ms before the recorded arrival.
    one, other = whole.whole, cut.whole
    assert (one.ranks_low_ns["last_ns"][9], one.ranks_high_ns["last_ns"][9]) == (40 * MS, 70 * MS)
    np.testing.assert_equal(other.ranks_low_ns, one.ranks_low_ns)
    np.testing.assert_equal(other.ranks_high_ns, one.ranks_high_ns)


def test_many_rows_balance(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * MS) for n in range(600)]
    tables = {
        "events": events,
        "subscriptions": [subscription(1, "/default/a")],
        "deliveries": [delivery(each, 1) for each in events],
    }
    ledger = settled_of(analysis.load(write_run(tmp_path, tables, late_after_ns=LATE_NS))).ledger
    assert (ledger.rows, ledger.delivered) == (600, 600)
    assert ledger.balances
