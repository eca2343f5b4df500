"""Say in sentences which parts of a scenario a service cannot run or runs differently, and how certain this is."""

from collections.abc import Iterator
from typing import Final

from loadgen.protocol.base import TargetProtocol
from loadgen.resolve import ResolvedRun

#: Sentences on each protocol's guarantees about the order of events. `_HISTORY` has those about events that were
#: published while a client was away.
_ORDER: Final = {
    "appsync-events": "no order of events is promised (the documentation names none)",
    "appsync-graphql": "no order of events is promised (the documentation names none), and an event that is published"
    " within some time after start_ack can be lost (seen by others on the real service in 2025)",
    "api-gateway": "order is that of the backend's calls, which run side by side: none is promised",
    "mqtt": "order holds for one publisher and topic only (MQTT 5, 4.6)",
}
_HISTORY: Final = {
    "appsync-events": "a client that was away does not get what it missed",
    "appsync-graphql": "a client that was away does not get what it missed",
    "api-gateway": "a client that was away does not get what it missed, unless the backend keeps it",
    "mqtt": "a client that was away gets what it missed only with a session that lasts and QoS 1 or 2; a new subscriber"
    " gets a topic's retained event",
}
#: Sentences on limits that matter only to a long run or a large event.
_LIFE: Final = "connections end after {hours:g} hours at the latest, and clients have to connect again"


def limits(protocol: TargetProtocol, run: ResolvedRun) -> tuple[str, ...]:
    """Return sentences on the service's limits that affect a scenario; ``run`` is resolved for this service."""
    return tuple(_limits(protocol, run))


def _limits(protocol: TargetProtocol, run: ResolvedRun) -> Iterator[str]:
    rules = protocol.rules
    publishing = run.publishing.values()
    if not rules.publishes_over_http and any(publish.over_http for publish in publishing):
        yield "events are published over connections: the service has no HTTP publishing"
    if not rules.publishes_over_connections:
        yield "events are published over HTTP only"
    if not rules.batches:
        yield "each event is a request of its own: there are no batches"
    if rules.one_subscription:
        yield "a connection has one subscription"
    if not rules.subscriptions_change:
        yield "a client cannot unsubscribe and keep its connection"
    most = max((publish.most_bytes for publish in publishing), default=0)
    if rules.event_bytes is not None:
        yield (
            f"the largest event is {rules.event_bytes / 1024:g} KB"
            + (f"; this scenario's have up to {most / 1024:.3g} KB" if most > rules.event_bytes / 2 else "")
        )
    if rules.connection_lifetime_s is not None:
        yield _LIFE.format(hours=rules.connection_lifetime_s / 3600)
    for known in (_ORDER, _HISTORY):
        yield known.get(protocol.name, "order and missed events: see the service's documentation")
    if protocol.logins:
        yield f"logins that can be used here: {', '.join(sorted(protocol.logins))}"
    elif protocol.anonymous:
        yield "clients are anonymous"
