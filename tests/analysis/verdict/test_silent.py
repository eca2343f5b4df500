"""Test subscriptions that received nothing: which are named, and the likely cause of each."""

from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.ledger.reconcile import reconcile
from analysis.report.notes import notes
from analysis.report.outputs import markdown
from analysis.summary import summarise as summary_of
from analysis.verdict import silent
from tests.analysis.synthetic import MS, T0, Row, delivery, event, subscription, write_run

EVENTS = 10


def events(channel: str, publisher: int = 1, count: int = EVENTS) -> list[Row]:
    return [event(publisher, number, channel, number * 10 * MS) for number in range(count)]


def proven(number: int, channel: str, **more: Any) -> Row:
    return subscription(number, channel, ready_ns=-MS, probed_ns=T0 + 1, **more)


def asleep(number: int, channel: str) -> Row:
    """Return a subscription that was acknowledged and probed, but never proven ready."""
    return subscription(number, channel, ready_ns=None, probed_ns=T0 + 1)


def found(folder: Path, published: list[Row], subscriptions: list[Row], deliveries: list[Row]) -> Any:
    write_run(folder, {"events": published, "subscriptions": subscriptions, "deliveries": deliveries})
    run = analysis.load(folder)
    assert run.measure is not None
    return silent.summarise(run, reconcile(run, run.measure))


def test_where_all_receive_something_nothing_is_said(tmp_path: Path) -> None:
    published = events("/default/a")
    subscriptions = [proven(number, "/default/*") for number in range(3)]
    # Only one of the ten events arrives at subscription 2.
    deliveries = [delivery(each, number) for each in published for number in (0, 1)] + [
        delivery(published[4], 2)
    ]
    assert found(tmp_path, published, subscriptions, deliveries) is None


@pytest.mark.parametrize(
    ("subscriptions", "published", "delivered_to", "cause", "sentence"),
    [
        (
            [proven(0, "/default/*"), proven(1, "/default/*")],
            events("/default/a/b"),
            (),
            silent.ONE_LEVEL,
            "2 of 2 subscriptions to /default/* received none of 20 expected events: they went to channels two or more"
            " levels below, such as /default/a/b, and the service's '*' may stand for one level: `loadgen probe` tests"
            " it",
        ),
        (
            # The cause is found even if no readiness probe reached the subscription: the service's `*` may match a
            # single level only.
            [asleep(0, "/default/*")],
            events("/default/a/b/c"),
            (),
            silent.ONE_LEVEL,
            "the subscription to /default/* received none of 10 expected events: they went to channels two or more",
        ),
        (
            [proven(0, "/default/*"), proven(1, "/default/*")],
            events("/default/a/b"),
            (1,),
            silent.SOME,
            "1 of 2 subscriptions to /default/* received none of 10 expected events: others with the same pattern",
        ),
        (
            [proven(0, "/default/*")],
            events("/default/a"),
            (),
            silent.FILTERED,
            "the subscription to /default/* received none of 10 expected events: readiness probes had reached them",
        ),
        (
            [proven(0, "/default/a/b")],
            events("/default/a/b"),
            (),
            silent.FILTERED,
            "the subscription to /default/a/b received none of 10 expected events: readiness probes had reached them",
        ),
        (
            [asleep(0, "/default/a")],
            events("/default/a"),
            (),
            silent.NEVER_LIVE,
            "no readiness probe reached them either",
        ),
        (
            [subscription(0, "/default/a")],
            events("/default/a"),
            (),
            silent.UNPROVEN,
            "nothing shows that they were ever live",
        ),
    ],
)
def test_the_pattern_and_the_likely_cause(
    tmp_path: Path,
    subscriptions: list[Row],
    published: list[Row],
    delivered_to: tuple[int, ...],
    cause: str,
    sentence: str,
) -> None:
    deliveries = [delivery(each, number) for each in published for number in delivered_to]
    said = found(tmp_path, published, subscriptions, deliveries)
    (entry,) = said["worst"]
    assert (entry["cause"], said["patterns"]) == (cause, 1)
    assert said["subscriptions"] == entry["silent"] == len(subscriptions) - len(delivered_to)
    (line,) = silent.notes({"silent_subscriptions": said})
    assert sentence in line


def test_one_level_is_not_blamed_where_a_nearer_channel_was_published_to(tmp_path: Path) -> None:
    published = events("/default/a/b", 1) + events("/default/a", 2)
    (entry,) = found(tmp_path, published, [proven(0, "/default/*")], [])["worst"]
    assert (entry["cause"], entry["channel"], entry["expected"]) == (
        silent.FILTERED,
        "/default/a",
        2 * EVENTS,
    )


def test_a_subscription_to_which_little_or_nothing_was_expected_is_not_silent(tmp_path: Path) -> None:
    published = events("/default/a", count=silent.LEAST_EXPECTED - 1)
    subscriptions = [proven(0, "/default/a"), proven(1, "/default/elsewhere")]
    assert found(tmp_path, published, subscriptions, []) is None


def test_silence_by_chance_is_not_told(tmp_path: Path) -> None:
    """If a service loses half of all events, one in eight subscriptions misses three events by chance."""
    published = events("/default/a", count=3)
    subscriptions = [proven(number, "/default/a") for number in range(40)]
    deliveries = [
        delivery(published[place], number)
        for number in range(40)
        for place in range(3)
        if (number >> place) & 1
    ]
    assert found(tmp_path, published, subscriptions, deliveries) is None


def test_late_events_break_the_silence(tmp_path: Path) -> None:
    published = events("/default/a")
    late = [delivery(published[0], 0, 5_000 * MS)]
    write_run(
        tmp_path,
        {"events": published, "subscriptions": [proven(0, "/default/a")], "deliveries": late},
        late_after_ns=100 * MS,
    )
    run = analysis.load(tmp_path)
    assert run.measure is not None
    assert silent.summarise(run, reconcile(run, run.measure)) is None


def test_of_many_patterns_the_worst_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    published = [
        each for number in range(15) for each in events(f"/default/u{number}", number + 1, 5 + number)
    ]
    subscriptions = [proven(number, f"/default/u{number}") for number in range(15)]
    said = found(tmp_path, published, subscriptions, [])
    assert (said["subscriptions"], said["patterns"], len(said["worst"])) == (15, 15, 10)
    expected = [entry["expected"] for entry in said["worst"]]
    assert expected == sorted(expected, reverse=True)
    lines = silent.notes({"silent_subscriptions": said})
    assert lines[-1] == "12 subscriptions to 12 further patterns received nothing either"
    assert len(lines) == 4


def test_the_report_and_the_summary_say_it_and_the_verdict_does_not(tmp_path: Path) -> None:
    published = events("/default/a/b")
    write_run(tmp_path, {"events": published, "subscriptions": [proven(0, "/default/*")], "deliveries": []})
    summary = summary_of(analysis.load(tmp_path))
    assert summary["silent_subscriptions"]["worst"][0]["pattern"] == "/default/*"
    assert any("/default/*" in line and "one level" in line for line in notes(summary))
    assert "one level" in markdown(summary)
    assert not [each for each in summary["verdict"]["findings"] if "received none" in each["reason"]]


def test_a_hostile_pattern_is_shown_as_text(tmp_path: Path) -> None:
    channel = "/default/\x1b[31m{channel}"
    said = found(tmp_path, events(channel), [proven(0, channel)], [])
    (line,) = silent.notes({"silent_subscriptions": said})
    assert "\x1b" not in line
    assert "{channel}" in line
