"""The scenario's schema, version 1: what may be written, with which units and defaults.

The docstrings of fields are the descriptions in the JSON Schema.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from loadgen.config.base import MAPPING, WORD, Part, as_tuple, word_or_mapping
from loadgen.config.text import ENVIRONMENT_PATTERN, KEY_PATTERN, NAME_PATTERN
from loadgen.config.units import (
    ConnectRate,
    DurationNs,
    EchoNs,
    EventRate,
    PositiveDurationNs,
    SizeBytes,
    format_size,
    problem,
)
from loadgen.pacing import Arrival, Point
from loadgen.protocol.appsync.limits import EVENT_MAX_BYTES, EVENTS_PER_PUBLISH, SUBSCRIPTIONS_PER_CONNECTION
from loadgen.scenario.behaviours import Churn, Drops, ReconnectPolicy, Slow
from loadgen.scenario.curves import Profile, points_of
from loadgen.scenario.login import Login

#: A million subscribers, and room for those who publish to them.
MAX_CLIENTS = 2_000_000
MAX_VALUES = 1_000_000
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
DEFAULT_IN_FLIGHT = 64
_DEFAULT_PAYLOAD_BYTES = 200
_DEFAULT_RAMP_PER_S = 250.0
_SECOND_NS = 1_000_000_000

_SUBSCRIPTIONS = Field(min_length=1, max_length=SUBSCRIPTIONS_PER_CONNECTION)


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else as_tuple(value)


def _payload_size(value: int) -> int:
    if not 1 <= value <= EVENT_MAX_BYTES:
        raise problem(f"must be from 1B to {format_size(EVENT_MAX_BYTES)}, not '{format_size(value)}'")
    return value


class Target(Part):
    """The service under test."""

    url: str
    """The Event API's HTTP or realtime URL, such as https://<id>.appsync-api.<region>.amazonaws.com/event; or a
    broker's, such as mqtt://<host>:1883 (see docs/mqtt.md)."""
    api_key_env: Annotated[str, StringConstraints(pattern=ENVIRONMENT_PATTERN)] | None = None
    """Name of the environment variable that holds the API key, never the key itself; permit it with --allow-env."""
    auth: Login | None = None
    """Another way to log in than by API key. Each variable and file that it names must be permitted on the command
    line, with --allow-env and --allow-file."""

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if self.api_key_env is not None and self.auth is not None:
            raise problem("has both api_key_env and auth; keep one of them")
        return self

    @property
    def login(self) -> Login | None:
        """How to log in; None: nothing is said of it."""
        if self.api_key_env is not None:
            return Login(mode="api-key", key_env=self.api_key_env)
        return self.auth


class Variable(Part):
    """A part of channel names that takes the values 0 to count-1."""

    count: int = Field(ge=1, le=MAX_VALUES)
    """How many values there are."""
    assign: Literal["random", "by-client"] = "random"
    """random: drawn for each entry of a client's subscribe list and for each publish request.
    by-client: client k of its group has the value k mod count in all that it does."""
    popularity: Literal["uniform", "zipf"] = "uniform"
    """How random draws spread: all values alike, or value k in proportion to 1/(k+1)^exponent."""
    exponent: float | None = Field(default=None, gt=0, le=10)
    """How steep zipf is; default 1."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.assign == "by-client" and self.popularity == "zipf":
            raise problem("has popularity zipf, which only random draws have; drop it or 'assign: by-client'")
        if self.exponent is not None and self.popularity != "zipf":
            raise problem("has an exponent, which only zipf takes; add 'popularity: zipf' or drop it")
        return self


class Bursts(Part):
    """Requests that come in bursts."""

    bursts: int = Field(ge=1, le=10_000)
    """How many publish requests a client sends at once; the mean rate stays what it is."""


class Publish(Part):
    """What a group publishes, in open loop: the schedule does not wait for answers."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["rate"]}, {"required": ["rate_per_client"]}]}
    )

    channel: str
    """The channel, with {name} for variables; random ones are drawn for each request."""
    rate_per_s: EventRate | None = Field(default=None, alias="rate")
    """Events per second of the whole group; exactly one of this and rate_per_client."""
    rate_per_client_per_s: EventRate | None = Field(default=None, alias="rate_per_client")
    """Events per second of each client; exactly one of this and rate."""
    batch: int = Field(default=1, ge=1, le=EVENTS_PER_PUBLISH)
    """Events in one publish request."""
    via: Literal["http", "websocket"] = "http"
    """How requests are sent: HTTP POST, or over the client's WebSocket connection."""
    arrival: Annotated[
        Annotated[Literal["constant", "poisson"], Tag(WORD)] | Annotated[Bursts, Tag(MAPPING)],
        Discriminator(word_or_mapping),
    ] = "constant"
    """How requests spread over time: evenly over the whole group, at random, or in bursts ({bursts: 10})."""
    payload_bytes: Annotated[SizeBytes, AfterValidator(_payload_size)] = Field(
        default=_DEFAULT_PAYLOAD_BYTES, alias="payload"
    )
    """Size of one event's JSON text; at most 240KiB."""
    in_flight: int | None = Field(default=None, ge=1, le=100_000)
    """With via http, how many requests of one client may be under way at once; default 64."""
    profile: Profile = ()
    """A load curve: a list of points, linear between them (two points at one time make a step), or a short form such
    as {steps: [50%, 100%], each: 30s}. The first load holds before it, the warm-up included, the last load after it."""

    @model_validator(mode="before")
    @classmethod
    def _default_in_flight(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("via", "http") == "http" and "in_flight" not in data:
            return {**data, "in_flight": DEFAULT_IN_FLIGHT}
        return data

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.rate_per_s is not None and self.rate_per_client_per_s is not None:
            raise problem("has both rate and rate_per_client; give one of them")
        if self.rate_per_s is None and self.rate_per_client_per_s is None:
            raise problem("has no rate; give 'rate: 100/s' for the group or 'rate_per_client: 10/s'")
        if self.via == "websocket" and self.in_flight is not None:
            raise problem("has in_flight, which only 'via: http' takes; drop it")
        return self

    @property
    def arrival_kind(self) -> Arrival:
        """The arrival process, bursts included."""
        return Arrival.BURSTS if isinstance(self.arrival, Bursts) else Arrival(self.arrival)

    @property
    def burst(self) -> int:
        """Requests that one client sends at once; 1 unless arrival is in bursts."""
        return self.arrival.bursts if isinstance(self.arrival, Bursts) else 1

    def events_per_s(self, clients: int) -> float:
        """Return the offered load (events/s) of so many clients at 100 % of the profile."""
        if self.rate_per_s is not None:
            return self.rate_per_s
        assert self.rate_per_client_per_s is not None
        return self.rate_per_client_per_s * clients

    def curve(self, until_ns: int) -> tuple[Point, ...]:
        """Return the profile's points up to ``until_ns`` or beyond, from the start of the measure phase on.

        Loads are multiples of the rate; without a profile there are no points.
        """
        return points_of(self.profile) if isinstance(self.profile, tuple) else self.profile.curve(until_ns)

    @property
    def curve_length_ns(self) -> int | None:
        """How long the profile is; None: it has no end of its own, as a list of points."""
        return None if isinstance(self.profile, tuple) else self.profile.length_ns

    @property
    def peak_load(self) -> float:
        """The highest load of the profile as a multiple of the rate; 1 without a profile."""
        if isinstance(self.profile, tuple):
            return max((point.load_percent / 100 for point in self.profile), default=1.0)
        return self.profile.peak_percent / 100


class Group(Part):
    """Clients that do the same; they subscribe, publish, or both over one connection."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["subscribe"]}, {"required": ["publish"]}]}
    )

    count: int = Field(ge=1, le=MAX_CLIENTS)
    """How many clients."""
    ramp_per_s: ConnectRate = Field(default=_DEFAULT_RAMP_PER_S, alias="ramp")
    """How many of them connect per second."""
    subscribe: Annotated[
        tuple[str, ...],
        _SUBSCRIPTIONS,
        BeforeValidator(_one_or_more, json_schema_input_type=str | Annotated[list[str], _SUBSCRIPTIONS]),
    ] = ()
    """What each client subscribes to: a channel or a list of 1 to 200; {name} for variables, and the last part
    of a channel may be *."""
    publish: Publish | None = None
    """What the group publishes."""
    reconnect: ReconnectPolicy | None = None
    """How clients come back after a lost connection: a mapping, or never; default: {first: 100ms, most: 5s, jitter:
    full}. The first connection is always tried again."""
    drops: Drops = ()
    """When the clients cut some of their connections."""
    churn: Churn | None = None
    """How clients come and go."""
    slow: Slow | None = None
    """How many clients read slowly, and how slowly."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.subscribe and self.publish is None:
            raise problem("neither subscribes nor publishes; give it 'subscribe', 'publish' or both")
        return self

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if not self.subscribe:
            if self.churn is not None and self.churn.changes_per_s is not None:
                raise problem("has churn.subscriptions and subscribes to nothing; give it 'subscribe'")
            if self.slow is not None:
                raise problem("has slow and subscribes to nothing; give it 'subscribe'")
        return self


class Settle(Part):
    """Waiting instead of probing."""

    settle_ns: DurationNs = Field(alias="settle")
    """How long after its acknowledgement a subscription counts as ready."""


class Phases(Part):
    """How a run goes: connect and subscribe, be ready, warm up, measure, drain."""

    ready: Annotated[
        Annotated[Literal["probe"], Tag(WORD)] | Annotated[Settle, Tag(MAPPING)],
        Discriminator(word_or_mapping),
    ] = "probe"
    """When a subscription counts as ready: once a probe event has come through it, or after {settle: 2s}."""
    ready_timeout_ns: PositiveDurationNs = Field(default=30 * _SECOND_NS, alias="ready_timeout")
    """How long to wait for all subscriptions to be ready."""
    warmup_ns: DurationNs = Field(default=5 * _SECOND_NS, alias="warmup")
    """How long to publish before what is published counts."""
    measure_ns: PositiveDurationNs = Field(default=20 * _SECOND_NS, alias="measure")
    """How long to publish what counts; default is as long as the longest load curve that has an end, else 20s."""
    drain_ns: DurationNs = Field(default=2 * _SECOND_NS, alias="drain")
    """How long to wait for deliveries after the last publish; what comes later is late."""
    echo_ns: EchoNs | None = Field(default=None, alias="echo")
    """How often each worker publishes an event to itself, whose round trip is timed by one clock; or off. Default:
    every 500ms where the workers run on several hosts and no subscription would receive it, else off."""

    @property
    def publishing_ns(self) -> int:
        """How long the schedules run: warm-up and measurement."""
        return self.warmup_ns + self.measure_ns
