"""The part of the scenario's schema for replies: events that a client publishes when it receives an event."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from loadgen.config.base import MAPPING, WORD, Part, word_or_mapping
from loadgen.config.units import (
    DurationNs,
    EventRate,
    PositiveDurationNs,
    SizeBytes,
    format_size,
    problem,
)
from loadgen.protocol.appsync.limits import EVENT_MAX_BYTES

#: Maximum number of replies to one request that a scenario may ask for.
MAX_REPLIES = 100_000
_DEFAULT_PAYLOAD_BYTES = 200
_NS_PER_S = 1_000_000_000


def _payload_size(value: int) -> int:
    if not 1 <= value <= EVENT_MAX_BYTES:
        raise problem(f"must be from 1B to {format_size(EVENT_MAX_BYTES)}, not '{format_size(value)}'")
    return value


class Uniform(Part):
    """A delay drawn evenly between two durations."""

    from_ns: DurationNs = Field(alias="from")
    """The shortest delay."""
    to_ns: PositiveDurationNs = Field(alias="to")
    """The longest delay."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.to_ns < self.from_ns:
            raise problem("has a 'to' that is shorter than its 'from'")
        return self


class Exponential(Part):
    """An exponentially distributed delay."""

    mean_ns: PositiveDurationNs = Field(alias="mean")
    """The mean of the delay."""


class Lognormal(Part):
    """A log-normally distributed delay: most delays are short, a few are long."""

    median_ns: PositiveDurationNs = Field(alias="median")
    """The median of the delay."""
    sigma: float = Field(gt=0, le=5)
    """The standard deviation of the logarithm of the delay."""


class RandomDelay(Part):
    """A delay that is drawn for each request; give exactly one distribution."""

    uniform: Uniform | None = None
    """A delay drawn evenly between two durations, such as {from: 10ms, to: 50ms}."""
    exponential: Exponential | None = None
    """An exponentially distributed delay, such as {mean: 50ms}."""
    lognormal: Lognormal | None = None
    """A log-normally distributed delay, such as {median: 50ms, sigma: 0.5}."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = (self.uniform, self.exponential, self.lognormal)
        if sum(form is not None for form in given) != 1:
            raise problem("must have exactly one of uniform, exponential and lognormal")
        return self


class Reply(Part):
    """The replies to one request."""

    channel: str
    """The channel of the replies, with {name} for variables and {request.…} for parts of the request. {request.client}
    is the number of the client that sent the request, within its group. {request.channel.2} is the second segment of
    the request's channel. {request.NAME} is the member NAME of its payload. If the text is {request.NAME} alone, this
    member is the whole channel."""
    payload_bytes: Annotated[SizeBytes, AfterValidator(_payload_size)] = Field(
        default=_DEFAULT_PAYLOAD_BYTES, alias="payload"
    )
    """The size of the JSON text of one reply, at most 240KiB."""
    count: int = Field(default=1, ge=1, le=MAX_REPLIES)
    """The number of replies to one request."""
    every_ns: PositiveDurationNs | None = Field(default=None, alias="every")
    """The time from one reply to the next. With a count above 1, give either this or rate."""
    rate_per_s: EventRate | None = Field(default=None, alias="rate")
    """The number of replies per second to one request. With a count above 1, give either this or every."""
    via: Literal["http", "websocket"] = "http"
    """http: replies are sent by HTTP POST. websocket: they are sent over the client's connection."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = (self.every_ns is not None) + (self.rate_per_s is not None)
        if self.count == 1 and given:
            raise problem("has one reply, so it takes neither 'every' nor 'rate'; give a count above 1")
        if self.count > 1 and given != 1:
            raise problem("has several replies; give one of 'every: 33ms' and 'rate: 30/s'")
        return self

    @property
    def spacing_ns(self) -> int:
        """The time from one reply to the next (ns); 0 for a single reply."""
        if self.rate_per_s is not None:
            return round(_NS_PER_S / self.rate_per_s)
        return self.every_ns or 0


def _whole(value: Any) -> Any:
    return {"channel": value} if isinstance(value, str) else value


class Respond(Part):
    """Replies to the events that one subscription delivers. The record of a run names the request of each reply."""

    to: str
    """The subscribed channel or pattern whose events are requests. If 'subscribe' does not name it, the clients
    subscribe to it as well."""
    publish: Annotated[Reply, BeforeValidator(_whole, json_schema_input_type=str | Reply)]
    """The replies: a mapping, or only a channel for a single reply."""
    after: Annotated[
        Annotated[DurationNs, Tag(WORD)] | Annotated[RandomDelay, Tag(MAPPING)],
        Discriminator(word_or_mapping),
    ] = 0
    """The time from the arrival of a request to the first reply: a duration, or a distribution from which it is drawn.
    Default is 0s."""


def with_subscription(data: Any) -> Any:
    """Return a group's plain data, with the channel of ``respond.to`` added to its subscriptions if it is missing."""
    respond = data.get("respond") if isinstance(data, dict) else None
    to = respond.get("to") if isinstance(respond, dict) else None
    if not isinstance(to, str):
        return data
    subscribe = data.get("subscribe")
    given = [subscribe] if isinstance(subscribe, str) else subscribe
    if given is None:
        return {**data, "subscribe": to}
    if not isinstance(given, list | tuple) or any(same(to, each) for each in given if isinstance(each, str)):
        return data
    return {**data, "subscribe": [*given, to]}


def same(one: str, other: str) -> bool:
    """Return whether two channels are the same except for slashes at their ends."""
    return one.strip("/") == other.strip("/")
