"""The price file: what a service costs and allows, each figure with its source, date and certainty."""

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
    # A year alone is a number in YAML.
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
    """Something that somebody has said about the service."""

    source: Text
    """Who says so."""
    as_of: Date | None = None
    """Of when that is; left out: not known."""
    certainty: Certainty
    """How sure it is: documented, secondary, assumed or unclear."""
    note: Text | None = None
    """What else one must know."""


class Figure(Stated):
    """A number; without a value it is not known, or there is none."""

    value: float | None = Field(default=None, ge=0, le=1e15)
    """The number; left out: not known."""
    region: Text | None = None
    """Where it holds; left out: everywhere, or not said."""


class PositiveFigure(Figure):
    """A number that something is divided by."""

    value: float = Field(gt=0, le=1e15)
    """The number."""


class Quota(Stated):
    """A limit of the service."""

    value: float | None = Field(default=None, gt=0, le=1e15)
    """The limit; left out: none is known."""
    region: Text | None = None
    """Where it holds; left out: everywhere, or not said."""
    adjustable: bool | None = None
    """Whether AWS raises it on request; left out: not known."""
    code: Text | None = None
    """Its code in Service Quotas."""


class Counting(Stated):
    """Whether a kind of thing is an operation that is billed."""

    counts: Literal["always", "never", "unclear"]
    """always: in every total; never: in none; unclear: shown beside the total."""


class MoneyPrices(Part):
    """What is charged, in US dollars."""

    usd_per_million_operations: Figure
    """Price of a million operations."""
    usd_per_million_connection_minutes: Figure
    """Price of a million minutes of one connection."""
    usd_per_gb_out: Figure
    """Price of 10^9 bytes sent to subscribers."""


class Countings(Part):
    """Which kinds of operations are billed."""

    publish: Counting
    """An event that is published, in units of the message size."""
    delivery: Counting
    """An event that is sent to one subscriber, in units of the message size."""
    connect: Counting
    """A WebSocket connection that is opened."""
    subscribe: Counting
    """A subscription that is asked for."""
    handler: Counting
    """A handler that is invoked."""
    keepalive: Counting
    """A keep-alive message of the service."""


class Metering(Part):
    """How operations are counted."""

    message_unit_bytes: PositiveFigure
    """An event counts once for each so many bytes that it begins."""
    keepalive_interval_s: PositiveFigure
    """Seconds between two keep-alive messages on one connection."""
    tokens_per_publish: PositiveFigure
    """Request tokens that a publish request takes at least."""


class QuotaTable(Part):
    """The service's quotas."""

    new_connections_per_s: Quota
    """Connections opened per second, of an API."""
    inbound_events_per_s: Quota
    """Events published per second, of an API."""
    outbound_messages_per_s: Quota
    """Messages delivered per second, in units of the message size, of an API."""
    request_tokens_per_s: Quota
    """Request tokens per second, of an account."""
    publishes_per_connection_per_s: Quota
    """Publish requests per second over one WebSocket."""
    subscriptions_per_connection: Quota
    """Subscriptions of one connection."""
    events_per_publish: Quota
    """Events of one publish request."""
    event_bytes: Quota
    """Bytes of one event."""
    payload_bytes: Quota
    """Bytes of the events of one publish request."""
    delivered_bytes: Quota
    """Bytes of one delivered event."""
    channel_segments: Quota
    """Segments of a channel."""
    segment_characters: Quota
    """Characters of a segment."""
    namespaces: Quota
    """Channel namespaces of an API."""
    connection_seconds: Quota
    """How long one connection may last."""
    connections: Quota
    """Connections open at once."""
    subscribes_per_s: Quota
    """Subscriptions asked for per second."""
    subscribers_per_channel: Quota
    """Subscribers of one channel."""


class Prices(Part):
    """A price file, version 1."""

    version: Literal[1]
    """Version of this format: 1."""
    service: Text
    """Whose prices these are."""
    region: Text
    """For which region."""
    prices: MoneyPrices
    """What is charged."""
    operations: Countings
    """What counts as an operation."""
    metering: Metering
    """How operations are counted."""
    quotas: QuotaTable
    """What the service allows."""

    @property
    def unit_bytes(self) -> int:
        """Bytes that count as one message."""
        return round(self.metering.message_unit_bytes.value)

    @property
    def as_of(self) -> str | None:
        """The date of the price of an operation, which nearly all of the cost is; None: not known."""
        return self.prices.usd_per_million_operations.as_of

    def counts(self) -> dict[str, str]:
        """Return for each kind of operation whether it is billed."""
        return {kind: getattr(self.operations, kind).counts for kind in Countings.model_fields}

    def snapshot(self) -> dict[str, Any]:
        """Return what a run's record keeps, so that its cost can be computed from the record alone."""
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
    """Read a price file; None: the one that comes with the program.

    Raises:
        ScenarioError: it cannot be read or says what cannot be, a line for each problem.
    """
    return _packaged() if path is None else _read(path)


@cache
def _packaged() -> Prices:
    return _read(PACKAGED)


def _read(path: Path) -> Prices:
    return read_part(path, Prices, "the price file", f"the one in {PACKAGED}")
