"""Totals over a run's groups, for the phases that wait for all clients and for checks of limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

_NS_PER_S = 1_000_000_000


class Counted(Protocol):
    """The properties of a group that totals need; see `loadgen.resolve.group.Group`."""

    @property
    def count(self) -> int:
        """Number of clients."""

    @property
    def ramp_per_s(self) -> float:
        """Connects per second."""

    @property
    def channels(self) -> Sequence[str]:
        """Templates of the channels that the group subscribes to or publishes to."""

    @property
    def holds_connections(self) -> bool:
        """True if each client opens its own connection."""

    @property
    def uses_http(self) -> bool:
        """True if each client publishes over HTTP."""

    @property
    def subscriptions(self) -> int:
        """Number of subscriptions of all clients."""

    @property
    def users(self) -> str | None:
        """The user class whose tasks the clients run, or None."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals over all clients."""

    clients: int
    #: Number of clients that have their own connection, over WebSocket or another transport of the protocol.
    websockets: int
    #: Number of clients that publish over HTTP.
    http: int
    subscriptions: int
    #: Time from the first connect to the last (ns).
    ramp_ns: int
    #: First segments of all channels, without duplicates, in the order of the scenario.
    namespaces: tuple[str, ...]
    #: Number of clients that run the tasks of user classes. They connect once all other clients' subscriptions are
    #: ready. Of the other counts of this class, only `clients` includes them.
    journeys: int = 0

    @property
    def sockets(self) -> int:
        """The clients' own connections, plus one HTTP connection for each client that publishes over HTTP.

        A client that runs a user class may open both, so it counts twice.
        """
        return self.websockets + self.http + 2 * self.journeys


def totals_of(groups: Sequence[Counted]) -> Totals:
    """Return the totals over ``groups``."""
    channels = [channel for group in groups for channel in group.channels]
    return Totals(
        clients=sum(group.count for group in groups),
        websockets=sum(group.count for group in groups if group.holds_connections),
        http=sum(group.count for group in groups if group.uses_http),
        subscriptions=sum(group.subscriptions for group in groups),
        ramp_ns=max(
            (ramp_offset_ns(group.count - 1, group.ramp_per_s) for group in groups if group.users is None),
            default=0,
        ),
        namespaces=tuple(dict.fromkeys(channel.strip("/").split("/")[0] for channel in channels)),
        journeys=sum(group.count for group in groups if group.users is not None),
    )


def ramp_offset_ns(index: int, ramp_per_s: float) -> int:
    """Return the time at which client ``index`` of a group connects, in ns from the start of the ramp."""
    return int(index * _NS_PER_S / Fraction(ramp_per_s))
