"""A group of clients and what its clients do, in a resolved run."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from loadgen.resolve.bounds import MOST_CLIENTS, Channel, Count, Name, Ns, Percent, PositiveNs, Rate
from loadgen.resolve.publishing import Publishing
from loadgen.resolve.responding import Responding, without_request
from loadgen.scenario.login_columns import columns_in_data

#: `subscriber`, `publisher`, `participant`, or the role of a user class: see `journey_role`.
Role = str


class Reconnecting(Struct, frozen=True):
    """The reconnect policy of a group's clients; see `loadgen.resolve.behaviour.ReconnectPlan`."""

    first_ns: Ns
    most_ns: Ns
    jitter: bool
    again: bool
    """True if clients connect again after losing a connection that the service had accepted."""


class Drop(Struct, frozen=True):
    """A planned drop of a share of a group's connections; ``at_ns`` counts from the start of the measure phase."""

    at_ns: Ns
    share_percent: Percent
    over_ns: Ns
    with_close_frame: bool


class Churn(Struct, frozen=True):
    """Churn of a group's subscriptions (``changes_per_s`` is set) or connections (``lifetime_ns`` is set)."""

    away_ns: Ns
    changes_per_s: Rate | None = None
    """Number of subscriptions that the clients of the group together end per second, to request them again later."""
    lifetime_ns: PositiveNs | None = None
    constant: bool = False
    """True if every connection lasts ``lifetime_ns``, False if this is the mean of an exponential distribution."""

    def __post_init__(self) -> None:
        if (self.changes_per_s is None) == (self.lifetime_ns is None):
            raise ValueError("churn has one of changes_per_s and lifetime_ns")


class Slow(Struct, frozen=True):
    """A share of a group's clients that read slowly."""

    share_percent: Percent
    read_bytes_per_s: Rate


class GroupLogins(Struct, frozen=True, kw_only=True):
    """The logins of a group's clients; None where a client uses the target's login.

    Each login is in the form of `loadgen.scenario.login.Login.as_data`: it names variables, files and columns, and
    contains no secrets.
    """

    connect: dict[str, Any] | None = None
    publish: dict[str, Any] | None = None
    subscribe: Annotated[tuple[dict[str, Any] | None, ...], Meta(max_length=1_000)] = ()
    """The login of each entry of `Group.subscribe`."""

    @property
    def given(self) -> tuple[dict[str, Any], ...]:
        """The logins that the scenario gives for this group; the target's login is used for everything else."""
        return tuple(each for each in (self.connect, *self.subscribe, self.publish) if each is not None)

    @property
    def columns(self) -> tuple[str, ...]:
        """The data columns from which each client's own login is made."""
        return tuple(dict.fromkeys(name for login in self.given for name in columns_in_data(login)))


class Stage(Struct, frozen=True):
    """From ``at_ns`` on (ns after the start of the measure phase), ``users`` clients run their tasks."""

    at_ns: Ns
    users: Annotated[int, Meta(ge=0, le=MOST_CLIENTS)]
    per_s: Rate
    """Rate of change: the number of clients per second that begin or end their tasks until ``users`` is reached."""


class Group(Struct, frozen=True, kw_only=True):
    """A group of clients with the same settings; their numbers are ``first`` to ``first + count - 1``."""

    name: Name
    first: Count
    count: Annotated[int, Meta(ge=1, le=MOST_CLIENTS)]
    ramp_per_s: Rate
    """Connects per second."""
    first_subscription: Count
    subscribe: Annotated[tuple[Channel, ...], Meta(max_length=1_000)] = ()
    """Channel templates in the protocol's normal form; each client makes one subscription for each of them."""
    publish: Publishing | None = None
    respond: Responding | None = None
    users: Annotated[str, Meta(max_length=500)] | None = None
    """The user class whose tasks the clients run (``FILE.py:CLASS``), or None for clients without tasks."""
    stages: Annotated[tuple[Stage, ...], Meta(max_length=10_000)] = ()
    """The numbers of clients that run their tasks, over time; empty if all clients do so throughout."""
    namespaces: Annotated[tuple[Name, ...], Meta(max_length=50)] = ()
    """The namespaces that the tasks use."""
    loop: Literal["closed", "open"] | None = None
    """`open` if tasks start by a schedule, `closed` if each task starts after a wait.

    None if there are no tasks, or if the user class has not been loaded yet.
    """
    pacing: Annotated[str, Meta(max_length=200)] | None = None
    """Description of the tasks' schedule, for display, or None."""
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
        """Templates of the channels that the group subscribes or publishes to.

        For a group that runs a user class the channels are unknown: `/namespace` stands for all channels of a
        namespace.
        """
        if self.users is not None:
            return tuple(f"/{name}" for name in self.namespaces)
        channels = self.subscribe if self.publish is None else (*self.subscribe, self.publish.channel)
        # Leave out a reply channel that begins with a value of the request: its namespace depends on the request.
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
        """Number of sockets of one client: its connection, and one for HTTP; more if HTTP answers come slowly."""
        if self.users is not None:
            return 2
        return self.holds_connections + self.uses_http

    @property
    def connects_per_s(self) -> float:
        """Maximum number of clients that connect in one second."""
        return min(self.ramp_per_s, self.count)

    @property
    def subscriptions(self) -> int:
        """Number of subscriptions of all clients."""
        return self.count * len(self.subscribe)


def journey_role(class_name: str) -> Role:
    """Return the role of clients that run the tasks of the user class with this name."""
    return f"journey:{class_name}"
