"""A load, independent of any service: connections, publishes and deliveries, and the hours of use in a month."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil
from typing import Final, Literal

from loadgen.planning.services.span import ZERO
from loadgen.planning.services.used import Flow, Sizes, Used, known_sum

Axis = Literal["subscribers", "rate", "payload", "fan-out"]
AXES: Final[tuple[Axis, ...]] = ("subscribers", "rate", "payload", "fan-out")
#: 365 days ÷ 12, so that a month of whole days has the 730 h of AWS's own examples.
DAYS_A_MONTH: Final = Fraction(365, 12)
_MONTH: Final = {"month": Fraction(1)}


@dataclass(frozen=True, slots=True)
class Stream:
    """Events of one kind, such as those of one group of a scenario."""

    name: str
    events_per_s: Fraction
    """Mean rate."""
    peaks: tuple[Fraction, ...]
    """This stream's rate at each moment at which all streams together may peak; all streams list the same moments."""
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
    """True if the stream's rate grows with the number of clients."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month of use: the hours of use a day, the days, and how often a client connects each day."""

    hours_per_day: Fraction = Fraction(24)
    days: Fraction = DAYS_A_MONTH
    connects_per_day: Fraction = Fraction(1)
    """Connects of a client on a day, unless the service ends connections more often."""
    users: Fraction | None = None
    """Different users of the month; None if each client is a different user."""

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
    """Number of clients, including those that only publish over HTTP."""
    subscriptions: Fraction
    """Subscriptions of all clients together."""
    streams: tuple[Stream, ...]
    channels: Fraction | None
    subscriptions_most: Fraction
    """Number of subscriptions of the connection that has the most."""
    month: Month = field(default_factory=Month)
    connects_per_s: Fraction | None = None
    """Rate at which clients connect, or None if unknown."""
    subscribes_per_s: Fraction | None = None
    churn_connects_per_s: Fraction = ZERO
    churn_subscribes_per_s: Fraction = ZERO
    handlers: frozenset[str] = frozenset()
    """The handlers whose invocations are counted: any of `publish` and `subscribe`."""
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
        """Return the deliveries per second at the peak, or None if unknown.

        With ``unit_bytes``, an event counts once for each begun ``unit_bytes`` of its size.
        """
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
        """Return the load with one of its quantities multiplied by ``factor``.

        `subscribers` multiplies the clients, and with them the deliveries of each event and the rates that are given
        per client; the number of channels stays the same. `rate` multiplies the events per second, `payload` the size
        of events, and `fan-out` the deliveries of each event to the same clients.
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
        """Return the quantity of the load along ``axis``: connections, events/s, mean bytes, or mean fan-out."""
        events = sum((stream.events_per_s for stream in self.streams), ZERO)
        if axis == "subscribers":
            return self.connections
        if axis == "rate" or not events:
            return events
        if axis == "payload":
            return sum((each.events_per_s * each.sizes.mean for each in self.streams), ZERO) / events
        reached = known_sum(None if s.fan_out is None else s.events_per_s * s.fan_out for s in self.streams)
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


def _wider(stream: Stream, factor: Fraction) -> Stream:
    return replace(stream, fan_out=None if stream.fan_out is None else stream.fan_out * factor)


def _faster(stream: Stream, factor: Fraction, *, each: bool) -> Stream:
    """Return the stream with its rates multiplied by ``factor``; the rate per connection only if ``each`` is true."""
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
