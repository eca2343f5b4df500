"""The rules of a target's protocol that scenarios are checked against."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from loadgen.protocol import shares


@dataclass(frozen=True, slots=True)
class ProtocolRules:
    """The rules of one protocol; each protocol provides its own object.

    The two validators raise ``ValueError`` with one sentence. The numbers are the service's default limits, or None for
    a limit that it does not have. A scenario that exceeds a limit gets a warning, but stays valid.
    """

    normalise: Callable[[str], str]
    """Returns a channel, or a channel template, in its canonical form; checks nothing."""
    validate_publish: Callable[[str], object]
    """Raises ValueError unless events may be published to the channel."""
    validate_subscribe: Callable[[str], object]
    """Raises ValueError unless the channel or pattern may be subscribed to."""
    matches: Callable[[str, str], bool]
    """Returns True if a subscription to the first argument receives events published to the second."""
    publishes_per_connection_per_s: float | None
    connects_per_s: float | None
    events_per_s: float | None
    connection_lifetime_s: float | None
    publishes_over_http: bool = True
    """True if clients can publish over HTTP; if not, those with `via: http` publish over their own connections."""
    subscriptions_per_connection: float | None = None
    """The service's limit of subscriptions on one connection, or None; the scenario format has a separate limit."""
    overlapping_subscriptions: bool = True
    """True if a connection's subscriptions may overlap, because each delivery names its subscription."""
    publishes_over_connections: bool = True
    """True if clients can publish over their connections; if not, those with `via: websocket` publish over HTTP."""
    one_subscription: bool = False
    """True if a connection can have only one subscription."""
    subscriptions_change: bool = True
    """True if a client can unsubscribe and keep its connection."""
    batches: bool = True
    """True if one publish may carry several events."""
    event_bytes: int | None = None
    """Size of the largest event that the service accepts, in bytes, or None for no limit."""
    logins_by_operation: bool = False
    """True if each subscribe and publish carries a login, in addition to the login of the connection."""
    stamp_beside: Literal["user_property", "header"] | None = None
    """Where a message can carry an event's stamp outside the event, or None if it cannot."""
    shared_subscriptions: bool = False
    """True if the members of a group can share a subscription, so that each event goes to one of them (`shares`)."""

    def demand_subscribable(self, channel: str) -> None:
        """Raise ValueError with one sentence unless a channel or pattern may be subscribed to."""
        if not self.shared_subscriptions and shares.group_of(self.normalise(channel)) is not None:
            raise ValueError(
                f"channel {channel!a} is a shared subscription, which only MQTT brokers have: name the pattern alone,"
                f" {shares.pattern_of(self.normalise(channel))!a}"
            )
        self.validate_subscribe(channel)
