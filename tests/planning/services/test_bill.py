"""Test prices with tiers, plans and capacities, on services made for these tests."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.planning.services.bill import bill, cost
from loadgen.planning.services.load import Month, of_numbers
from loadgen.planning.services.models import Price, Service
from loadgen.planning.services.span import NOTHING, UNKNOWN, Span, total

FACT = {"source": "a test", "certainty": "documented"}
TIERS = [{"up_to": 1000, "usd": 3}, {"up_to": 5000, "usd": 2}, {"usd": 1}]


def price(**given: Any) -> Price:
    return Price.model_validate({**FACT, **given})


def service(**parts: Any) -> Service:
    return Service.model_validate(
        {"version": 1, "kind": "service", "service": "test", "title": "Test", "region": "global", **parts}
    )


def month_of(made: Service, **numbers: Any) -> Any:
    given: Mapping[str, Any] = {
        "clients": Fraction(100),
        "events_per_s": Fraction(1),
        "fan_out": Fraction(10),
        "event_bytes": 1000,
        "channels": Fraction(1),
        "month": Month(Fraction(1), Fraction(1)),
        **numbers,
    }
    return bill(made, next(iter(made.offers)), of_numbers(**given).used_in_month())


def test_each_tier_has_its_own_price() -> None:
    tiered = price(per=10, tiers=TIERS)
    assert cost(tiered, Span.of(1000)) == Span.of(300)
    assert cost(tiered, Span.of(1010)) == Span.of(302)
    assert cost(tiered, Span.of(6000)) == Span.of(300 + 800 + 100)


@given(st.integers(0, 10_000), st.integers(1, 1_000_000))
def test_tiers_are_continuous_and_rising(number: int, part: int) -> None:
    tiered = price(tiers=TIERS)
    step = Fraction(1, part)
    low, high = cost(tiered, Span.of(number)), cost(tiered, Span.of(number + step))
    assert low.low is not None
    assert high.low is not None
    # `step` more units cost at least as much as in the cheapest tier (1 each), and at most as much as in the dearest
    # (3).
    assert step <= high.low - low.low <= 3 * step


def test_an_unknown_price_is_unknown_and_an_unknown_tier_a_lower_bound() -> None:
    assert cost(price(), Span.of(5)) == UNKNOWN
    assert cost(price(), NOTHING) == NOTHING
    half = price(tiers=[{"up_to": 10, "usd": 1}, {}])
    assert cost(half, Span.of(10)) == Span.of(10)
    assert cost(half, Span.of(11)) == Span(Fraction(10), None)
    assert cost(price(usd=2), Span(Fraction(1), None)) == Span(Fraction(2), None)


def test_sums_keep_what_is_unknown() -> None:
    assert total([]) == NOTHING
    assert total([UNKNOWN, UNKNOWN]) == UNKNOWN
    assert total([UNKNOWN, Span.of(3)]) == Span(Fraction(3), None)
    assert total([Span(Fraction(1), Fraction(2)), Span.of(3)]) == Span(Fraction(4), Fraction(5))


@pytest.mark.parametrize(
    ("clients", "usd", "plan"),
    [(500, 49, "small"), (501, 99, "large"), (1000, 99, "large"), (1001, None, None)],
)
def test_the_cheapest_plan_that_fits_is_bought(clients: int, usd: int | None, plan: str | None) -> None:
    made = service(
        plans={
            "plan": {
                "title": "plan",
                "choices": [
                    {**FACT, "name": "large", "usd": 99, "up_to": {"connection": 1000}},
                    {**FACT, "name": "small", "usd": 49, "up_to": {"connection": 500}},
                ],
            }
        },
        offers={"only": {"title": "only", "lines": ["plan"]}},
    )
    found = month_of(made, clients=Fraction(clients))
    assert found.usd() == (UNKNOWN if usd is None else Span.of(usd))
    assert found.lines[0].chosen == plan


@pytest.mark.parametrize(("clients", "units"), [(1, 1), (1000, 1), (1001, 2), (2001, 5), (5000, 5)])
def test_capacity_is_bought_in_steps_by_the_day(clients: int, units: int) -> None:
    made = service(
        prices={"unit": {**FACT, "usd": 2}, "message": {**FACT, "usd": 1, "per": 1000}},
        capacities={
            "units": {"title": "u", "holds": {"connection": 1000}, "steps": [1, 2, 5], "price": "unit"}
        },
        lines={
            "messages": {
                "title": "m",
                "counts": [{"quantity": "delivery"}],
                "price": "message",
                "included": {"quantity": "unit_day", "each": 5000},
            }
        },
        offers={"only": {"title": "only", "lines": ["units", "messages"]}},
    )
    found = month_of(made, clients=Fraction(clients), month=Month(Fraction(1), Fraction(10)))
    assert found.lines[0].usd == Span.of(2 * 10 * units)
    # One event/s to 10 clients, for an hour on each of 10 days, makes 360,000 deliveries. Each unit includes 5,000 a
    # day.
    assert found.lines[1].usd == Span.of(Fraction(max(0, 360_000 - 5000 * 10 * units), 1000))
    assert month_of(made, clients=Fraction(5001)).usd() == UNKNOWN


def test_two_readings_and_doubts_make_a_range() -> None:
    made = service(
        prices={"message": {**FACT, "usd": 1}},
        lines={
            "messages": {
                "title": "m",
                "counts": [{"quantity": "publish"}, {"quantity": "connect", "unclear": "maybe"}],
                "or_counts": [{"quantity": "publish", "unit_bytes": 100}],
                "why": "two readings",
                "price": "message",
            },
            "doubted": {
                "title": "d",
                "counts": [{"quantity": "publish"}],
                "price": "message",
                "unclear": "perhaps",
            },
        },
        offers={"only": {"title": "only", "lines": ["messages", "doubted"]}},
    )
    found = month_of(made)
    # In the hour there are 3,600 publishes, of up to 10 units of 100 bytes each, and 100 connects.
    assert found.lines[0].usd == Span(Fraction(3600), Fraction(36_000))
    assert found.lines[1].usd == Span(Fraction(0), Fraction(3600))
    assert found.certainty == "unclear"
    assert not found.sure
    assert set(found.why) == {"maybe", "two readings", "perhaps"}


@given(st.integers(1, 50_000), st.integers(1, 10_000))
def test_an_event_counts_once_for_each_unit_that_it_begins(size: int, unit: int) -> None:
    made = service(
        prices={"message": {**FACT, "usd": 1}},
        lines={
            "m": {"title": "m", "counts": [{"quantity": "delivery", "unit_bytes": unit}], "price": "message"}
        },
        offers={"only": {"title": "only", "lines": ["m"]}},
    )
    units = (size + unit - 1) // unit
    assert month_of(made, event_bytes=size).usd() == Span.of(36_000 * units)
