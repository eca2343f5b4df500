"""Test client plans: contiguous numbers, repeatable draws, and the requested distributions."""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings

from loadgen.pacing import Arrival, Point
from loadgen.resolve import Clients
from loadgen.resolve.loading import from_resolved, load
from loadgen.resolve.resolver import resolve
from loadgen.scenario import Scenario
from tests.scenario.publishing import publish_of
from tests.scenario.strategies import scenarios

SECOND = 1_000_000_000


def scenario(**publish: object) -> Scenario:
    return from_resolved(
        {
            "version": 1,
            "variables": {
                "article": {"count": 20, "popularity": "zipf", "exponent": 1.1},
                "thread": {"count": 5},
                "room": {"count": 3, "assign": "by-client"},
            },
            "clients": {
                "readers": {"count": 4000, "ramp": "3/s", "subscribe": "default/{article}/*"},
                "rooms": {
                    "count": 7,
                    "subscribe": ["/default/{room}/a", "/default/{room}/b/"],
                    "publish": {"channel": "/default/{room}/a", "rate_per_client": "2/s", "via": "websocket"},
                },
                "writers": {
                    "count": 4,
                    "publish": {"channel": "default/{article}/{thread}", "rate": "100/s", **publish},
                },
            },
            "phases": {"warmup": "1s", "measure": "2s"},
        }
    )


def test_groups_are_numbered_in_their_order() -> None:
    run = resolve(scenario())
    assert [(group.name, group.role, group.first, group.count, group.ramp_per_s) for group in run.groups] == [
        ("readers", "subscriber", 0, 4000, 3.0),
        ("rooms", "participant", 4000, 7, 250.0),
        ("writers", "publisher", 4007, 4, 250.0),
    ]
    assert len(Clients(run)) == run.totals.clients == 4011
    assert run.counts_by_role() == {"subscriber": 4000, "publisher": 4, "participant": 7}


@settings(max_examples=40, deadline=None)
@given(data=scenarios())
def test_clients_and_subscriptions_are_numbered_without_gaps(data: dict[str, Any]) -> None:
    plan = Clients(run := resolve(from_resolved(data)))
    clients = [plan.client(number) for number in range(len(plan))]
    assert [client.number for client in clients] == list(range(len(plan)))
    numbers = [subscription.number for client in clients for subscription in client.subscriptions]
    assert numbers == list(range(run.totals.subscriptions))
    for group in run.groups:
        members = clients[group.first : group.first + group.count]
        assert {client.group for client in members} == {group.name}
        assert [client.index for client in members] == list(range(group.count))
    with pytest.raises(IndexError):
        plan.client(len(plan))
    with pytest.raises(IndexError):
        plan.client(-1)


def test_a_client_is_the_same_whichever_worker_computes_it() -> None:
    first, second = Clients(resolve(scenario())), Clients(resolve(scenario()))
    for number in (4010, 17, 4003, 0):
        one, two = first.client(number), second.client(number)
        assert (one.subscriptions, one.ramp_offset_ns) == (two.subscriptions, two.ramp_offset_ns)
        if one.publish and two.publish:
            draws = one.publish.channels(), two.publish.channels()
            assert [draws[0].next() for _ in range(50)] == [draws[1].next() for _ in range(50)]


#: Fingerprint of the plan, the same on every machine and for every hash seed.
FINGERPRINT = "7d0811502140fdcd"


def test_the_plan_is_the_same_on_every_machine() -> None:
    assert fingerprint() == FINGERPRINT


def fingerprint() -> str:
    plan = Clients(resolve(scenario(arrival="poisson")))
    parts = []
    for number in range(0, len(plan), 7):
        client = plan.client(number)
        parts.append(repr((client.subscriptions, client.ramp_offset_ns)))
        if client.publish:
            draw = client.publish.channels()
            parts.append(repr(([draw.next() for _ in range(20)], list(client.publish.offsets_ns())[:20])))
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def test_the_seed_changes_the_draws() -> None:
    def channels(seed: str) -> list[str]:
        plan = Clients(resolve(load("comments", {"seed": seed})))
        return [plan.client(number).subscriptions[0].channel for number in range(50)]

    assert channels("1") == channels("1") != channels("2")


def test_channels_have_one_form_however_they_are_written() -> None:
    plan = Clients(resolve(scenario()))
    assert plan.client(0).subscriptions[0].channel.startswith("/default/")
    assert [each.channel for each in plan.client(4001).subscriptions] == ["/default/1/a", "/default/1/b"]
    assert publish_of(plan, 4007).channels().next().startswith("/default/")


def test_a_variable_by_client_is_the_clients_index_in_all_it_does() -> None:
    plan = Clients(resolve(scenario()))
    for index in range(7):
        client = plan.client(4000 + index)
        assert client.subscriptions[0].channel == f"/default/{index % 3}/a"
        draw = publish_of(plan, 4000 + index).channels()
        assert {draw.next() for _ in range(5)} == {f"/default/{index % 3}/a"}


def test_zipf_subscriptions_are_as_skewed_as_they_should_be() -> None:
    plan = Clients(resolve(scenario()))
    drawn = Counter(plan.client(number).subscriptions[0].channel for number in range(4000))
    check_zipf({int(channel.split("/")[2]): count / 4000 for channel, count in drawn.items()}, 4000)


def test_published_channels_follow_both_variables() -> None:
    draw = publish_of(Clients(resolve(scenario())), 4007).channels()
    pairs = Counter(tuple(draw.next().split("/")[2:]) for _ in range(20_000))
    articles: dict[int, float] = defaultdict(float)
    threads: dict[str, float] = defaultdict(float)
    for (article, thread), count in pairs.items():
        articles[int(article)] += count / 20_000
        threads[thread] += count / 20_000
    check_zipf(articles, 20_000)
    assert set(threads) == set("01234")
    for share in threads.values():
        assert share == pytest.approx(1 / 5, abs=4 * (0.16 / 20_000) ** 0.5)


def check_zipf(shares: dict[int, float], drawn: int) -> None:
    weights = [(value + 1) ** -1.1 for value in range(20)]
    for value, weight in enumerate(weights):
        expected = weight / sum(weights)
        assert shares.get(value, 0) == pytest.approx(
            expected, abs=4.5 * (expected * (1 - expected) / drawn) ** 0.5
        )


def test_a_template_of_very_many_channels_is_drawn_without_a_table() -> None:
    data = scenario().resolved()
    data["variables"]["thread"]["count"] = 100_000
    draw = publish_of(Clients(resolve(from_resolved(data))), 4008).channels()
    drawn = [draw.next() for _ in range(1000)]
    assert len({channel.split("/")[3] for channel in drawn}) > 900
    again = publish_of(Clients(resolve(from_resolved(data))), 4008).channels()
    assert [again.next() for _ in range(1000)] == drawn


def test_publishers_of_a_group_draw_independently() -> None:
    plan = Clients(resolve(scenario()))
    draws = [publish_of(plan, number).channels() for number in (4007, 4008)]
    assert [draws[0].next() for _ in range(30)] != [draws[1].next() for _ in range(30)]


def test_a_draw_takes_less_than_two_microseconds() -> None:
    draw = publish_of(Clients(resolve(scenario())), 4007).channels()
    best_s = min(timed(draw.next, 5_000) for _ in range(10))
    assert best_s / 5_000 < 2e-6


def timed(call: Callable[[], object], times: int) -> float:
    """Return the CPU time of the calls, which excludes other processes on the machine."""
    started = time.thread_time()
    for _ in range(times):
        call()
    return time.thread_time() - started


def test_clients_connect_at_the_ramp() -> None:
    plan = Clients(resolve(scenario()))
    assert [plan.client(number).ramp_offset_ns for number in (0, 1, 2, 3, 3000)] == [
        0, 333_333_333, 666_666_666, SECOND, 1000 * SECOND,
    ]  # fmt: skip
    assert plan.client(4000).ramp_offset_ns == 0


def test_a_groups_schedules_together_are_its_rate_over_warmup_and_measure() -> None:
    plan = Clients(resolve(scenario(batch=2)))
    offsets = sorted(
        offset for number in range(4007, 4011) for offset in publish_of(plan, number).offsets_ns()
    )
    assert offsets == [request * SECOND // 50 for request in range(150)]


def test_a_rate_per_client_is_each_clients_own() -> None:
    plan = Clients(resolve(scenario()))
    assert len(list(publish_of(plan, 4003).offsets_ns())) == 6


def test_a_profile_counts_from_the_start_of_the_measure_phase() -> None:
    plan = Clients(resolve(scenario(profile=[{"at": "0s", "load": "10%"}, {"at": "2s", "load": "100%"}])))
    publish = publish_of(plan, 4007)
    assert publish.pace.curve == (Point(SECOND, 0.1), Point(3 * SECOND, 1.0))
    offsets = [offset for number in range(4007, 4011) for offset in publish_of(plan, number).offsets_ns()]
    assert sum(1 for offset in offsets if offset < SECOND) == 10
    assert len(offsets) == 10 + 110


def test_poisson_groups_of_one_scenario_are_independent() -> None:
    data = scenario(arrival="poisson").resolved()
    data["clients"]["rooms"]["publish"]["arrival"] = "poisson"
    plan = Clients(resolve(from_resolved(data)))
    rooms, writers = publish_of(plan, 4000), publish_of(plan, 4007)
    assert rooms.pace.arrival is writers.pace.arrival is Arrival.POISSON
    ratio = rooms.pace.requests_per_s * writers.clients / (writers.pace.requests_per_s * rooms.clients)
    scaled = [round(offset * ratio) for offset in list(rooms.offsets_ns())[:3]]
    assert not any(abs(a - b) < 1000 for a, b in zip(scaled, writers.offsets_ns(), strict=False))
