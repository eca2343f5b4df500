"""Compute how much of each service quota a scenario uses, and how far the scenario can grow until a quota binds."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

from loadgen.planning.fanout import GroupLoad
from loadgen.planning.peaks import Growth, Rates, peak
from loadgen.planning.prices import Prices, Quota
from loadgen.resolve import ResolvedRun
from loadgen.scenario.template import Template

_NS_PER_S = 1_000_000_000


#: Quotas whose use depends only on the lengths of the phases.
_OF_PHASES = frozenset({"connection_seconds"})


@dataclass(frozen=True, slots=True)
class Use:
    """A scenario's peak use of one quota."""

    name: str
    """The quota's name in the price file."""
    label: str
    unit: str
    """Unit of the use: `/s`, `bytes`, `s`, or empty for a plain count."""
    asked: float | None
    """Use at the peak in `unit`, or None if it could not be computed."""
    quota: Quota
    by_rate: bool = False
    """True if the use grows in proportion to the publish rate."""
    by_clients: tuple[Growth, ...] = ()
    """Use as a function of the number of clients, one function for each moment that may be the peak. Empty if the use
    does not depend on the number of clients."""
    at_least: bool = False
    """True if `asked` is a lower bound: the service may count more."""

    @property
    def share(self) -> float | None:
        """Share of the quota used at the peak, or None if unknown."""
        if self.asked is None or self.quota.value is None:
            return None
        return self.asked / self.quota.value

    @property
    def rate_headroom(self) -> float | None:
        """Factor by which the publish rate can grow until this quota binds; None if unknown or if it never binds."""
        if not self.by_rate or not self.share:
            return None
        return 1 / self.share

    @property
    def clients_headroom(self) -> float | None:
        """Factor by which every group can grow until this quota binds; None if unknown or if it never binds."""
        if self.quota.value is None or self.asked is None:
            return None
        found = min((_root(growth, self.quota.value) for growth in self.by_clients), default=inf)
        return None if found == inf else found


def uses(
    run: ResolvedRun,
    loads: Sequence[GroupLoad],
    prices: Prices,
) -> list[Use]:
    """Return the scenario's peak use of every quota; a use that depends on user code is unknown (None)."""
    found = _uses(run, loads, prices)
    if not run.journeys:
        return found
    return [
        use if use.name in _OF_PHASES else dataclasses.replace(use, asked=None, by_clients=())
        for use in found
    ]


def _uses(run: ResolvedRun, loads: Sequence[GroupLoad], prices: Prices) -> list[Use]:
    quotas, rates = prices.quotas, Rates(run, loads)
    groups = run.groups
    publishes = [group.publish for group in groups if group.publish is not None]
    channels = [
        channel[1:]
        for group in groups
        for channel in (*group.subscribe, *([group.publish.channel] if group.publish else []))
    ]
    connecting = run.totals.websockets
    connects = sum(group.connects_per_s for group in groups if group.holds_connections)
    subscribes = sum(group.connects_per_s * len(group.subscribe) for group in groups)
    phases = run.phases
    event_bytes = max((publish.most_bytes for publish in publishes), default=0)
    inbound, outbound, requests = rates.inbound(), rates.outbound(prices.unit_bytes), rates.requests()
    tokens = prices.metering.tokens_per_publish.value
    lasting_s = (phases.publishing_ns + phases.drain_ns) / _NS_PER_S
    return [
        Use("inbound_events_per_s", "events published", "/s", peak(inbound), quotas.inbound_events_per_s,
            by_rate=True, by_clients=inbound),
        Use("outbound_messages_per_s", "messages delivered (of 5 KB)", "/s",
            None if outbound is None else peak(outbound), quotas.outbound_messages_per_s,
            by_rate=True, by_clients=outbound or ()),
        Use("request_tokens_per_s", "request tokens of the account", "/s", peak(requests) * tokens,
            quotas.request_tokens_per_s, by_rate=True, at_least=True,
            by_clients=tuple((a * tokens, b * tokens, c * tokens) for a, b, c in requests)),
        Use("publishes_per_connection_per_s", "publishes over one WebSocket", "/s", rates.each_connection(),
            quotas.publishes_per_connection_per_s, by_rate=rates.over_websocket),
        Use("new_connections_per_s", "new connections", "/s", connects, quotas.new_connections_per_s),
        Use("connections", "connections at once", "", float(connecting), quotas.connections,
            by_clients=((0.0, float(connecting), 0.0),)),
        Use("subscribes_per_s", "subscribes", "/s", subscribes, quotas.subscribes_per_s),
        Use("subscriptions_per_connection", "subscriptions of a connection", "",
            float(max(len(group.subscribe) for group in groups)), quotas.subscriptions_per_connection),
        Use("events_per_publish", "events of a publish request", "",
            float(max((publish.batch for publish in publishes), default=0)), quotas.events_per_publish),
        Use("event_bytes", "size of an event", "bytes", float(event_bytes), quotas.event_bytes),
        Use("payload_bytes", "size of a publish request", "bytes",
            float(max((publish.most_bytes * publish.batch for publish in publishes), default=0)),
            quotas.payload_bytes),
        Use("delivered_bytes", "size of a delivered event", "bytes", float(event_bytes), quotas.delivered_bytes),
        Use("channel_segments", "segments of a channel", "",
            float(max((channel.count("/") + 1 for channel in channels), default=0)), quotas.channel_segments),
        Use("segment_characters", "characters of a segment", "", float(_longest(run, channels)),
            quotas.segment_characters),
        Use("namespaces", "namespaces", "",
            float(len({channel.split("/")[0] for channel in channels})), quotas.namespaces),
        Use("connection_seconds", "how long a connection lasts", "s", lasting_s, quotas.connection_seconds,
            at_least=True),
    ]  # fmt: skip


def _root(growth: Growth, value: float) -> float:
    """Return the factor k at which a + b·k + c·k² reaches ``value``.

    Return 0 if the constant a alone reaches it, and infinity if no k does.
    """
    constant, linear, square = growth
    room = value - constant
    if room <= 0:
        return 0.0
    if square > 0:
        return (sqrt(linear * linear + 4 * square * room) - linear) / (2 * square)
    return room / linear if linear > 0 else inf


def _longest(run: ResolvedRun, channels: Sequence[str]) -> int:
    """Return the length of the longest channel segment in characters, with each variable at its largest value.

    A column of data counts with its longest value, or as an empty text if its rows were not read.
    """
    largest: dict[str, object] = {name: variable.count - 1 for name, variable in run.variables.items()}
    for source, data in run.data.items():
        largest |= {f"{source}.{column}": "x" * facts.longest for column, facts in data.columns.items()}
    names = {name for channel in channels for name in Template.parse(channel).names}
    largest |= dict.fromkeys(names - set(largest), "")
    return max(
        (
            len(segment)
            for channel in channels
            for segment in Template.parse(channel).render(largest).split("/")
        ),
        default=0,
    )
