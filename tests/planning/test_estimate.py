"""Test estimated operations, cost and quotas against simulated draws and figures computed by hand."""

import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from rich.console import Console

from analysis import pricing
from loadgen.planning import calibration, guard, returns, wording
from loadgen.planning.budget import Budget
from loadgen.planning.estimate import Estimate, estimate
from loadgen.planning.fanout import audience, due_by_client, group_loads
from loadgen.planning.operations import Handler
from loadgen.planning.prices import PACKAGED, load_prices
from loadgen.planning.show import markdown, print_estimate
from loadgen.protocol.appsync.channels import matches
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.resolve import Clients
from loadgen.resolve.loading import from_resolved, load
from loadgen.resolve.resolver import resolve, run_of
from loadgen.scenario import ScenarioError
from tests.scenario.shipped import SHIPPED
from tests.scenario.strategies import scenarios


def planned(name: str, handlers: frozenset[Handler] = frozenset(), **overrides: str) -> Estimate:
    settings = {key.replace("__", "."): value for key, value in overrides.items()}
    return estimate(resolve(load(name, settings)), load_prices(), handlers)


@given(data=scenarios())
def test_the_audience_is_that_of_the_plans_of_all_clients(data: dict[str, Any]) -> None:
    clients = Clients(run := resolve(from_resolved(data)))
    plans = [
        clients.client(number)
        for group in run.groups
        for number in range(group.first, group.first + group.count)
    ]
    seen = audience(run)
    assert seen is not None
    assert seen.spelled_out
    assert seen.patterns == Counter(each.channel for plan in plans for each in plan.subscriptions)


@settings(max_examples=15, deadline=None)
@given(data=scenarios())
def test_expected_deliveries_are_those_of_simulated_draws(data: dict[str, Any]) -> None:
    # Make rates low and phases short, so that simulating all draws is quick.
    for group in data["clients"].values():
        if "publish" in group:
            for key in ("rate", "rate_per_client"):
                if key in group["publish"]:
                    group["publish"][key] = "20/s"
            group["publish"] |= {"arrival": "constant"}
            group["publish"].pop("profile", None)
    data["phases"] = {"warmup": "1s", "measure": "1s"}
    plan = Clients(run := resolve(from_resolved(data)))
    seen = audience(run)
    assert seen is not None
    for load_ in group_loads(run, seen):
        group = run.group(load_.name)
        reached, squares, requests = 0.0, 0.0, 0
        for number in range(group.first, group.first + group.count):
            publish = plan.client(number).publish
            assert publish is not None
            draw, due = publish.channels(), sum(1 for _ in publish.offsets_ns())
            requests += due
            # Draw a channel for each client many times and count the subscriptions that match it. Weight the mean by
            # the number of the client's publishes.
            many = 200
            heard = []
            for _ in range(many):
                channel = draw.next()
                heard.append(
                    sum(count for pattern, count in seen.patterns.items() if matches(pattern, channel))
                )
            mean = sum(heard) / many
            reached += due * mean * publish.batch
            variance = sum((each - mean) ** 2 for each in heard) / many
            squares += (due * publish.batch) ** 2 * max(variance, 1.0) / many
        assert load_.requests == requests
        assert load_.deliveries == pytest.approx(reached, abs=6 * squares**0.5 + 1e-6)


@settings(max_examples=30, deadline=None)
@given(data=scenarios())
def test_each_clients_requests_are_those_of_its_schedule(data: dict[str, Any]) -> None:
    data["phases"] = {"warmup": "100ms", "measure": "300ms"}
    for group in data["clients"].values():
        if "publish" in group and group["publish"].get("arrival") == "poisson":
            group["publish"]["arrival"] = "constant"
        if "publish" in group:
            group["publish"].pop("profile", None)
            for key in ("rate", "rate_per_client"):
                if key in group["publish"]:
                    group["publish"][key] = "90/s"
    plan = Clients(run := resolve(from_resolved(data)))
    for group in run.groups:
        publishes = [plan.client(number).publish for number in range(group.first, group.first + group.count)]
        if publishes[0] is not None:
            scheduled = [sum(1 for _ in publish.offsets_ns()) for publish in publishes if publish is not None]
            assert due_by_client(publishes[0].pace, group.count, publishes[0].duration_ns) == scheduled


def test_an_average_over_seeds_is_near_what_one_seed_draws() -> None:
    from loadgen.planning import fanout

    scenario = load("comments", {"clients.readers.count": "20000"})
    run = resolve(scenario)
    (drawn,) = group_loads(run, audience(run))
    spelled_out, fanout.SPELLED_OUT = fanout.SPELLED_OUT, 0
    try:
        seen = audience(run)
        assert seen is not None
        assert not seen.spelled_out
        (average,) = group_loads(run, seen)
    finally:
        fanout.SPELLED_OUT = spelled_out
    assert drawn.deliveries == pytest.approx(average.deliveries, rel=0.03)


def test_a_broadcast_by_hand() -> None:
    found = planned("broadcast", phases__warmup="1s", phases__measure="9s", phases__drain="1s")
    operations = found.cost.usage.operations
    # There are 10 events a second for 10 s to 1,000 clients, all of which also receive one probe.
    assert (operations["publish"], operations["delivery"]) == (100, 100_000)
    assert (operations["connect"], operations["subscribe"]) == (1000, 1000)
    assert (operations["probe_publish"], operations["probe_delivery"]) == (1, 1000)
    assert found.cost.usd == pytest.approx((100 + 100_000 + 2000 + 1001) / 1e6, abs=1e-4)
    assert found.hour.operations["delivery"] == pytest.approx(36_000_000)


@pytest.mark.parametrize(
    "churn",
    [{"subscriptions": "20/s"}, {"lifetime": "4s"}, {"lifetime": "3s", "away": "1s", "spread": "constant"}],
)
def test_churn_is_expected_to_be_what_the_clients_plans_have(churn: dict[str, str]) -> None:
    said = {f"clients.audience.churn.{key}": value for key, value in churn.items()}
    scenario = load("broadcast", {"clients.audience.count": "400", "phases.measure": "57s", **said})
    plan = Clients(run := resolve(scenario))
    until_ns = scenario.phases.publishing_ns
    behaviours = [plan.client(number).behaviour.churn for number in range(400)]
    turns = sum(sum(1 for _ in each.offsets_ns(until_ns)) for each in behaviours if each is not None)
    assert turns > 1_000
    expected = returns.of_run(run)
    assert expected.subscribes == pytest.approx(turns, abs=4 * turns**0.5)
    assert expected.connects == (0 if "subscriptions" in churn else expected.subscribes)
    found = estimate(run, load_prices())
    plain = estimate(
        resolve(load("broadcast", {"clients.audience.count": "400", "phases.measure": "57s"})), load_prices()
    )
    for kind, more in (("connect", expected.connects), ("subscribe", expected.subscribes)):
        before, an_hour = plain.cost.usage.operations[kind], plain.hour.operations[kind]
        assert before is not None
        assert an_hour is not None
        assert found.cost.usage.operations[kind] == pytest.approx(before + more)
        assert found.hour.operations[kind] == pytest.approx(an_hour + more * 3600e9 / until_ns)


def test_those_that_a_drop_cuts_connect_and_subscribe_again() -> None:
    found = planned("deploy-drop").cost.usage.operations
    # Of 300 readers, 10 % and later 50 % are cut off and connect again.
    assert (found["connect"], found["subscribe"]) == (300 + 30 + 150, 300 + 30 + 150)
    never = planned("deploy-drop", clients__readers__reconnect="never").cost.usage.operations
    assert (never["connect"], never["subscribe"]) == (300, 300)


def test_both_directions_are_metered_in_units_of_five_kilobytes() -> None:
    found = planned("broadcast", clients__announcer__publish__payload="12KiB")
    assert found.cost.usage.operations["publish"] == 3 * 230
    assert found.cost.usage.operations["delivery"] == 3 * 230_000
    by_name = {use.name: use for use in found.uses}
    assert by_name["outbound_messages_per_s"].asked == pytest.approx(30_000)
    assert by_name["outbound_messages_per_s"].share == pytest.approx(0.03)


@pytest.mark.parametrize(("size", "units"), [(0, 1), (1, 1), (5120, 1), (5121, 2), (12_288, 3)])
def test_a_message_counts_once_for_each_unit_that_it_begins(size: int, units: int) -> None:
    assert pricing.units(size, 5120) == units


def test_handlers_count_once_a_request_and_once_a_subscribe() -> None:
    both = frozenset({Handler.PUBLISH, Handler.SUBSCRIBE})
    found = planned("broadcast", both)
    assert found.cost.usage.operations["handler"] == 230 + 1000


def test_quotas_are_held_against_the_peak_of_the_load_profile() -> None:
    profile = "[{at: 0s, load: 10%}, {at: 10s, load: 300%}]"
    found = planned("comments", clients__commenters__publish__profile=profile)
    asked = {use.name: use.asked for use in found.uses}
    assert asked["inbound_events_per_s"] == pytest.approx(300)


def test_how_far_a_scenario_can_grow_until_a_quota_binds() -> None:
    found = planned("cursors")
    use, factor = found.binding(lambda use: use.rate_headroom) or pytest.fail("nothing binds")
    # A client publishes 20 events a second over its connection, and the quota is 25.
    assert use.name == "publishes_per_connection_per_s"
    assert factor == pytest.approx(1.25)
    use, factor = found.binding(lambda use: use.clients_headroom) or pytest.fail("nothing binds")
    assert use.name == "request_tokens_per_s"
    assert factor == pytest.approx(2000 / 1200)
    outbound = next(use for use in found.uses if use.name == "outbound_messages_per_s")
    # Twice as many editors publish twice as much to twice as many readers, so deliveries grow with the square of the
    # clients.
    assert outbound.clients_headroom == pytest.approx((1_000_000 / 6000) ** 0.5)


def test_every_scenario_of_the_catalogue_fits_a_hundred_columns() -> None:
    for entry in SHIPPED:
        found = estimate(run_of(entry.name)[0], load_prices())
        console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        print_estimate(found, console)
        said = console.export_text()
        assert "unknown: run `loadgen plan --calibrate`" in said
        assert "…" not in said, "a cell was cut off"
        assert json.loads(json.dumps(found.to_dict()))["scenario"] == entry.name
        # Characters that mean something in Markdown are escaped. A hyphen is one of them, as it can begin a list item.
        assert markdown(found).startswith(f"### {entry.name}".replace("-", "\\-"))


def test_no_name_of_a_row_is_wrapped_at_eighty_columns() -> None:
    found = estimate(run_of("comments")[0], load_prices())
    console = Console(width=80, record=True, file=io.StringIO())
    print_estimate(found, console)
    said = console.export_text()
    names = [row[0] for row in (*wording.operations(found), wording.totals(found), *wording.quotas(found))]
    assert len(names) > 20
    assert [name for name in names if f"\n{name} " not in said] == []
    # All figures of the operations are there, those of a month in a table of their own.
    for row in wording.operations(found):
        assert set(row) <= {cell.strip() for cell in re.split(r"  +|\n", said)} | {""}


# The price file.


MISTAKES = [
    ("value: 1.00", "value: one", "prices.usd_per_million_operations.value must be a number, not 'one'"),
    (
        "counts: unclear",
        "counts: maybe",
        "operations.keepalive.counts must be 'always', 'never' or 'unclear'",
    ),
    ("  namespaces:\n", "  namespace:\n", "quotas.namespace is not a known key; did you mean 'namespaces'?"),
    ("value: 5120", "value: 0", "metering.message_unit_bytes.value must be above 0, not 0"),
    ("as_of: 2024-09-01", "as_of: soon", "as_of must be a date such as '2026-09-11', '2026-09' or '2026'"),
    ("version: 1", "version: 2", "version must be 1, not 2"),
]


@pytest.mark.parametrize(("old", "new", "sentence"), MISTAKES)
def test_a_mistake_in_a_price_file_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    text = PACKAGED.read_text()
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new, 1))
    line = text[: text.index(old)].count("\n") + 1
    with pytest.raises(ScenarioError) as caught:
        load_prices(path)
    assert f"mine.yaml:{line}: " in str(caught.value)
    assert sentence in str(caught.value)


def test_a_price_that_is_not_known_is_not_zero(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(PACKAGED.read_text().replace("    value: 1.00\n", "", 1))
    found = estimate(resolve(load("cursors")), load_prices(path))
    assert found.cost.usd is None
    check = guard.check(resolve(load("cursors")), load_prices(path), 1.0, None)
    assert "cannot be estimated (a price is not known)" in str(check.refusal)


# The guard.


def test_a_run_above_its_limit_is_refused_and_one_below_is_not() -> None:
    run = resolve(load("comments"))
    assert "more than --max-cost $0.10" in str(guard.check(run, load_prices(), 0.1, None).refusal)
    assert guard.check(run, load_prices(), 1.0, None) == guard.Check()
    for odd in (float("nan"), float("inf"), -1.0):
        assert "must be an amount of US dollars" in str(guard.check(run, load_prices(), odd, None).refusal)


def test_only_what_costs_something_at_a_real_target_must_be_confirmed() -> None:
    where = guard.Elsewhere("api.invalid")
    cheap, dear = load("comments"), load("comments", {"phases.measure": "10m"})
    assert guard.check(resolve(cheap), load_prices(), None, where).question is None
    assert guard.check(resolve(dear), load_prices(), None, None) == guard.Check()
    allowed = guard.check(resolve(dear), load_prices(), None, where, allow_remote=True)
    assert "is estimated at $4." in str(allowed.question)


def test_a_budget_is_exceeded_by_what_was_used() -> None:
    scenario = load("broadcast")
    budget = Budget.of(resolve(scenario), load_prices(), 0.001)
    assert budget is not None
    progress = {"sent": 1, "probes": 0, "probe_deliveries": 0, "opened": 0, "requested": 0}
    assert budget.exceeded(progress, 998, 0.0) is None
    assert "more than --max-cost $0.0010" in str(budget.exceeded(progress, 1001, 0.0))


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8700/event", True),
        ("http://[::1]:1/event", True),
        ("ws://localhost:1/event/realtime", True),
        ("https://127.0.0.1.example.com/event", False),
        ("https://10.0.0.1/event", False),
    ],
)
def test_what_is_on_this_machine(url: str, loopback: bool) -> None:
    assert Endpoints.from_url(url).loopback is loopback


# This machine.


def kept(tmp_path: Path) -> tuple[calibration.Calibration, Path]:
    seen = {
        "few subscribers": calibration.Seen(4.0, 0.12, 4_000, 40, 80_000_000),
        "many subscribers": calibration.Seen(4.0, 1.02, 40_000, 40, 98_000_000),
        "publishes by HTTP": calibration.Seen(4.0, 0.42, 0, 4_000, 80_000_000),
        "publishes over WebSocket": calibration.Seen(4.0, 0.22, 0, 4_000, 80_000_000),
    }
    found = calibration.calibrated(seen)
    return found, calibration.save(found, tmp_path / "cache" / "c.json")


def test_a_calibration_by_hand_and_what_it_makes_of_a_scenario(tmp_path: Path) -> None:
    found, path = kept(tmp_path)
    # "many subscribers" has 36,000 more deliveries than "few subscribers" and takes 0.9 s more CPU time. So the 4,000
    # deliveries of "few subscribers" take 0.1 s of its 0.12 s. The other 0.02 s, out of 4 s, are what an idle process
    # uses.
    assert found.cpu_s_per_delivery == pytest.approx(25e-6)
    assert found.idle_cpu_share == pytest.approx(0.005)
    assert found.cpu_s_per_http_publish == pytest.approx(1e-4)
    assert found.rss_bytes_per_subscriber == pytest.approx(20_000)
    again, why = calibration.load_calibration(path)
    assert (again, why) == (found, "")
    needs = estimate(
        resolve(load("broadcast", {"clients.audience.count": "5000"})), load_prices(), calibration=found
    ).needs
    # 50,000 deliveries/s take 1.25 s of CPU time per second, and each process may use 0.595 s per second. So three are
    # needed.
    assert needs.processes == 3
    assert needs.rss_bytes == pytest.approx(3 * 78_000_000 + 5000 * 20_000)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "this machine has not been measured"),
        ("{", "cannot be read"),
        ('{"format": 2, "measured_at": 5}', "cannot be read"),
        ('{"format": 9}', "of another format"),
    ],
)
def test_a_calibration_that_is_no_use_says_why(tmp_path: Path, content: str | None, why: str) -> None:
    path = tmp_path / "c.json"
    if content is not None:
        path.write_text(content)
    found, said = calibration.load_calibration(path)
    assert found is None
    assert why in said


def test_a_calibration_of_another_machine_is_not_used(tmp_path: Path) -> None:
    _, path = kept(tmp_path)
    content = json.loads(path.read_text())
    content["machine"]["cpus"] = 999
    path.write_text(json.dumps(content))
    assert calibration.load_calibration(path) == (None, "the kept calibration is of another cpus")


def test_a_machine_that_was_too_busy_is_not_calibrated() -> None:
    same = calibration.Seen(4.0, 1.0, 4_000, 40, 80_000_000)
    seen = dict.fromkeys(
        ("few subscribers", "many subscribers", "publishes by HTTP", "publishes over WebSocket"), same
    )
    with pytest.raises(calibration.CalibrationError, match="too busy to be measured"):
        calibration.calibrated(seen)
