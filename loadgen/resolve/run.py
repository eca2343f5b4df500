"""The resolved run: one object with all that a run needs to know of a scenario and of its target's rules.

`loadgen.resolve.resolver` makes it once. It is immutable and encoded with msgspec, so that `loadgen run` can pass it to
its Locust process and the master to the workers. It holds no secrets: a login only names where its secrets are found.

Decoding checks every bound that the code relies on, since a worker does not trust its master.
"""

from bisect import bisect_right
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from analysis.gates.grammar import Gate, GateError, parse
from loadgen.payloads.plans import PLAIN, Stamps
from loadgen.resolve.bounds import MOST_CLIENTS, Count, Name, Ns, PositiveNs
from loadgen.resolve.group import Group, Role
from loadgen.resolve.publishing import Publishing
from loadgen.resolve.responding import of_request
from loadgen.resolve.totals import Totals, totals_of
from loadgen.scenario.login_columns import columns_in_data, is_fetched, rate_of
from loadgen.scenario.template import Template


class Variable(Struct, frozen=True):
    """A part of channel names that takes the values 0 to count-1; see `loadgen.scenario.models.Variable`."""

    count: Annotated[int, Meta(ge=1, le=1_000_000)]
    assign: Literal["random", "by-client"] = "random"
    popularity: Literal["uniform", "zipf"] = "uniform"
    exponent: Annotated[float, Meta(gt=0, le=10)] | None = None


class DataColumn(Struct, frozen=True):
    """A column of a data file, as far as planning needs it without reading the rows."""

    longest: Annotated[int, Meta(ge=0)]
    """Characters of the longest value."""
    distinct: bool
    """True if no two rows have the same value."""


class DataSet(Struct, frozen=True):
    """A data file whose rows clients use; the rows themselves are not included. See `loadgen.scenario.data.Data`."""

    file: Annotated[str, Meta(max_length=1_000)]
    """Path of the file as the scenario gives it, to be shown to people."""
    rows: Annotated[int, Meta(ge=1, le=100_000_000)]
    assign: Literal["by-client", "random", "in-turn"] = "by-client"
    columns: dict[Annotated[str, Meta(max_length=200)], DataColumn] = {}
    """The columns that templates use; empty if the rows were not read when the run was resolved."""


class Phases(Struct, frozen=True, kw_only=True):
    """The durations of the run's phases."""

    settle_ns: Ns | None
    """Time from a subscription's acknowledgement until it counts as ready; None if it counts as ready when a probe
    arrives."""
    ready_timeout_ns: PositiveNs
    warmup_ns: Ns
    measure_ns: PositiveNs
    drain_ns: Ns
    echo_ns: Ns | None
    """Interval of echoes, events that each worker publishes to itself to time the round trip. 0 for no echoes, None for
    the default: echoes only if workers run on several hosts."""

    @property
    def publishing_ns(self) -> int:
        """Length of the publish schedules: warm-up plus measure phase."""
        return self.warmup_ns + self.measure_ns


class GateText(Struct, frozen=True):
    """A gate as written in the scenario, with its options."""

    check: Annotated[str, Meta(max_length=10_000)]
    over_ns: Ns | None = None
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
    variables: dict[Name, Variable]
    data: dict[Name, DataSet] = {}
    """The data files by name; templates use their columns as ``name.column``."""
    groups: Annotated[tuple[Group, ...], Meta(min_length=1)]
    phases: Phases
    gates: tuple[GateText, ...]
    event_bytes: Count | None
    """Bytes of the largest event that the target accepts, or None if it has no such limit."""
    stamps: Stamps = PLAIN
    """The place of the stamp in each event, and whether the stamp contains a checksum."""
    tls_resumption: bool = False
    """True if connections over TLS resume the session of an earlier one."""
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
        if first > MOST_CLIENTS:
            raise ValueError(f"it has {first:,} clients; at most {MOST_CLIENTS:,} are possible")

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
        """Numbers of clients, connections and subscriptions, summed over all groups, and the length of the ramp."""
        return totals_of(self.groups)

    @property
    def login_time_s(self) -> float:
        """Time (s) to fetch the logins of all clients at their limited rates; 0 if no login is fetched."""
        clients: dict[str, tuple[float, int]] = {}
        for group in self.groups:
            for login in {repr(each): each for each in (group.logins.given if group.logins else ())}.values():
                if next(columns_in_data(login), None) is not None and is_fetched(login):
                    rate_per_s, count = clients.get(repr(login), (rate_of(login), 0))
                    clients[repr(login)] = rate_per_s, count + group.count
        return max((count / rate_per_s for rate_per_s, count in clients.values()), default=0.0)

    @property
    def publishing(self) -> dict[str, Publishing]:
        """The publish settings of the groups that publish, by the group's name."""
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
        """Return how many clients have each role; one that subscribes and publishes counts only as a participant."""
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


def _demand_rows(group: Group, source: str, data: DataSet) -> None:
    """Raise ValueError if each client of the group needs its own row and the data file has too few rows."""
    if data.assign == "by-client" and group.count > data.rows:
        raise ValueError(
            f"group {group.name!a} has {group.count:,} clients and {data.rows:,} rows of {source!a}"
        )


def source_of(name: str) -> str | None:
    """Return the data file's name in a template's name such as ``people.id``, or None if it is a variable's name."""
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
