"""Test that the decision table of docs/choose.md has the figures that the program computes."""

import re

from loadgen.planning.services.costing import Costing, costings
from tests.paths import REPO
from tests.planning.services.loads import example

PAGE = (REPO / "docs" / "choose.md").read_text(encoding="utf-8")
OFFERS = {
    "AppSync Events": ("appsync-events",),
    "AppSync GraphQL": ("appsync-graphql",),
    "API Gateway WebSocket": ("api-gateway",),
    "AWS IoT Core, QoS 0": ("aws-iot-core:qos0",),
    "AWS IoT Core, QoS 1": ("aws-iot-core:qos1",),
    "Ably, per minute": ("ably:per-minute",),
    "Pusher": ("pusher",),
    "PubNub, by users": ("pubnub:mau",),
    "Azure Web PubSub": ("azure-web-pubsub:standard",),
    "Cloudflare Durable Objects": (
        "cloudflare-durable-objects:hibernating",
        "cloudflare-durable-objects:awake",
    ),
    "Supabase": ("supabase",),
    "Firebase": ("firebase",),
    "Momento": ("momento",),
}


def _rows() -> dict[str, list[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells if row[0] in OFFERS}


def _month(offers: list[Costing]) -> str:
    spans = [offer.month.usd() for offer in offers]
    low = min((span.low for span in spans if span.low is not None), default=None)
    high = max((span.high for span in spans if span.high is not None), default=None)
    if low is None or high is None:
        return "unknown"
    said = [f"{float(amount):,.0f}" for amount in (low, high)]
    return said[0] if said[0] == said[1] else " … ".join(said)


def test_each_service_of_the_table_costs_what_the_program_computes() -> None:
    found = {each.label: each for each in costings(example())}
    rows = _rows()
    assert set(rows) == set(OFFERS)
    for name, labels in OFFERS.items():
        assert rows[name][0] == _month([found[label] for label in labels]), name


def test_each_share_of_a_quota_is_the_one_that_binds_first() -> None:
    found = {each.label: each for each in costings(example())}
    for name, labels in OFFERS.items():
        told = re.search(r"([\d.]+) %$", _rows()[name][2])
        binds = found[labels[0]].binds
        if told is None:
            assert binds is None or _rows()[name][2] == "the same", name
        else:
            assert binds is not None
            assert binds.share is not None
            assert float(told[1]) == round(float(binds.share) * 100, 0 if "." not in told[1] else 1), name
