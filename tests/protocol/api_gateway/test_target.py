"""Test the checks of scenarios for a WebSocket API as the target."""

import pytest

from loadgen.protocol.api_gateway import limits
from loadgen.protocol.api_gateway.target import protocol_of

LOCAL = "apigw+ws://127.0.0.1:8700/production"
AWS = "wss://a.execute-api.eu-west-1.amazonaws.com/prod"


def test_wildcards_are_the_backends_and_refused_unless_it_has_them() -> None:
    without, having = protocol_of(LOCAL).rules, protocol_of(f"{LOCAL}?wildcards=yes").rules
    with pytest.raises(ValueError, match="no wildcards: subscribe to whole channels"):
        without.validate_subscribe("/default/a/*")
    assert having.validate_subscribe("/default/a/*") == "/default/a/*"
    assert having.matches("/default/a/*", "/default/a/b/c")
    for rules in (without, having):
        rules.validate_subscribe("/default/a")
        with pytest.raises(ValueError, match="'\\*'"):
            rules.validate_publish("/default/*")


def test_one_message_is_one_event_over_the_clients_own_connection() -> None:
    rules = protocol_of(AWS).rules
    assert not rules.batches
    assert not rules.publishes_over_http
    assert not rules.overlapping_subscriptions
    assert not rules.logins_by_operation


def test_quotas_are_of_aws_and_of_custom_domains_but_not_of_this_machine() -> None:
    for url in (AWS, "apigw+wss://ws.example.com"):
        rules = protocol_of(url).rules
        assert rules.connects_per_s == 500
        assert rules.connection_lifetime_s == 7_200
        assert rules.event_bytes == 131_072 == limits.MESSAGE_MAX_BYTES
    rules = protocol_of(LOCAL).rules
    assert rules.connects_per_s is rules.connection_lifetime_s is rules.event_bytes is None


def test_the_record_says_how_the_service_was_used() -> None:
    protocol = protocol_of(f"{LOCAL}?keepalive=ping&event=json")
    setup = protocol.setup(protocol.endpoints(f"{LOCAL}?keepalive=ping&event=json"))
    assert setup["wildcards"] == "none"
    assert "assumption" in setup["keepalive"]
    assert "{type: message, channel, data: …}" in setup["messages"]
    assert protocol.endpoints(LOCAL).describe()["url"] == LOCAL
