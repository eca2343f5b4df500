"""What a scenario adds up to: the totals that phases wait for and limits are checked against."""

from collections import deque
from dataclasses import dataclass

from loadgen.scenario import Plan, Scenario


@dataclass(frozen=True)
class Census:
    """Totals over all clients."""

    clients: int
    #: Clients that hold a connection of their own, over WebSocket or whatever else carries the protocol.
    websockets: int
    #: These connections and one HTTP connection for each client that publishes by HTTP.
    sockets: int
    subscriptions: int
    #: From the first connect to the last.
    ramp_ns: int
    #: First segments of all channels.
    namespaces: tuple[str, ...]

    @classmethod
    def of(cls, scenario: Scenario, plan: Plan) -> "Census":
        """Count a scenario."""
        websockets = http = 0
        ramp_ns = 0
        channels: list[str] = []
        for group in plan.groups:
            model = scenario.clients[group.name]
            over_http = model.publish is not None and scenario.rules.over_http(model.publish.via)
            if group.subscriptions_per_client or (model.publish is not None and not over_http):
                websockets += group.count
            if over_http:
                http += group.count
            ramp_ns = max(ramp_ns, plan.client(group.first + group.count - 1).ramp_offset_ns)
            channels += model.subscribe
            if model.publish is not None:
                channels.append(model.publish.channel)
        namespaces = dict.fromkeys(channel.strip("/").split("/")[0] for channel in channels)
        return cls(
            len(plan), websockets, websockets + http, plan.subscription_count, ramp_ns, tuple(namespaces)
        )


def numbers_by_role(plan: Plan) -> dict[str, deque[int]]:
    """Return the clients of each role, lowest first."""
    numbers: dict[str, deque[int]] = {}
    for group in plan.groups:
        numbers.setdefault(group.role, deque()).extend(range(group.first, group.first + group.count))
    return numbers
