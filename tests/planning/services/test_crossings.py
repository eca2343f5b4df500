"""Test where the costs of two services cross: where they are equal, or where one jumps past the other at a step."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.planning.services.costing import costings
from loadgen.planning.services.crossings import Crossing, cost_at, crossings, curves, grid, of_curves
from loadgen.planning.services.load import AXES, Axis, Load
from loadgen.planning.services.span import ZERO
from tests.planning.services.loads import example, loads

CENT = Fraction(1, 100)


def between(load: Load, axis: Axis, names: str) -> list[Crossing]:
    return of_curves(curves(costings(load, names), axis))


def test_the_grid_holds_the_load_itself() -> None:
    factors = grid()
    assert Fraction(1) in factors
    assert (factors[0], factors[-1]) == (Fraction(1, 100), Fraction(100))
    assert list(factors) == sorted(set(factors))


def test_a_crossing_by_hand() -> None:
    # Monthly costs in dollars, by parts of the bill: Supabase 25 + 100 + 2.50·872.64 + 0.09·GB, and Ably 29 + 144 +
    # 1.44 + 2.50·872.64. The two are equal at 49.44/0.09 GB.
    (found,) = between(example(), "payload", "supabase,ably:per-minute")[:1]
    gigabytes = Fraction(4944, 9)
    assert found.begin == found.end == gigabytes * 10**9 / 864_000_000
    assert (found.below.label, found.above.label) == ("supabase", "ably:per-minute")
    assert found.usd_below == found.usd_above
    assert found.sure
    assert not found.step


def test_a_step_is_told_from_a_point() -> None:
    found = between(example(), "subscribers", "pubnub:mau,pusher")
    steps = {round(float(each.begin)): each for each in found}
    at = steps[10_000]
    # Costs in dollars a month: PubNub 550 for up to 10,000 users and 1,130 for more, Pusher 699.
    assert at.step
    assert at.below.label == "pubnub:mau"
    assert {float(each.low or 0) for each in (at.usd_below, at.usd_above)} == {1130.0, 699.0}


def test_ranges_cross_in_an_interval() -> None:
    (found,) = [
        each
        for each in between(example(), "subscribers", "appsync-events,api-gateway")
        if each.begin != each.end
    ]
    assert not found.sure
    events, gateway = costings(example(), "appsync-events,api-gateway")
    low, high = found.begin / 10_000, found.end / 10_000
    # Both costs are ranges. At the lower end of the crossing, the upper bound of AppSync Events equals the lower bound
    # of API Gateway. At the upper end, the lower bound of AppSync Events equals the upper bound of API Gateway.
    assert cost_at(events, "subscribers", low).high == cost_at(gateway, "subscribers", low).low
    assert cost_at(events, "subscribers", high).low == cost_at(gateway, "subscribers", high).high


@pytest.mark.parametrize("axis", AXES)
@settings(max_examples=8, deadline=None)
@given(load=loads())
def test_costs_are_equal_within_a_cent_at_a_crossing(load: Load, axis: Axis) -> None:
    names = "appsync-graphql,aws-iot-core:qos1,ably:per-minute,azure-web-pubsub:standard,pusher"
    value = load.value(axis)
    if not value:
        assert not between(load, axis, names)
        return
    for crossing in between(load, axis, names):
        assert crossing.begin <= crossing.end
        factors = (crossing.begin / value, crossing.end / value)
        below, above = (
            [cost_at(each, axis, factor) for factor in factors] for each in (crossing.below, crossing.above)
        )
        if crossing.begin == crossing.end and not crossing.step:
            assert abs((below[0].low or ZERO) - (above[0].low or ZERO)) <= CENT
        # Just before the crossing, the service `crossing.below` is the cheaper one, and just after it the other.
        around = Fraction(1, 10**6)
        before = [cost_at(each, axis, factors[0] * (1 - around)) for each in (crossing.below, crossing.above)]
        after = [cost_at(each, axis, factors[1] * (1 + around)) for each in (crossing.below, crossing.above)]
        if before[0].known and before[1].known and crossing.step is False:
            assert (before[0].high or 0) <= (before[1].low or 0) + CENT
        if after[0].known and after[1].known and crossing.step is False:
            assert (after[1].high or 0) <= (after[0].low or 0) + CENT


@given(st.sampled_from(AXES))
def test_crossings_are_in_order_and_alternate(axis: Axis) -> None:
    found = between(example(), axis, "pusher,pubnub:mau")
    assert [each.factor for each in found] == sorted(each.factor for each in found)
    for first, second in pairwise(found):
        assert first.above.label == second.below.label


def test_an_unknown_price_crosses_nothing() -> None:
    assert crossings(costings(example(), "momento,supabase")) == []


def test_beyond_a_quota_is_said() -> None:
    (found,) = between(example(), "subscribers", "ably:mau,supabase")[-1:]
    # The costs cross just above 10,000 connections, the most that Supabase allows.
    assert round(float(found.begin)) == 10_000
    assert found.exceeded == ("supabase: connections at once",)
