"""Test that a scenario reads back unchanged, and that the JSON Schema accepts what the loader accepts."""

import json
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from ruamel.yaml import YAML

from loadgen.resolve import Clients
from loadgen.resolve.loading import from_resolved, load
from loadgen.resolve.resolver import resolve
from loadgen.scenario import ScenarioError, json_schema
from tests.scenario.examples import GOOD, edited, with_publish, with_readers
from tests.scenario.shipped import SHIPPED, Shipped
from tests.scenario.strategies import scenarios


@cache
def validator() -> Any:
    """Return a validator. It is made on first use, because every process of a test run imports this file."""
    return jsonschema.Draft202012Validator(json_schema())


@settings(max_examples=150, deadline=None)
@given(data=scenarios())
def test_a_resolved_scenario_reads_back_as_itself(data: dict[str, Any]) -> None:
    scenario = from_resolved(data)
    written = json.loads(json.dumps(scenario.resolved()))
    again = from_resolved(written)
    assert again == scenario
    assert again.resolved() == written
    first, second = resolve(scenario), resolve(again)
    clients = Clients(first)
    last = len(clients) - 1
    assert Clients(second).client(last).subscriptions == clients.client(last).subscriptions
    assert second.warnings == first.warnings


@settings(max_examples=100, deadline=None)
@given(data=scenarios())
def test_the_schema_accepts_what_the_loader_does_and_what_it_writes(data: dict[str, Any]) -> None:
    validator().validate(data)
    validator().validate(from_resolved(data).resolved())


def test_a_resolved_scenario_is_in_the_terms_of_the_yaml() -> None:
    resolved = load(
        "comments", {"phases.warmup": "1500ms", "clients.commenters.publish.rate": "90/min"}
    ).resolved()
    assert resolved["phases"] == {
        "ready": "probe",
        "ready_timeout": "30s",
        "warmup": "1500ms",
        "measure": "20s",
        "drain": "2s",
    }
    assert resolved["clients"]["commenters"]["publish"]["rate"] == "1.5/s"
    assert resolved["clients"]["commenters"]["publish"]["payload"] == "200B"


def test_what_is_not_a_resolved_scenario_is_refused() -> None:
    with pytest.raises(ScenarioError) as caught:
        from_resolved({"version": 1, "clients": {"a": {"count": 1, "subscribe": ["/a/*/b"]}}})
    assert (
        caught.value.problems[0]
        == "scenario: clients has no group that publishes; give one of them 'publish'"
    )
    assert caught.value.problems[1].startswith(
        "scenario: clients.a.subscribe.0 cannot be used: channel '/a/*/b'"
    )


def test_the_schema_is_a_schema_and_explains_every_key() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is False
        for key, value in part["properties"].items():
            assert len(value["description"]) > 10, key
            if "default" in value:
                validator().evolve(schema={**value, "$defs": schema["$defs"]}).validate(value["default"])


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_the_schema_accepts_the_catalogue(entry: Shipped) -> None:
    validator().validate(YAML(typ="safe").load(entry.path))


@pytest.mark.parametrize(
    "text",
    [
        edited("count: 5", "cuont: 5"),
        edited("count: 5", "count: 0"),
        edited("rate: 100/s", "rate: 100"),
        edited("rate: 100/s", "rate: 100/sec"),
        edited("      rate: 100/s\n", ""),
        edited("warmup: 1s", "warmup: 1"),
        edited("warmup: 1s", "ready: {settle: 2}"),
        edited('subscribe: "/default/c/{article}/*"', "subscribe: []"),
        edited('    subscribe: "/default/c/{article}/*"\n', ""),
        edited("version: 1", "version: 2"),
        with_publish("rate_per_client: 5/s"),
        with_publish("payload: 200"),
        with_publish("profile: []"),
        with_publish("profile: {}"),
        with_publish("profile: {steps: [], each: 1s}"),
        with_publish("profile: {steps: [1%]}"),
        with_publish("profile: {steps: [1%], each: 1s, ramp: {from: 0%, to: 1%, over: 1s}}"),
        with_publish("profile: {ramp: {from: 0%, to: 1, over: 1s}}"),
        with_publish("profile: {daily: {low: 1%, peak_at: '24:00'}}"),
        with_publish("batch: 6"),
        with_publish("arrival: {bursts: 0}"),
        with_publish("in_flight: null"),
        with_readers("reconnect: sometimes"),
        with_readers("drops: []"),
        with_readers("drops: [{at: 1, share: 10%}]"),
        with_readers("churn: {away: 1}"),
        with_readers("slow: {share: 10%}"),
    ],
)
def test_the_schema_refuses_what_the_loader_does(text: str) -> None:
    yaml = YAML(typ="safe")
    validator().validate(yaml.load(GOOD))
    assert not validator().is_valid(yaml.load(text))
