"""Test figures of the chain from a request to its replies, computed by hand and by a naive model on random records."""

import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
from analysis.figures import derived, reaction_figures, reactions
from analysis.figures.percentiles import Percentiles
from analysis.ledger.reconcile import reconcile
from analysis.loading.run import Run
from analysis.plots.reactions import reactions_over_time
from analysis.report.reactions import rows, sentence
from analysis.summary import summarise
from analysis.verify.check import verify
from analysis.verify.independent import MATCHES, opened
from analysis.verify.independent_reactions import figures
from tests.analysis.synthetic import (
    MS,
    SECOND,
    T0,
    Row,
    Tables,
    delivery,
    event,
    simple_run,
    subscription,
    write_run,
)

ASK, ANSWER = "/default/ask", "/default/answer"
ASKER, RESPONDER = 1, 2
#: Subscription numbers: ASKED is the responder's subscription to requests, HEARD the asker's to replies.
ASKED, HEARD = 20, 30


def reply(sequence: int, to: Row, offset_ns: int, subscription: int = ASKED, **more: Any) -> Row:
    cause = {
        "cause_publisher": to["publisher"],
        "cause_sequence": to["sequence"],
        "cause_subscription": subscription,
    }
    return event(RESPONDER, sequence, ANSWER, offset_ns, **{**cause, **more})


def of(folder: Path, tables: Tables, **manifest: Any) -> Run:
    run: Run = analysis.load(write_run(folder, tables, format=3, **manifest))
    return run


def by_hand() -> Tables:
    """Return the tables of two requests, of which the second was lost.

    Of three replies to the first request, one was lost and the other two arrived out of order.
    """
    first, second = event(ASKER, 0, ASK, 0), event(ASKER, 1, ASK, 100 * MS)
    replies = [reply(n, first, (10 + 10 * n) * MS) for n in range(3)]
    return {
        "events": [first, second, *replies],
        "subscriptions": [
            subscription(ASKED, ASK, -MS, replies=3),
            subscription(HEARD, ANSWER, -MS),
        ],
        "deliveries": [
            delivery(first, ASKED, 5 * MS),
            delivery(replies[2], HEARD, 2 * MS),
            delivery(replies[0], HEARD, 25 * MS),
            # This second copy of a reply does not count as another arrival.
            delivery(replies[0], HEARD, 30 * MS),
        ],
    }


def test_each_step_of_the_chain_is_counted_and_timed(tmp_path: Path) -> None:
    run = of(tmp_path / "r", by_hand())
    found = summarise(run)["reaction"]
    assert found["requests"] == {"expected": 2, "delivered": 1, "answered": 1, "uncaused": 1}
    assert found["replies"] == {
        "due": 3,
        "accepted": 3,
        "cut_off": 0,
        "missing": 0,
        "expected": 3,
        "arrived": 2,
        "lost": 1,
        "disorder": 1,
    }
    # The third reply arrives first, 32 ms after the request; the first reply arrives after 35 ms.
    assert (found["first_ns"]["count"], found["first_ns"]["p50"]) == (1, 32 * MS)
    assert (found["latency_ns"]["count"], found["latency_ns"]["max"]) == (2, 35 * MS)
    assert (found["gap_ns"]["count"], found["gap_ns"]["max"]) == (1, 3 * MS)
    chain = reactions.reactions(run)
    assert chain is not None
    # The lost reply and the one out of order are marked in the table of replies.
    assert chain.number[chain.lost > 0].tolist() == [1]
    assert chain.number[chain.disordered > 0].tolist() == [0]


def test_each_reply_is_listed_with_what_became_of_it(tmp_path: Path) -> None:
    run = of(tmp_path / "r", by_hand())
    derived.write(run)
    listed = pd.read_parquet(run.path / "replies.parquet")
    assert listed["number"].tolist() == [0, 1, 2]
    assert listed["lost"].tolist() == [0, 1, 0]
    assert listed["disordered"].tolist() == [1, 0, 0]
    assert listed["arrival_ns"].isna().tolist() == [False, True, False]
    assert (listed["arrival_ns"] - listed["requested_ns"]).dropna().tolist() == [35 * MS, 32 * MS]
    assert "replies" not in derived.tables(analysis.load(simple_run(tmp_path / "other")))


@pytest.mark.parametrize(
    ("gate", "value", "status"),
    [
        ("reaction.lost == 1", 1, "passed"),
        ("reaction.missing == 0", 0, "passed"),
        ("reaction.disorder == 0", 1, "failed"),
        ("reaction.uncaused == 0", 1, "failed"),
        ("reaction.first.max < 33ms", 32 * MS, "passed"),
        ("reaction.latency.max < 35ms", 35 * MS, "failed"),
        ("reaction.gap.max <= 3ms", 3 * MS, "passed"),
    ],
)
def test_gates_name_the_parts_of_the_chain(tmp_path: Path, gate: str, value: float, status: str) -> None:
    run = of(tmp_path / "r", by_hand(), scenario={"version": 1, "name": "made-up", "gates": [gate]})
    ((decided),) = summarise(run)["gates"]
    assert (decided["value"], decided["status"]) == (value, status)


def test_a_run_without_reactions_says_nothing_of_them(tmp_path: Path) -> None:
    tables = by_hand()
    tables["events"] = [each for each in tables["events"] if "cause_publisher" not in each]
    tables["subscriptions"] = [{**each, "replies": None} for each in tables["subscriptions"]]
    gates = ["reaction.lost == 0", "reaction.first.p99 < 1s"]
    run = of(tmp_path / "r", tables, scenario={"version": 1, "name": "made-up", "gates": gates})
    summary = summarise(run)
    assert "reaction" not in summary
    assert (rows(summary), sentence(summary), reactions_over_time(run)) == ([], None, None)
    assert [gate["status"] for gate in summary["gates"]] == ["inconclusive"] * 2


def test_requests_that_were_all_lost_caused_nothing_and_are_no_lost_replies(tmp_path: Path) -> None:
    tables = by_hand()
    tables["events"] = tables["events"][:2]
    tables["deliveries"] = []
    summary = summarise(of(tmp_path / "r", tables))
    assert summary["reaction"]["requests"] == {"expected": 2, "delivered": 0, "answered": 0, "uncaused": 2}
    assert set(summary["reaction"]["replies"].values()) == {0}
    assert summary["ledger"]["lost"] == 2
    assert summary["reaction"]["first_ns"]["count"] == 0


def test_a_stream_counts_whole_though_it_goes_on_into_the_drain(tmp_path: Path) -> None:
    asked = event(ASKER, 0, ASK, 999 * MS)
    replies = [reply(n, asked, 999 * MS + (n + 1) * 10 * MS) for n in range(3)]
    # The fourth reply was due after the end of the run, so it was not sent.
    replies.append(reply(3, asked, 2 * SECOND, status="unsent", sent_ns=None, acked_ns=None, slot_ns=None))
    tables: Tables = {
        "events": [asked, *replies],
        "subscriptions": [subscription(ASKED, ASK, -MS, replies=4), subscription(HEARD, ANSWER, -MS)],
        "deliveries": [delivery(asked, ASKED), *(delivery(each, HEARD) for each in replies[:3])],
    }
    phases = [
        {"name": "measure", "start_ns": T0 + SECOND, "end_ns": T0 + 2 * SECOND},
        {"name": "drain", "start_ns": T0 + 2 * SECOND, "end_ns": T0 + 3 * SECOND},
    ]
    summary = summarise(of(tmp_path / "r", tables, phases=phases))
    found = summary["reaction"]["replies"]
    assert (found["due"], found["accepted"], found["cut_off"], found["missing"]) == (4, 3, 1, 0)
    assert (found["arrived"], found["lost"]) == (3, 0)
    assert summary["ledger"]["events_due"] == 1
    assert any("only after the end of the run" in each["reason"] for each in summary["verdict"]["findings"])


def test_a_reply_that_was_due_and_not_sent_is_missing(tmp_path: Path) -> None:
    tables = by_hand()
    first = tables["events"][0]
    tables["events"] = [
        *tables["events"][:4],
        reply(2, dict(first), 30 * MS, status="unsent", sent_ns=None, acked_ns=None, slot_ns=None),
    ]
    tables["deliveries"] = [tables["deliveries"][0], tables["deliveries"][2]]
    summary = summarise(of(tmp_path / "r", tables))
    found = summary["reaction"]["replies"]
    assert (found["due"], found["accepted"], found["missing"], found["lost"]) == (3, 2, 1, 1)
    assert any("due and not accepted" in each["reason"] for each in summary["verdict"]["findings"])


def test_what_user_code_answers_is_due_as_often_as_it_was_made(tmp_path: Path) -> None:
    tables = by_hand()
    tables["subscriptions"] = [{**each, "replies": None} for each in tables["subscriptions"]]
    found = summarise(of(tmp_path / "r", tables))["reaction"]
    assert found["requests"] == {"expected": None, "delivered": 1, "answered": 1, "uncaused": None}
    assert (found["replies"]["due"], found["replies"]["missing"]) == (3, 0)


def test_verify_finds_a_figure_that_was_changed(tmp_path: Path) -> None:
    run = of(tmp_path / "r", by_hand())
    summary = summarise(run)
    path = run.path / "summary.json"
    path.write_text(json.dumps(summary))
    wrong = [each for each in verify(run).disagreements if "reaction" in each]
    assert wrong == []
    summary["reaction"]["replies"]["lost"] = 0
    path.write_text(json.dumps(summary))
    assert any("reaction.replies.lost" in each for each in verify(run).disagreements)


ANSWERED = (20, 21)
LISTENERS = (30, 31)
CHANNELS = ("/default/answer/0", "/default/answer/1")


# Strategies are made once, because hypothesis examines each new one.
_STATUSES = st.sampled_from(["accepted", "accepted", "accepted", "rejected", "unsent"])
_CHANNEL, _COPIES = st.sampled_from(CHANNELS), st.sampled_from([0, 1, 1, 1, 2])
_OFFSETS = st.integers(-100 * MS, 1_100 * MS)
_SOME_REPLIES, _SOME_REQUESTS = st.integers(0, 3), st.integers(1, 10)
_STEPS_NS, _DELAYS_NS, _DELAYS_MS = st.integers(0, 9 * MS), st.integers(0, 20 * MS), st.integers(0, 30)


@st.composite
def records(draw: st.DrawFn) -> Tables:
    """Draw requests to two responders, and replies that fail in any way and arrive in any order.

    Some of the requests are due before or after the measure phase.
    """
    events: list[Row] = []
    deliveries: list[Row] = []
    requests = [
        event(ASKER, n, ASK, draw(_OFFSETS), cause_publisher=None) for n in range(draw(_SOME_REQUESTS))
    ]
    numbers = dict.fromkeys(ANSWERED, 0)
    for asked in requests:
        for responder in ANSWERED:
            if not draw(st.booleans()):
                continue
            deliveries.append(delivery(asked, responder, draw(_DELAYS_NS)))
            channel = draw(_CHANNEL)
            for k in range(draw(_SOME_REPLIES)):
                status = draw(_STATUSES)
                unsent = status == "unsent"
                due_ns = asked["intended_ns"] - T0 - SECOND + (k + 1) * draw(_STEPS_NS)
                made = event(
                    100 + responder,
                    numbers[responder],
                    channel,
                    due_ns,
                    status,
                    cause_publisher=ASKER,
                    cause_sequence=asked["sequence"],
                    cause_subscription=responder,
                    **({"sent_ns": None, "acked_ns": None, "slot_ns": None} if unsent else {}),
                )
                numbers[responder] += 1
                events.append(made)
                for listener in LISTENERS:
                    for _ in range(0 if unsent else draw(_COPIES)):
                        deliveries.append(delivery(made, listener, draw(_DELAYS_MS) * MS))
    shuffled = draw(st.permutations(deliveries))
    return {
        "events": [*requests, *draw(st.permutations(events))],
        "subscriptions": [
            *(subscription(number, ASK, -900 * MS, replies=3) for number in ANSWERED),
            subscription(LISTENERS[0], "/default/answer/*", -900 * MS),
            subscription(LISTENERS[1], CHANNELS[1], -900 * MS),
        ],
        "deliveries": shuffled,
    }


def modelled(tables: Tables) -> dict[str, Any]:
    """Compute the figures of the chain by plain loops, as docs/concepts/reactions.md defines them."""
    start, end = T0 + SECOND, T0 + 2 * SECOND
    asked = {
        (each["publisher"], each["sequence"]): each["intended_ns"]
        for each in tables["events"]
        if each.get("cause_publisher") is None and start <= each["intended_ns"] < end
    }
    requested = {
        (row["publisher"], row["sequence"], row["subscription"])
        for row in tables["deliveries"]
        if row["subscription"] in ANSWERED and (row["publisher"], row["sequence"]) in asked
    }
    replies = {
        (each["publisher"], each["sequence"]): each
        for each in tables["events"]
        if (each.get("cause_publisher"), each.get("cause_sequence")) in asked
    }
    accepted = {key: each for key, each in replies.items() if each["status"] == "accepted"}
    expected = {
        (*key, listener)
        for key, each in accepted.items()
        for listener in LISTENERS
        if listener == LISTENERS[0] or each["channel"] == CHANNELS[1]
    }
    # The first copy of each reply is the one that arrived first; of equal times, the first in the record.
    first: dict[Any, tuple[int, int]] = {}
    for place, row in enumerate(tables["deliveries"]):
        pair = (row["publisher"], row["sequence"], row["subscription"])
        if pair in expected and (pair not in first or row["arrival_ns"] < first[pair][0]):
            first[pair] = (row["arrival_ns"], place)
    streams: dict[Any, list[tuple[int, int, int]]] = defaultdict(list)
    latency = []
    for (publisher, sequence, listener), (arrival_ns, place) in first.items():
        each = replies[publisher, sequence]
        cause = (each["cause_publisher"], each["cause_sequence"])
        latency.append(arrival_ns - asked[cause])
        streams[*cause, each["cause_subscription"], listener].append((arrival_ns, place, sequence))
    gaps, firsts, disorder = [], [], 0
    for (publisher, sequence, *_), arrived in streams.items():
        in_time = sorted(arrived)
        firsts.append(in_time[0][0] - asked[publisher, sequence])
        gaps += [later[0] - earlier[0] for earlier, later in itertools.pairwise(in_time)]
        highest = -1
        for _, number in sorted((place, number) for _, place, number in arrived):
            disorder += number < highest
            highest = max(highest, number)
    due = 3 * len(requested)
    phases_end = T0 + 2 * SECOND
    cut_off = sum(
        each["status"] == "unsent" and each["intended_ns"] >= phases_end for each in replies.values()
    )
    return {
        "delivered": len(requested),
        "answered": len(
            {
                (each["cause_publisher"], each["cause_sequence"], each["cause_subscription"])
                for each in accepted.values()
            }
        ),
        "due": due,
        "accepted": len(accepted),
        "cut_off": cut_off,
        "missing": due - len(accepted) - cut_off,
        "expected": len(expected),
        "arrived": len(first),
        "lost": len(expected) - len(first),
        "disorder": disorder,
        "latency_ns": sorted(latency),
        "first_ns": sorted(firsts),
        "gap_ns": sorted(gaps),
    }


# Each record has up to ten chains of request and replies, since the SQL is almost as slow with a single chain.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables=records())
def test_the_chain_is_that_of_the_naive_model_and_of_the_sql(tmp_path: Path, tables: Tables) -> None:
    folder = tmp_path / "r"
    run = of(folder, tables)
    assert run.measure is not None
    # Compute only the figures of replies: other tests cover the rest of the summary.
    found, model = reaction_figures.summarise(run, reconcile(run, run.measure)), modelled(tables)
    assert found is not None
    counts = {**found["requests"], **found["replies"]}
    names = [name for name in model if not name.endswith("_ns")]
    # Both requests and replies have a key `expected`. `counts` and the model contain only the replies' value.
    assert {name: counts[name] for name in names} == {name: model[name] for name in names}
    for name in ("latency_ns", "first_ns", "gap_ns"):
        own = Percentiles.of(np.array(model[name], dtype=np.int64)).to_dict()
        assert {key: found[name][key] for key in own} == own
    with opened(run) as (database, _):
        in_sql = figures(database, run.phases, run.measure, MATCHES)
    assert len(in_sql) == 29
    flat = {f"reaction.{part}.{key}": value for part in found for key, value in found[part].items()}
    assert in_sql == {key: flat[key] for key in in_sql}
