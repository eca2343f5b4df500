"""Test how the resolved run is encoded for workers, and that a worker refuses values out of bounds in it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from loadgen.pacing import Pace
from loadgen.resolve import Clients, ResolvedRun
from loadgen.resolve.behaviour import ORDINARY
from loadgen.resolve.loading import from_resolved, load
from loadgen.resolve.resolver import resolve
from loadgen.resolve.run import decoded, encoded
from tests.scenario.strategies import scenarios


@settings(max_examples=40, deadline=None)
@given(data=scenarios())
def test_a_run_reads_back_as_itself_and_its_clients_are_the_same(data: dict[str, Any]) -> None:
    run = resolve(from_resolved(data))
    assert decoded(encoded(run)) == run
    sent = msgspec.convert(msgspec.msgpack.decode(msgspec.msgpack.encode(run.for_worker())), ResolvedRun)
    assert (sent.groups, sent.phases, sent.gates, sent.totals) == (
        run.groups,
        run.phases,
        run.gates,
        run.totals,
    )
    assert (sent.document, sent.warnings, sent.target) == ({}, (), None)
    here, there = Clients(run), Clients(sent)
    assert len(here) == len(there) == sum(group.count for group in run.groups)
    for number in {0, len(here) // 2, len(here) - 1}:
        one, other = here.client(number), there.client(number)
        assert (one.subscriptions, one.behaviour, one.ramp_offset_ns) == (
            other.subscriptions,
            other.behaviour,
            other.ramp_offset_ns,
        )
        if one.publish is not None:
            assert other.publish is not None
            draws, others = one.publish.channels(), other.publish.channels()
            assert [draws.next() for _ in range(5)] == [others.next() for _ in range(5)]
            assert next(one.publish.offsets_ns(), None) == next(other.publish.offsets_ns(), None)


def test_the_ramp_of_the_totals_is_that_of_the_last_client() -> None:
    run = resolve(load("comments", {"clients.readers.ramp": "70/s"}))
    clients = Clients(run)
    last = max(clients.client(number).ramp_offset_ns for number in range(len(clients)))
    assert run.totals.ramp_ns == last == int(499 * 10**9 / 70)


def test_a_client_of_which_nothing_is_said_comes_back_as_one_of_a_scenario() -> None:
    told = Clients(resolve(load("broadcast"))).client(0).behaviour.reconnect
    plain = ORDINARY.reconnect
    assert (plain.first_ns, plain.most_ns, plain.jitter, plain.again) == (
        told.first_ns,
        told.most_ns,
        told.jitter,
        told.again,
    )


def test_no_secret_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_NAME", "da2-canary")
    url = "https://abc.appsync-api.eu-west-1.amazonaws.com/event"
    run = resolve(load("comments", {"target.url": url, "target.api_key_env": "SOME_NAME"}))
    assert run.target is not None
    assert run.target.login == {"mode": "api-key", "key_env": "SOME_NAME"}
    assert b"canary" not in encoded(run)
    assert b"SOME_NAME" not in encoded(run.for_worker())


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return the resolved run of `chat` as it is sent to a worker, but with ``value`` at ``path``."""
    plain = msgspec.msgpack.decode(
        msgspec.msgpack.encode(resolve(load("chat")).for_worker()), type=dict[str, Any]
    )
    at: Any = plain
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return plain


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("groups",), [], "length >= 1"),
        (("groups", 0, "count"), 0, r">= 1.*groups\[0\]\.count"),
        (("groups", 0, "count"), 10**9, r"<= 2000000.*groups\[0\]\.count"),
        (("groups", 0, "count"), 201, "do not follow those before them"),
        (("groups", 1, "first_subscription"), 7, "do not follow those before them"),
        (("groups", 0, "ramp_per_s"), 0.0, "> 0.0"),
        (("groups", 0, "ramp_per_s"), float("inf"), "<= 1000000000000000"),
        (("groups", 0, "ramp_per_s"), float("nan"), "> 0.0"),
        (("groups", 0, "publish", "channel"), "/a/{other}", r"uses \{other\}, which is not a variable"),
        (("groups", 0, "publish", "channel"), "/a/{", "without its partner"),
        (("groups", 1, "subscribe"), [], "neither subscribes nor publishes"),
        (("groups", 0, "publish", "pace", "requests_per_s"), -1.0, "must be above 0"),
        (("groups", 0, "publish", "pace", "curve"), [{"at_ns": -1, "load": 1.0}], "must not be negative"),
        (("groups", 0, "publish", "pace", "curve"), [{"at_ns": 1, "load": float("nan")}], "must not be"),
        (
            ("groups", 0, "publish", "pace", "curve"),
            [{"at_ns": 2, "load": 1.0}, {"at_ns": 1, "load": 1.0}],
            "in order of time",
        ),
        (("groups", 0, "publish", "pace", "requests_per_s"), 1e300, "requests/s"),
        (("groups", 0, "churn"), {"away_ns": 1}, "one of changes_per_s and lifetime_ns"),
        (("gates",), [{"check": "no gate"}], "gate"),
        (("phases", "measure_ns"), 0, ">= 1"),
        (("seed",), -1, ">= 0"),
        (("variables", "room", "count"), 10**7, "<= 1000000"),
    ],
)
def test_a_worker_refuses_what_its_code_could_not_bear(path: tuple[Any, ...], value: Any, said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(changed(path, value), ResolvedRun)


def test_bytes_that_are_no_run_are_refused() -> None:
    with pytest.raises(ValueError, match="truncated"):
        decoded(encoded(resolve(load("chat")))[:-3])
    with pytest.raises(ValueError, match="Expected"):
        decoded(msgspec.msgpack.encode(["run"]))


def test_a_pace_is_as_it_was_given() -> None:
    pace = resolve(load("sports-burst")).publishing
    assert all(isinstance(each.pace, Pace) and each.pace.curve for each in pace.values())
