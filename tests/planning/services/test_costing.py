"""Test costs of services against an example in the fact sheet on prices, and figures computed by hand."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import pricing
from loadgen.planning.estimate import HOURS_A_MONTH, estimate
from loadgen.planning.operations import Handler
from loadgen.planning.prices import PACKAGED, load_prices
from loadgen.planning.services.costing import Costing, costings
from loadgen.planning.services.files import NAMES
from loadgen.planning.services.load import Axis, Load, Month, of_numbers
from loadgen.planning.services.measured import Counts, load_of_counts
from loadgen.planning.services.models import BillPart
from loadgen.planning.services.scenario import load_of
from loadgen.planning.services.span import Span
from loadgen.resolve.loading import from_resolved, load
from loadgen.resolve.resolver import resolve
from tests.planning.services.loads import example, loads

#: A scenario whose clients run tasks of user code, so that it is unknown what they send.
JOURNEYS = {
    "version": 1,
    "clients": {
        "viewers": {"count": 4, "subscribe": "/default/a"},
        "readers": {"count": 3, "users": "my_users.py:Reader"},
    },
}


def by_label(found: list[Costing]) -> dict[str, Costing]:
    return {each.label: each for each in found}


def rounded(amount: Span) -> tuple[int, int]:
    assert amount.low is not None
    assert amount.high is not None
    return round(amount.low), round(amount.high)


@pytest.mark.parametrize(
    ("label", "part", "usd"),
    [
        # Operations and connection-minutes cost 885; keep-alives add 144 if AWS bills them.
        ("appsync-events", "service", (885, 1029)),
        ("appsync-events", "data-out", (80, 80)),
        ("appsync-graphql", "service", (1775, 1775)),
        ("appsync-graphql", "data-out", (80, 80)),
        ("api-gateway", "service", (910, 910)),
        ("api-gateway", "backend", (22, 22)),
        ("api-gateway", "data-out", (80, 80)),
        ("aws-iot-core:qos0", "service", (885, 885)),
        ("aws-iot-core:qos1", "service", (1601, 1601)),
        # No source says whether AWS IoT Core bills outgoing data: it is free or costs EC2's rates.
        ("aws-iot-core:qos0", "data-out", (0, 80)),
        ("ably:per-minute", "service", (2356, 2356)),
        ("ably:mau", "service", (2335, 2335)),
        ("pusher", "service", (699, 699)),
        ("pubnub:mau", "service", (550, 550)),
        ("pubnub:transactions", "service", (29575, 29575)),
        ("azure-web-pubsub:standard", "service", (615, 1047)),
        ("azure-web-pubsub:standard-80", "service", (966, 1230)),
        ("cloudflare-durable-objects:hibernating", "service", (7, 7)),
        ("cloudflare-durable-objects:awake", "service", (145, 145)),
        # The fact sheet on prices says 2,386 for Supabase, including data out; here data out is a separate part.
        ("supabase", "service", (2307, 2307)),
        ("supabase", "data-out", (80, 80)),
        ("firebase", "service", (824, 971)),
    ],
)
def test_the_worked_example_to_the_dollar(label: str, part: BillPart, usd: tuple[int, int]) -> None:
    assert rounded(by_label(costings(example()))[label].month.usd(part)) == usd


def test_lines_of_the_worked_example() -> None:
    found = by_label(costings(example()))

    def line(label: str, name: str) -> float:
        amount = next(each.usd for each in found[label].month.lines if each.name == name)
        assert amount.low is not None
        return float(amount.low)

    assert line("appsync-graphql", "mutations") == 34.56
    assert line("appsync-graphql", "updates") == 1728.6
    assert line("appsync-graphql", "connection_minutes") == 11.52
    assert line("appsync-events", "operations") == 873.24
    assert line("azure-web-pubsub:standard", "units") == 483
    assert line("supabase", "connections") == 100
    assert line("api-gateway", "table_reads") == 14.04
    assert line("api-gateway", "lambda_requests") + line("api-gateway", "lambda_time") == pytest.approx(
        7.488, abs=1e-3
    )
    assert rounded(found["supabase"].month.usd()) == (2386, 2386)


def test_a_service_without_a_price_is_unknown_and_not_free() -> None:
    momento = by_label(costings(example()))["momento"]
    assert momento.month.usd() == Span(None, None)
    assert momento.hour_usd == Span(None, None)
    assert momento.month.unknown == ("operations",)
    (operations,) = momento.month.lines
    assert operations.count == Span.of(872_640_000)
    document = momento.to_dict()
    assert document["month"]["usd"] == {"min": None, "max": None}


def test_what_binds_first_in_the_worked_example() -> None:
    found = by_label(costings(example()))
    binding = {label: each.binds for label, each in found.items()}
    expected = {
        "api-gateway": ("requests_per_s", Fraction(1010, 10_000)),
        "aws-iot-core:qos0": ("outbound_messages_per_s", Fraction(1_000, 20_000)),
        # The example needs exactly as many connections as the plans of these two services allow.
        "ably:per-minute": ("package.connection", Fraction(1)),
        "supabase": ("connections", Fraction(1)),
        "pusher": ("plan.message_per_day", Fraction(29_088_000, 40_000_000)),
    }
    for label, (name, share) in expected.items():
        use = binding[label]
        assert use is not None
        assert (use.name, use.share) == (name, share)
    assert binding["pubnub:transactions"] is None
    takes = {
        (label, use.name): use.takes_s
        for label, each in found.items()
        for use in each.uses
        if use.takes_s is not None
    }
    assert takes["api-gateway", "new_connections_per_s"] == 20
    assert takes["appsync-events", "new_connections_per_s"] == 5
    assert takes["aws-iot-core:qos0", "new_connections_per_s"] == 20
    assert takes["aws-iot-core:qos0", "subscribes_per_s"] == 20


def test_headroom_ends_where_the_quota_does() -> None:
    api = by_label(costings(example(), "api-gateway"))["api-gateway"]
    room = {each.axis: each for each in api.headrooms}
    # The example has 10 publishes and 1,000 deliveries a second. The quota of 10,000 calls a second is used up at
    # 10,000 / 1,010 times this rate.
    assert room["rate"].factor == pytest.approx(10_000 / 1_010, rel=1e-6)
    assert room["fan-out"].factor == pytest.approx(9_990 / 1_000, rel=1e-6)
    assert room["payload"].factor == pytest.approx(128, rel=1e-6)


def test_a_connection_is_opened_again_when_the_service_ends_it() -> None:
    found = by_label(costings(example()))
    # A connection lasts 2 hours and a client 8 hours a day, so it connects and subscribes four times a day.
    # API Gateway bills the subscribes.
    messages = next(line for line in found["api-gateway"].month.lines if line.name == "messages")
    assert messages.count == Span.of(872_640_000 + 1_200_000)
    operations = next(line for line in found["aws-iot-core:qos0"].month.lines if line.name == "messages_qos0")
    assert operations.count == Span.of(872_640_000 + 600_000)


def test_idle_clients_of_the_sheet() -> None:
    idle = of_numbers(
        clients=Fraction(10_000),
        events_per_s=Fraction(0),
        fan_out=Fraction(100),
        event_bytes=1_024,
        month=Month(Fraction(8), Fraction(30), Fraction(0)),
        subscriptions=Fraction(0),
    )
    found = by_label(costings(idle))
    minutes = {
        label: next(line.usd for line in each.month.lines if line.name == "connection_minutes")
        for label, each in found.items()
        if label in ("api-gateway", "appsync-events", "aws-iot-core:qos0", "ably:per-minute")
    }
    assert {label: float(usd.low or 0) for label, usd in minutes.items()} == {
        "api-gateway": 36,
        "appsync-events": 11.52,
        "aws-iot-core:qos0": 11.52,
        "ably:per-minute": 144,
    }


def test_a_plan_that_is_too_small_makes_the_cost_unknown() -> None:
    large = example().grown("rate", Fraction(100))
    pusher = by_label(costings(large, "pusher"))["pusher"]
    assert pusher.month.usd() == Span(None, None)
    assert "no listed plan is large enough" in " ".join(pusher.notes)


def test_an_unknown_fan_out_is_unknown_everywhere() -> None:
    unknown = example()
    (stream,) = unknown.streams
    unknown = replace(unknown, streams=(replace(stream, fan_out=None),))
    for costing in costings(unknown):
        if costing.label in (
            "pubnub:mau",
            "cloudflare-durable-objects:awake",
            "cloudflare-durable-objects:hibernating",
        ):
            continue  # deliveries are free with this offer
        assert costing.month.usd().high is None, costing.label
    events = by_label(costings(unknown))["appsync-events"]
    # Publishes, connects, subscribes and connection-minutes are known, so their cost is a lower bound on the total.
    assert events.month.usd().low == Fraction(8_640_000 + 600_000, 1_000_000) + Fraction(1152, 100)


AXES_OF_GROWTH: tuple[Axis, ...] = ("subscribers", "rate", "payload", "fan-out")


@settings(max_examples=60, deadline=None)
@given(load_=loads(), axis=st.sampled_from(AXES_OF_GROWTH), percent=st.integers(101, 400))
def test_costs_never_fall_as_a_load_grows(load_: Load, axis: Axis, percent: int) -> None:
    grown = load_.grown(axis, Fraction(percent, 100))
    for before, after in zip(costings(load_), costings(grown), strict=True):
        low, high = before.month.usd(), after.month.usd()
        if low.high is not None and high.high is not None:
            assert low.high <= high.high, before.label
        if low.low is not None and high.low is not None and high.high is not None:
            assert low.low <= high.low, before.label
        # A load that is too large for every plan stays too large when it grows.
        if low.high is None:
            assert high.high is None, before.label


@settings(max_examples=60, deadline=None)
@given(load_=loads())
def test_a_bill_is_the_sum_of_its_parts_and_in_order(load_: Load) -> None:
    for costing in costings(load_):
        bill = costing.month
        if not bill.usd().known:
            assert bill.unknown
            continue
        parts = [bill.usd(part) for part in ("service", "backend", "data-out")]
        assert bill.usd().low == sum(each.low or 0 for each in parts)
        assert bill.usd().high == sum(each.high or 0 for each in parts)
        assert 0 <= (bill.usd().low or 0) <= (bill.usd().high or 0)
        if bill.sure:
            assert bill.usd().single


@pytest.mark.parametrize("name", ["comments", "chat", "broadcast", "large-payloads", "subscription-churn"])
def test_appsync_events_costs_what_the_plan_of_it_alone_says(name: str) -> None:
    run = resolve(load(name))
    handlers = frozenset({Handler.PUBLISH, Handler.SUBSCRIBE})
    alone = estimate(run, load_prices(), handlers)
    (events,) = costings(load_of(run, handlers=handlers), "appsync-events")
    bill = alone.hour.times(HOURS_A_MONTH).bill(alone.prices)
    month = events.month.usd("service")
    assert float(month.low or 0) == pytest.approx(bill["total"], rel=1e-6)
    assert float(month.high or 0) == pytest.approx(bill["total"] + bill["unclear"], rel=1e-6)
    assert events.run is not None
    usd = events.run.usd("service")
    assert float(usd.low or 0) == pytest.approx(alone.cost.bill["total"], rel=1e-6)
    # The plan of a short run counts only few keep-alives. The comparison of services counts one per connection-minute,
    # which gives more.
    assert float(usd.high or 0) >= alone.cost.bill["total"] + alone.cost.bill["unclear"] - 1e-9


def test_quotas_of_a_scenario_are_those_of_the_plan_of_it_alone() -> None:
    for name in ("comments", "sports-burst", "chat"):
        run = resolve(load(name))
        alone = {use.name: use.asked for use in estimate(run, load_prices()).uses}
        (events,) = costings(load_of(run), "appsync-events")
        for use in events.uses:
            if use.name != "connection_seconds":
                assert float(use.asked or 0) == pytest.approx(alone[use.name] or 0, rel=1e-6), (
                    name,
                    use.name,
                )


def test_measured_counts_replace_the_expected_ones() -> None:
    planned = load_of(resolve(load("comments")))
    counts = Counts(
        events=2_000,
        deliveries=100_000,
        connects=500,
        subscribes=500,
        connection_minutes=250.0,
        seconds=30.0,
        event_sizes={200: 1_500, 6_000: 500},
    )
    (iot,) = costings(load_of_counts(counts, planned), "aws-iot-core:qos0")
    assert iot.run is not None
    # A quarter of the events are larger than 5 KB and count as two units.
    usd = iot.run.usd("service")
    expected = Fraction(102_000) * Fraction(5, 4) + 1_000
    assert usd == Span.of(expected / 10**6 + Fraction(250 * 8, 100) / 10**6)
    assert iot.month.usd() == costings(planned, "aws-iot-core:qos0")[0].month.usd()


def test_what_users_tasks_send_is_unknown() -> None:
    load_ = load_of(resolve(from_resolved(JOURNEYS)))
    assert not load_.known
    for costing in costings(load_):
        assert costing.month.usd().high is None, costing.label
        assert all(use.asked is None for use in costing.uses if use.name != "connection_seconds"), (
            costing.label
        )
    # The fee of Supabase's plan, 25 dollars a month, is known even if the usage is not, so it is the lower bound.
    assert by_label(costings(load_))["supabase"].month.usd() == Span(Fraction(25), None)


def test_every_service_has_what_json_needs() -> None:
    found = costings(example())
    assert {each.service.service for each in found} == set(NAMES)
    for each in found:
        document = json.loads(json.dumps(each.to_dict()))
        assert document["service"] in NAMES
        assert set(document["headroom"]) == set(AXES_OF_GROWTH)


def test_money_is_exact() -> None:
    # With floats, 0.1 + 0.2 would not equal 0.3.
    events = by_label(costings(example()))["appsync-events"]
    assert events.month.usd("service").low == Fraction(88_476, 100)
    assert pricing.money(884.76) == "$884.76"


def test_an_own_price_file_of_the_old_kind_is_used(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(PACKAGED.read_text().replace("value: 1.00", "value: 2.00", 1))
    (events,) = costings(example(), "appsync-events", [mine])
    assert events.month.usd("service").low == 2 * Fraction(87_324, 100) + Fraction(1_152, 100)
