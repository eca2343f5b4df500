"""Test warnings about settings that are probably unintended or above the service's quotas."""

from pathlib import Path

import pytest

from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from tests.scenario.examples import GOOD, edited, with_publish

AWS = "target: {url: 'https://example.com/event'}\n"


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (GOOD, []),
        (with_publish("via: websocket").replace("count: 2", "count: 4"), []),
        (
            with_publish("via: websocket"),
            [
                "clients.writers.publish makes 50 requests/s on each connection, above the service's quota of 25/s; "
                "use more clients, a larger batch or 'via: http'"
            ],
        ),
        (with_publish("via: websocket\n      batch: 2"), []),
        (
            with_publish("via: websocket\n      batch: 2\n      profile: [{at: 0s, load: 150%}]"),
            [
                "clients.writers.publish makes 37.5 requests/s on each connection, above the service's quota of "
                "25/s; use more clients, a larger batch or 'via: http'"
            ],
        ),
        (
            with_publish("payload: 20B"),
            [
                "clients.writers.publish.payload is 20B, less than the stamp that every event carries; "
                "events will be about 80B"
            ],
        ),
        (
            with_publish("profile: [{at: 0s, load: 10%}, {at: 21s, load: 100%}]"),
            ["clients.writers.publish.profile has a point at 21s, after the end of the measure phase (20s)"],
        ),
        (
            with_publish("profile: [{at: 21s, load: 10%}, {at: 30s, load: 1%}, {at: 1m, load: 100%}]"),
            [
                "clients.writers.publish.profile has 3 points after the end of the measure phase (20s), "
                "the last at 1m"
            ],
        ),
        (with_publish("profile: {steps: [50%, 100%], each: 30s}"), []),
        (
            with_publish("profile: {steps: [50%, 100%], each: 30s}") + "  measure: 40s\n",
            ["clients.writers.publish.profile lasts 1m, longer than the measure phase (40s)"],
        ),
        (
            with_publish("profile: {bursts: {base: 1%, peak: 100%, every: 30s, for: 5s}}"),
            [
                "clients.writers.publish.profile has its first burst at 25s, "
                "after the end of the measure phase (20s)"
            ],
        ),
        (
            edited("/{article}/x", "/{article}/y/z").replace("/{article}/*", "/{article}/y"),
            [
                "clients.writers.publish.channel '/default/c/{article}/y/z' seems to match no group's 'subscribe': "
                "no client would receive its events"
            ],
        ),
        (edited("/{article}/*", "/7/*"), []),
        (edited("/{article}/x", "/11/x"), []),
        (
            edited("warmup: 1s", "measure: 24h"),
            ["phases last longer than the 24 h after which the service ends a connection"],
        ),
        (edited("100/s", "20000/s"), []),
        (
            edited("100/s", "20000/s") + AWS,
            ["clients publish up to 20000 events/s, above the service's default quota of 10000/s"],
        ),
        (
            edited("count: 5\n", "count: 5000\n    ramp: 3000/s\n") + AWS,
            ["clients connect at 3000/s, above the service's default quota of 2000/s"],
        ),
    ],
)
def test_warnings(tmp_path: Path, text: str, warnings: list[str]) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert list(resolve(load(str(tmp_path / "x.yaml"))).warnings) == warnings
