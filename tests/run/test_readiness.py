"""Test the times and channels of probes."""

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import gevent
import pytest

from loadgen.protocol.base import PublishAnswer
from loadgen.run import readiness
from loadgen.run.readiness import PROBE_INTERVAL_S, ProbedReadiness
from loadgen.transport.errors import TransportError


class _Service:
    """A service that has only a URL and a channel name."""

    http_url = None

    def channel_for(self, awaited: str) -> str:
        return awaited


class _Prober:
    def __init__(self, answer: Callable[[], PublishAnswer]) -> None:
        self.channels: list[str] = []
        self._answer = answer

    def publish(self, channel: str, event: object) -> PublishAnswer:
        self.channels.append(channel)
        return self._answer()

    def close(self) -> None:
        pass


class _Probes:
    def __init__(self, answer: Callable[[], PublishAnswer] = PublishAnswer) -> None:
        self.ramp_over = False
        self.complaints: list[tuple[str, bool]] = []
        self.failures: list[BaseException] = []
        self.readiness = ProbedReadiness(
            cast("Any", _Service()),
            7,
            0,
            lambda: self.ramp_over,
            lambda reason, fatal: self.complaints.append((reason, fatal)),
            self.failures.append,
        )
        self.prober = _Prober(answer)
        self.readiness._prober = self.prober

    def until(self, condition: Callable[[], bool]) -> None:
        with gevent.Timeout(60):
            while not condition():
                gevent.sleep(0.005)

    def sent(self, count: int) -> list[str]:
        self.until(lambda: len(self.prober.channels) >= count)
        return self.prober.channels


def watch(probes: _Probes, *channels: str) -> None:
    for channel in channels:
        probes.readiness.watch(channel, lambda _at_ns: None)


def test_nothing_is_probed_while_clients_still_connect() -> None:
    probes = _Probes()
    watch(probes, "a")
    gevent.sleep(2 * PROBE_INTERVAL_S)
    assert probes.prober.channels == []
    assert probes.readiness.probes == 0
    probes.ramp_over = True
    assert probes.sent(1) == ["a"]
    probes.readiness.stop()


def test_one_round_serves_those_that_subscribe_one_after_another() -> None:
    probes = _Probes()
    probes.ramp_over = True
    watch(probes, "a")
    gevent.sleep(0)
    watch(probes, "b", "b", "c")
    assert sorted(probes.sent(3)) == ["a", "b", "c"]
    probes.readiness.stop()


def test_a_channel_is_probed_until_each_of_its_subscriptions_is_proven() -> None:
    probes = _Probes()
    probes.ramp_over = True
    watch(probes, "a", "b", "b")
    probes.sent(2)
    for channel in ("a", "b"):
        probes.readiness.proven(channel)
    probes.sent(4)
    assert sorted(probes.prober.channels[:2]) == ["a", "b"]
    assert set(probes.prober.channels[2:]) == {"b"}
    probes.readiness.withdraw("b")
    count = len(probes.prober.channels)
    gevent.sleep(2 * PROBE_INTERVAL_S)
    assert len(probes.prober.channels) == count == probes.readiness.probes
    # A subscription that is made later, after a reconnect, is probed again.
    watch(probes, "d")
    assert probes.sent(count + 1)[-1] == "d"
    assert probes.readiness.probed_since_ns("d") is not None
    assert probes.readiness.probed_since_ns("e") is None
    probes.readiness.stop()


def test_what_goes_wrong_is_told_and_the_next_round_is_sent() -> None:
    outcomes: list[Exception | PublishAnswer] = [
        TransportError("it is closed"),
        ValueError("a defect"),
        PublishAnswer(error="not allowed"),
        PublishAnswer(),
    ]

    def answer() -> PublishAnswer:
        found = outcomes.pop(0) if outcomes else PublishAnswer()
        if isinstance(found, Exception):
            raise found
        return found

    probes = _Probes(answer)
    probes.ramp_over = True
    watch(probes, "a")
    probes.sent(4)
    assert probes.complaints == [
        ("readiness probe: it is closed", False),
        ("readiness probe to a refused: not allowed", True),
    ]
    assert [str(error) for error in probes.failures] == ["a defect"]
    probes.readiness.stop()


@pytest.mark.parametrize("pause_s", [0.0, 0.03])
def test_a_stream_of_new_subscriptions_does_not_put_a_round_off_for_ever(pause_s: float) -> None:
    probes = _Probes()
    probes.ramp_over = True

    def subscribe() -> None:
        for number in range(10**6):
            watch(probes, f"c{number}")
            gevent.sleep(pause_s)

    streaming = gevent.spawn(subscribe)
    assert probes.sent(1)
    streaming.kill()
    probes.readiness.stop()


SHARED = "/$share/team/a"


def test_as_many_probes_are_sent_as_members_of_a_shared_subscription_wait() -> None:
    probes = _Probes()
    probes.ramp_over = True
    watch(probes, SHARED, SHARED, SHARED, "b", "b")
    assert Counter(probes.sent(4)[:4]) == {SHARED: 3, "b": 1}
    probes.readiness.proven(SHARED)
    probes.readiness.withdraw("b")
    probes.readiness.withdraw("b")
    before = len(probes.prober.channels)
    probes.sent(before + 2)
    assert set(probes.prober.channels[before:]) == {SHARED}
    probes.readiness.stop()


def test_a_member_that_no_probe_reaches_counts_as_ready_after_many_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness, "PROBE_INTERVAL_S", 0.01)
    probes = _Probes()
    probes.ramp_over = True
    ready: list[int] = []

    def on_ready(at_ns: int) -> None:
        ready.append(at_ns)
        probes.readiness.proven(SHARED)

    probes.readiness.watch(SHARED, on_ready)
    # A shared subscription becomes ready after enough probes, even if it receives none. An ordinary
    # subscription that receives no probe never becomes ready.
    probes.readiness.watch("b", lambda _: pytest.fail("what is not shared is awaited for ever"))
    probes.until(lambda: bool(ready))
    assert probes.prober.channels.count(SHARED) >= readiness.SHARED_ROUNDS
    gevent.sleep(0.1)
    assert len(ready) == 1
    probes.readiness.stop()
