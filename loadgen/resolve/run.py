"""A run, resolved: everything that the run's code asks of a scenario and of its target's rules, as one value.

`loadgen.resolve.resolver` makes it once. It is frozen and msgspec encodes it, so that it goes as it is from `loadgen
run` to its Locust process and from the master to the workers. It holds no secret: a login is named, never given.

Decoding checks every bound that the code relies on, since a worker trusts no master.
"""

from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from analysis.gates.grammar import Gate, GateError, parse
from loadgen.pacing import Pace
from loadgen.resolve.totals import Totals, totals_of
from loadgen.scenario.template import Template

Role = Literal["subscriber", "publisher", "participant"]

#: A century, in ns: no time of a scenario is longer.
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


class Publishing(Struct, frozen=True, kw_only=True):
    """What a group publishes."""

    over_http: bool
    """Whether requests go over HTTP; else each client sends them over its own connection, whatever carries that.

    Resolved by the target's rules: a service may have one of the two ways only.
    """
    channel: _Channel
    """Template in the protocol's normal form."""
    batch: Annotated[int, Meta(ge=1, le=1_000)]
    """Events in one request."""
    payload_bytes: Annotated[int, Meta(ge=1, le=1 << 24)]
    """Bytes of one event's JSON text."""
    in_flight: Annotated[int, Meta(ge=1, le=100_000)] | None
    """HTTP requests that one client may have under way at once; None over its connection."""
    events_per_s: _Positive
    """Offered load of the whole group at 100 % of its curve."""
    each_client: bool
    """Whether the rate was given for each client, so that more clients publish more."""
    pace: Pace
    """The same in requests; the curve's times count from the start of the warm-up."""

    def __post_init__(self) -> None:
        points = self.pace.curve
        if not all(point.at_ns >= 0 and 0 <= point.load <= _MOST_LOAD for point in points):
            raise ValueError("a load curve's loads and times must not be negative")
        if any(later.at_ns < earlier.at_ns for earlier, later in pairwise(points)):
            raise ValueError("a load curve's points must be in order of time")
        if not self.pace.requests_per_s <= _MOST_RATE:
            raise ValueError(f"a group makes {self.pace.requests_per_s:g} requests/s")


class Reconnecting(Struct, frozen=True):
    """How a group's clients come back after a lost connection."""

    first_ns: _Ns
    most_ns: _Ns
    jitter: bool
    again: bool
    """Whether they come back at all once they were connected."""


class Drop(Struct, frozen=True):
    """Connections of a group that its clients cut; times count from the start of the measure phase."""

    at_ns: _Ns
    share_percent: _Percent
    over_ns: _Ns
    with_close_frame: bool


class Churn(Struct, frozen=True):
    """Clients that come and go; exactly one of ``changes_per_s`` and ``lifetime_ns`` is set."""

    away_ns: _Ns
    changes_per_s: _Positive | None = None
    """Subscriptions of the whole group that are given up and made anew."""
    lifetime_ns: Annotated[int, Meta(gt=0, le=3_155_760_000_000_000_000)] | None = None
    constant: bool = False
    """Whether each connection lives as long; else ``lifetime_ns`` is the mean of an exponential distribution."""

    def __post_init__(self) -> None:
        if (self.changes_per_s is None) == (self.lifetime_ns is None):
            raise ValueError("churn has one of changes_per_s and lifetime_ns")


class Slow(Struct, frozen=True):
    """Clients that read slowly."""

    share_percent: _Percent
    read_bytes_per_s: _Positive


class Group(Struct, frozen=True, kw_only=True):
    """Clients that do the same. They have the numbers ``first`` to ``first + count - 1``."""

    name: _Name
    first: _Count
    count: Annotated[int, Meta(ge=1, le=_MOST_CLIENTS)]
    ramp_per_s: _Positive
    """Connects per second."""
    first_subscription: _Count
    subscribe: Annotated[tuple[_Channel, ...], Meta(max_length=1_000)] = ()
    """Templates in the protocol's normal form: a subscription of each client for each."""
    publish: Publishing | None = None
    reconnect: Reconnecting
    drops: Annotated[tuple[Drop, ...], Meta(max_length=1_000)] = ()
    churn: Churn | None = None
    slow: Slow | None = None

    def __post_init__(self) -> None:
        if not self.subscribe and self.publish is None:
            raise ValueError(f"group {self.name!a} neither subscribes nor publishes")

    @property
    def channels(self) -> tuple[str, ...]:
        """What it subscribes to, and publishes to."""
        return self.subscribe if self.publish is None else (*self.subscribe, self.publish.channel)

    @property
    def role(self) -> Role:
        """What the clients do; a participant subscribes and publishes."""
        if self.publish is None:
            return "subscriber"
        return "participant" if self.subscribe else "publisher"

    @property
    def holds_connections(self) -> bool:
        """Whether each client opens a connection of its own: to subscribe, or to publish over it."""
        return bool(self.subscribe) or (self.publish is not None and not self.publish.over_http)

    @property
    def uses_http(self) -> bool:
        """Whether each client opens HTTP connections to publish."""
        return self.publish is not None and self.publish.over_http

    @property
    def sockets_per_client(self) -> int:
        """Sockets of one client: its connection, and one for HTTP while answers are quick."""
        return self.holds_connections + self.uses_http

    @property
    def connects_per_s(self) -> float:
        """The most clients that connect in one second."""
        return min(self.ramp_per_s, self.count)

    @property
    def subscriptions(self) -> int:
        """Subscriptions of all clients."""
        return self.count * len(self.subscribe)


class Phases(Struct, frozen=True, kw_only=True):
    """How long each part of the run takes."""

    settle_ns: _Ns | None
    """How long after its acknowledgement a subscription counts as ready; None: once a probe has come through it."""
    ready_timeout_ns: Annotated[int, Meta(gt=0, le=3_155_760_000_000_000_000)]
    warmup_ns: _Ns
    measure_ns: Annotated[int, Meta(gt=0, le=3_155_760_000_000_000_000)]
    drain_ns: _Ns
    echo_ns: _Ns | None
    """How often workers echo; 0: never; None: where they run on several hosts."""

    @property
    def publishing_ns(self) -> int:
        """How long the schedules run: warm-up and measurement."""
        return self.warmup_ns + self.measure_ns


class GateText(Struct, frozen=True):
    """A gate as it is written, with its options."""

    check: Annotated[str, Meta(max_length=10_000)]
    over_ns: _Ns | None = None
    abort_early: bool = False

    def gate(self) -> Gate:
        """Return the gate.

        Raises:
            GateError: it is none.
        """
        return parse(self.check).with_options(self.over_ns, self.abort_early)

    def __post_init__(self) -> None:
        try:
            self.gate()
        except GateError as error:
            raise ValueError(str(error)) from None


class NamedTarget(Struct, frozen=True):
    """The target that a scenario names, and the login as it names it: variables and files, no secrets."""

    url: str
    login: dict[str, Any] | None = None


class ResolvedRun(Struct, frozen=True, kw_only=True, dict=True):
    """A scenario with its overrides, resolved by the rules of the target that it runs against."""

    name: str
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    variables: dict[_Name, Variable]
    groups: Annotated[tuple[Group, ...], Meta(min_length=1)]
    phases: Phases
    gates: tuple[GateText, ...]
    event_bytes: _Count | None
    """Bytes of the largest event that the target takes; None: it has no such limit."""
    target: NamedTarget | None
    """The scenario's own target; the command line's goes before it."""
    warnings: tuple[str, ...] = ()
    """Sentences on what is allowed but beyond the service's quotas or probably not meant."""
    document: dict[str, Any]
    """The scenario in the YAML's terms with its defaults filled in, for the manifest; empty on a worker."""

    def __post_init__(self) -> None:
        first = first_subscription = 0
        for group in self.groups:
            if (group.first, group.first_subscription) != (first, first_subscription):
                raise ValueError(f"the clients of group {group.name!a} do not follow those before them")
            first += group.count
            first_subscription += group.subscriptions
            used = [*group.subscribe, *([group.publish.channel] if group.publish is not None else [])]
            for name in (name for source in used for name in Template.parse(source).names):
                if name not in self.variables:
                    raise ValueError(f"group {group.name!a} uses {{{name}}}, which is no variable")
        if first > _MOST_CLIENTS:
            raise ValueError(f"it has {first:,} clients; at most {_MOST_CLIENTS:,} are possible")

    @cached_property
    def totals(self) -> Totals:
        """What the groups add up to."""
        return totals_of(self.groups)

    @property
    def publishing(self) -> dict[str, Publishing]:
        """What each publishing group publishes, by the group's name."""
        return {group.name: group.publish for group in self.groups if group.publish is not None}

    def group(self, name: str) -> Group:
        """Return the group of that name; raises KeyError."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    def counts_by_role(self) -> dict[Role, int]:
        """Return how many clients have each role; a participant is not counted as the other two."""
        counts: dict[Role, int] = {"subscriber": 0, "publisher": 0, "participant": 0}
        for group in self.groups:
            counts[group.role] += group.count
        return counts

    def for_worker(self) -> dict[str, Any]:
        """Return it as plain data for a message to a worker, without what only a master needs."""
        plain: dict[str, Any] = msgspec.to_builtins(
            msgspec.structs.replace(self, document={}, warnings=(), target=None)
        )
        return plain


_decoder = msgspec.msgpack.Decoder(ResolvedRun)


def encoded(run: ResolvedRun) -> bytes:
    """Return the run as bytes (MessagePack)."""
    return msgspec.msgpack.encode(run)


def decoded(data: bytes) -> ResolvedRun:
    """Return the run of :func:`encoded`.

    Raises:
        ValueError: these bytes are none.
    """
    return _decoder.decode(data)
