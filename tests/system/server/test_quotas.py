"""Test the service's quotas: token buckets by computation, and each quota over real connections."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.appsync import limits
from loadgen.server.process import Announcement, ServerProcess
from loadgen.server.quotas import Quotas, TokenBucket, metered
from tests.system.server.beside import beside
from tests.system.server.conftest import Client
from tests.system.server.posting import post


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@given(
    rate=st.floats(0.5, 10_000),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5)), max_size=200),
)
def test_a_bucket_never_allows_more_than_the_rate_and_a_seconds_burst(
    rate: float, steps: list[tuple[float, int]]
) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, clock)
    capacity = max(rate, 1.0)
    taken = 0
    for wait_s, amount in steps:
        clock.now_s += wait_s
        if bucket.try_take(amount):
            taken += amount
        # If the bucket is full, an amount above its capacity is allowed too. The debt is paid by later refills.
        assert taken <= capacity + clock.now_s * rate + max(0, 5 - capacity) + 1e-6


def test_a_debt_is_paid_before_more_is_allowed() -> None:
    clock = Clock()
    bucket = TokenBucket(100, clock)
    bucket.charge(350)
    assert bucket.in_debt()
    clock.now_s = 2.4
    assert bucket.in_debt()
    clock.now_s = 2.6
    assert not bucket.in_debt()


@pytest.mark.parametrize(("size", "messages"), [(0, 1), (1, 1), (5120, 1), (5121, 2), (12 * 1024, 3)])
def test_events_are_metered_in_units_of_5_kb(size: int, messages: int) -> None:
    assert metered(size) == messages


def test_the_presets() -> None:
    aws = Quotas.aws()
    assert aws.publishes_per_connection_per_s == 25
    assert aws.connections_per_s == 2_000
    assert aws.inbound_events_per_s == 10_000
    assert aws.outbound_messages_per_s == 1_000_000
    assert aws.subscriptions_per_connection == Quotas().subscriptions_per_connection == 200
    assert Quotas().inbound_events_per_s is None
    assert all(getattr(Quotas.off(), name) is None for name in Quotas.__slots__)


@pytest.fixture
def serving(tmp_path: Path) -> Callable[[str], Any]:
    """Return a function that starts a server in a thread of this process, with quotas set in its YAML file."""

    @contextmanager
    def start(quotas: str) -> Iterator[Announcement]:
        with beside(api_file=api_file(tmp_path, quotas)) as announced:
            yield announced

    return start


def api_file(folder: Path, quotas: str) -> Path:
    path = folder / "api.yaml"
    path.write_text(f"quotas: {quotas}\n")
    return path


def burst(client: Client, requests: int, events: list[str]) -> list[str]:
    """Send all requests at once; return the type of each answer, or for a refusal the name of its error, in order."""
    for number in range(requests):
        message = {"type": "publish", "id": f"p{number}", "channel": "/default/x", "events": events}
        client.send(message | {"authorization": client.authorization})
    answers = [client.receive() for _ in range(requests)]
    return [a["errors"][0]["errorType"] if "errors" in a else a["type"] for a in answers]


def test_25_publishes_a_second_and_connection(tmp_path: Path, client: Callable[..., Client]) -> None:
    with ServerProcess(["--api", str(api_file(tmp_path, "aws"))]) as process:
        api = process.announcement
        one, other = client(api), client(api)
        began_s = time.monotonic()
        first = burst(one, 200, ["1"])
        took_s = time.monotonic() - began_s
        second = burst(other, 20, ["1"])
    allowed = first.count("publish_success")
    # The bucket is refilled while the burst arrives.
    assert 25 <= allowed <= 25 + 25 * took_s
    assert first[:25] == ["publish_success"] * 25
    assert set(first[25:]) <= {"publish_success", "LimitExceededError"}
    assert second == ["publish_success"] * 20


def test_connections_a_second(serving: Callable[[str], Any], client: Callable[..., Client]) -> None:
    with serving("{connections: 3/s}") as api:
        assert [client(api).receive_first()["type"] for _ in range(3)] == ["connection_ack"] * 3
    # This token bucket holds one connection, and takes two minutes to fill again.
    with serving("{connections: 30/h}") as api:
        first, *others = [client(api).receive_first() for _ in range(4)]
    assert first["type"] == "connection_ack"
    assert {answer["type"] for answer in others} == {"connection_error"}
    assert {answer["errors"][0]["errorType"] for answer in others} == {"LimitExceededError"}


def test_inbound_events_count_over_both_transports(
    serving: Callable[[str], Any], client: Callable[..., Client]
) -> None:
    with serving("{inbound_events: 10/s}") as api:
        assert burst(client(api), 3, ["1", "2", "3"]) == ["publish_success"] * 3
    # If the bucket is full, an amount above its capacity is allowed too. The next minutes of refills pay the debt.
    with serving("{inbound_events: 30/h}") as api:
        answers = burst(client(api), 4, ["1", "2", "3"])
        assert answers == ["publish_success"] + ["LimitExceededError"] * 3
        refused = post(api, "/default/x", "1", "2", "3", "4", "5")
    assert refused.status_code == 429
    assert refused.json()["errors"][0]["errorType"] == "LimitExceededError"
    assert refused.headers["x-amzn-ErrorType"] == "LimitExceededError"


def test_outbound_messages_are_charged_by_subscriber_and_size(
    serving: Callable[[str], Any], client: Callable[..., Client]
) -> None:
    large = json.dumps("x" * 60_000)
    with serving("{outbound_messages: 22/s}") as api:
        reader = client(api)
        for number in range(20):
            reader.subscribe("/default/x", f"s{number}")
        # The bucket is full with 22 units of 5 KB, so all 20 deliveries of 12 units each are let through. The debt
        # takes ten seconds to pay.
        assert post(api, "/default/x", large).status_code == 200
        assert post(api, "/default/x", "1").status_code == 429
        assert post(api, "/default/nobody", "1").status_code == 429


def test_sizes_and_subscriptions_can_be_changed_or_switched_off(
    serving: Callable[[str], Any], client: Callable[..., Client]
) -> None:
    large = json.dumps("x" * limits.EVENT_MAX_BYTES)
    with serving("{subscriptions_per_connection: 2, event: 10B, payload: 25B}") as api:
        reader = client(api)
        types = [reader.subscribe("/default/x", f"s{number}")["type"] for number in range(3)]
        assert types == ["subscribe_success", "subscribe_success", "subscribe_error"]
        answer = post(api, "/default/x", '"123456789"', "1").json()
        assert [event["index"] for event in answer["failed"]] == [0]
        assert post(api, "/default/x", *['"12345"'] * 4).status_code == 413
    with serving("off") as api:
        assert post(api, "/default/x", large).json()["failed"] == []
        reader = client(api)
        assert {reader.subscribe("/default/y", f"s{n}")["type"] for n in range(250)} == {"subscribe_success"}
