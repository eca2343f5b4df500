"""The format of a service file: prices, what they count, and quotas, each with source, date and certainty.

A bill is a sum of named lines. A line multiplies a number of things by a price (`Line`), buys the cheapest plan that
fits (`PlanChoice`), or buys capacity in steps (`Capacity`). An offer is a list of lines. So a service needs data, but
no code.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Annotated, Final, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from loadgen.config.base import Part, as_tuple
from loadgen.config.problems import Problem
from loadgen.config.text import KEY_PATTERN, NAME_PATTERN, nearest
from loadgen.config.units import problem
from loadgen.planning.prices import Date, Text

Certainty = Literal["documented", "secondary", "weak", "assumed", "unclear"]
#: Figures with one of these certainties count as sure; all others are shown as uncertain.
SURE: Final = frozenset({"documented", "secondary"})
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Key = Annotated[str, Field(pattern=KEY_PATTERN)]
Number = Annotated[float, Field(ge=0, le=1e18)]
Positive = Annotated[float, Field(gt=0, le=1e18)]
#: Things that a bill counts in a period; `loadgen.planning.services.used.Used.count` defines each of them.
Quantity = Literal[
    "publish",
    "publish_http",
    "publish_websocket",
    "publish_request",
    "delivery",
    "delivery_byte",
    "connect",
    "subscribe",
    "handler",
    "connection_minute",
    "channel_minute",
    "connection",
    "user",
    "month",
    "unit_day",
    "stored_gb",
    "message_per_s",
    "message_per_hour",
    "message_per_day",
]
#: Quantities that count events. A file may set `unit_bytes` only for these, as only events have a size.
_SIZED: Final = frozenset({"publish", "publish_http", "publish_websocket", "delivery"})
#: Quantities that are bought for a month or a day, however short the use.
LASTING: Final = frozenset({"month", "unit_day", "connection", "user", "stored_gb"})
#: Quotas that a file may have; `loadgen.planning.services.limits` defines the use that is compared with each.
QuotaName = Literal[
    "new_connections_per_s",
    "subscribes_per_s",
    "inbound_events_per_s",
    "outbound_messages_per_s",
    "messages_per_s",
    "requests_per_s",
    "request_tokens_per_s",
    "publishes_per_connection_per_s",
    "deliveries_per_connection_per_s",
    "bytes_per_connection_per_s",
    "subscriptions_per_connection",
    "events_per_publish",
    "event_bytes",
    "connections",
    "connection_seconds",
]
QUOTAS: Final[tuple[QuotaName, ...]] = get_args(QuotaName)


@cache
def exact(value: float) -> Fraction:
    """Return exactly the decimal number that a file contains, without the rounding error of a float."""
    return Fraction(Decimal(repr(value)))


class Fact(Part):
    """A fact about a service, with its source."""

    source: Text
    """Page or document that states the fact."""
    as_of: Date | None = None
    """Date of the fact; leave it out if unknown."""
    certainty: Certainty
    """documented: the vendor says so; secondary: others quote the vendor; weak: found by an automatic search of pages;
    assumed: our assumption, without a source; unclear: not known, as there is no source or the sources differ."""
    note: Text | None = None
    """Remarks, such as restrictions and assumptions."""

    @property
    def sure(self) -> bool:
        """True if the vendor states the fact, or others quote the vendor for it."""
        return self.certainty in SURE


class Tier(Part):
    """A part of the monthly volume, and its price."""

    up_to: Positive | None = None
    """Monthly volume at which the tier ends; leave it out in the last tier."""
    usd: Number | None = None
    """Price within the tier, for `per` things; leave it out if unknown."""


class Price(Fact):
    """A price in US dollars; without `usd` and `tiers` it is unknown."""

    usd: Number | None = None
    """Price of `per` things."""
    per: Positive = 1.0
    """Number of things that the price is for."""
    tiers: Annotated[tuple[Tier, ...], BeforeValidator(as_tuple)] = ()
    """Prices by monthly volume, instead of `usd`; each price applies only to the volume within its tier."""

    @model_validator(mode="after")
    def _check(self) -> "Price":
        if self.tiers and self.usd is not None:
            raise problem("has both usd and tiers; keep one of them")
        ends = [tier.up_to for tier in self.tiers]
        known = [end for end in ends if end is not None]
        if self.tiers and (
            ends[-1] is not None or len(known) != len(ends) - 1 or sorted(set(known)) != known
        ):
            raise problem("needs tiers in rising order of up_to, and a last one without up_to")
        return self


class Term(Part):
    """A quantity that a line of a bill counts, such as deliveries, with its billed unit and a factor."""

    quantity: Quantity
    """Thing counted."""
    unit_bytes: Positive | None = None
    """Bytes of a billed unit: an event counts once for each unit or part of a unit.

    Leave it out to count each event once.
    """
    times: Number = 1.0
    """Factor, such as 13 table reads for each publish request."""
    unclear: Text | None = None
    """Why it is not known whether this is counted at all; the cost is then a range."""

    @model_validator(mode="after")
    def _check(self) -> "Term":
        if self.unit_bytes is not None and self.quantity not in _SIZED:
            raise problem(f"has unit_bytes, which only {', '.join(sorted(_SIZED))} can have")
        return self


Terms = Annotated[tuple[Term, ...], BeforeValidator(as_tuple)]
BillPart = Literal["service", "backend", "data-out"]


class Included(Part):
    """The amount of a line that is free with another thing, such as 20,000 minutes with each monthly user."""

    quantity: Quantity
    """The thing that the free amount comes with, such as a monthly active user."""
    each: Positive
    """The amount of the line that is free for each thing of `quantity`."""


class Line(Part):
    """A line of a bill: things counted, times a price."""

    title: Text
    """Display name of the line."""
    part: BillPart = "service"
    """Part of the bill: the service itself, a backend of yours that it needs, or data transfer out."""
    counts: Annotated[Terms, Field(min_length=1)]
    """Things counted, added up."""
    or_counts: Terms = ()
    """Things counted if the price list is read in another way; the cost is then a range over both ways."""
    why: Text | None = None
    """Why the price list can be read in two ways; needed if `or_counts` is given."""
    price: Name
    """Name of the price, among `prices`."""
    included: Included | None = None
    """The amount of the line that is free, or None if nothing is free."""
    unclear: Text | None = None
    """Why it is not known whether this line is billed at all; the cost is then a range from zero."""
    assumed: Text | None = None
    """Assumption behind the counts."""

    @model_validator(mode="after")
    def _check(self) -> "Line":
        if bool(self.or_counts) != (self.why is not None):
            raise problem("needs both or_counts and why, or neither")
        return self

    @property
    def lasting(self) -> bool:
        """True if the line is paid for a whole month or day, however short the use."""
        return any(term.quantity in LASTING for term in self.counts)


class Plan(Fact):
    """A plan with a monthly price and ceilings."""

    name: Text
    """Name of the plan."""
    usd: Number | None = None
    """Price a month; leave it out if unknown."""
    up_to: Mapping[Quantity, Positive]
    """Largest quantities that the plan allows."""


class PlanChoice(Part):
    """A line of a bill: the cheapest plan whose ceilings the load does not exceed."""

    title: Text
    """Display name of the line."""
    choices: Annotated[tuple[Plan, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    """The plans."""


class Capacity(Part):
    """A line of a bill: units of capacity, bought for a day in given steps."""

    title: Text
    """Display name of the line."""
    holds: Mapping[Quantity, Positive]
    """Largest quantities that one unit can carry."""
    steps: Annotated[tuple[Positive, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    """Numbers of units that can be bought, in rising order."""
    price: Name
    """Name of the price of one unit for one day, among `prices`."""

    @model_validator(mode="after")
    def _check(self) -> "Capacity":
        if sorted(set(self.steps)) != list(self.steps):
            raise problem("needs steps in rising order")
        return self


class Offer(Part):
    """A way in which the service can be billed, as a list of lines."""

    title: Text
    """Display name of the offer."""
    lines: Annotated[tuple[Name, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    """Names of its lines, among `lines`, `plans` and `capacities`."""
    note: Text | None = None
    """Remarks."""


class Limit(Fact):
    """A quota of the service; if it has no value, the quota is unknown or does not exist."""

    value: Positive | None = None
    """The quota."""
    min: Positive | None = None
    """Lowest value, in place of `value`, if sources differ."""
    max: Positive | None = None
    """Highest value, if sources differ."""
    unit_bytes: Positive | None = None
    """Bytes of a counted unit; leave it out to count each event once."""
    adjustable: bool | None = None
    """True if the vendor raises the quota on request; leave it out if unknown."""
    code: Text | None = None
    """Code of the quota in AWS Service Quotas."""

    @model_validator(mode="after")
    def _check(self) -> "Limit":
        if (self.min is None) != (self.max is None) or (self.min is not None and self.value is not None):
            raise problem("needs value alone, or min and max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise problem("has a min above its max")
        return self

    @property
    def least(self) -> float | None:
        """The quota, or the lowest of its values, or None if unknown."""
        return self.min if self.value is None else self.value

    @property
    def most(self) -> float | None:
        """The quota, or the highest of its values, or None if unknown."""
        return self.max if self.value is None else self.value


class Service(Part):
    """A service file, version 1."""

    version: Literal[1]
    """Version of this format: 1."""
    kind: Literal["service"]
    """Kind of this file: service."""
    service: Name
    """Name of the service for --services."""
    title: Text
    """Display name of the service."""
    region: Text
    """Region that the prices are for, or global."""
    prices: Mapping[Key, Price] = {}
    """Prices by name."""
    lines: Mapping[Key, Line] = {}
    """Lines of bills by name."""
    plans: Mapping[Key, PlanChoice] = {}
    """Lines of bills that choose a plan, by name."""
    capacities: Mapping[Key, Capacity] = {}
    """Lines of bills that buy capacity, by name."""
    offers: Annotated[Mapping[Key, Offer], Field(min_length=1)]
    """Ways in which the service can be billed, by name; the first is the usual one."""
    quotas: Mapping[QuotaName, Limit] = {}
    """Quotas by name."""
    notes: Annotated[tuple[Text, ...], BeforeValidator(as_tuple)] = ()
    """Remarks about the service."""

    def line(self, name: str) -> Line | PlanChoice | Capacity:
        """Return the line with this name; raises KeyError if there is none."""
        for lines in (self.lines, self.plans):
            if name in lines:
                return lines[name]
        return self.capacities[name]

    def problems(self) -> Iterator[Problem]:
        """Yield problems between the parts: missing prices or lines, names used twice, offers with two capacities."""
        for section, lines in (("lines", self.lines), ("capacities", self.capacities)):
            for name, line in lines.items():
                if line.price not in self.prices:
                    yield Problem(
                        (section, name, "price"),
                        f"is {line.price!r}, which is not among the prices{nearest(line.price, self.prices)}",
                    )
        known = [*self.lines, *self.plans, *self.capacities]
        for twice in sorted({name for name in known if known.count(name) > 1}):
            yield Problem(
                ("offers",), f"cannot tell the lines named {twice!r} apart; give them different names"
            )
        for name, offer in self.offers.items():
            for number, line_name in enumerate(offer.lines):
                if line_name not in known:
                    yield Problem(
                        ("offers", name, "lines", number),
                        f"is {line_name!r}, which is not a line{nearest(line_name, known)}",
                    )
            if sum(line_name in self.capacities for line_name in offer.lines) > 1:
                yield Problem(("offers", name, "lines"), "has two capacities; at most one is possible")
