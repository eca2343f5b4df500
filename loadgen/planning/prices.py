"""Read the price file: a service's prices and quotas, each with source, date and certainty."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from loadgen.config.base import Part
from loadgen.config.part_file import read_part
from loadgen.config.text import shown
from loadgen.config.units import problem

PACKAGED = Path(__file__).parent / "data" / "appsync-events.yaml"
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?", re.ASCII)
_MAX_TEXT = 500


def _date(value: object) -> object:
    # YAML reads a year alone as a number.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        raise problem(f"must be a date such as '2026-09-11', '2026-09' or '2026', not {shown(value)}")
    return text


def _printable(value: str) -> str:
    if not value.isprintable():
        raise problem(f"has characters that cannot be shown, in {shown(ascii(value))}")
    return value


Text = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT), AfterValidator(_printable)]
Date = Annotated[str, BeforeValidator(_date)]
Certainty = Literal["documented", "secondary", "assumed", "unclear"]


class Stated(Part):
    """A fact about the service, with its source."""

    source: Text
    """Page or document that states the fact."""
    as_of: Date | None = None
    """Date of the fact; leave it out if unknown."""
    certainty: Certainty
    """Certainty of the fact: documented, secondary, assumed or unclear."""
    note: Text | None = None
    """Remarks, such as restrictions and assumptions."""


class Figure(Stated):
    """A number; without a value it is unknown or does not exist."""

    value: float | None = Field(default=None, ge=0, le=1e15)
    """The number; leave it out if unknown."""
    region: Text | None = None
    """AWS region the number holds for; leave it out for all regions or if unknown."""


class PositiveFigure(Figure):
    """A number above zero, so that it can be a divisor."""

    value: float = Field(gt=0, le=1e15)
    """The number."""


class Quota(Stated):
    """A limit of the service."""

    value: float | None = Field(default=None, gt=0, le=1e15)
    """The limit; leave it out if none is known."""
    region: Text | None = None
    """AWS region the limit holds for; leave it out for all regions or if unknown."""
    adjustable: bool | None = None
    """True if AWS raises the limit on request; leave it out if unknown."""
    code: Text | None = None
    """Code of the quota in AWS Service Quotas."""


class Counting(Stated):
    """Says if a kind of operation is billed."""

    counts: Literal["always", "never", "unclear"]
    """always: in the total; never: not billed; unclear: shown beside the total."""


class MoneyPrices(Part):
    """Prices in US dollars."""

    usd_per_million_operations: Figure
    """Price of 1,000,000 operations."""
    usd_per_million_connection_minutes: Figure
    """Price of 1,000,000 connection-minutes."""
    usd_per_gb_out: Figure
    """Price of 10^9 bytes sent to subscribers."""


class Countings(Part):
    """The kinds of operations, and which of them are billed."""

    publish: Counting
    """A published event, counted in units of `message_unit_bytes`."""
    delivery: Counting
    """An event sent to one subscriber, counted in units of `message_unit_bytes`."""
    connect: Counting
    """A WebSocket connection opened."""
    subscribe: Counting
    """A subscribe request."""
    handler: Counting
    """A handler invocation."""
    keepalive: Counting
    """A keep-alive message from the service."""


class Metering(Part):
    """Units in which operations are counted."""

    message_unit_bytes: PositiveFigure
    """Bytes per billed message; an event counts once for each unit it begins."""
    keepalive_interval_s: PositiveFigure
    """Seconds between two keep-alive messages on one connection."""
    tokens_per_publish: PositiveFigure
    """Request tokens that a publish request uses at least."""


class QuotaTable(Part):
    """The service's quotas."""

    new_connections_per_s: Quota
    """Connections opened per second, per API."""
    inbound_events_per_s: Quota
    """Events published per second, per API."""
    outbound_messages_per_s: Quota
    """Messages delivered per second, in units of `message_unit_bytes`, per API."""
    request_tokens_per_s: Quota
    """Request tokens per second, per account."""
    publishes_per_connection_per_s: Quota
    """Publish requests per second over one WebSocket."""
    subscriptions_per_connection: Quota
    """Subscriptions per connection."""
    events_per_publish: Quota
    """Events per publish request."""
    event_bytes: Quota
    """Size of an event in bytes."""
    payload_bytes: Quota
    """Total size of the events of a publish request in bytes."""
    delivered_bytes: Quota
    """Size of a delivered event in bytes."""
    channel_segments: Quota
    """Segments of a channel."""
    segment_characters: Quota
    """Characters per channel segment."""
    namespaces: Quota
    """Channel namespaces per API."""
    connection_seconds: Quota
    """Longest lifetime of a connection in seconds."""
    connections: Quota
    """Connections open at once."""
    subscribes_per_s: Quota
    """Subscribe requests per second."""
    subscribers_per_channel: Quota
    """Subscribers per channel."""


class Prices(Part):
    """A price file, version 1."""

    version: Literal[1]
    """Version of this format: 1."""
    service: Text
    """Service that the prices are for."""
    region: Text
    """AWS region that the prices are for."""
    prices: MoneyPrices
    """Prices in US dollars."""
    operations: Countings
    """The kinds of operations, and which of them are billed."""
    metering: Metering
    """Units in which operations are counted."""
    quotas: QuotaTable
    """The service's quotas."""

    @property
    def unit_bytes(self) -> int:
        """Bytes per billed message."""
        return round(self.metering.message_unit_bytes.value)

    @property
    def as_of(self) -> str | None:
        """Date of the price per operation, which makes up nearly all of the cost, or None if unknown."""
        return self.prices.usd_per_million_operations.as_of

    def counts(self) -> dict[str, str]:
        """Return for each kind of operation if it is billed: `always`, `never` or `unclear` (see `Counting`)."""
        return {kind: getattr(self.operations, kind).counts for kind in Countings.model_fields}

    def snapshot(self) -> dict[str, Any]:
        """Return the prices that a run's record keeps, so that its cost can be computed from the record alone."""
        return {
            "service": self.service,
            "region": self.region,
            "as_of": self.as_of,
            "certainty": self.prices.usd_per_million_operations.certainty,
            **{name: getattr(self.prices, name).value for name in MoneyPrices.model_fields},
            "message_unit_bytes": self.unit_bytes,
            "keepalive_interval_s": self.metering.keepalive_interval_s.value,
            "counts": self.counts(),
        }


def load_prices(path: Path | None = None) -> Prices:
    """Read a price file, by default the packaged one.

    Raises:
        ScenarioError: the file cannot be read or is not valid; the message has a line per problem.
    """
    return _packaged() if path is None else _read(path)


@cache
def _packaged() -> Prices:
    return _read(PACKAGED)


def _read(path: Path) -> Prices:
    return read_part(path, Prices, "the price file", f"the one in {PACKAGED}")
