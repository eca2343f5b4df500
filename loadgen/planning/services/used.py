"""The usage of a service by a load in a period: events with their sizes, deliveries, connects, minutes."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final, Protocol

from loadgen.planning.services.models import Quantity
from loadgen.planning.services.span import ZERO

_MONTH: Final = {"month": Fraction(1)}


class Metered(Protocol):
    """Sizes of events or deliveries, for prices per byte or per billing unit (such as 5 KB begun)."""

    @property
    def mean(self) -> Fraction | None:
        """Mean size in bytes, or None if unknown."""

    def units(self, unit_bytes: Fraction | None) -> Fraction:
        """Return the mean number of billing units of ``unit_bytes`` per event."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of events in bytes, and the share of the events with each size; the shares sum up to 1."""

    shares: tuple[tuple[Fraction, Fraction], ...]

    @classmethod
    def of(cls, size_bytes: Fraction | int) -> "Sizes":
        """Return the distribution in which every event has ``size_bytes``."""
        return cls(((Fraction(size_bytes), Fraction(1)),))

    @property
    def mean(self) -> Fraction:
        """Mean size in bytes."""
        return sum((size * share for size, share in self.shares), ZERO)

    def units(self, unit_bytes: Fraction | None) -> Fraction:
        """Return the mean number of billing units per event, each event's number rounded up and at least 1."""
        if unit_bytes is None:
            return Fraction(1)
        return sum((share * max(1, ceil(size / unit_bytes)) for size, share in self.shares), ZERO)

    def grown(self, factor: Fraction) -> "Sizes":
        """Return these shares with all sizes multiplied by ``factor``."""
        return Sizes(tuple((size * factor, share) for size, share in self.shares))


@dataclass(frozen=True, slots=True)
class Flow:
    """Events of one kind in a period, such as those of one group of clients."""

    events: Fraction
    deliveries: Fraction | None
    sizes: Metered
    over_http: bool = True
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Used:
    """Usage of a service in a period, such as a run or a month; None means unknown."""

    flows: tuple[Flow, ...]
    connects: Fraction | None
    subscribes: Fraction | None
    connection_minutes: Fraction | None
    channels: Fraction | None
    """Channels in use at once."""
    connections: Fraction | None
    """Connections open at once."""
    users: Fraction | None
    """Different users in the period."""
    hours: Fraction
    """Hours of use."""
    days: Fraction
    """Number of days; 1 for a run, however short."""
    peak_messages_per_s: Fraction | None
    """Publishes and deliveries per second at the peak, each event counted once."""
    handlers: Fraction | None = ZERO
    known: bool = True
    """False if user code decides what is sent, so that every count is unknown."""

    def count(self, quantity: Quantity, unit_bytes: Fraction | None = None) -> Fraction | None:
        """Return how much of a billed quantity was used, or None if unknown.

        An event counts once for each whole or part unit of ``unit_bytes``, or just once if ``unit_bytes`` is None. For
        `unit_day` (a day of one unit of a service's capacity) the result is None, because units differ between billing
        options.
        """
        if quantity in _MONTH:
            return _MONTH[quantity]
        if not self.known:
            return None
        match quantity:
            case "publish":
                return self._published(self.flows, unit_bytes)
            case "publish_http":
                return self._published((flow for flow in self.flows if flow.over_http), unit_bytes)
            case "publish_websocket":
                return self._published((flow for flow in self.flows if not flow.over_http), unit_bytes)
            case "publish_request":
                return sum((flow.events / flow.batch for flow in self.flows), ZERO)
            case "delivery":
                return known_sum(
                    None if flow.deliveries is None else flow.deliveries * flow.sizes.units(unit_bytes)
                    for flow in self.flows
                )
            case "delivery_byte":
                return known_sum(
                    None
                    if flow.deliveries is None or flow.sizes.mean is None
                    else flow.deliveries * flow.sizes.mean
                    for flow in self.flows
                )
            case "channel_minute":
                return None if self.channels is None else self.channels * self.hours * 60
            case "message_per_s":
                return self.peak_messages_per_s
            case "message_per_hour":
                return self._messages(self.hours)
            case "message_per_day":
                return self._messages(self.days)
            case "stored_gb":
                return ZERO
            case "connect":
                return self.connects
            case "subscribe":
                return self.subscribes
            case "connection_minute":
                return self.connection_minutes
            case "connection":
                return self.connections
            case "user":
                return self.users
            case "handler":
                return self.handlers
        return None

    @staticmethod
    def _published(flows: Iterable[Flow], unit_bytes: Fraction | None) -> Fraction:
        return sum((flow.events * flow.sizes.units(unit_bytes) for flow in flows), ZERO)

    def _messages(self, periods: Fraction) -> Fraction | None:
        delivered = self.count("delivery")
        published = self.count("publish")
        return None if delivered is None or published is None else (published + delivered) / periods


def known_sum(numbers: Iterable[Fraction | None]) -> Fraction | None:
    """Return the sum of some numbers, or None if one of them is unknown."""
    result = ZERO
    for number in numbers:
        if number is None:
            return None
        result += number
    return result
