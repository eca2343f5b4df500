"""Test that scenarios are checked by the rules of their target's protocol."""

import pytest

from loadgen.live.plan import expected_by_channel
from loadgen.planning import fanout, guard
from loadgen.planning.estimate import estimate
from loadgen.planning.fanout import audience, group_loads
from loadgen.planning.prices import load_prices
from loadgen.planning.show import markdown
from loadgen.resolve import Clients
from loadgen.resolve.loading import from_resolved, load
from loadgen.resolve.overlap import check_overlaps
from loadgen.resolve.resolver import resolve
from loadgen.scenario import Scenario, ScenarioError
from loadgen.targets import protocol_of
from tests.scenario.shipped import SHIPPED

BROKER = "mqtt://127.0.0.1:1883"
AWS = "mqtts://x-ats.iot.eu-west-1.amazonaws.com"
RULES = protocol_of(BROKER).rules


#: Scenarios that only Event APIs support, because their clients log in in a way that brokers lack.
ELSEWHERE = ("private-feeds",)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_login_that_no_broker_knows_is_refused(name: str) -> None:
    with pytest.raises(ScenarioError, match="by which one cannot log in to MQTT"):
        load(name, target=BROKER)


@pytest.mark.parametrize("name", [entry.name for entry in SHIPPED if entry.name not in ELSEWHERE])
def test_the_catalogue_runs_on_a_broker_with_the_same_clients_and_channels(name: str) -> None:
    there, here = load(name), load(name, target=BROKER)
    assert here.resolved() == there.resolved()
    plans = Clients(resolve(there)), Clients(resolve(here, BROKER))
    assert len(plans[0]) == len(plans[1])
    for number in {0, len(plans[0]) // 2, len(plans[0]) - 1}:
        first, second = (plan.client(number) for plan in plans)
        assert first.subscriptions == second.subscriptions
        if second.publish is not None:
            assert first.publish is not None
            assert first.publish.channels().next() == second.publish.channels().next()
            assert (second.publish.over_http, second.publish.in_flight) == (False, None)
    check_overlaps(resolve(here, BROKER), RULES)


def test_publishers_by_http_hold_a_connection_of_their_own() -> None:
    there, here = load("comments"), load("comments", target=BROKER)
    assert resolve(there).totals.websockets == 500
    totals = resolve(here, BROKER).totals
    assert (totals.websockets, totals.sockets) == (510, 510)


def of(subscribe: list[str], count: int = 3) -> Scenario:
    return from_resolved(
        {
            "version": 1,
            "variables": {"room": {"count": 2}},
            "clients": {
                "all": {
                    "count": count,
                    "subscribe": subscribe,
                    "publish": {"channel": "/a/{room}", "rate": "1/s"},
                }
            },
        },
        BROKER,
    )


@pytest.mark.parametrize(
    "subscribe",
    [
        ["/a/b", "/a/b"],
        ["/a/*", "/a/b"],
        ["/a/b/c", "/a/*"],
        ["/a/*", "/a/b/*"],
        # Each client draws one of two rooms twice. Some of the 50 clients draw the same room both times.
        ["/a/{room}", "/b", "/a/{room}"],
    ],
)
def test_overlapping_subscriptions_of_a_client_are_refused(subscribe: list[str]) -> None:
    scenario = of(subscribe, 50)
    with pytest.raises(
        ScenarioError, match=r"clients\.all\.subscribe: client \d+ of the group .* which overlap"
    ):
        check_overlaps(resolve(scenario, BROKER), RULES)
    on_appsync = from_resolved(scenario.resolved())
    check_overlaps(resolve(on_appsync), protocol_of(None).rules)


def test_subscriptions_that_only_look_alike_are_not() -> None:
    scenario = of(["/a/b", "/a/c", "/ab/*", "/a/b/*", "/b/{room}"])
    check_overlaps(resolve(scenario, BROKER), RULES)


def test_the_rules_of_appsync_stay_as_strict_and_a_broker_takes_more() -> None:
    channel = {"clients.commenters.publish.channel": "/a_b/c/d/e/f/g/{article}/{thread}"}
    with pytest.raises(ScenarioError, match="segments"):
        load("comments", channel)
    assert not resolve(load("comments", channel, target=BROKER), BROKER).publishing["commenters"].over_http
    with pytest.raises(ScenarioError, match=r"only '#' is known"):
        load("comments", {"clients.readers.subscribe": "/a/+/{article}"}, target=BROKER)
    # The target on the command line replaces the file's, but a mistake in the file's is still reported.
    with pytest.raises(ScenarioError, match=r"target\.url.*it may be 0, 1 or 2"):
        load("comments", {"target.url": f"{BROKER}?qos=7"}, target=BROKER)


def test_aws_quotas_are_warned_about_and_a_brokers_are_its_operators_matter() -> None:
    busy = {"clients.commenters.publish.rate": "2000/s", "clients.readers.ramp": "1000/s"}
    warned = " ".join(resolve(load("comments", busy, target=AWS), AWS).warnings)
    assert "200 requests/s on each connection, above the service's quota of 100/s; use more clients" in warned
    assert "via: http" not in warned
    assert "above the service's default quota of 500/s" in warned
    assert not resolve(load("comments", busy, target=BROKER), BROKER).warnings
    many = {"clients.readers.subscribe": str([f"/a/{number}/{{article}}" for number in range(60)])}
    assert "60 subscriptions on each connection" in " ".join(
        resolve(load("comments", many, target=AWS), AWS).warnings
    )


def test_no_costs_of_another_service_are_shown() -> None:
    run, prices = resolve(load("comments", target=BROKER), BROKER), load_prices(None)
    broker, aws = protocol_of(BROKER), protocol_of(AWS)
    here, there = guard.elsewhere(BROKER, run), guard.elsewhere(AWS, run)
    assert (here is None, there is None) == (True, False)
    assert guard.check(run, prices, None, here, protocol=broker) == guard.Check()
    assert "no prices of MQTT 5" in (guard.check(run, prices, 1.0, None, protocol=broker).refusal or "")
    refused = guard.check(run, prices, None, there, protocol=aws).refusal or ""
    assert "of unknown cost, starts only with --allow-remote" in refused
    asked = guard.check(run, prices, None, there, allow_remote=True, protocol=aws).question or ""
    assert "bills each message" in asked
    page = markdown(estimate(run, prices, unpriced=broker.title))
    assert "the prices and account quotas of MQTT 5 are unknown" in page
    assert "$" not in page
    said = estimate(run, prices, unpriced=broker.title).to_dict()
    assert (said["unpriced"], said["run"], said["quotas"]) == ("MQTT 5", None, None)
    assert estimate(run, prices).to_dict()["unpriced"] is None


def sharing(subscribe: list[str], others: int = 2) -> Scenario:
    return from_resolved(
        {
            "version": 1,
            "target": {"url": BROKER},
            "variables": {
                "room": {"count": 3},
                **({"team": {"count": 2, "assign": "by-client"}} if "{team}" in "".join(subscribe) else {}),
            },
            "clients": {
                "workers": {"count": 6, "subscribe": subscribe},
                "alone": {"count": others, "subscribe": ["/default/*"]},
                "writers": {"count": 1, "publish": {"channel": "/default/{room}", "rate": "10/s"}},
            },
            "phases": {"measure": "10s", "warmup": "0s"},
        }
    )


@pytest.mark.parametrize(
    ("pattern", "receivers"),
    [
        ("/$share/one/default/*", 1.0),
        ("/$share/team-{team}/default/*", 2.0),
        ("$share/one/default/#", 1.0),
        ("/default/*", 6.0),
    ],
)
def test_a_group_that_shares_its_events_receives_each_once(pattern: str, receivers: float) -> None:
    run = resolve(sharing([pattern]), BROKER)
    seen = audience(run)
    assert seen is not None
    assert seen.patterns == {"/default/*": receivers + 2}
    (load,) = group_loads(run, seen)
    assert load.subscribers == pytest.approx(receivers + 2)
    assert expected_by_channel(run, RULES)("/default/1") == receivers + 2
    assert run.totals.subscriptions == 8, "each member subscribes"


def test_beyond_what_is_spelled_out_a_group_counts_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "SPELLED_OUT", 3)
    run = resolve(sharing(["/$share/team-{team}/default/*"]), BROKER)
    seen = audience(run)
    assert seen is not None
    assert not seen.spelled_out
    assert seen.patterns == {"/default/*": pytest.approx(4.0)}


def test_a_client_cannot_share_what_it_subscribes_to_alone() -> None:
    with pytest.raises(ScenarioError, match="overlap"):
        check_overlaps(resolve(sharing(["/$share/one/default/*", "/default/1"]), BROKER), RULES)


def test_only_brokers_know_shared_subscriptions() -> None:
    for target in (None, "nats+ws://127.0.0.1:8080"):
        with pytest.raises(ScenarioError, match=r"shared subscription, which only MQTT brokers have"):
            load("comments", {"clients.readers.subscribe": "/$share/g/default/comments/1"}, target=target)
    load("comments", {"clients.readers.subscribe": "/$share/g/default/comments/{article}/*"}, target=BROKER)


def test_without_properties_no_stamp_travels_beside_the_payload() -> None:
    assert protocol_of(f"{BROKER}?version=3.1.1").rules.stamp_beside is None
    assert protocol_of(f"{BROKER}?version=3.1.1").title == "MQTT 3.1.1"
    assert protocol_of(f"{AWS}?version=3.1.1").title == "AWS IoT Core (MQTT 3.1.1)"
    assert protocol_of(BROKER).rules.stamp_beside == "user_property"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", {}),
        ("?clean=false", {"sessions": "resumed after a reconnect; the broker keeps them for 300 s"}),
        (
            "?clean=false&version=3.1.1",
            {"sessions": "resumed after a reconnect; the broker decides how long it keeps them"},
        ),
        (
            "?retain=true",
            {"retained": "every published event; those that come on subscribing are counted apart"},
        ),
    ],
)
def test_the_manifest_tells_how_the_broker_is_used(query: str, told: dict[str, str]) -> None:
    protocol = protocol_of(BROKER + query)
    setup = protocol.setup(protocol.endpoints(BROKER + query))
    assert {name: setup[name] for name in setup if name in ("sessions", "retained")} == told
