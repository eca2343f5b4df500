import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from analysis.ledger import Ledger, pattern_matches, settle
from tests.analysis.synthetic import Row, delivery, event, subscription, write_run

MS = 1_000_000


def ledger_of(folder: Path, events: list[Row], subscriptions: list[Row], deliveries: list[Row]) -> Ledger:
    write_run(folder, {"events": events, "subscriptions": subscriptions, "deliveries": deliveries})
    run = analysis.load(folder)
    assert run.measure is not None
    return settle(run, run.measure)[0]


def test_everything_delivered(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a/b", n * MS) for n in range(5)]
    subscriptions = [
        subscription(7, "/default/a/*"),
        subscription(8, "/default/a/b"),
        subscription(9, "/default/a"),
    ]
    deliveries = [delivery(e, s) for e in events for s in (7, 8)]
    ledger = ledger_of(tmp_path, events, subscriptions, deliveries)
    assert (ledger.expected, ledger.delivered, ledger.lost, ledger.duplicates) == (10, 10, 0, 0)
    assert ledger.delivery_ratio == 1.0
    assert ledger.balances


def test_one_lost_one_twice_one_to_a_subscription_that_was_gone(tmp_path: Path) -> None:
    first, second = event(1, 0, "/default/a", 10 * MS), event(1, 1, "/default/a", 20 * MS)
    subscriptions = [subscription(1, "/default/a"), subscription(2, "/default/a", ended_ns=15 * MS)]
    deliveries = [delivery(first, 1), delivery(first, 1), delivery(second, 2)]
    ledger = ledger_of(tmp_path, [first, second], subscriptions, deliveries)
    assert ledger.expected == 3  # first to both, second to the one that was still there
    assert (ledger.delivered, ledger.lost, ledger.duplicates, ledger.outside_live_window) == (1, 2, 1, 1)
    assert (ledger.events_with_loss, ledger.subscriptions_with_loss) == (2, 2)
    assert ledger.balances


def test_what_the_service_did_not_accept_is_not_expected_and_not_hidden(tmp_path: Path) -> None:
    refused = event(1, 0, "/default/a", 0, status="rejected")
    stranger = event(5, 0, "/default/a", 0)
    deliveries = [delivery(refused, 1), delivery(stranger, 1)]
    ledger = ledger_of(tmp_path, [refused], [subscription(1, "/default/a")], deliveries)
    assert (ledger.expected, ledger.not_acknowledged, ledger.unrecorded) == (0, 1, 1)
    assert ledger.delivery_ratio is None
    assert ledger.balances


def test_reorder_is_by_publisher_and_subscription(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * MS) for n in range(3)] + [event(2, 0, "/default/a", 0)]
    # The second event overtakes the first at subscription 1; publisher 2 comes late but in its own order.
    latencies = {(1, 0): 5 * MS, (1, 1): MS, (1, 2): 9 * MS, (2, 0): 50 * MS}
    deliveries = [delivery(e, 1, latencies[e["publisher"], e["sequence"]]) for e in events]
    assert ledger_of(tmp_path, events, [subscription(1, "/default/*")], deliveries).reordered == 1


def test_a_subscription_with_two_lives_expects_in_both_and_not_between(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * 10 * MS) for n in range(6)]
    lives = [
        subscription(1, "/default/a", 0, 15 * MS),
        subscription(1, "/default/a", 35 * MS, None, life=1),
    ]
    deliveries = [delivery(e, 1) for e in events]
    ledger = ledger_of(tmp_path, events, lives, deliveries)
    assert (ledger.expected, ledger.delivered, ledger.outside_live_window) == (4, 4, 2)
    assert ledger.balances


CHANNELS = ("/default/a", "/default/a/b", "/default/c", "/other/a")
PATTERNS = (*CHANNELS, "/default/*", "/default/a/*", "/other/*")


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Row], list[Row], list[Row]]:
    """Events, subscriptions and deliveries that need not agree in any way."""
    events = [
        event(
            publisher,
            sequence,
            draw(st.sampled_from(CHANNELS)),
            draw(st.integers(-20, 990)) * MS,
            draw(st.sampled_from(["accepted", "accepted", "rejected", "error", "unanswered"])),
        )
        for publisher in range(draw(st.integers(0, 3)))
        for sequence in range(draw(st.integers(0, 4)))
    ]
    subscriptions = []
    for number in range(draw(st.integers(0, 5))):
        pattern, at_ns = draw(st.sampled_from(PATTERNS)), 0
        for life in range(draw(st.integers(1, 3))):
            ready_ns = at_ns + draw(st.integers(0, 400)) * MS
            ended_ns = ready_ns + draw(st.integers(1, 400)) * MS
            at_ns = ended_ns
            never = draw(st.integers(0, 4)) == 0
            row = subscription(number, pattern, None if never else ready_ns, ended_ns, life=life)
            subscriptions.append(row)
    known = [*events, event(50, 0, "/default/a", 5 * MS)]
    deliveries = [
        delivery(draw(st.sampled_from(known)), draw(st.integers(0, 6)), draw(st.integers(-5, 100)) * MS)
        for _ in range(draw(st.integers(0, 25)))
    ]
    return events, subscriptions, deliveries


@settings(max_examples=150, deadline=None)
@given(situations())
def test_it_agrees_with_counting_one_by_one_and_always_balances(
    situation: tuple[list[Row], list[Row], list[Row]],
) -> None:
    events, subscriptions, deliveries = situation
    with tempfile.TemporaryDirectory() as folder:
        ledger = ledger_of(Path(folder), events, subscriptions, deliveries)
    zero, end = 1_795_490_001 * 10**9, 1_795_490_002 * 10**9
    due = [e for e in events if zero <= e["intended_ns"] < end]
    wanted = {
        (e["publisher"], e["sequence"], s["subscription"])
        for e in due
        if e["status"] == "accepted"
        for s in subscriptions
        if s["ready_ns"] is not None
        and pattern_matches(s["channel"], e["channel"])
        and s["ready_ns"] <= e["sent_ns"] < s["ended_ns"]
    }
    rows = [d for d in deliveries if zero <= d["intended_ns"] < end]
    pairs = {(d["publisher"], d["sequence"], d["subscription"]) for d in rows}
    status = {(e["publisher"], e["sequence"]): e["status"] for e in due}
    assert ledger.events_due == len(due)
    assert ledger.expected == len(wanted)
    assert ledger.delivered == len(wanted & pairs)
    assert ledger.lost == len(wanted - pairs)
    assert ledger.duplicates == len(rows) - len(pairs)
    assert ledger.unrecorded == sum((p, q) not in status for p, q, _ in pairs)
    assert ledger.not_acknowledged == sum(status.get((p, q), "accepted") != "accepted" for p, q, _ in pairs)
    accepted = {pair for pair in pairs if status.get(pair[:2]) == "accepted"}
    assert ledger.outside_live_window == len(accepted - wanted)
    assert ledger.subscriptions_with_loss == len({s for _, _, s in wanted - pairs})
    assert ledger.events_with_loss == len({(p, q) for p, q, _ in wanted - pairs})
    assert ledger.balances
