import tempfile
from dataclasses import FrozenInstanceError, asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from analysis.ledger.breakdown import Breakdown
from analysis.ledger.reconcile import Ledger, Reconciled, pattern_matches, reconcile
from tests.analysis.synthetic import MS, T0, Row, connection, delivery, event, subscription, write_run

ZERO = T0 + 1000 * MS


LATE_NS = 60 * MS


def settled_of(
    folder: Path,
    events: list[Row],
    subscriptions: list[Row],
    deliveries: list[Row],
    connections: list[Row] | None = None,
) -> Reconciled:
    tables = {
        "events": events,
        "subscriptions": subscriptions,
        "deliveries": deliveries,
        "connections": connections or [],
    }
    write_run(folder, tables, late_after_ns=LATE_NS)
    run = analysis.load(folder)
    assert run.measure is not None
    return reconcile(run, run.measure)


def ledger_of(
    folder: Path,
    events: list[Row],
    subscriptions: list[Row],
    deliveries: list[Row],
    connections: list[Row] | None = None,
) -> Ledger:
    return settled_of(folder, events, subscriptions, deliveries, connections).ledger


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
    assert ledger.expected == 3  # first event: both subscriptions; second event: only subscription 1
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
    # At subscription 1 the second event overtakes the first. The event of publisher 2 is late, but in order.
    latencies = {(1, 0): 5 * MS, (1, 1): MS, (1, 2): 9 * MS, (2, 0): 50 * MS}
    deliveries = [delivery(e, 1, latencies[e["publisher"], e["sequence"]]) for e in events]
    # A record lists a subscription's delivery rows in the order of arrival.
    deliveries.sort(key=lambda row: row["arrival_ns"])
    assert ledger_of(tmp_path, events, [subscription(1, "/default/*")], deliveries).reordered == 1


def two_lives(ready_again_ns: int = 35 * MS) -> list[Row]:
    """Return a subscription's rows for two connects: one lost 15 ms into the phase, the next acknowledged at 30 ms."""
    return [
        subscription(1, "/default/a", 0, 15 * MS, life=0),
        subscription(1, "/default/a", ready_again_ns, None, life=1, acknowledged_ns=ZERO + 30 * MS),
    ]


def test_what_a_lost_connection_misses_is_lost_in_reconnect_and_then_before_ready(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", at * MS) for n, at in enumerate((0, 5, 12, 20, 31, 40, 50))]
    deliveries = [delivery(events[n], 1) for n in (0, 5)]
    connections = [connection(1, 0, "closed with code 1001"), connection(1, 1)]
    ledger = ledger_of(tmp_path, events, two_lives(), deliveries, connections)
    # The events due at 5 and 12 ms were under way when the connection broke. The loss of the event due at 50 ms has no
    # known cause.
    assert (ledger.expected, ledger.delivered, ledger.lost) == (7, 2, 5)
    assert (ledger.lost_in_reconnect, ledger.lost_before_ready, ledger.lost_otherwise) == (3, 1, 1)
    assert ledger.balances


def test_a_loss_that_a_later_delivery_over_the_same_connection_followed_is_not_the_reconnects(
    tmp_path: Path,
) -> None:
    events = [event(1, n, "/default/a", at * MS) for n, at in enumerate((1, 5, 12))]
    deliveries = [delivery(events[1], 1)]
    connections = [connection(1, 0, "gone"), connection(1, 1)]
    ledger = ledger_of(tmp_path, events, two_lives(), deliveries, connections)
    assert (ledger.lost_otherwise, ledger.lost_in_reconnect) == (1, 1)


def test_between_two_lives_that_the_client_parted_itself_nothing_is_expected(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * 10 * MS) for n in range(6)]
    deliveries = [delivery(e, 1) for e in events]
    connections = [connection(1, 0), connection(1, 1)]
    ledger = ledger_of(tmp_path, events, two_lives(30 * MS), deliveries, connections)
    assert (ledger.expected, ledger.delivered, ledger.outside_live_window) == (5, 5, 1)
    assert ledger.balances


def test_an_attempt_that_never_was_acknowledged_does_not_end_the_gap(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * 10 * MS) for n in range(6)]
    lives = [
        subscription(1, "/default/a", 0, 15 * MS, life=0),
        subscription(1, "/default/a", None, 40 * MS, life=1, acknowledged_ns=None),
    ]
    connections = [connection(1, 0, "gone"), connection(1, 1, "gone")]
    deliveries = [delivery(e, 1) for e in events[:2]]
    ledger = ledger_of(tmp_path, events, lives, deliveries, connections)
    assert (ledger.expected, ledger.delivered, ledger.lost_in_reconnect) == (6, 2, 4)


def test_what_comes_after_its_deadline_is_late_and_not_lost(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * MS) for n in range(3)]
    deliveries = [delivery(e, 1, ns) for e, ns in zip(events, (MS, LATE_NS, LATE_NS + 1), strict=True)]
    ledger = ledger_of(tmp_path, events, [subscription(1, "/default/a")], deliveries)
    assert (ledger.delivered, ledger.late, ledger.lost) == (2, 1, 0)
    assert ledger.balances


def test_each_publisher_channel_and_subscription_has_its_own_ledger(tmp_path: Path) -> None:
    events = [event(1, 0, "/default/a", 0), event(2, 0, "/default/b", 0), event(2, 1, "/default/b", MS)]
    subscriptions = [subscription(5, "/default/*"), subscription(6, "/default/b")]
    deliveries = [
        delivery(events[0], 5),
        delivery(events[1], 5),
        delivery(events[1], 6),
        delivery(events[1], 6),
    ]
    breakdown = settled_of(tmp_path, events, subscriptions, deliveries).breakdown
    columns = ["expected", "delivered", "lost_otherwise", "duplicates"]

    def rows(dimension: str) -> dict[str, list[int]]:
        return {str(key): list(row) for key, row in breakdown.by(dimension)[columns].iterrows()}

    assert rows("publisher") == {"1": [1, 1, 0, 0], "2": [4, 2, 2, 1]}
    assert rows("channel") == {"/default/a": [1, 1, 0, 0], "/default/b": [4, 2, 2, 1]}
    assert rows("subscription") == {"5": [3, 2, 1, 0], "6": [2, 1, 1, 1]}
    assert [row["key"] for row in breakdown.worst("subscription")] == ["5", "6"]


def test_a_worker_whose_record_breaks_off_owes_nothing_after_its_last_sign(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * 10 * MS) for n in range(4)]
    write_run(
        tmp_path,
        {
            "events": events,
            "subscriptions": [subscription(1, "/default/a", worker=1)],
            "deliveries": [delivery(e, 1) for e in events[:2]],
            "health": [{"worker": 1, "time_ns": ZERO + 15 * MS, "interval_ns": MS}],
        },
        workers=[
            {"worker": 0, "id": "a", "hostname": "h", "pid": 1, "finished": True},
            {"worker": 1, "id": "b", "hostname": "h", "pid": 2, "finished": False},
        ],
    )
    run = analysis.load(tmp_path)
    assert run.measure is not None
    ledger = reconcile(run, run.measure).ledger
    assert (ledger.expected, ledger.delivered, ledger.lost) == (2, 2, 0)


CHANNELS = ("/default/a", "/default/a/b", "/default/c", "/other/a")
PATTERNS = (*CHANNELS, "/default/*", "/default/a/*", "/other/*")
Situation = tuple[list[Row], list[Row], list[Row], list[Row]]


def tables_of(situation: Situation) -> dict[str, list[Row]]:
    """Return the tables of a record with these rows."""
    return dict(zip(("events", "subscriptions", "connections", "deliveries"), situation, strict=True))


# Strategies are made once, because hypothesis examines each new one.
_CHANNEL, _PATTERN = st.sampled_from(CHANNELS), st.sampled_from(PATTERNS)
_STATUSES = st.sampled_from(["accepted", "accepted", "rejected", "error", "unanswered"])
_OFFSETS, _DELAYS, _SPANS, _LENGTHS = (
    st.integers(*ends) for ends in ((-20, 990), (-5, 100), (0, 200), (1, 400))
)
_ENDS = st.sampled_from([None, "gone"])
_THREE, _FOUR, _FIVE, _SIX, _NINE, _MANY = (st.integers(0, most) for most in (3, 4, 5, 6, 9, 25))
_LIVES = st.integers(1, 4)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Draw events, subscriptions, connections and deliveries, which may contradict each other."""
    events = [
        event(
            publisher,
            sequence,
            draw(_CHANNEL),
            draw(_OFFSETS) * MS,
            draw(_STATUSES),
        )
        for publisher in range(draw(_THREE))
        for sequence in range(draw(_FOUR))
    ]
    subscriptions, connections = [], []
    for number in range(draw(_FIVE)):
        pattern, at_ns = draw(_PATTERN), -100 * MS
        for life in range(draw(_LIVES)):
            acknowledged_ns = at_ns + draw(_SPANS) * MS
            ready_ns = acknowledged_ns + draw(_SPANS) * MS
            ended_ns = at_ns = ready_ns + draw(_LENGTHS) * MS
            got = draw(_NINE)
            row = subscription(
                number,
                pattern,
                ready_ns if got > 1 else None,
                ended_ns,
                life=life,
                acknowledged_ns=ZERO + acknowledged_ns if got > 0 else None,
            )
            subscriptions.append(row)
            connections.append(connection(number, life, draw(_ENDS)))
    known = [*events, event(50, 0, "/default/a", 5 * MS)]
    which = st.sampled_from(known)
    deliveries = [delivery(draw(which), draw(_SIX), draw(_DELAYS) * MS) for _ in range(draw(_MANY))]
    return events, subscriptions, connections, deliveries


def owed(event_row: Row, lives: list[Row], broke: dict[tuple[int, int], bool]) -> tuple[str, Row] | None:
    """Return (kind of loss, row of the life that lost it) if a subscription misses an event; None if that is no loss.

    A life lasts from one connect of the client to the end of that connection. The rows in ``lives`` are checked one by
    one, exactly as the definition of loss says.
    """
    sent_ns = event_row["sent_ns"]
    last: Row | None = None
    for life in sorted(lives, key=lambda row: row["life"]):
        if life["acknowledged_ns"] is None and life["ready_ns"] is None:
            continue
        if sent_ns < life["acknowledged_ns"]:
            break
        last = life
        if sent_ns < life["ended_ns"]:
            if life["ready_ns"] is None or sent_ns < life["ready_ns"]:
                return "before ready", life
            return "live", life
    if last is not None and broke[last["subscription"], last["life"]]:
        return "in reconnect", last
    return None


@settings(max_examples=80, deadline=None)
@given(situations())
def test_it_agrees_with_counting_one_by_one_and_always_balances(situation: Situation) -> None:
    events, subscriptions, connections, deliveries = situation
    with tempfile.TemporaryDirectory() as folder:
        ledger = ledger_of(Path(folder), events, subscriptions, deliveries, connections)
    due = [e for e in events if ZERO <= e["intended_ns"] < ZERO + 1000 * MS]
    broke = {(c["connection"], c["life"]): c["error"] is not None for c in connections}
    wanted: dict[tuple[int, int, int], tuple[str, Row, Row]] = {}
    for e in due:
        for number in {s["subscription"] for s in subscriptions}:
            lives = [s for s in subscriptions if s["subscription"] == number]
            found = owed(e, lives, broke) if e["status"] == "accepted" else None
            if found is not None and pattern_matches(lives[0]["channel"], e["channel"]):
                wanted[e["publisher"], e["sequence"], number] = (*found, e)
    rows = [d for d in deliveries if ZERO <= d["intended_ns"] < ZERO + 1000 * MS]
    earliest: dict[tuple[int, int, int], int] = {}
    for d in rows:
        pair = (d["publisher"], d["sequence"], d["subscription"])
        earliest[pair] = min(earliest.get(pair, d["arrival_ns"]), d["arrival_ns"])
    classes = {"before ready": 0, "in reconnect": 0, "live": 0}
    for pair, (what, life, e) in wanted.items():
        if pair in earliest:
            continue
        if what == "live" and broke[life["subscription"], life["life"]]:
            through = [
                other["sent_ns"]
                for key, (kind, its, other) in wanted.items()
                if kind == "live" and its is life and key in earliest
            ]
            if e["sent_ns"] > max(through, default=0) and life["ended_ns"] - e["sent_ns"] <= LATE_NS:
                what = "in reconnect"
        classes[what] += 1
    status = {(e["publisher"], e["sequence"]): e["status"] for e in due}
    late = sum(
        earliest[pair] - wanted[pair][2]["intended_ns"] > LATE_NS for pair in wanted if pair in earliest
    )
    missing = [pair for pair in wanted if pair not in earliest]
    assert ledger.events_due == len(due)
    assert ledger.expected == len(wanted)
    assert ledger.late == late
    assert ledger.delivered == len(wanted) - len(missing) - late
    assert ledger.lost_before_ready == classes["before ready"]
    assert ledger.lost_in_reconnect == classes["in reconnect"]
    assert ledger.lost_otherwise == classes["live"]
    assert ledger.duplicates == len(rows) - len(earliest)
    assert ledger.unrecorded == sum((p, q) not in status for p, q, _ in earliest)
    assert ledger.not_acknowledged == sum(
        status.get((p, q), "accepted") != "accepted" for p, q, _ in earliest
    )
    accepted = {pair for pair in earliest if status.get(pair[:2]) == "accepted"}
    assert ledger.outside_live_window == len(accepted - wanted.keys())
    assert ledger.subscriptions_with_loss == len({s for _, _, s in missing})
    assert ledger.events_with_loss == len({(p, q) for p, q, _ in missing})
    assert ledger.balances


BALANCED = Ledger(
    events_due=20,
    events_accepted=19,
    expected=100,
    delivered=60,
    late=10,
    late_least=9,
    late_most=11,
    lost_before_ready=5,
    lost_in_reconnect=6,
    lost_otherwise=19,
    missed_in_gap=1,
    missed_away=2,
    unobserved=3,
    duplicates=4,
    not_acknowledged=6,
    outside_live_window=8,
    unrecorded=12,
    rows=100,
    reordered=0,
    events_with_loss=1,
    subscriptions_with_loss=1,
)


@pytest.mark.parametrize(
    ("wrong", "balances"),
    [
        ({}, True),
        ({"expected": 101}, False),
        ({"rows": 101}, False),
        ({"breakdown_agrees": False}, False),
        # The kinds of expected deliveries must add up to `expected`, and the kinds of recorded rows to `rows`.
        ({"delivered": 61, "late": 9}, True),
        ({"delivered": 61}, False),
        ({"duplicates": 5}, False),
        ({"not_acknowledged": 7}, False),
        ({"outside_live_window": 9}, False),
        ({"unrecorded": 11}, False),
        ({"lost_before_ready": 6}, False),
        ({"lost_in_reconnect": 8}, False),
        ({"lost_otherwise": 17}, False),
        # `expected` leaves out deliveries missed on purpose (the scenario had cut the connection, or the client had
        # left or unsubscribed), and those not observed.
        ({"missed_in_gap": 9, "missed_away": 9, "unobserved": 9}, True),
    ],
)
def test_it_balances_only_where_each_pair_and_each_row_is_accounted_for_once(
    wrong: dict[str, Any], balances: bool
) -> None:
    found = replace(BALANCED, **wrong)
    assert found.balances is balances
    assert found.to_dict()["balances"] is balances


def test_the_summary_has_every_count_and_its_sums() -> None:
    found = BALANCED.to_dict()
    assert {name: found[name] for name in asdict(BALANCED)} == asdict(BALANCED)
    assert (found["lost"], found["delivery_ratio"]) == (30, 0.6)
    assert replace(BALANCED, expected=0).to_dict()["delivery_ratio"] is None


def test_a_breakdown_that_does_not_add_up_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [event(1, 0, "/default/a", 0)], [subscription(7, "/default/a")]
    whole = ledger_of(tmp_path / "a", *arguments, [])
    assert whole.breakdown_agrees
    monkeypatch.setattr(Breakdown, "agrees_with", lambda *_: False)
    broken = ledger_of(tmp_path / "b", *arguments, [])
    assert broken == replace(whole, breakdown_agrees=False)
    assert not broken.balances


def test_it_is_settled_once_for_several_figures_and_cannot_be_altered(tmp_path: Path) -> None:
    settled = settled_of(tmp_path, [event(1, 0, "/default/a", 0)], [subscription(7, "/default/a")], [])
    run = analysis.load(tmp_path)
    assert run.measure is not None
    assert reconcile(run, run.measure) is reconcile(run, run.measure)
    for record in (settled, settled.ledger, settled.whole.events):
        with pytest.raises(FrozenInstanceError):
            setattr(record, fields(record)[0].name, None)
    # Objects that hold arrays are compared by identity, because comparing arrays gives no single truth value.
    assert settled == settled
    assert settled != replace(settled)


def test_an_event_is_expected_by_its_own_channel_and_only_if_it_was_accepted(tmp_path: Path) -> None:
    channels = ["/default/a", "/default/b", "/default/c", "/default/d"]
    events = [
        event(
            publisher, n, channel, (7 * n + publisher) % 5 * MS, "accepted" if n != publisher else "rejected"
        )
        for publisher in (3, 1)
        for n, channel in enumerate(channels)
    ]
    subscriptions = [
        subscription(5, "/default/b"),
        subscription(6, "/default/*"),
        subscription(7, "/default/d", 2 * MS, 4 * MS, acknowledged_ns=ZERO + 2 * MS),
    ]
    settled = settled_of(tmp_path, events, subscriptions, [])
    # Events are sorted by publisher and sequence.
    assert settled.whole.events.publisher.tolist() == [1] * 4 + [3] * 4
    assert (settled.whole.events.key & 0xFFFFFFFF).tolist() == [0, 1, 2, 3] * 2
    assert [settled.whole.events.channels[code] for code in settled.whole.events.channel] == channels * 2
    assert settled.whole.events.accepted.tolist() == [True, False, True, True, True, True, True, False]
    assert settled.whole.events.sent_ns.tolist() == (settled.whole.events.intended_ns + 1_000).tolist()
    # Event 1 of publisher 1 and event 3 of publisher 3 were refused. Subscription 7 expects events sent from
    # 2 ms up to 4 ms only.
    assert settled.whole.expected.tolist() == [1, 0, 1, 2, 1, 2, 1, 0]
    assert settled.ledger.events_accepted == 6
    assert settled.answered
    assert settled.whole.arrived.tolist() == [0] * 8
    breakdown = settled.breakdown.by("subscription")["expected"]
    assert {str(key): int(count) for key, count in breakdown.items()} == {"5": 1, "6": 6, "7": 1}


def test_an_event_to_a_channel_without_a_subscription_is_expected_nowhere(tmp_path: Path) -> None:
    events = [event(1, n, f"/default/{'ab'[n % 2]}", n * MS) for n in range(6)]
    settled = settled_of(tmp_path, events, [subscription(0, "/default/b")], [])
    assert settled.whole.expected.tolist() == [0, 1] * 3


def test_where_a_service_answers_no_publish_nobody_knows_what_it_accepted(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * MS, "sent") for n in range(3)]
    settled = settled_of(tmp_path, events, [subscription(7, "/default/a")], [delivery(events[0], 7)])
    assert settled.ledger.events_accepted is None
    assert not settled.answered
    assert (settled.ledger.events_due, settled.ledger.expected, settled.ledger.delivered) == (3, 3, 1)


def test_events_and_subscriptions_with_a_loss_are_counted_and_late_is_no_loss(tmp_path: Path) -> None:
    events = [event(1, n, "/default/a", n * MS) for n in range(4)]
    subscriptions = [subscription(number, "/default/a") for number in (5, 6, 7)]
    missing = {(1, 5), (1, 6), (2, 6)}
    deliveries = [
        delivery(each, number, LATE_NS + 1 if n == 3 else MS)
        for n, each in enumerate(events)
        for number in (5, 6, 7)
        if (n, number) not in missing
    ]
    found = ledger_of(tmp_path, events, subscriptions, deliveries)
    assert (found.events_with_loss, found.subscriptions_with_loss) == (2, 2)
    assert (found.delivered, found.late, found.lost, found.late_least, found.late_most) == (6, 3, 3, 3, 3)
    assert found.balances
