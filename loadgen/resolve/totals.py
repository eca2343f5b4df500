"""What a run's groups add up to: the totals that phases wait for and limits are checked against."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

_NS_PER_S = 1_000_000_000


class Counted(Protocol):
    """A group of clients, as far as totals go by it: see `loadgen.resolve.run.Group`."""

    @property
    def count(self) -> int:
        """How many clients it has."""

    @property
    def ramp_per_s(self) -> float:
        """Connects per second."""

    @property
    def channels(self) -> Sequence[str]:
        """What it subscribes to, and publishes to."""

    @property
    def holds_connections(self) -> bool:
        """Whether each client holds a connection of its own."""

    @property
    def uses_http(self) -> bool:
        """Whether each client publishes over HTTP."""

    @property
    def subscriptions(self) -> int:
        """Subscriptions of all its clients."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals over all clients."""

    clients: int
    #: Clients that hold a connection of their own, over WebSocket or whatever else carries the protocol.
    websockets: int
    #: Clients that publish over HTTP.
    http: int
    subscriptions: int
    #: From the first connect to the last.
    ramp_ns: int
    #: First segments of all channels, in the order in which they are written.
    namespaces: tuple[str, ...]

    @property
    def sockets(self) -> int:
        """Connections of the clients' own, and one HTTP connection for each client that publishes by HTTP."""
        return self.websockets + self.http


def totals_of(groups: Sequence[Counted]) -> Totals:
    """Add up groups."""
    channels = [channel for group in groups for channel in group.channels]
    return Totals(
        clients=sum(group.count for group in groups),
        websockets=sum(group.count for group in groups if group.holds_connections),
        http=sum(group.count for group in groups if group.uses_http),
        subscriptions=sum(group.subscriptions for group in groups),
        ramp_ns=max(ramp_offset_ns(group.count - 1, group.ramp_per_s) for group in groups),
        namespaces=tuple(dict.fromkeys(channel.strip("/").split("/")[0] for channel in channels)),
    )


def ramp_offset_ns(index: int, ramp_per_s: float) -> int:
    """Return when client ``index`` of a group connects, in ns from the start of the ramp."""
    return int(index * _NS_PER_S / Fraction(ramp_per_s))
