"""What a target's protocol allows, as far as a scenario must know it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProtocolRules:
    """One protocol's rules; each protocol brings its own object.

    The two validators raise ``ValueError`` with one sentence. The figures are the service's defaults, above which a
    scenario is warned about; they do not make it invalid. None: it has no such limit.
    """

    normalise: Callable[[str], str]
    """Returns a channel, or a template of one, in its one canonical form; checks nothing."""
    validate_publish: Callable[[str], object]
    """Takes what may be published to."""
    validate_subscribe: Callable[[str], object]
    """Takes what may be subscribed to."""
    matches: Callable[[str, str], bool]
    """Whether a subscription to the first receives what is published to the second."""
    publishes_per_connection_per_s: float | None
    connects_per_s: float | None
    events_per_s: float | None
    connection_lifetime_s: float | None
    publishes_over_http: bool = True
    """Whether `via: http` is possible; else such clients publish over a connection of their own."""
    subscriptions_per_connection: float | None = None
    """What the service allows; the scenario's format has a limit of its own."""
    overlapping_subscriptions: bool = True
    """Whether a delivery says which of a connection's subscriptions it belongs to, so that those may overlap."""
    publishes_over_connections: bool = True
    """Whether `via: websocket` is possible; else such clients publish over HTTP."""
    one_subscription: bool = False
    """Whether a connection can have one subscription only."""
    subscriptions_change: bool = True
    """Whether a subscription can be given up while its connection lives."""
    batches: bool = True
    """Whether one publish may hold several events."""
    event_bytes: int | None = None
    """Bytes of the largest event."""

    def over_http(self, via: str) -> bool:
        """Whether a client for which the scenario says ``via`` publishes over HTTP."""
        return (via == "http" and self.publishes_over_http) or not self.publishes_over_connections
