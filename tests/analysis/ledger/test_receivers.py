"""Test the ledger of shared subscriptions (one member gets each event) and of sessions that outlive a connection."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from analysis.ledger.reconcile import Ledger, reconcile
from analysis.verify import independent
from tests.analysis.ledger.test_reconcile import LATE_NS, settled_of
from tests.analysis.synthetic import MS, T0, ZERO, Row, connection, delivery, event, subscription, write_run


def member(number: int, group: str | None = "team", **more: Any) -> Row:
    return subscription(number, "/default/a", shared=group, **more)


def published(*offsets_ms: float) -> list[Row]:
    return [event(1, n, "/default/a", round(at * MS)) for n, at in enumerate(offsets_ms)]


def in_sql(folder: Path) -> dict[str, Any]:
    """Return the ledger's figures as SQL computes them independently, or an empty dict if SQL cannot handle the run."""
    run = analysis.load(folder)
    assert run.measure is not None
    # Run only the part of `independent.figures` that counts deliveries; the rest takes twice as long.
    with independent.opened(run) as (database, _):
        if not independent._simple(database, independent._has_intents(database)):
            return {}
        return independent._ledger(database, independent._inside(run.measure), run.late_after_ns, run.measure)


def settled(
    folder: Path,
    events: list[Row],
    subscriptions: list[Row],
    deliveries: list[Row],
    connections: list[Row] | None = None,
) -> Ledger:
    ledger = settled_of(folder, events, subscriptions, deliveries, connections).ledger
    assert ledger.balances
    second = in_sql(folder)
    for name in ("expected", "delivered", "lost", "late"):
        assert second.get(f"ledger.{name}", getattr(ledger, name)) == getattr(ledger, name)
    return ledger


def test_one_of_the_group_is_expected_to_receive_each_event(tmp_path: Path) -> None:
    events = published(10, 20, 30)
    subscriptions = [member(1), member(2), member(3), subscription(4, "/default/a")]
    arrived = [delivery(each, number) for each, number in zip(events, (1, 3, 2), strict=True)]
    arrived += [delivery(each, 4) for each in events]
    ledger = settled(tmp_path, events, subscriptions, arrived)
    assert (ledger.expected, ledger.delivered, ledger.lost, ledger.duplicates) == (6, 6, 0, 0)
    assert in_sql(tmp_path)["ledger.expected"] == 6


def test_an_event_for_two_members_is_a_duplicate_and_one_for_none_is_lost(tmp_path: Path) -> None:
    events = published(10, 20, 30)
    arrived = [delivery(events[0], 2), delivery(events[0], 3, 900_000), delivery(events[2], 1)]
    found = settled_of(tmp_path, events, [member(1), member(2), member(3)], arrived)
    ledger = found.ledger
    assert (ledger.expected, ledger.delivered, ledger.lost_otherwise, ledger.duplicates) == (3, 2, 1, 1)
    assert (ledger.rows, ledger.balances) == (3, True)
    rows = found.breakdown.rows["subscription"]
    assert rows.keys == ["1"], "the group has the number of its first member"
    assert (rows.counts["expected"].tolist(), rows.lost.tolist(), rows.counts["duplicates"].tolist()) == (
        [3],
        [1],
        [1],
    )


def test_groups_of_other_names_and_other_patterns_are_other_groups(tmp_path: Path) -> None:
    events = published(10)
    subscriptions = [
        member(1),
        member(2),
        member(3, "other"),
        subscription(4, "/default/*", shared="team"),
        subscription(5, "/default/*", shared="team"),
        subscription(6, "/elsewhere", shared="team"),
    ]
    ledger = settled(tmp_path, events, subscriptions, [delivery(events[0], 2), delivery(events[0], 4)])
    assert (ledger.expected, ledger.delivered, ledger.lost) == (3, 2, 1)


def test_order_is_that_of_each_member(tmp_path: Path) -> None:
    events = published(10, 11, 12, 13)
    # Member 2 is slow, so its event arrives after later events of member 1. Member 1 gets its last two events out of
    # order.
    arrived = [
        delivery(events[0], 1),
        delivery(events[3], 1, MS),
        delivery(events[2], 1, 5 * MS),
        delivery(events[1], 2, 20 * MS),
    ]
    assert settled(tmp_path, events, [member(1), member(2)], arrived).reordered == 1


def test_a_member_that_joined_after_the_publish_may_receive_it(tmp_path: Path) -> None:
    events = published(10)
    joined = member(2, acknowledged_ns=ZERO + 12 * MS, ready_ns=13 * MS)
    ledger = settled(tmp_path, events, [member(1), joined], [delivery(events[0], 2, 5 * MS)])
    assert (ledger.expected, ledger.delivered, ledger.outside_live_window) == (1, 1, 0)


def test_while_another_member_is_there_a_dropped_one_excuses_only_what_was_under_way_to_it(
    tmp_path: Path,
) -> None:
    # Member 1 is dropped at 100 ms and ready again at 200 ms; an event is late after 60 ms.
    events = published(20, 50, 90, 95, 150, 210)
    subscriptions = [
        member(1, ended_ns=100 * MS, intent="drop 0"),
        member(1, life=1, acknowledged_ns=ZERO + 200 * MS, ready_ns=205 * MS),
        member(2),
    ]
    connections = [connection(1, 0, intent="drop 0"), connection(1, 1), connection(2)]
    # The event due at 20 ms was overdue at the drop, so it is lost. So is the event due at 50 ms, because member 1
    # received a later one (90 ms). The event due at 95 ms may have been under way to member 1. The events due at 150
    # and 210 ms are lost too, since member 2 could have received them.
    ledger = settled(tmp_path, events, subscriptions, [delivery(events[2], 1)], connections)
    assert (ledger.expected, ledger.delivered, ledger.missed_in_gap) == (5, 1, 1)
    assert (ledger.lost_otherwise, ledger.lost_in_reconnect) == (4, 0)


def test_a_later_event_at_another_member_proves_nothing(tmp_path: Path) -> None:
    events = published(90, 95)
    subscriptions = [member(1, ended_ns=100 * MS), member(2)]
    connections = [connection(1, 0, "gone"), connection(2)]
    ledger = settled(tmp_path, events, subscriptions, [delivery(events[1], 2)], connections)
    assert (ledger.lost_in_reconnect, ledger.lost_otherwise) == (1, 0)


def test_two_members_that_break_at_once_excuse_each_its_own(tmp_path: Path) -> None:
    events = published(90, 94)
    subscriptions = [
        member(1, ended_ns=100 * MS, intent="drop 0"),
        member(2, ended_ns=101 * MS, intent="drop 0"),
        member(3),
    ]
    connections = [
        connection(1, 0, intent="drop 0"),
        connection(2, 0, intent="drop 0"),
        connection(3),
    ]
    # Member 1 received the second event, so the first was not under way to it, but to member 2, which was dropped too.
    ledger = settled(tmp_path, events, subscriptions, [delivery(events[1], 1)], connections)
    assert (ledger.expected, ledger.delivered, ledger.missed_in_gap, ledger.lost) == (1, 1, 1, 0)


@pytest.mark.parametrize(
    ("intents", "error", "missed", "lost"),
    [
        (("drop 0", "drop 0"), None, (1, 0, 0), 0),
        (("leave", "drop 0"), None, (1, 0, 0), 0),
        (("leave", "unsubscribe"), None, (0, 1, 0), 0),
        (("drop 0", None), "gone", (0, 0, 0), 1),
        (("harness failure", None), "gone", (0, 0, 1), 0),
    ],
)
def test_a_gap_of_all_members_is_that_of_the_one_that_should_have_been_there(
    tmp_path: Path,
    intents: tuple[str | None, str | None],
    error: str | None,
    missed: tuple[int, int, int],
    lost: int,
) -> None:
    events = published(300)
    subscriptions, connections = [], []
    for number, intent in enumerate(intents, start=1):
        subscriptions += [
            member(number, ended_ns=100 * MS, intent=intent),
            member(number, life=1, acknowledged_ns=ZERO + 500 * MS, ready_ns=505 * MS),
        ]
        connections += [
            connection(number, 0, error if intent is None else None, intent=intent),
            connection(number, 1),
        ]
    ledger = settled(tmp_path, events, subscriptions, [], connections)
    assert (ledger.missed_in_gap, ledger.missed_away, ledger.unobserved) == missed
    assert (ledger.lost_in_reconnect, ledger.lost, ledger.expected) == (lost, lost, lost)


INTENTS = st.sampled_from([None, "drop 0", "leave", "unsubscribe", "harness failure"])
# Make each strategy only once, since Hypothesis spends time to examine every new one.
_TIMES = st.lists(st.integers(1, 900), min_size=1, max_size=12)
_GROUPS, _SESSIONS = (
    st.sampled_from(["team", "other", None]),
    st.sampled_from([None, "resumed", "lost", "expired"]),
)
_MEMBERS, _LIVES, _STARTS, _ENDS, _WAITS, _GAPS, _DELAYS, _THIRDS = (
    st.integers(*ends) for ends in ((1, 5), (1, 3), (0, 50), (20, 400), (0, 15), (1, 100), (1, 120), (0, 2))
)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[Row], list[Row], list[Row], list[Row]]:
    """Draw rows of events, subscriptions, connections and deliveries.

    Subscriptions come and go. Each is a member of one of two groups or of none. Some deliveries are left out.
    """
    events = published(*sorted(draw(_TIMES)))
    subscriptions: list[Row] = []
    connections: list[Row] = []
    for number in range(1, draw(_MEMBERS) + 1):
        group = draw(_GROUPS)
        at, lives = draw(_STARTS), draw(_LIVES)
        for life in range(lives):
            end = at + draw(_ENDS)
            last = life == lives - 1
            intent = None if last else draw(INTENTS)
            session = draw(_SESSIONS) if life else None
            subscriptions.append(
                member(
                    number,
                    group,
                    life=life,
                    acknowledged_ns=ZERO + at * MS,
                    ready_ns=(at + draw(_WAITS)) * MS,
                    ended_ns=None if last else end * MS,
                    intent=intent,
                )
            )
            error = None if last or intent else "gone"
            connections.append(connection(number, life, error, intent=intent, session=session))
            at = end + draw(_GAPS)
    people = sorted({row["subscription"] for row in subscriptions})
    arrived = [
        delivery(each, number, draw(_DELAYS) * MS)
        for each in events
        for number in people
        if draw(_THIRDS) > 0
    ]
    arrived.sort(key=lambda row: row["arrival_ns"])
    return events, subscriptions, connections, arrived


@settings(max_examples=30, deadline=None)
@given(runs())
def test_whatever_members_do_the_ledger_balances_and_a_second_opinion_agrees(
    run: tuple[list[Row], list[Row], list[Row], list[Row]],
) -> None:
    events, subscriptions, connections, arrived = run
    with tempfile.TemporaryDirectory() as name:
        ledger = settled(Path(name), events, subscriptions, arrived, connections)
    assert ledger.rows == len(arrived)
    # An event has at most one receiver for each group and for each subscription without a group.
    receivers = {(row["shared"] or row["subscription"]) for row in subscriptions}
    assert ledger.expected <= len(events) * len(receivers)
    assert ledger.late_least <= ledger.late <= ledger.late_most


@settings(max_examples=20, deadline=None)
@given(runs())
def test_a_group_of_one_is_like_a_subscription_of_its_own(
    run: tuple[list[Row], list[Row], list[Row], list[Row]],
) -> None:
    events, subscriptions, connections, arrived = run
    alone = [{**row, "shared": f"group {row['subscription']}"} for row in subscriptions]
    single = [{**row, "shared": None} for row in subscriptions]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        ledgers = [
            settled_of(Path(folder), events, members, arrived, connections).ledger
            for folder, members in ((one, alone), (two, single))
        ]
    assert ledgers[0] == ledgers[1]
    assert ledgers[0].balances


def kept(session: str | None, intent: str = "drop 0") -> tuple[list[Row], list[Row]]:
    """Return the rows of a client that is away from 100 to 200 ms."""
    return (
        [
            subscription(1, "/default/a", ended_ns=100 * MS, intent=intent),
            subscription(1, "/default/a", life=1, acknowledged_ns=ZERO + 200 * MS, ready_ns=210 * MS),
        ],
        [connection(1, 0, intent=intent), connection(1, 1, session=session)],
    )


@pytest.mark.parametrize("intent", ["drop 0", "leave"])
@pytest.mark.parametrize("session", ["resumed", "lost"])
def test_a_service_that_was_to_keep_the_session_owes_what_was_sent_meanwhile(
    tmp_path: Path, session: str, intent: str
) -> None:
    events = published(50, 95, 150, 205, 220)
    subscriptions, connections = kept(session, intent)
    # The event due at 150 ms arrives after the drain time, so it is late.
    arrived = [delivery(events[0], 1), delivery(events[2], 1, LATE_NS + 5 * MS), delivery(events[4], 1)]
    ledger = settled(tmp_path, events, subscriptions, arrived, connections)
    assert (ledger.expected, ledger.delivered, ledger.late) == (5, 2, 1)
    assert (ledger.lost_in_reconnect, ledger.lost_before_ready) == (1, 1)
    assert (ledger.missed_in_gap, ledger.missed_away) == (0, 0)


@pytest.mark.parametrize("session", [None, "new", "expired"])
def test_without_a_session_to_keep_nothing_is_owed(tmp_path: Path, session: str | None) -> None:
    events = published(50, 95, 150, 205, 220)
    subscriptions, connections = kept(session)
    arrived = [delivery(events[0], 1), delivery(events[4], 1)]
    ledger = settled(tmp_path, events, subscriptions, arrived, connections)
    assert (ledger.expected, ledger.delivered, ledger.missed_in_gap, ledger.lost) == (2, 2, 3, 0)


def test_who_unsubscribes_is_owed_nothing_whatever_becomes_of_the_session(tmp_path: Path) -> None:
    subscriptions = [
        subscription(1, "/default/a", ended_ns=100 * MS, intent="unsubscribe"),
        subscription(1, "/default/a", turn=1, acknowledged_ns=ZERO + 200 * MS, ready_ns=210 * MS),
    ]
    connections = [connection(1, 0, intent="drop 0", session="new"), connection(1, 1, session="resumed")]
    ledger = settled(tmp_path, published(150), subscriptions, [], connections)
    assert (ledger.expected, ledger.missed_away) == (0, 1)


def test_an_attempt_that_failed_is_not_the_end_of_a_session(tmp_path: Path) -> None:
    subscriptions, connections = kept("resumed")
    subscriptions[1] |= {"life": 2}
    connections = [
        connections[0],
        connection(1, 1, "refused", acknowledged_ns=None),
        {**connections[1], "life": 2},
    ]
    ledger = settled(tmp_path, published(150), subscriptions, [], connections)
    assert (ledger.expected, ledger.lost_in_reconnect, ledger.missed_in_gap) == (1, 1, 0)


def test_older_records_know_neither(tmp_path: Path) -> None:
    events = published(10)
    tables = {
        "events": events,
        "subscriptions": [subscription(1, "/default/a")],
        "deliveries": [delivery(events[0], 1)],
        "connections": [connection(1)],
    }
    run = analysis.load(write_run(tmp_path, tables))
    assert "shared" not in run.subscriptions.columns or run.subscriptions["shared"].isna().all()
    assert run.measure is not None
    assert reconcile(run, run.measure).ledger.delivered == 1
    assert run.measure.start_ns > T0
