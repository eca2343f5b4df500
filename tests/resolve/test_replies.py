"""Test planned replies: what a scenario may contain, their channels, and their delay."""

import statistics
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.config.problems import ScenarioError
from loadgen.planning.replies import planned
from loadgen.resolve import Clients
from loadgen.resolve import run as resolved
from loadgen.resolve.replies import UnanswerableError, delays_ns
from loadgen.resolve.resolver import run_of
from loadgen.resolve.responding import Delay, without_request
from loadgen.resolve.rows import ClientRows

MS = 1_000_000
TEXT = """\
version: 1
seed: 3
variables:
  person: {count: 30, assign: by-client}
clients:
  people:
    count: 30
    subscribe: "/default/answers/{person}"
    publish: {channel: "/default/questions/{person}", rate: 60/s, arrival: poisson}
  assistants:
    count: 2
    respond:
      to: "/default/questions/*"
      after: 50ms
      publish: REPLY
phases: {warmup: 0s, measure: 10s, drain: 5s}
"""


def of(tmp_path: Path, reply: str, text: str = TEXT) -> resolved.ResolvedRun:
    path = tmp_path / "asking.yaml"
    path.write_text(text.replace("REPLY", reply))
    return run_of(str(path))[0]


def channel_of(run: resolved.ResolvedRun, publisher: int, event: dict[str, Any] | str) -> str:
    plan = Clients(run).client(30).respond
    assert plan is not None
    return plan.channel(publisher, event if isinstance(event, str) else msgspec.json.encode(event).decode())


@pytest.mark.parametrize(
    ("reply", "channel"),
    [
        ('"/default/answers/{request.client}"', "/default/answers/7"),
        ('"/default/answers/{request.channel.3}"', "/default/answers/7"),
        ('"/default/{request.channel.2}-{request.user.id}"', "/default/questions-42"),
        ('"{request.to}"', "/default/mine"),
        ('"/default/answers/{person}"', "/default/answers/0"),
    ],
)
def test_a_reply_goes_where_the_request_says(tmp_path: Path, reply: str, channel: str) -> None:
    run = of(tmp_path, reply)
    assert channel_of(run, 7, {"to": "/default/mine", "user": {"id": 42}}) == channel
    group = run.group("assistants")
    assert (group.role, group.subscribe, group.uses_http) == ("participant", ("/default/questions/*",), True)
    # The responder's subscription has a number of replies to each event; the askers' subscriptions have None.
    assert [plan.replies for plan in Clients(run).client(31).subscriptions] == [1]
    assert [plan.replies for plan in Clients(run).client(0).subscriptions] == [None]
    assert resolved.decoded(resolved.encoded(run.for_worker())).group("assistants") == group


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ("{}", "no member 'to'"),
        ("[]", "no member 'to'"),
        ("{", "no member 'to'"),
        ("[" * 100_000, "no member 'to'"),
        ('{"to": null}', "neither a text nor a whole number"),
        ('{"to": true}', "neither a text nor a whole number"),
        ('{"to": 1.5}', "neither a text nor a whole number"),
        ('{"to": ["/default/a"]}', "neither a text nor a whole number"),
        ('{"to": ""}', "0 characters"),
        ('{"to": "%s"}' % ("x" * 1_001), "1,001 characters"),
    ],
    ids=range(10),
)
def test_a_request_that_says_no_channel_is_refused_without_its_words(
    tmp_path: Path, event: str, why: str
) -> None:
    with pytest.raises(UnanswerableError) as caught:
        channel_of(of(tmp_path, '"{request.to}"'), 7, event)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 120


def test_a_request_of_nobody_in_the_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnanswerableError):
        channel_of(of(tmp_path, '"/default/{request.client}"'), 10_000, {})
    # Client 31 is a responder, which has no schedule and so cannot ask.
    with pytest.raises(UnanswerableError):
        channel_of(of(tmp_path, '"/default/{request.channel.3}"'), 31, {})


MISTAKES = [
    ('"/default/questions/1"', "15: clients.assistants.respond.publish.channel is among the channels"),
    (
        '"/default/{request.}"',
        "15: clients.assistants.respond.publish.channel has {request.} without a member",
    ),
    ('"/default/{request.channel.0}"', "has {request.channel.0}; segments are counted from 1"),
    (
        '"/default/{persn}"',
        "15: clients.assistants.respond.publish.channel has {persn}, which is not a variable",
    ),
    ('"/default/a b"', "15: clients.assistants.respond.publish.channel cannot be used"),
    ('"/default/a{"', "15: clients.assistants.respond.publish.channel has a '{' without its partner"),
    ("{channel: /default/a, count: 3}", "has several replies; give one of 'every: 33ms' and 'rate: 30/s'"),
    ("{channel: /default/a, every: 1s}", "has one reply, so it takes neither 'every' nor 'rate'"),
    ("{channel: /default/a, count: 0}", "publish.count"),
    ("{channel: /default/a, count: 2, rate: 0/s}", "publish.rate"),
    ("{count: 2, rate: 1/s}", "publish.channel is missing"),
    ("{channel: /default/a, cuont: 2}", "clients.assistants.respond.publish.cuont is not a known key"),
]


@pytest.mark.parametrize(("reply", "sentence"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_told_with_its_line(tmp_path: Path, reply: str, sentence: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        of(tmp_path, reply)
    assert sentence in str(caught.value)
    assert "asking.yaml:" in str(caught.value)


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        ("{uniform: {from: 5ms, to: 1ms}}", "shorter than its 'from'"),
        ("{}", "exactly one of uniform, exponential and lognormal"),
        ("{lognormal: {median: 1ms, sigma: 9}}", "sigma"),
        ("50", "without a unit"),
    ],
)
def test_a_delay_that_cannot_be_is_told(tmp_path: Path, after: str, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        of(tmp_path, '"/default/a"', TEXT.replace("after: 50ms", f"after: {after}"))


def test_a_channel_that_is_drawn_for_each_request_cannot_be_taken_from_the_plan(tmp_path: Path) -> None:
    drawn = TEXT.replace('"/default/questions/{person}"', '"/default/questions/{topic}"')
    drawn = drawn.replace("variables:", "variables:\n  topic: {count: 5}")
    with pytest.raises(ScenarioError, match=r"draws \{topic\} for each request"):
        of(tmp_path, '"/default/answers/{request.channel.3}"', drawn)


def test_a_stream_longer_than_the_drain_is_warned_of(tmp_path: Path) -> None:
    run = of(tmp_path, "{channel: /default/a, count: 200, rate: 30/s}")
    assert any("longer than the drain" in warning for warning in run.warnings)
    assert not any(
        "drain" in each for each in of(tmp_path, "{channel: /default/a, count: 100, rate: 30/s}").warnings
    )


def test_the_subscription_may_stand_among_others(tmp_path: Path) -> None:
    text = TEXT.replace(
        "    respond:", '    subscribe: ["/default/news", "default/questions/*"]\n    respond:'
    )
    run = of(tmp_path, '"/default/a"', text)
    group = run.group("assistants")
    assert group.subscribe == ("/default/news", "/default/questions/*")
    plan = Clients(run).client(31)
    assert plan.respond is not None
    assert [each.replies for each in plan.subscriptions] == [None, 1]
    assert plan.respond.subscription == plan.subscriptions[1].number


def test_delays_are_the_same_everywhere_and_of_their_distribution() -> None:
    for delay, median in (
        (Delay("fixed", 50.0 * MS), 50 * MS),
        (Delay("uniform", 10.0 * MS, 30.0 * MS), 20 * MS),
        (Delay("exponential", 100.0 * MS), 69.3 * MS),
        (Delay("lognormal", 300.0 * MS, 0.5), 300 * MS),
    ):
        drawn = list(islice(delays_ns(delay, Random("a")), 4_000))
        assert drawn == list(islice(delays_ns(delay, Random("a")), 4_000))
        assert min(drawn) >= 0
        assert statistics.median(drawn) == pytest.approx(median, rel=0.08)


@given(st.floats(0, 1e15), st.floats(0, 5))
def test_no_delay_is_negative_or_infinite(first: float, second: float) -> None:
    for form in ("exponential", "lognormal"):
        for delay in islice(delays_ns(Delay(form, first, second), Random("b")), 50):
            assert delay >= 0


def test_values_of_the_request_are_taken_out_and_nothing_else() -> None:
    assert without_request("/a/{request.client}/{b}/{c.d}{request.x.y}") == "/a/0/{b}/{c.d}0"
    assert without_request("/a/{") == "/a/{"


def test_replies_are_planned_as_publishes(tmp_path: Path) -> None:
    run = of(tmp_path, '{channel: "/default/answers/{request.client}", count: 20, rate: 100/s, payload: 1KB}')
    changed, seen, loads = planned(run)
    assert seen is not None
    by_name = {load.name: load for load in loads}
    # 600 questions are sent in 10 s, each to both assistants. Each assistant sends 20 replies to each question, all to
    # one person.
    assert by_name["people"].deliveries == pytest.approx(1_200)
    assert by_name["assistants"].events == pytest.approx(24_000)
    assert by_name["assistants"].subscribers == pytest.approx(1)
    assert changed.totals.sockets == run.totals.sockets
    assert planned(changed)[2] == loads
    # If a reply's channel is a value in the request, the number of subscribers is unknown.
    _, _, loads = planned(of(tmp_path, '{channel: "{request.to}", count: 20, rate: 100/s}'))
    unknown = {load.name: load for load in loads}["assistants"]
    assert unknown.events == pytest.approx(24_000)
    assert unknown.deliveries is None


def test_a_reply_may_take_a_column_of_the_responders_own_row(tmp_path: Path) -> None:
    (tmp_path / "desks.csv").write_text("id\nnorth\nsouth\n")
    text = TEXT.replace("variables:", "data:\n  desks: {csv: desks.csv}\nvariables:")
    path = tmp_path / "asking.yaml"
    path.write_text(text.replace("REPLY", '"/default/{desks.id}/{request.client}"'))
    run, tables = run_of(str(path))
    clients = Clients(run, tables, ClientRows(run, tables))
    plan = clients.client(31).respond
    assert plan is not None
    assert plan.channel(7, "{}") == "/default/south/7"
    # The estimate before a run knows the number of rows, but not their values.
    assert {load.name: load for load in planned(run)[2]}["assistants"].events == pytest.approx(1_200)
    # A file with fewer rows than the group has clients is an error, which is reported before a run begins.
    path.write_text(path.read_text().replace("count: 2", "count: 3"))
    with pytest.raises(ScenarioError, match=r"is 3, and desks.csv has 2 rows"):
        run_of(str(path))
