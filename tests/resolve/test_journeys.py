"""Test when journeys begin and end, how their subscriptions are numbered, and which client each number belongs to."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.config.problems import Places, ScenarioError
from loadgen.resolve import Clients, Group
from loadgen.resolve.group import Reconnecting, Stage
from loadgen.resolve.owners import Owners
from loadgen.resolve.resolver import resolve
from loadgen.resolve.run import decoded, encoded
from loadgen.resolve.stays import stays_of
from loadgen.scenario.scenario import Scenario, validated

SECOND = 1_000_000_000


def group(count: int, stages: Sequence[Stage] = (), ramp_per_s: float = 10) -> Group:
    return Group(
        name="readers",
        first=0,
        count=count,
        ramp_per_s=ramp_per_s,
        first_subscription=0,
        users="my_users.py:Reader",
        stages=tuple(stages),
        reconnect=Reconnecting(1, 1, False, True),
    )


def playing(of: Group, at_ns: int, warmup_ns: int) -> int:
    return sum(
        begin <= at_ns and (end is None or at_ns < end)
        for index in range(of.count)
        for begin, end in stays_of(of, index, warmup_ns)
    )


def test_without_stages_clients_begin_one_by_one_and_stay() -> None:
    assert [stays_of(group(3), index, SECOND) for index in range(3)] == [
        ((0, None),),
        ((SECOND // 10, None),),
        ((SECOND // 5, None),),
    ]


def test_stages_are_reached_and_left_one_by_one() -> None:
    waves = group(6, [Stage(0, 3, 10), Stage(2 * SECOND, 6, 10), Stage(4 * SECOND, 2, 10)])
    warmup_ns = 5 * SECOND
    found = [playing(waves, at * SECOND, warmup_ns) for at in (0, 1, 4, 6, 8, 10, 20)]
    assert found == [1, 3, 3, 3, 6, 2, 2]
    # The client that began last ends first.
    assert stays_of(waves, 0, warmup_ns) == ((0, None),)
    assert stays_of(waves, 5, warmup_ns) == ((warmup_ns + 2_200_000_000, warmup_ns + 4_000_000_000),)


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 5), st.sampled_from([0.5, 1, 7, 50])),
        min_size=1,
        max_size=8,
    )
)
def test_a_stage_with_time_enough_is_reached_whatever_came_before(
    steps: list[tuple[int, int, float]],
) -> None:
    at_s, stages = 0, []
    for users, length_s, per_s in steps:
        stages.append(Stage(at_s * SECOND, users, per_s))
        at_s += length_s
    of = group(20, stages)
    for index in range(20):
        stays = stays_of(of, index, 0)
        for begin, end in stays:
            assert end is None or begin < end
        for (_, end), (begin, _) in pairwise(stays):
            assert end is not None
            assert end <= begin
    last = stages[-1]
    settled_ns = last.at_ns + int(21 / last.per_s * SECOND) + SECOND
    assert playing(of, settled_ns, 0) == last.users


DOCUMENT = {
    "version": 1,
    "clients": {
        "viewers": {"count": 4, "subscribe": ["/default/a", "/default/b"]},
        "readers": {"count": 3, "users": "my_users.py:Reader"},
        "more": {"count": 2, "subscribe": "/default/a"},
        "others": {"count": 5, "users": "my_users.py:Other", "namespaces": ["chat"]},
    },
}


def scenario(document: object = DOCUMENT) -> Scenario:
    from functools import partial

    from loadgen.resolve.checks import check

    return validated(document, Places("s.yaml"), partial(check))


def test_numbers_are_unique_and_tell_whose_they_are() -> None:
    run = resolve(scenario())
    assert decoded(encoded(run)) == run
    clients = Clients(run)
    owners = Owners(run)
    seen: dict[int, str] = {}
    for number in range(run.totals.clients):
        client = clients.client(number)
        numbers = [plan.number for plan in client.subscriptions]
        if client.journey is not None:
            numbers += [
                client.journey.first_subscription + made * client.journey.stride for made in range(20)
            ]
        for each in numbers:
            assert each not in seen
            seen[each] = client.group
    found = owners.of(np.array(list(seen), dtype=np.int64))
    assert [owners.names[place] for place in found] == list(seen.values())


def test_the_barrier_waits_for_no_journey() -> None:
    totals = resolve(scenario()).totals
    assert (totals.clients, totals.websockets, totals.subscriptions, totals.journeys) == (14, 6, 10, 8)
    assert totals.sockets == 6 + 2 * 8
    assert totals.namespaces == ("default", "chat")


def test_a_run_of_journeys_alone_is_a_run() -> None:
    alone = {"version": 1, "clients": {"readers": {"count": 3, "users": "my_users.py:Reader"}}}
    run = resolve(scenario(alone))
    assert run.counts_by_role()["journey:Reader"] == 3
    assert (run.totals.websockets, run.totals.subscriptions, run.totals.ramp_ns) == (0, 0, 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"users": "my_users.py"}, "a Python file and a class in it"),
        ({"users": "my_users.py:Reader", "subscribe": "/default/a"}, "both users and subscribe"),
        ({"users": "my_users.py:Reader", "drops": [{"at": "1s", "share": "10%"}]}, "both users and drops"),
        (
            {"users": "a.py:A", "stages": [{"at": "2s", "users": 1}, {"at": "1s", "users": 2}]},
            "in order of time",
        ),
        ({"users": "a.py:A", "stages": [{"at": "0s", "users": 9}]}, "more users than its count"),
        ({"subscribe": "/default/a", "stages": [{"at": "0s", "users": 1}]}, "which only users take"),
        ({"subscribe": "/default/a", "namespaces": ["chat"]}, "which only users take"),
    ],
)
def test_a_group_that_cannot_be_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario({"version": 1, "clients": {"readers": {"count": 3, **settings}}})
    assert said in str(caught.value)


def test_what_depends_on_users_code_is_unknown_and_never_zero() -> None:
    from loadgen.live.plan import Due
    from loadgen.planning.estimate import cost_of
    from loadgen.planning.prices import load_prices

    alone = {"version": 1, "clients": {"readers": {"count": 3, "users": "my_users.py:Reader"}}}
    for document in (DOCUMENT, alone):
        run = resolve(scenario(document))
        due = Due(run)
        assert due.events(SECOND) is None
        assert due.deliveries(SECOND) is None
        cost = cost_of(run, load_prices(None))
        assert cost.usd is None
        assert set(cost.usage.operations.values()) <= {None, 0.0}
        assert {name for name, number in cost.usage.operations.items() if number == 0.0} == {"foreign"}
        assert cost.usage.connection_minutes is None
