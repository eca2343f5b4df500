"""The schema of scenarios, version 1: their keys, units and defaults.

The docstrings of the fields are the descriptions in the JSON Schema and in docs/reference.
"""

from itertools import pairwise
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
from loadgen.config.text import ENVIRONMENT_PATTERN, KEY_PATTERN, NAME_PATTERN, USERS_PATTERN
from loadgen.config.units import (
    ConnectRate,
    DurationNs,
    EchoNs,
    EventRate,
    PositiveDurationNs,
    SizeBytes,
    problem,
)
from loadgen.pacing import Arrival, Point
from loadgen.protocol.appsync.limits import EVENTS_PER_PUBLISH, SUBSCRIPTIONS_PER_CONNECTION
from loadgen.scenario.behaviours import Churn, Drops, ReconnectPolicy, Slow
from loadgen.scenario.curves import Profile
from loadgen.scenario.group_login import Entry, GroupLogin, Subscription
from loadgen.scenario.login import Login
from loadgen.scenario.payload import Content, payload_size
from loadgen.scenario.points import points_of
from loadgen.scenario.responding import Respond, with_subscription

#: Maximum number of clients of a scenario: enough for a million subscribers and a million publishers.
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
    return (value,) if isinstance(value, str | dict) else as_tuple(value)


class Target(Part):
    """The service under test."""

    url: str
    """The URL of the service. For an Event API: its HTTP or realtime URL, such as
    https://<id>.appsync-api.<region>.amazonaws.com/event. For a broker: a URL such as mqtt://<host>:1883 (see
    docs/mqtt.md). For other services see docs/appsync-graphql.md, docs/api-gateway.md and docs/websocket.md."""
    api_key_env: Annotated[str, StringConstraints(pattern=ENVIRONMENT_PATTERN)] | None = None
    """The name of the environment variable that holds the API key, never the key itself. Permit the variable with
    --allow-env."""
    auth: Login | None = None
    """The login, unless it is an API key from an environment variable. Permit each variable that it names with
    --allow-env, and each file with --allow-file."""

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if self.api_key_env is not None and self.auth is not None:
            raise problem("has both api_key_env and auth; keep one of them")
        if self.auth is not None and (columns := self.auth.columns):
            raise problem(
                f"has {{{columns[0]}}}, a client's own value, which only the login of a group can use; write this login"
                " as clients.GROUP.login"
            )
        return self

    @property
    def login(self) -> Login | None:
        """The login, or None if the scenario gives none."""
        if self.api_key_env is not None:
            return Login(mode="api-key", key_env=self.api_key_env)
        return self.auth


class Tls(Part):
    """The settings of the clients' TLS connections."""

    resumption: bool = False
    """True to resume the TLS session of an earlier connection, like a browser that has connected before. False to make
    a full handshake each time, like a new client."""


class Variable(Part):
    """A placeholder in channel names, which takes the values 0 to count-1."""

    count: int = Field(ge=1, le=MAX_VALUES)
    """The number of values."""
    assign: Literal["random", "by-client"] = "random"
    """random: a value is drawn for each entry of a client's subscribe list and for each publish request.
    by-client: client k of its group always uses the value k mod count."""
    popularity: Literal["uniform", "zipf"] = "uniform"
    """The distribution of random draws. uniform: all values are equally likely. zipf: the probability of value k is
    proportional to 1/(k+1)^exponent."""
    exponent: float | None = Field(default=None, gt=0, le=10)
    """The exponent of zipf; default is 1."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.assign == "by-client" and self.popularity == "zipf":
            raise problem("has popularity zipf, which only random draws have; drop it or 'assign: by-client'")
        if self.exponent is not None and self.popularity != "zipf":
            raise problem("has an exponent, which only zipf takes; add 'popularity: zipf' or drop it")
        return self


class Bursts(Part):
    """Publish requests in bursts."""

    bursts: int = Field(ge=1, le=10_000)
    """The number of publish requests that a client sends at once; the mean rate stays the same."""


class Publish(Part):
    """The load that a group offers, in an open loop: the schedule does not wait for answers."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["rate"]}, {"required": ["rate_per_client"]}]}
    )

    channel: str
    """The channel, with {name} for variables and {data.column} for columns. Random values are drawn anew for each
    request."""
    rate_per_s: EventRate | None = Field(default=None, alias="rate")
    """The number of events per second that the whole group publishes. Give either this or rate_per_client."""
    rate_per_client_per_s: EventRate | None = Field(default=None, alias="rate_per_client")
    """The number of events per second that each client publishes. Give either this or rate."""
    batch: int = Field(default=1, ge=1, le=EVENTS_PER_PUBLISH)
    """The number of events in one publish request."""
    via: Literal["http", "websocket"] = "http"
    """http: requests are sent by HTTP POST. websocket: they are sent over the client's connection."""
    arrival: Annotated[
        Annotated[Literal["constant", "poisson"], Tag(WORD)] | Annotated[Bursts, Tag(MAPPING)],
        Discriminator(word_or_mapping),
    ] = "constant"
    """How requests are spread over time. constant: evenly over the whole group. poisson: at random times. {bursts: 10}:
    in bursts of 10 requests of one client."""
    payload: Annotated[
        Annotated[SizeBytes, AfterValidator(payload_size), Tag(WORD)] | Annotated[Content, Tag(MAPPING)],
        Discriminator(word_or_mapping),
    ] = _DEFAULT_PAYLOAD_BYTES
    """The content of the events. A size, such as 200B, is the size of one event's JSON text, which is filled with
    padding; at most 240KiB. A mapping describes other content, such as {json: {...}}, {file: messages.jsonl} or {size:
    {p50: 300B, p99: 20KB, max: 200KB}}."""
    in_flight: int | None = Field(default=None, ge=1, le=100_000)
    """With via http, the maximum number of a client's requests that may be unanswered at once; default is 64."""
    profile: Profile = ()
    """The load curve: a list of points, or a short form such as {steps: [50%, 100%], each: 30s}. Between points the
    load changes linearly; two points at the same time make a step. The first load also applies before the curve,
    including the warm-up, and the last load after the curve. Without it, the load is always 100% of the rate."""

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
    def payload_bytes(self) -> int | None:
        """The size of each event (bytes), or None if the payload is a mapping; see ``made``."""
        return None if isinstance(self.payload, Content) else self.payload

    @property
    def made(self) -> Content | None:
        """The content of the events, or None if it is padding of one size."""
        return self.payload if isinstance(self.payload, Content) else None

    @property
    def arrival_kind(self) -> Arrival:
        """The arrival process, bursts included."""
        return Arrival.BURSTS if isinstance(self.arrival, Bursts) else Arrival(self.arrival)

    @property
    def burst(self) -> int:
        """The number of requests that one client sends at once: 1 unless requests arrive in bursts."""
        return self.arrival.bursts if isinstance(self.arrival, Bursts) else 1

    def events_per_s(self, clients: int) -> float:
        """Return the offered load of ``clients`` clients in events/s, at 100 % of the profile."""
        if self.rate_per_s is not None:
            return self.rate_per_s
        assert self.rate_per_client_per_s is not None
        return self.rate_per_client_per_s * clients

    def curve(self, until_ns: int) -> tuple[Point, ...]:
        """Return the profile's points up to ``until_ns`` at least, counted from the start of the measure phase.

        Loads are multiples of the rate. Without a profile there are no points.
        """
        return points_of(self.profile) if isinstance(self.profile, tuple) else self.profile.curve(until_ns)

    @property
    def curve_length_ns(self) -> int | None:
        """The length of the profile (ns), or None if it has no end of its own, as a list of points."""
        return None if isinstance(self.profile, tuple) else self.profile.length_ns

    @property
    def peak_load(self) -> float:
        """The highest load of the profile as a multiple of the rate; 1 without a profile."""
        if isinstance(self.profile, tuple):
            return max((point.load_percent / 100 for point in self.profile), default=1.0)
        return self.profile.peak_percent / 100


class Stage(Part):
    """The number of clients that run their tasks from a given time on."""

    at_ns: DurationNs = Field(alias="at")
    """The time at which the stage begins, counted from the start of the measure phase. The first stage also applies in
    the warm-up."""
    users: int = Field(ge=0, le=MAX_CLIENTS)
    """The number of the group's clients that run their tasks in this stage."""
    per_s: ConnectRate = Field(default=_DEFAULT_RAMP_PER_S, alias="spawn")
    """The number of clients per second that begin or end their tasks until the stage's number of clients is reached."""


class Group(Part):
    """Clients with the same behaviour: they subscribe, publish, do both over one connection, or run user code."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["subscribe"]},
                {"required": ["publish"]},
                {"required": ["respond"]},
                {"required": ["users"]},
            ]
        }
    )

    count: int = Field(ge=1, le=MAX_CLIENTS)
    """The number of clients."""
    ramp_per_s: ConnectRate = Field(default=_DEFAULT_RAMP_PER_S, alias="ramp")
    """How many clients of the group connect per second."""
    subscriptions: Annotated[
        tuple[Entry, ...],
        _SUBSCRIPTIONS,
        BeforeValidator(
            _one_or_more, json_schema_input_type=str | Annotated[list[str | Subscription], _SUBSCRIPTIONS]
        ),
    ] = Field(default=(), alias="subscribe")
    """The subscriptions of each client: a channel or a list of 1 to 200 channels. A channel may contain {name} for
    variables and {data.column} for columns, and its last segment may be *. A subscription with a login of its own is
    written {channel: …, login: …}."""
    login: GroupLogin | None = None
    """The login of the group's clients: one for all that they do, or {connect: …, subscribe: …, publish: …}. Without
    it, the target's login is used. The login may use columns of data, so that each client has a login of its own."""
    publish: Publish | None = None
    """The load that the group offers, on a schedule."""
    respond: Respond | None = None
    """The replies that the clients publish to events that they receive."""
    users: Annotated[str, StringConstraints(pattern=USERS_PATTERN, max_length=500)] | None = None
    """A user class, as FILE.py:CLASS, whose tasks the clients run. It replaces subscribe and publish. The file is in
    the scenario's folder; permit it with --allow-users."""
    stages: Annotated[tuple[Stage, ...], Field(max_length=1_000), BeforeValidator(as_tuple)] = ()
    """With users: the number of clients that run their tasks, by time. Without it, all clients run them from the start
    of the warm-up on."""
    namespaces: Annotated[tuple[Name, ...], Field(max_length=50), BeforeValidator(as_tuple)] = ()
    """With users: the namespaces of the channels that the tasks use. The embedded server is started with them. Default
    is [default]."""
    reconnect: ReconnectPolicy | None = None
    """How clients reconnect after they lost a connection: a mapping, or never. Default is {first: 100ms, most: 5s,
    jitter: full}. If the first connection fails, a client always tries again."""
    drops: Drops = ()
    """Planned cuts: the times at which the clients cut a share of their connections."""
    churn: Churn | None = None
    """Subscriptions or connections that the clients end and make again during the run."""
    slow: Slow | None = None
    """The share of the clients that read slowly, and their reading speed. By default no client reads slowly."""

    @property
    def subscribe(self) -> tuple[str, ...]:
        """The channels to which each client subscribes."""
        return tuple(each if isinstance(each, str) else each.channel for each in self.subscriptions)

    @model_validator(mode="before")
    @classmethod
    def _subscribes_to_requests(cls, data: Any) -> Any:
        return with_subscription(data)

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.users is not None:
            for key in ("subscribe", "publish", "respond", "drops", "churn", "slow"):
                if getattr(self, key):
                    raise problem(
                        f"has both users and {key}; its user class says what its clients do: drop {key}"
                    )
            if any(later.at_ns <= stage.at_ns for stage, later in pairwise(self.stages)):
                raise problem("has stages that are not in order of time; let each begin after the one before")
            if any(stage.users > self.count for stage in self.stages):
                raise problem(f"has a stage with more users than its count, {self.count:,}")
            return self
        for key in ("stages", "namespaces"):
            if getattr(self, key):
                raise problem(f"has {key}, which only users take; drop them")
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
    """A fixed wait after which a subscription counts as ready, in place of a probe event."""

    settle_ns: DurationNs = Field(alias="settle")
    """The time from the acknowledgement of a subscription until it counts as ready."""


class Phases(Part):
    """The phases of a run: connect and subscribe, wait until ready, warm up, measure, drain."""

    ready: Annotated[
        Annotated[Literal["probe"], Tag(WORD)] | Annotated[Settle, Tag(MAPPING)],
        Discriminator(word_or_mapping),
    ] = "probe"
    """The condition for a subscription to count as ready. probe: it has delivered a probe event. {settle: 2s}: the
    service acknowledged it 2 s ago."""
    ready_timeout_ns: PositiveDurationNs = Field(default=30 * _SECOND_NS, alias="ready_timeout")
    """The longest wait until all subscriptions are ready. If it passes, the run ends with an error. After the ramp, the
    clients have the same time to connect and subscribe."""
    warmup_ns: DurationNs = Field(default=5 * _SECOND_NS, alias="warmup")
    """The length of the warm-up, in which the clients publish but nothing counts yet."""
    measure_ns: PositiveDurationNs = Field(default=20 * _SECOND_NS, alias="measure")
    """The length of the measurement. Without it, the measurement is as long as the longest load curve that has an end,
    or 20s if none has one."""
    drain_ns: DurationNs = Field(default=2 * _SECOND_NS, alias="drain")
    """How long the run waits for deliveries after the measurement. A delivery that arrives after this wait counts as
    late."""
    echo_ns: EchoNs | None = Field(default=None, alias="echo")
    """The interval at which each worker publishes an event to itself (an echo) and times the round trip by one clock;
    or off. Without it, the interval is 500ms if the workers run on several hosts and no subscription or user code could
    receive the echoes; else echoes are off."""

    @property
    def publishing_ns(self) -> int:
        """The length of the publish schedules (ns): warm-up and measurement."""
        return self.warmup_ns + self.measure_ns
