"""A load, independent of any service: connections, publishes and deliveries, and the hours of use in a month."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil
from typing import Final, Literal, Protocol

from loadgen.planning.services.models import Quantity
from loadgen.planning.services.span import ZERO

Axis = Literal["subscribers", "rate", "payload", "fan-out"]
AXES: Final[tuple[Axis, ...]] = ("subscribers", "rate", "payload", "fan-out")
#: 365 days ÷ 12, so that a month of whole days has the 730 h of AWS's own examples.
DAYS_A_MONTH: Final = Fraction(365, 12)
_MONTH: Final = {"month": Fraction(1)}


class Metered(Protocol):
    """Sizes of events or deliveries, for a bill that charges by bytes or by units of some bytes."""

    @property
    def mean(self) -> Fraction | None:
        """Mean size in bytes, or None if unknown."""

    def units(self, unit_bytes: Fraction | None) -> Fraction:
        """Return the mean number of units per event."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of events in bytes, and the share of each size; the shares sum up to 1."""

    shares: tuple[tuple[Fraction, Fraction], ...]

    @classmethod
    def of(cls, size_bytes: Fraction | int) -> "Sizes":
        """Return the sizes of events that are all alike."""
        return cls(((Fraction(size_bytes), Fraction(1)),))

    @property
    def mean(self) -> Fraction:
        """Mean size in bytes."""
        return sum((size * share for size, share in self.shares), ZERO)

    def units(self, unit_bytes: Fraction | None) -> Fraction:
        """Return the mean number of units per event: one for each unit or part of a unit, at least one."""
        if unit_bytes is None:
            return Fraction(1)
        return sum((share * max(1, ceil(size / unit_bytes)) for size, share in self.shares), ZERO)

    def grown(self, factor: Fraction) -> "Sizes":
        """Return the sizes multiplied by ``factor``."""
        return Sizes(tuple((size * factor, share) for size, share in self.shares))


@dataclass(frozen=True, slots=True)
class Stream:
    """Events of one kind, such as those of one group of a scenario."""

    name: str
    events_per_s: Fraction
    """Mean rate."""
    peaks: tuple[Fraction, ...]
    """Rates at each moment that may be the peak of all streams together; the moments are the same in all streams."""
    fan_out: Fraction | None
    """Mean deliveries per event, or None if unknown."""
    sizes: Sizes
    most_bytes: Fraction
    """Size of the largest event."""
    over_http: bool = True
    batch: int = 1
    """Events per publish request."""
    each_connection_per_s: Fraction = ZERO
    """Publish requests per second over the busiest connection; 0 over HTTP."""
    with_clients: bool = False
    """True if more clients publish more."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Events of one stream in a period."""

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
        """Return how many things of a kind there are, or None if unknown.

        An event counts once for each whole or part unit of ``unit_bytes``, or just once if ``unit_bytes`` is None. The
        quantity `unit_day` is None, because it depends on an offer.
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
                return _sum(
                    None if flow.deliveries is None else flow.deliveries * flow.sizes.units(unit_bytes)
                    for flow in self.flows
                )
            case "delivery_byte":
                return _sum(
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


@dataclass(frozen=True, slots=True)
class Month:
    """A month of use: the hours of use a day, the days, and how often a client connects each day."""

    hours_per_day: Fraction = Fraction(24)
    days: Fraction = DAYS_A_MONTH
    connects_per_day: Fraction = Fraction(1)
    """Connects of a client on a day, unless the service ends connections more often."""
    users: Fraction | None = None
    """Different users of the month; None for the number of clients."""

    @property
    def hours(self) -> Fraction:
        """Hours of use in the month."""
        return self.hours_per_day * self.days


@dataclass(frozen=True, slots=True)
class Load:
    """The load on a service, and the hours of use in a month."""

    name: str
    connections: Fraction
    """Connections open at once."""
    clients: Fraction
    """Clients, with those that only publish over HTTP."""
    subscriptions: Fraction
    """Subscriptions of all clients together."""
    streams: tuple[Stream, ...]
    channels: Fraction | None
    subscriptions_most: Fraction
    """Subscriptions of the connection that has most."""
    month: Month = field(default_factory=Month)
    connects_per_s: Fraction | None = None
    """Rate at which clients connect, or None if unknown."""
    subscribes_per_s: Fraction | None = None
    churn_connects_per_s: Fraction = ZERO
    churn_subscribes_per_s: Fraction = ZERO
    handlers: frozenset[str] = frozenset()
    """`publish` and `subscribe`: handlers whose invocations count."""
    run: Used | None = None
    """Usage of one run, or None if the load is not that of a run."""
    known: bool = True
    """False if user code decides what is sent."""

    def used_in_month(self, lifetime_s: Fraction | None = None) -> Used:
        """Return the usage of a month; ``lifetime_s`` is the time after which the service ends a connection."""
        month = self.month
        seconds = month.hours * 3600
        each_day = month.connects_per_day
        if lifetime_s is not None:
            # The service ends each connection after `lifetime_s`, so a client that stays longer connects several times
            # a day.
            each_day = max(each_day, Fraction(ceil(month.hours_per_day * 3600 / lifetime_s)))
        connects = self.connections * each_day * month.days + self.churn_connects_per_s * seconds
        subscribes = self.subscriptions * each_day * month.days + self.churn_subscribes_per_s * seconds
        requests = sum((stream.events_per_s / stream.batch for stream in self.streams), ZERO) * seconds
        invoked = (requests if "publish" in self.handlers else ZERO) + (
            subscribes if "subscribe" in self.handlers else ZERO
        )
        return Used(
            flows=tuple(
                Flow(
                    stream.events_per_s * seconds,
                    None if stream.fan_out is None else stream.events_per_s * seconds * stream.fan_out,
                    stream.sizes,
                    stream.over_http,
                    stream.batch,
                )
                for stream in self.streams
            ),
            connects=connects,
            subscribes=subscribes,
            connection_minutes=self.connections * month.hours * 60,
            channels=self.channels,
            connections=self.connections,
            users=self.clients if month.users is None else month.users,
            hours=month.hours,
            days=month.days,
            peak_messages_per_s=self.peak_messages_per_s(),
            handlers=invoked,
            known=self.known,
        )

    def peak_inbound_per_s(self) -> Fraction:
        """Return the events published per second at the peak."""
        return self._peak(lambda stream: Fraction(1)) or ZERO

    def peak_requests_per_s(self) -> Fraction:
        """Return the publish requests per second at the peak."""
        return self._peak(lambda stream: Fraction(1, stream.batch)) or ZERO

    def peak_outbound_per_s(self, unit_bytes: Fraction | None = None) -> Fraction | None:
        """Return the deliveries per second at the peak, in units of ``unit_bytes``, or None if unknown."""
        return self._peak(
            lambda stream: None if stream.fan_out is None else stream.fan_out * stream.sizes.units(unit_bytes)
        )

    def peak_bytes_out_per_s(self) -> Fraction | None:
        """Return the bytes of events delivered per second at the peak, or None if unknown."""
        return self._peak(
            lambda stream: None if stream.fan_out is None else stream.fan_out * stream.sizes.mean
        )

    def peak_messages_per_s(self) -> Fraction | None:
        """Return publishes and deliveries per second at the peak, or None if unknown."""
        return self._peak(lambda stream: None if stream.fan_out is None else 1 + stream.fan_out)

    def _peak(self, of: Callable[[Stream], Fraction | None]) -> Fraction | None:
        if not self.known:
            return None
        weights = [of(stream) for stream in self.streams]
        moments = max((len(stream.peaks) for stream in self.streams), default=0)
        highest = ZERO
        for moment in range(moments):
            here = ZERO
            for stream, weight in zip(self.streams, weights, strict=True):
                if weight is None:
                    return None
                here += stream.peaks[moment] * weight
            highest = max(highest, here)
        return highest

    def grown(self, axis: Axis, factor: Fraction) -> "Load":
        """Return the load with one of its numbers multiplied by ``factor``.

        subscribers: clients, and with them the deliveries of each event and the rates that are given per client;
        the channels stay. rate: events per second. payload: size of events. fan-out: deliveries of each event with
        the same clients.
        """
        if axis == "subscribers":
            return replace(
                self,
                connections=self.connections * factor,
                clients=self.clients * factor,
                subscriptions=self.subscriptions * factor,
                month=replace(
                    self.month, users=None if self.month.users is None else self.month.users * factor
                ),
                churn_connects_per_s=self.churn_connects_per_s * factor,
                churn_subscribes_per_s=self.churn_subscribes_per_s * factor,
                streams=tuple(
                    _faster(_wider(each, factor), factor if each.with_clients else Fraction(1), each=False)
                    for each in self.streams
                ),
            )
        return replace(
            self,
            streams=tuple(
                _faster(each, factor, each=True)
                if axis == "rate"
                else _wider(each, factor)
                if axis == "fan-out"
                else replace(each, sizes=each.sizes.grown(factor), most_bytes=each.most_bytes * factor)
                for each in self.streams
            ),
        )

    def value(self, axis: Axis) -> Fraction | None:
        """Return the number that :meth:`grown` multiplies: connections, events/s, mean bytes, or mean fan-out."""
        events = sum((stream.events_per_s for stream in self.streams), ZERO)
        if axis == "subscribers":
            return self.connections
        if axis == "rate" or not events:
            return events
        if axis == "payload":
            return sum((each.events_per_s * each.sizes.mean for each in self.streams), ZERO) / events
        reached = _sum(None if s.fan_out is None else s.events_per_s * s.fan_out for s in self.streams)
        return None if reached is None else reached / events

    def numbers(self) -> Mapping[str, Fraction | None]:
        """Return the key figures of the load, for display and for JSON; None means unknown."""
        found = {
            "connections": self.connections,
            "users": self.clients if self.month.users is None else self.month.users,
            "subscriptions": self.subscriptions,
            "channels": self.channels,
            "events_per_s": self.value("rate"),
            "fan_out": self.value("fan-out"),
            "event_bytes": self.value("payload"),
        }
        return {
            **(found if self.known else dict.fromkeys(found)),
            "hours_per_day": self.month.hours_per_day,
            "days": self.month.days,
            "connects_per_day": self.month.connects_per_day,
        }


def _sum(numbers: Iterable[Fraction | None]) -> Fraction | None:
    result = ZERO
    for number in numbers:
        if number is None:
            return None
        result += number
    return result


def _wider(stream: Stream, factor: Fraction) -> Stream:
    return replace(stream, fan_out=None if stream.fan_out is None else stream.fan_out * factor)


def _faster(stream: Stream, factor: Fraction, *, each: bool) -> Stream:
    """Return the stream with its rates multiplied by ``factor``; with ``each``, also the rate of one connection."""
    return replace(
        stream,
        events_per_s=stream.events_per_s * factor,
        peaks=tuple(peak * factor for peak in stream.peaks),
        each_connection_per_s=stream.each_connection_per_s * (factor if each else 1),
    )


def of_numbers(
    *,
    clients: Fraction,
    events_per_s: Fraction,
    fan_out: Fraction,
    event_bytes: int,
    subscriptions: Fraction = Fraction(1),
    channels: Fraction | None = None,
    over_http: bool = True,
    month: Month | None = None,
    name: str = "numbers",
) -> Load:
    """Return a load from numbers alone; ``subscriptions`` are those of each client, ``fan_out`` deliveries per event.

    Each client holds a connection. Publishes over WebSocket come from all of them equally.
    """
    stream = Stream(
        name="events",
        events_per_s=events_per_s,
        peaks=(events_per_s,),
        fan_out=fan_out,
        sizes=Sizes.of(event_bytes),
        most_bytes=Fraction(event_bytes),
        over_http=over_http,
        each_connection_per_s=ZERO if over_http or not clients else events_per_s / clients,
    )
    return Load(
        name=name,
        connections=clients,
        clients=clients,
        subscriptions=clients * subscriptions,
        streams=(stream,),
        channels=channels,
        subscriptions_most=subscriptions,
        month=month or Month(),
    )
