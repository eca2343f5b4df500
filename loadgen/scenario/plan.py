"""A scenario spelled out: who each client is, what it subscribes to and what it publishes when.

Everything follows from the scenario and a client's number, so that each worker computes its own clients and no
others.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Literal

from loadgen.pacing import Pace, Point, offsets_ns
from loadgen.scenario.behaviour_plan import ORDINARY, Behaviour, behaviour_of
from loadgen.scenario.draws import ChannelDraw, ChannelTable, draw_channel
from loadgen.scenario.models import DEFAULT_IN_FLIGHT, Group, Phases, Publish
from loadgen.scenario.scenario import Scenario
from loadgen.scenario.template import Template

Role = Literal["subscriber", "publisher", "participant"]
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """A group: its clients have the numbers ``first`` to ``first + count - 1``; ``ramp`` is connects per second."""

    name: str
    role: Role
    first: int
    count: int
    ramp: float
    first_subscription: int
    subscriptions_per_client: int


@dataclass(frozen=True, slots=True)
class SubscriptionPlan:
    """One subscription of a client; the number is unique in the whole run."""

    number: int
    channel: str


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """What one client publishes."""

    via: Literal["http", "websocket"]
    """`websocket` is the client's own connection, whatever that is; also where the service has no other way."""
    batch: int
    """Events in one request."""
    payload_bytes: int
    in_flight: int | None
    """Most HTTP requests under way at once; None over the client's connection."""
    pace: Pace
    """The load of the whole group, in requests; the curve's times count from the start of the warm-up."""
    clients: int
    index: int
    """Of the group's clients, which one this is."""
    duration_ns: int
    """How long the schedule runs: warm-up and measurement."""
    _seed: str
    _group: str
    _number: int
    _table: ChannelTable

    def offsets_ns(self, duration_ns: int | None = None) -> Iterator[int]:
        """Yield when each request is due, in ns from the start of the warm-up."""
        return offsets_ns(
            self.pace,
            clients=self.clients,
            index=self.index,
            seed=f"{self._seed}/{self._group}",
            duration_ns=self.duration_ns if duration_ns is None else duration_ns,
        )

    def channels(self) -> ChannelDraw:
        """Return the channels of the requests in the order of their schedule, from the first on."""
        return ChannelDraw(self._table, self.index, Random(f"{self._seed}/publish/{self._number}"))


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """One client."""

    number: int
    """Unique in the whole run, from 0."""
    group: str
    index: int
    """Its number within the group, from 0."""
    subscriptions: tuple[SubscriptionPlan, ...]
    publish: PublishPlan | None
    ramp_offset_ns: int
    """When it connects, in ns from the start of the ramp."""
    behaviour: Behaviour = ORDINARY


class Plan:
    """The clients of a scenario; groups are numbered in the order in which they are written."""

    def __init__(self, scenario: Scenario) -> None:
        rules = scenario.rules
        self._scenario = scenario
        self._seed = str(scenario.seed)
        self.groups = tuple(_groups(scenario))
        self._firsts = [group.first for group in self.groups]
        self._subscribe = {
            name: [Template.parse(rules.normalise(source)) for source in group.subscribe]
            for name, group in scenario.clients.items()
        }
        self._tables = {
            name: ChannelTable(Template.parse(rules.normalise(group.publish.channel)), scenario.variables)
            for name, group in scenario.clients.items()
            if group.publish is not None
        }
        self._paces = {
            name: _pace(group, group.publish, scenario.phases)
            for name, group in scenario.clients.items()
            if group.publish is not None
        }

    def __len__(self) -> int:
        """Return the number of clients."""
        return self.groups[-1].first + self.groups[-1].count

    @property
    def subscription_count(self) -> int:
        """How many subscriptions all clients have together."""
        return sum(group.count * group.subscriptions_per_client for group in self.groups)

    def counts_by_role(self) -> dict[Role, int]:
        """Return how many clients have each role; a participant is not counted as the other two."""
        counts: dict[Role, int] = {"subscriber": 0, "publisher": 0, "participant": 0}
        for group in self.groups:
            counts[group.role] += group.count
        return counts

    def client(self, number: int) -> ClientPlan:
        """Return the client of that global number.

        Raises:
            IndexError: there is no such client.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"client numbers are 0..{len(self) - 1}, not {number}")
        group = self.groups[bisect_right(self._firsts, number) - 1]
        index = number - group.first
        ramp_offset_ns = int(index * _NS_PER_S / Fraction(group.ramp))
        model = self._scenario.clients[group.name]
        return ClientPlan(
            number=number,
            group=group.name,
            index=index,
            subscriptions=self._subscriptions(group, number, index),
            publish=self._publish(group, number, index),
            ramp_offset_ns=ramp_offset_ns,
            behaviour=behaviour_of(model, group.name, self._seed, number, index, ramp_offset_ns),
        )

    def _subscriptions(self, group: GroupPlan, number: int, index: int) -> tuple[SubscriptionPlan, ...]:
        templates = self._subscribe[group.name]
        first = group.first_subscription + index * len(templates)
        random = Random(f"{self._seed}/subscribe/{number}")
        return tuple(
            SubscriptionPlan(first + entry, draw_channel(template, self._scenario.variables, index, random))
            for entry, template in enumerate(templates)
        )

    def _publish(self, group: GroupPlan, number: int, index: int) -> PublishPlan | None:
        publish = self._scenario.clients[group.name].publish
        if publish is None:
            return None
        over_http = self._scenario.rules.over_http(publish.via)
        return PublishPlan(
            via="http" if over_http else "websocket",
            batch=publish.batch,
            payload_bytes=publish.payload_bytes,
            in_flight=(publish.in_flight or DEFAULT_IN_FLIGHT) if over_http else None,
            pace=self._paces[group.name],
            clients=group.count,
            index=index,
            duration_ns=self._scenario.phases.publishing_ns,
            _seed=self._seed,
            _group=group.name,
            _number=number,
            _table=self._tables[group.name],
        )


def _groups(scenario: Scenario) -> Iterator[GroupPlan]:
    first = first_subscription = 0
    for name, group in scenario.clients.items():
        per_client = len(group.subscribe)
        yield GroupPlan(
            name, group.role, first, group.count, group.ramp_per_s, first_subscription, per_client
        )
        first += group.count
        first_subscription += group.count * per_client


def _pace(group: Group, publish: Publish, phases: Phases) -> Pace:
    curve = publish.curve(phases.measure_ns)
    return Pace(
        requests_per_s=publish.events_per_s(group.count) / publish.batch,
        arrival=publish.arrival_kind,
        burst=publish.burst,
        curve=tuple(Point(phases.warmup_ns + point.at_ns, point.load) for point in curve),
    )
