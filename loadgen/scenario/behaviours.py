"""The part of the scenario's schema for connection behaviour: reconnects, drops, churn and slow reading.

The clients themselves carry out this behaviour, so it works against any target. Random choices are drawn from the
scenario's seed.
"""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from loadgen.config.base import MAPPING, WORD, Part, as_tuple, word_or_mapping
from loadgen.config.units import (
    ByteRate,
    ChangeRate,
    DurationNs,
    PositiveDurationNs,
    Share,
    format_duration,
    problem,
)

_MS = 1_000_000
_BACKOFF_FIRST_NS = 100 * _MS
_BACKOFF_MOST_NS = 5_000 * _MS
#: Shortest wait that a reconnect policy may have: below it, clients would reconnect to a refusing target in a tight
#: loop.
_BACKOFF_LEAST_NS = 1 * _MS
_SLOWEST_BYTES_PER_S = 256
MAX_DROPS = 1_000


class Reconnect(Part):
    """The reconnect policy: how clients reconnect after their connection was lost or dropped."""

    first_ns: PositiveDurationNs = Field(default=_BACKOFF_FIRST_NS, alias="first")
    """The wait before the first attempt. It doubles with each failed attempt, up to most."""
    most_ns: PositiveDurationNs = Field(default=_BACKOFF_MOST_NS, alias="most")
    """The longest wait before an attempt."""
    jitter: Literal["full", "none"] = "full"
    """full: the wait is drawn evenly between 0 and the value that first and most give, so that the clients do not all
    reconnect at once. none: each client waits exactly this value."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first_ns < _BACKOFF_LEAST_NS:
            raise problem(f"has a first wait of {format_duration(self.first_ns)}; at least 1ms is needed")
        if self.most_ns < self.first_ns:
            first, most = format_duration(self.first_ns), format_duration(self.most_ns)
            raise problem(f"waits {first} at first and {most} at most; the first must not be longer")
        return self


class Drop(Part):
    """Connections that the clients cut at the same time, as in a deployment or a network failure."""

    at_ns: DurationNs = Field(alias="at")
    """The time of the first cut, counted from the start of the measure phase."""
    share_percent: Share = Field(alias="share")
    """The share of the group's connections to cut, in per cent. The connections are drawn at random."""
    over_ns: DurationNs = Field(default=0, alias="over")
    """The time over which the cuts are spread, one after the other. Without it, all cuts are made at once."""
    close: Literal["abrupt", "frame"] = "abrupt"
    """abrupt: the clients cut without a close frame, as in a network failure. frame: with a close frame (code 1000)."""


class Churn(Part):
    """Subscriptions or connections that clients end and make again, from the start of the warm-up to the end of the
    measure phase."""

    changes_per_s: ChangeRate | None = Field(default=None, alias="subscriptions")
    """How many subscriptions per second the whole group ends, at random times. The clients later subscribe again on the
    same connection. Give either this or lifetime."""
    lifetime_ns: PositiveDurationNs | None = Field(default=None, alias="lifetime")
    """The time after which a client closes its connection, with a close frame. The client later reconnects. Give either
    this or subscriptions."""
    spread: Literal["exponential", "constant"] | None = None
    """With lifetime only. exponential (default): lifetimes are random, and their mean is the value of lifetime.
    constant: all lifetimes are equal, so connections end in the order in which they began."""
    away_ns: DurationNs = Field(default=0, alias="away")
    """How long a client waits, after it ended a subscription or connection, before it subscribes or connects again."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.changes_per_s is None) == (self.lifetime_ns is None):
            has = "neither" if self.lifetime_ns is None else "both"
            raise problem(
                f"has {has} of subscriptions and lifetime; give 'subscriptions: 20/s' or 'lifetime: 30s'"
            )
        if self.spread is not None and self.lifetime_ns is None:
            raise problem("has a spread, which only lifetime takes; drop it")
        return self


def _readable(bytes_per_s: float) -> float:
    if bytes_per_s < _SLOWEST_BYTES_PER_S:
        raise problem(f"must be at least {_SLOWEST_BYTES_PER_S}B/s: slower, not even a login is read in time")
    return bytes_per_s


class Slow(Part):
    """Clients that read slowly from their connection, so that the service must buffer more and more for them."""

    share_percent: Share = Field(alias="share")
    """The share of the group's clients that read slowly, in per cent. They are drawn at random."""
    read_bytes_per_s: Annotated[ByteRate, AfterValidator(_readable)] = Field(alias="read")
    """The reading speed of each slow client, such as 20KB/s; at least 256B/s."""


def _drops_in_order(drops: tuple[Drop, ...]) -> tuple[Drop, ...]:
    if not drops:
        raise problem("is an empty list; give it drops such as {at: 10s, share: 30%} or remove it")
    for earlier, later in pairwise(drops):
        if later.at_ns < earlier.at_ns + earlier.over_ns:
            ends = format_duration(earlier.at_ns + earlier.over_ns)
            raise problem(
                f"has a drop at {format_duration(later.at_ns)}, before the one that stands before it is over"
                f" ({ends}); drops must be in order of time and must not overlap"
            )
    return drops


ReconnectPolicy = Annotated[
    Annotated[Literal["never"], Tag(WORD)] | Annotated[Reconnect, Tag(MAPPING)],
    Discriminator(word_or_mapping),
]
Drops = Annotated[
    tuple[Drop, ...],
    BeforeValidator(
        as_tuple,
        json_schema_input_type=Annotated[list[Drop], Field(min_length=1, max_length=MAX_DROPS)],
    ),
    Field(max_length=MAX_DROPS),
    AfterValidator(_drops_in_order),
]
