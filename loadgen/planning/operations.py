"""Compute the operations, connection time and bytes that a scenario causes in a service, per run and per hour."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from analysis import pricing
from loadgen.planning import returns
from loadgen.planning.fanout import GroupLoad, due
from loadgen.planning.prices import Prices
from loadgen.resolve import ResolvedRun

_NS_PER_S = 1_000_000_000
_UNKNOWN = (
    "publish", "delivery", "probe_publish", "probe_delivery", "connect", "subscribe", "handler", "keepalive",
)  # fmt: skip
#: Segment in place of `*` in the channel of a readiness probe (an event that tests a subscription). Any name would give
#: the same counts.
_PROBE_SEGMENT = "probe"


class Handler(Enum):
    """A kind of handler: code that the target runs for each publish or subscribe in a namespace.

    A scenario does not say which handlers its target has, so users name them.
    """

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of the service in a period of time; None means unknown."""

    operations: Mapping[str, float | None]
    """Number of operations by kind, with the names of `analysis.pricing.KINDS`."""
    connection_minutes: float | None
    bytes_out: float | None
    """Bytes of event text sent to subscribers, without the overhead of frames, TLS and TCP."""

    def times(self, factor: float) -> "Usage":
        """Return this usage multiplied by ``factor``."""
        return Usage(
            {name: None if number is None else number * factor for name, number in self.operations.items()},
            None if self.connection_minutes is None else self.connection_minutes * factor,
            None if self.bytes_out is None else self.bytes_out * factor,
        )

    def bill(self, prices: Prices) -> dict[str, Any]:
        """Return the cost of this usage, in the form of `analysis.pricing.bill`."""
        return pricing.bill(self.operations, self.connection_minutes, self.bytes_out, prices.snapshot())


def of_run(
    run: ResolvedRun,
    loads: Sequence[GroupLoad],
    patterns: Mapping[str, float] | None,
    prices: Prices,
    handlers: frozenset[Handler],
) -> Usage:
    """Return the usage of one run from its first connect to its last close.

    The connection time leaves out the wait until subscriptions are ready, because it depends on the service. Readiness
    probes are counted as if one round were enough. Drops and churn add their expected connects and subscribes, but the
    time for which they keep clients away is not subtracted from the connection time.
    """
    probes: tuple[float, float | None] = (0.0, 0.0)
    again = returns.of_run(run)
    if run.phases.settle_ns is None:
        probes = _probe_round(patterns)
    connected_s, keepalives = _connected(run, prices.metering.keepalive_interval_s.value)
    return _usage(
        run,
        {load.name: (load.requests, load) for load in loads},
        prices,
        handlers,
        connects=run.totals.websockets + again.connects,
        subscribes=run.totals.subscriptions + again.subscribes,
        probes=probes,
        connected_s=connected_s,
        keepalives=keepalives,
    )


def of_hour(
    run: ResolvedRun,
    loads: Sequence[GroupLoad],
    prices: Prices,
    handlers: frozenset[Handler],
) -> Usage:
    """Return the usage of an hour at the mean load of the measure phase, with all clients connected throughout.

    Connects and subscribes come from churn, and from the service ending each connection after its maximum lifetime.
    """
    phases, hour_s = run.phases, 3600.0
    requests, publishing = {}, run.publishing
    for load in loads:
        pace = publishing[load.name].pace
        measured = due(pace, phases.publishing_ns) - due(pace, phases.warmup_ns)
        requests[load.name] = (measured * _NS_PER_S / phases.measure_ns * hour_s, load)
    connections = run.totals.websockets
    lifetime_s = prices.quotas.connection_seconds.value
    renewed = hour_s / lifetime_s if lifetime_s else 0.0
    again = returns.of_hour(run)
    return _usage(
        run,
        requests,
        prices,
        handlers,
        connects=connections * renewed + again.connects,
        subscribes=run.totals.subscriptions * renewed + again.subscribes,
        probes=(0.0, 0.0),
        connected_s=connections * hour_s,
        keepalives=connections * hour_s / prices.metering.keepalive_interval_s.value,
    )


def _usage(
    run: ResolvedRun,
    requests: Mapping[str, tuple[float, GroupLoad]],
    prices: Prices,
    handlers: frozenset[Handler],
    *,
    connects: float,
    subscribes: float,
    probes: tuple[float, float | None],
    connected_s: float,
    keepalives: float,
) -> Usage:
    if run.journeys:
        # A journey is user code that decides what it sends and receives, so the usage of the whole run is unknown.
        return Usage({"foreign": 0.0} | dict.fromkeys(_UNKNOWN), None, None)
    published = invoked = 0.0
    publishing = run.publishing
    delivered: float | None = 0.0
    bytes_out: float | None = 0.0
    for name, (number, load) in requests.items():
        publish = publishing[name]
        units = publish.units(prices.unit_bytes)
        events = number * publish.batch
        published += events * units
        invoked += number if Handler.PUBLISH in handlers else 0.0
        if load.subscribers is None or delivered is None or bytes_out is None:
            delivered = bytes_out = None
        else:
            delivered += events * load.subscribers * units
            bytes_out += events * load.subscribers * publish.mean_bytes
    if Handler.SUBSCRIBE in handlers:
        invoked += subscribes
    return Usage(
        {
            "publish": published,
            "delivery": delivered,
            "foreign": 0.0,
            "probe_publish": probes[0],
            "probe_delivery": probes[1],
            "connect": connects,
            "subscribe": subscribes,
            "handler": invoked,
            "keepalive": keepalives,
        },
        connected_s / 60,
        bytes_out,
    )


def _connected(run: ResolvedRun, keepalive_s: float) -> tuple[float, float]:
    """Return the sum of all connections' durations in seconds, and the number of keep-alives they receive."""
    groups = [group for group in run.groups if group.holds_connections]
    last_s = max(((group.count - 1) / group.ramp_per_s for group in groups), default=0.0)
    after_s = (run.phases.publishing_ns + run.phases.drain_ns) / _NS_PER_S
    total_s = keepalives = 0.0
    for group in groups:
        # Client k connects k / ramp seconds after the first, and all stay connected to the end.
        first_s = last_s + after_s
        total_s += group.count * first_s - group.count * (group.count - 1) / 2 / group.ramp_per_s
        ends = Counter(
            int((first_s - index / group.ramp_per_s) // keepalive_s) for index in range(group.count)
        )
        keepalives += sum(number * count for number, count in ends.items())
    return total_s, keepalives


def _probe_round(patterns: Mapping[str, float] | None) -> tuple[float, float | None]:
    """Return the number of readiness probes in a round (one per channel), and the number of their deliveries."""
    if patterns is None:
        return 0.0, None
    exact = {pattern: count for pattern, count in patterns.items() if not pattern.endswith("/*")}
    below = {pattern[:-2]: count for pattern, count in patterns.items() if pattern.endswith("/*")}
    heard = 0.0
    for pattern in patterns:
        channel = f"{pattern[:-1]}{_PROBE_SEGMENT}" if pattern.endswith("/*") else pattern
        heard += exact.get(channel, 0.0)
        end = channel.rfind("/")
        while end > 0:
            heard += below.get(channel[:end], 0.0)
            end = channel.rfind("/", 0, end)
    return float(len(patterns)), heard
