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
    """Date of the fact, as YYYY-MM-DD, YYYY-MM or YYYY. Leave it out if unknown."""
    certainty: Certainty
    """Certainty of the fact. documented: stated by the service's provider. secondary: others quote the provider.
    assumed: inferred from known facts. unclear: the sources can be read in more than one way."""
    note: Text | None = None
    """Remarks, such as restrictions or assumptions."""


class Figure(Stated):
    """A number with its source. If `value` is left out, the number is unknown or does not exist."""

    value: float | None = Field(default=None, ge=0, le=1e15)
    """The number; leave it out if unknown."""
    region: Text | None = None
    """AWS region the number holds for; leave it out for all regions or if unknown."""


class PositiveFigure(Figure):
    """A number above zero, with its source. Zero is not allowed because calculations divide by the number."""

    value: float = Field(gt=0, le=1e15)
    """The number."""


class Quota(Stated):
    """A limit of the service, with its source."""

    value: float | None = Field(default=None, gt=0, le=1e15)
    """The limit; leave it out if none is known."""
    region: Text | None = None
    """AWS region the limit holds for; leave it out for all regions or if unknown."""
    adjustable: bool | None = None
    """True if AWS raises the limit on request, false if not. Leave it out if unknown."""
    code: Text | None = None
    """Code of the limit in AWS Service Quotas, such as L-10498098. Leave it out if unknown."""


class Counting(Stated):
    """States if a kind of operation is billed, with a source."""

    counts: Literal["always", "never", "unclear"]
    """always: billed, and part of the total cost. never: not billed. unclear: not part of the total cost, but shown
    beside it."""


class MoneyPrices(Part):
    """Prices in US dollars."""

    usd_per_million_operations: Figure
    """Price in US dollars of 1,000,000 operations."""
    usd_per_million_connection_minutes: Figure
    """Price in US dollars of 1,000,000 connection-minutes. A connection-minute is one connection open for one
    minute."""
    usd_per_gb_out: Figure
    """Price in US dollars of 10^9 bytes sent to subscribers."""


class Countings(Part):
    """The kinds of operations, and which of them are billed."""

    publish: Counting
    """A published event, counted in units of `message_unit_bytes`."""
    delivery: Counting
    """An event sent to one subscriber, counted in units of `message_unit_bytes`."""
    connect: Counting
    """The opening of a WebSocket connection."""
    subscribe: Counting
    """A subscribe request."""
    handler: Counting
    """An invocation of an event handler."""
    keepalive: Counting
    """A keep-alive message from the service on one connection."""


class Metering(Part):
    """Units in which operations are counted."""

    message_unit_bytes: PositiveFigure
    """Bytes per billed message. An event counts as one message for each whole or part unit of this size."""
    keepalive_interval_s: PositiveFigure
    """Seconds between two keep-alive messages on one connection."""
    tokens_per_publish: PositiveFigure
    """Smallest number of request tokens that a publish request uses."""


class QuotaTable(Part):
    """The service's quotas."""

    new_connections_per_s: Quota
    """Maximum number of connections opened per second, per API."""
    inbound_events_per_s: Quota
    """Maximum number of events published per second, per API."""
    outbound_messages_per_s: Quota
    """Maximum number of messages delivered per second, per API. A message is a unit of `message_unit_bytes`."""
    request_tokens_per_s: Quota
    """Maximum number of request tokens used per second, per account."""
    publishes_per_connection_per_s: Quota
    """Maximum number of publish requests per second over one WebSocket."""
    subscriptions_per_connection: Quota
    """Maximum number of subscriptions per connection."""
    events_per_publish: Quota
    """Maximum number of events per publish request."""
    event_bytes: Quota
    """Maximum size of an event in bytes."""
    payload_bytes: Quota
    """Maximum total size of the events of a publish request in bytes."""
    delivered_bytes: Quota
    """Maximum size of a delivered event in bytes."""
    channel_segments: Quota
    """Maximum number of segments of a channel."""
    segment_characters: Quota
    """Maximum number of characters per channel segment."""
    namespaces: Quota
    """Maximum number of channel namespaces per API."""
    connection_seconds: Quota
    """Longest lifetime of a connection in seconds."""
    connections: Quota
    """Maximum number of connections open at once."""
    subscribes_per_s: Quota
    """Maximum number of subscribe requests per second."""
    subscribers_per_channel: Quota
    """Maximum number of subscribers per channel."""


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
        """Return the `counts` of each kind of operation: `always`, `never` or `unclear` (see `Counting`)."""
        return {kind: getattr(self.operations, kind).counts for kind in Countings.model_fields}

    def snapshot(self) -> dict[str, Any]:
        """Return the prices that a run's record stores, to compute the run's cost from the record alone."""
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
