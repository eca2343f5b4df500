"""What the clients of a group do to their connections, part of the scenario's schema.

They come back by a policy, lose connections at stated times, come and go, or read slowly. All of it is the client's
doing, so that it works against any target, and is drawn from the scenario's seed.
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
#: A target that refuses would be asked in a loop.
_BACKOFF_LEAST_NS = 1 * _MS
_SLOWEST_BYTES_PER_S = 256
MAX_DROPS = 1_000


class Reconnect(Part):
    """How clients come back after their connection was lost or dropped."""

    first_ns: PositiveDurationNs = Field(default=_BACKOFF_FIRST_NS, alias="first")
    """How long to wait before the first attempt; the wait doubles with each attempt that fails."""
    most_ns: PositiveDurationNs = Field(default=_BACKOFF_MOST_NS, alias="most")
    """How long to wait at most."""
    jitter: Literal["full", "none"] = "full"
    """full: each wait is drawn evenly from nothing up to it, so that clients spread; none: all wait as long."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first_ns < _BACKOFF_LEAST_NS:
            raise problem(f"has a first wait of {format_duration(self.first_ns)}; at least 1ms is needed")
        if self.most_ns < self.first_ns:
            first, most = format_duration(self.first_ns), format_duration(self.most_ns)
            raise problem(f"waits {first} at first and {most} at most; the first must not be longer")
        return self


class Drop(Part):
    """Connections that the clients cut at one time, as a deployment or a lost network does."""

    at_ns: DurationNs = Field(alias="at")
    """When, counted from the start of the measure phase."""
    share_percent: Share = Field(alias="share")
    """How many of the group's connections, drawn at random, in per cent."""
    over_ns: DurationNs = Field(default=0, alias="over")
    """How long the cuts take, one after the other; default: all at once."""
    close: Literal["abrupt", "frame"] = "abrupt"
    """abrupt: without a close frame, as a lost network; frame: with one (code 1000)."""


class Churn(Part):
    """Clients that come and go from the warm-up's start to the measure phase's end."""

    changes_per_s: ChangeRate | None = Field(default=None, alias="subscriptions")
    """How many subscriptions per second of the whole group are given up and made anew on the living connection, at
    random times; exactly one of this and lifetime."""
    lifetime_ns: PositiveDurationNs | None = Field(default=None, alias="lifetime")
    """How long a connection lives before its client leaves (with a close frame) and comes back; exactly one of this
    and subscriptions."""
    spread: Literal["exponential", "constant"] | None = None
    """With lifetime: exponential (it is the mean; default), or constant: connections end in the ramp's order."""
    away_ns: DurationNs = Field(default=0, alias="away")
    """How long a client stays away before it subscribes or connects again."""

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
    """Clients that read their connection slowly, so that what the service keeps for them grows."""

    share_percent: Share = Field(alias="share")
    """How many of the group's clients, drawn at random, in per cent."""
    read_bytes_per_s: Annotated[ByteRate, AfterValidator(_readable)] = Field(alias="read")
    """How much each of them reads per second."""


def _drops_in_order(drops: tuple[Drop, ...]) -> tuple[Drop, ...]:
    if not drops:
        raise problem("is an empty list; give it drops such as {at: 10s, share: 30%} or remove it")
    for earlier, later in pairwise(drops):
        if later.at_ns < earlier.at_ns + earlier.over_ns:
            ends = format_duration(earlier.at_ns + earlier.over_ns)
            raise problem(
                f"has a drop at {format_duration(later.at_ns)}, before the one that stands before it is over"
                f" ({ends}); drops stand in the order of time and follow each other"
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
