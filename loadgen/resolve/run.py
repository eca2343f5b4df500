"""The resolved run: all that a run needs to know of a scenario and of its target's rules, as one value.

`loadgen.resolve.resolver` makes it once. It is immutable and encoded with msgspec, so that `loadgen run` can pass it to
its Locust process and the master to the workers. It holds no secrets: a login only names where its secrets are found.

Decoding checks every bound that the code relies on, since a worker does not trust its master.
"""

from bisect import bisect_right
from functools import cached_property
from itertools import pairwise
from math import ceil
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from analysis.gates.grammar import Gate, GateError, parse
from analysis.pricing import units
from loadgen.pacing import Pace
from loadgen.payloads.plans import PLAIN, Payload, SizeShare, Stamps
from loadgen.payloads.plans import Template as PayloadTemplate
from loadgen.payloads.sizes import mean_of
from loadgen.payloads.template import BUILT_IN, compiled_json, compiled_text
from loadgen.resolve.responding import Responding, of_request, without_request
from loadgen.resolve.totals import Totals, totals_of
from loadgen.scenario.login_columns import columns_in_data, is_fetched, rate_of
from loadgen.scenario.template import Template

#: `subscriber`, `publisher`, `participant`, or that of a user class: see `journey_role`.
Role = str

#: A duration in ns of at most a century.
_Ns = Annotated[int, Meta(ge=0, le=3_155_760_000_000_000_000)]
_MOST_RATE = 1e15
_MOST_LOAD = 1e12
_Positive = Annotated[float, Meta(gt=0, le=_MOST_RATE)]
_Count = Annotated[int, Meta(ge=0, le=1 << 40)]
_Name = Annotated[str, Meta(min_length=1, max_length=200)]
_Channel = Annotated[str, Meta(max_length=100_000)]
_Percent = Annotated[float, Meta(gt=0, le=100)]
_MOST_CLIENTS = 2_000_000


class Variable(Struct, frozen=True):
    """A part of channel names that takes the values 0 to count-1; see `loadgen.scenario.models.Variable`."""

    count: Annotated[int, Meta(ge=1, le=1_000_000)]
    assign: Literal["random", "by-client"] = "random"
    popularity: Literal["uniform", "zipf"] = "uniform"
    exponent: Annotated[float, Meta(gt=0, le=10)] | None = None


class DataColumn(Struct, frozen=True):
    """The properties of a column that planning needs in place of its rows."""

    longest: Annotated[int, Meta(ge=0)]
    """Characters of the longest value."""
    distinct: bool
    """True if no two rows have the same value."""


class DataSet(Struct, frozen=True):
    """A file of rows that clients take, without the rows; see `loadgen.scenario.data.Data`."""

    file: Annotated[str, Meta(max_length=1_000)]
    """Path as the scenario writes it, for people."""
    rows: Annotated[int, Meta(ge=1, le=100_000_000)]
    assign: Literal["by-client", "random", "in-turn"] = "by-client"
    columns: dict[Annotated[str, Meta(max_length=200)], DataColumn] = {}
    """The columns that templates use; empty if the rows were not at hand when the run was resolved."""


class Publishing(Struct, frozen=True, kw_only=True):
    """The publishes of a group."""

    over_http: bool
    """True to send requests over HTTP, False to send them over each client's own connection.

    The target's rules decide it, since a service may support only one of the two.
    """
    channel: _Channel
    """Template in the protocol's normal form."""
    batch: Annotated[int, Meta(ge=1, le=1_000)]
    """Events in one request."""
    payload_bytes: Annotated[int, Meta(ge=1, le=1 << 24)]
    """Bytes of one event's JSON text; their mean, rounded, if the events differ."""
    payload: Payload = None
    """How the events are made; None for padding of one size."""
    sizes: Annotated[tuple[SizeShare, ...], Meta(max_length=20_000)] = ()
    """The sizes of the events and their shares; empty if all have ``payload_bytes``."""
    example: Annotated[bytes, Meta(max_length=1 << 24)] = b""
    """The content of one event, without its stamp, for probes; empty if it is padding."""
    largest_bytes: Annotated[int, Meta(ge=1, le=1 << 24)] | None = None
    """Bytes of the largest event, or None if all have ``payload_bytes``."""
    in_flight: Annotated[int, Meta(ge=1, le=100_000)] | None
    """Most HTTP requests of one client that may be unanswered at once; None if requests go over its connection."""
    events_per_s: _Positive
    """Offered load of the whole group at 100 % of its curve."""
    each_client: bool
    """True if the rate was given per client, so that more clients publish more."""
    pace: Pace
    """Offered load in requests; the curve's times count from the start of the warm-up."""

    @property
    def mean_bytes(self) -> float:
        """Mean size of an event in bytes."""
        return mean_of(self.sizes) if self.sizes else float(self.payload_bytes)

    @property
    def most_bytes(self) -> int:
        """Size of the largest event in bytes."""
        return self.payload_bytes if self.largest_bytes is None else self.largest_bytes

    def units(self, unit_bytes: int) -> float:
        """Return the mean number of units that an event is metered as: one for each unit or part of a unit."""
        if not self.sizes:
            return units(self.payload_bytes, unit_bytes)
        return sum(each.share * units(ceil(each.bytes), unit_bytes) for each in self.sizes)

    @property
    def payload_names(self) -> tuple[str, ...]:
        """The columns of data in the payload's template."""
        if not isinstance(self.payload, PayloadTemplate):
            return ()
        compiled = (
            compiled_json(self.payload.written, None)
            if self.payload.kind == "json"
            else compiled_text(self.payload.written)
        )
        return tuple(name for name in compiled.names if name not in BUILT_IN)

    def __post_init__(self) -> None:
        points = self.pace.curve
        if not all(point.at_ns >= 0 and 0 <= point.load <= _MOST_LOAD for point in points):
            raise ValueError("a load curve's loads and times must not be negative")
        if any(later.at_ns < earlier.at_ns for earlier, later in pairwise(points)):
            raise ValueError("a load curve's points must be in order of time")
        if not self.pace.requests_per_s <= _MOST_RATE:
            raise ValueError(f"a group makes {self.pace.requests_per_s:g} requests/s")


class Reconnecting(Struct, frozen=True):
    """The reconnect policy of a group's clients; see `loadgen.resolve.behaviour.ReconnectPlan`."""

    first_ns: _Ns
    most_ns: _Ns
    jitter: bool
    again: bool
    """True if clients reconnect after they have once been connected."""


class Drop(Struct, frozen=True):
    """A planned drop of a share of a group's connections; ``at_ns`` counts from the start of the measure phase."""

    at_ns: _Ns
    share_percent: _Percent
    over_ns: _Ns
    with_close_frame: bool


class Churn(Struct, frozen=True):
    """Churn of a group's subscriptions (``changes_per_s`` is set) or connections (``lifetime_ns`` is set)."""

    away_ns: _Ns
    changes_per_s: _Positive | None = None
    """Subscriptions of the whole group that are given up and requested again, per second."""
    lifetime_ns: Annotated[int, Meta(gt=0, le=3_155_760_000_000_000_000)] | None = None
    constant: bool = False
    """True if every life lasts ``lifetime_ns``, False if that is the mean of an exponential distribution."""

    def __post_init__(self) -> None:
        if (self.changes_per_s is None) == (self.lifetime_ns is None):
            raise ValueError("churn has one of changes_per_s and lifetime_ns")


class Slow(Struct, frozen=True):
    """A share of a group's clients that read slowly."""

    share_percent: _Percent
    read_bytes_per_s: _Positive


class GroupLogins(Struct, frozen=True, kw_only=True):
    """The logins of a group's clients, each as `loadgen.scenario.login.Login.as_data`; None stands for the target's.

    They hold names of variables, files and columns, no secrets.
    """

    connect: dict[str, Any] | None = None
    publish: dict[str, Any] | None = None
    subscribe: Annotated[tuple[dict[str, Any] | None, ...], Meta(max_length=1_000)] = ()
    """The login of each entry of `Group.subscribe`."""

    @property
    def given(self) -> tuple[dict[str, Any], ...]:
        """The logins that are not the target's."""
        return tuple(each for each in (self.connect, *self.subscribe, self.publish) if each is not None)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of data that make each client's own login."""
        return tuple(dict.fromkeys(name for login in self.given for name in columns_in_data(login)))


class Stage(Struct, frozen=True):
    """From ``at_ns`` on, counted from the start of the measure phase, ``users`` clients play their journeys."""

    at_ns: _Ns
    users: Annotated[int, Meta(ge=0, le=_MOST_CLIENTS)]
    per_s: _Positive
    """Clients that begin or end per second until the number is reached."""


class Group(Struct, frozen=True, kw_only=True):
    """A group of clients with the same settings; their numbers are ``first`` to ``first + count - 1``."""

    name: _Name
    first: _Count
    count: Annotated[int, Meta(ge=1, le=_MOST_CLIENTS)]
    ramp_per_s: _Positive
    """Connects per second."""
    first_subscription: _Count
    subscribe: Annotated[tuple[_Channel, ...], Meta(max_length=1_000)] = ()
    """Channel templates in the protocol's normal form; each client makes one subscription for each of them."""
    publish: Publishing | None = None
    respond: Responding | None = None
    users: Annotated[str, Meta(max_length=500)] | None = None
    """The user class whose tasks the clients run (``FILE.py:CLASS``), or None for clients without tasks."""
    stages: Annotated[tuple[Stage, ...], Meta(max_length=10_000)] = ()
    """How many of the clients run their tasks at what time; empty if all of them do throughout."""
    namespaces: Annotated[tuple[_Name, ...], Meta(max_length=50)] = ()
    """The namespaces that the tasks use."""
    loop: Literal["closed", "open"] | None = None
    """With tasks: open if they are due by a schedule, closed if after a wait, None until their class is known."""
    pacing: Annotated[str, Meta(max_length=200)] | None = None
    """The schedule for people, or None."""
    reconnect: Reconnecting
    drops: Annotated[tuple[Drop, ...], Meta(max_length=1_000)] = ()
    churn: Churn | None = None
    slow: Slow | None = None
    logins: GroupLogins | None = None

    def __post_init__(self) -> None:
        if self.users is None and not self.subscribe and self.publish is None:
            raise ValueError(f"group {self.name!a} neither subscribes nor publishes")
        if self.users is not None and (self.subscribe or self.publish is not None):
            raise ValueError(
                f"group {self.name!a} runs tasks, and cannot have subscriptions or publishes besides"
            )
        if self.logins is not None and len(self.logins.subscribe) != len(self.subscribe):
            raise ValueError(f"group {self.name!a} does not have a login for each subscription")
        if self.respond is not None and self.respond.entry >= len(self.subscribe):
            raise ValueError(f"group {self.name!a} responds to a subscription that it does not make")

    @property
    def channels(self) -> tuple[str, ...]:
        """Templates of the channels that the group subscribes to or publishes to; of tasks, their namespaces only."""
        if self.users is not None:
            return tuple(f"/{name}" for name in self.namespaces)
        channels = self.subscribe if self.publish is None else (*self.subscribe, self.publish.channel)
        # A channel that begins with a value of the request has no namespace that is known beforehand.
        if self.respond is None or self.respond.channel.lstrip("/").startswith("{request."):
            return channels
        return (*channels, without_request(self.respond.channel))

    @property
    def role(self) -> Role:
        """Role of the clients; a participant both subscribes and publishes."""
        if self.users is not None:
            return journey_role(self.users.rpartition(":")[2])
        if self.publish is None and self.respond is None:
            return "subscriber"
        return "participant" if self.subscribe else "publisher"

    @property
    def holds_connections(self) -> bool:
        """True if each client opens its own connection, to subscribe or to publish over it."""
        return bool(self.subscribe) or (self.publish is not None and not self.publish.over_http)

    @property
    def uses_http(self) -> bool:
        """True if each client publishes over HTTP."""
        return (self.publish is not None and self.publish.over_http) or (
            self.respond is not None and self.respond.over_http
        )

    @property
    def sockets_per_client(self) -> int:
        """Sockets of one client: its connection, and one for HTTP as long as answers come quickly."""
        if self.users is not None:
            return 2
        return self.holds_connections + self.uses_http

    @property
    def connects_per_s(self) -> float:
        """Most clients that connect in one second."""
        return min(self.ramp_per_s, self.count)

    @property
    def subscriptions(self) -> int:
        """Subscriptions of all clients."""
        return self.count * len(self.subscribe)


class Phases(Struct, frozen=True, kw_only=True):
    """The durations of the run's phases."""

    settle_ns: _Ns | None
    """Time from a subscription's acknowledgement until it counts as ready; None if a probe must arrive instead."""
    ready_timeout_ns: Annotated[int, Meta(gt=0, le=3_155_760_000_000_000_000)]
    warmup_ns: _Ns
    measure_ns: Annotated[int, Meta(gt=0, le=3_155_760_000_000_000_000)]
    drain_ns: _Ns
    echo_ns: _Ns | None
    """Interval of the workers' echoes, or 0 for none; None to echo by default if workers run on several hosts."""

    @property
    def publishing_ns(self) -> int:
        """Length of the publish schedules: warm-up plus measure phase."""
        return self.warmup_ns + self.measure_ns


class GateText(Struct, frozen=True):
    """A gate as written in the scenario, with its options."""

    check: Annotated[str, Meta(max_length=10_000)]
    over_ns: _Ns | None = None
    abort_early: bool = False

    def gate(self) -> Gate:
        """Return the parsed gate.

        Raises:
            GateError: the text is not a gate.
        """
        return parse(self.check).with_options(self.over_ns, self.abort_early)

    def __post_init__(self) -> None:
        try:
            self.gate()
        except GateError as error:
            raise ValueError(str(error)) from None


class NamedTarget(Struct, frozen=True):
    """The scenario's own target; its login holds the names of variables and files, no secrets."""

    url: str
    login: dict[str, Any] | None = None


class ResolvedRun(Struct, frozen=True, kw_only=True, dict=True):
    """A scenario with its overrides, resolved by the rules of its target."""

    name: str
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    variables: dict[_Name, Variable]
    data: dict[_Name, DataSet] = {}
    """The files of rows whose columns stand in templates as ``name.column``."""
    groups: Annotated[tuple[Group, ...], Meta(min_length=1)]
    phases: Phases
    gates: tuple[GateText, ...]
    event_bytes: _Count | None
    """Bytes of the largest event that the target takes, or None if it has no such limit."""
    stamps: Stamps = PLAIN
    """Where the stamp of each event goes, and whether it holds a checksum."""
    target: NamedTarget | None
    """The scenario's own target, if any; a target on the command line takes precedence."""
    warnings: tuple[str, ...] = ()
    """Sentences about settings that are allowed, but exceed the service's quotas or are probably unintended."""
    document: dict[str, Any]
    """The scenario in the form of its YAML with defaults filled in, for the manifest; empty on a worker."""

    def __post_init__(self) -> None:
        first = first_subscription = 0
        for group in self.groups:
            if (group.first, group.first_subscription) != (first, first_subscription):
                raise ValueError(f"the clients of group {group.name!a} do not follow those before them")
            first += group.count
            first_subscription += group.subscriptions
            used = [*group.subscribe, *([group.publish.channel] if group.publish is not None else [])]
            for name in (name for source in used for name in Template.parse(source).names):
                self._demand_known(group, name)
            for name in () if group.logins is None else group.logins.columns:
                self._demand_known(group, name)
            for name in () if group.publish is None else group.publish.payload_names:
                if source_of(name) is None:
                    raise ValueError(
                        f"the payload of group {group.name!a} uses {{{name}}}, which is not a column"
                    )
                self._demand_known(group, name)
            if group.respond is not None:
                for name in Template.parse(group.respond.channel).names:
                    if not of_request(name):
                        self._demand_known(group, name)
            for source, data in self.data.items() if group.users is not None else ():
                _demand_rows(group, source, data)
        if first > _MOST_CLIENTS:
            raise ValueError(f"it has {first:,} clients; at most {_MOST_CLIENTS:,} are possible")

    def _demand_known(self, group: Group, name: str) -> None:
        """Raise ValueError if a name in a template of the group is neither a variable nor a column of data."""
        source = source_of(name)
        if source is None:
            if name not in self.variables:
                raise ValueError(f"group {group.name!a} uses {{{name}}}, which is not a variable")
            return
        data = self.data.get(source)
        if data is None:
            raise ValueError(f"group {group.name!a} uses {{{name}}}, which is not data")
        _demand_rows(group, source, data)

    @cached_property
    def totals(self) -> Totals:
        """Totals over all groups."""
        return totals_of(self.groups)

    @property
    def login_time_s(self) -> float:
        """Seconds that it takes to fetch the logins of all clients at their bounded rates; 0 if none is fetched."""
        clients: dict[str, tuple[float, int]] = {}
        for group in self.groups:
            for login in {repr(each): each for each in (group.logins.given if group.logins else ())}.values():
                if next(columns_in_data(login), None) is not None and is_fetched(login):
                    rate_per_s, count = clients.get(repr(login), (rate_of(login), 0))
                    clients[repr(login)] = rate_per_s, count + group.count
        return max((count / rate_per_s for rate_per_s, count in clients.values()), default=0.0)

    @property
    def publishing(self) -> dict[str, Publishing]:
        """The publishes of each group that has any, by the group's name."""
        return {group.name: group.publish for group in self.groups if group.publish is not None}

    def group(self, name: str) -> Group:
        """Return the group with the given name; raises KeyError if there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    def group_of(self, number: int) -> Group:
        """Return the group of the client with the global number ``number``; raises IndexError if there is none."""
        found = self.groups[max(0, bisect_right(self._firsts, number) - 1)]
        if not found.first <= number < found.first + found.count:
            raise IndexError(f"client numbers are 0..{self.totals.clients - 1}, not {number}")
        return found

    @cached_property
    def _firsts(self) -> tuple[int, ...]:
        return tuple(group.first for group in self.groups)

    def counts_by_role(self) -> dict[Role, int]:
        """Return how many clients have each role; a participant counts only as a participant."""
        counts: dict[Role, int] = {"subscriber": 0, "publisher": 0, "participant": 0}
        for group in self.groups:
            counts[group.role] = counts.get(group.role, 0) + group.count
        return counts

    @property
    def journeys(self) -> tuple[Group, ...]:
        """The groups whose clients run the tasks of user classes."""
        return tuple(group for group in self.groups if group.users is not None)

    def for_worker(self) -> "ResolvedRun":
        """Return the run for a message to a worker, without the values that only a master needs."""
        return msgspec.structs.replace(self, document={}, warnings=(), target=None)


def journey_role(class_name: str) -> Role:
    """Return the role of clients that run the tasks of the user class with this name."""
    return f"journey:{class_name}"


def _demand_rows(group: Group, source: str, data: DataSet) -> None:
    """Raise ValueError if each client of the group needs a row of its own and there are too few."""
    if data.assign == "by-client" and group.count > data.rows:
        raise ValueError(
            f"group {group.name!a} has {group.count:,} clients and {data.rows:,} rows of {source!a}"
        )


def source_of(name: str) -> str | None:
    """Return the data that a template's name such as ``people.id`` belongs to, or None if it is a variable's name."""
    source, dot, _ = name.partition(".")
    return source if dot else None


_decoder = msgspec.msgpack.Decoder(ResolvedRun)


def encoded(run: ResolvedRun) -> bytes:
    """Return the run encoded as MessagePack."""
    return msgspec.msgpack.encode(run)


def decoded(data: bytes) -> ResolvedRun:
    """Return the run that :func:`encoded` has encoded.

    Raises:
        ValueError: the bytes are not a valid run.
    """
    return _decoder.decode(data)
