"""What a scenario adds up to: the totals that phases wait for and limits are checked against."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from loadgen.run.shares import turns
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


@dataclass
class Share:
    """What one worker holds of a run."""

    #: Its clients by role, lowest number first.
    free: dict[str, deque[int]] = field(default_factory=dict)
    clients: int = 0
    subscriptions: int = 0
    sockets: int = 0
    #: Of these the connections of its own that a client holds; the others are HTTP's.
    websockets: int = 0

    def counts(self) -> dict[str, int]:
        """Return how many clients of each role nobody has claimed yet."""
        return {role: len(numbers) for role, numbers in self.free.items()}


def shares(scenario: Scenario, plan: Plan, weights: Sequence[Fraction]) -> list[Share]:
    """Return what each of the workers with these weights holds; see :mod:`loadgen.run.shares`."""
    dealt = turns(weights, len(plan))
    found = [Share() for _ in weights]
    for group in plan.groups:
        model = scenario.clients[group.name]
        over_http = model.publish is not None and model.publish.via == "http"
        websocket = bool(group.subscriptions_per_client) or (model.publish is not None and not over_http)
        queues = [share.free.setdefault(group.role, deque()) for share in found]
        for number in range(group.first, group.first + group.count):
            queues[dealt[number]].append(number)
        its = Counter(dealt[group.first : group.first + group.count])
        for worker, count in its.items():
            share = found[worker]
            share.clients += count
            share.subscriptions += count * group.subscriptions_per_client
            share.sockets += count * (websocket + over_http)
            share.websockets += count * websocket
    return found
