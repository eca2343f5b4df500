"""What each client does to its connection, and when: seeded draws that any worker repeats."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import log
from random import Random

from loadgen.pacing import Arrival, Pace, offsets_ns
from loadgen.resolve.run import Drop, Group

#: Groups and drops whose random order is kept; a group has as many drops at most.
_ORDERS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class ReconnectPlan:
    """The backoff of one client. Attempt n waits ``min(first · 2ⁿ, most)``, with jitter a draw from 0 up to that."""

    first_ns: int
    most_ns: int
    jitter: bool
    again: bool
    """Whether it comes back at all once it was connected."""
    _seed: str

    def random(self) -> Random:
        """Return the source of the jitter, at its start."""
        return Random(f"{self._seed}/reconnect")


@dataclass(frozen=True, slots=True)
class DropPlan:
    """One cut of the client's connection."""

    number: int
    """Of the group's drops, from 1."""
    offset_ns: int
    """When, in ns from the start of the measure phase."""
    with_close_frame: bool


@dataclass(frozen=True, slots=True)
class SubscriptionChurnPlan:
    """Subscriptions that one client gives up and makes anew."""

    changes_per_s: float
    """Of the whole group."""
    away_ns: int
    clients: int
    index: int
    _seed: str
    _group_seed: str

    def offsets_ns(self, duration_ns: int) -> Iterator[int]:
        """Yield when the client changes a subscription, in ns from the start of the warm-up: a Poisson process."""
        pace = Pace(self.changes_per_s, Arrival.POISSON)
        seed = f"{self._group_seed}/churn"
        return offsets_ns(pace, clients=self.clients, index=self.index, seed=seed, duration_ns=duration_ns)

    def choices(self, subscriptions: int) -> Iterator[int]:
        """Yield which of its subscriptions the client changes, one after the other."""
        random = Random(f"{self._seed}/churn")
        while True:
            yield int(random.random() * subscriptions)


@dataclass(frozen=True, slots=True)
class LifetimePlan:
    """Lives of one client's connection."""

    lifetime_ns: int
    """The mean, or each life where it is constant."""
    constant: bool
    away_ns: int
    ramp_offset_ns: int
    _seed: str

    def offsets_ns(self, duration_ns: int) -> Iterator[int]:
        """Yield when the client leaves, in ns from the start of the warm-up; it stays away for ``away_ns`` each time.

        Constant lives end in the order in which the clients connected; the first has partly passed by then.
        """
        random = Random(f"{self._seed}/lifetime")
        at_ns = self.ramp_offset_ns % self.lifetime_ns if self.constant else self._exponential_ns(random)
        while at_ns < duration_ns:
            yield at_ns
            life_ns = self.lifetime_ns if self.constant else self._exponential_ns(random)
            at_ns += self.away_ns + life_ns

    def _exponential_ns(self, random: Random) -> int:
        # Not random.expovariate: its algorithm is not promised to stay the same between Python versions.
        return max(1, round(-log(1.0 - random.random()) * self.lifetime_ns))


@dataclass(frozen=True, slots=True)
class Behaviour:
    """All that a client does to its connection."""

    reconnect: ReconnectPlan
    drops: tuple[DropPlan, ...] = ()
    churn: SubscriptionChurnPlan | LifetimePlan | None = None
    read_bytes_per_s: float | None = None
    """None: as fast as it can."""


#: Of a client that nothing is said of.
ORDINARY = Behaviour(ReconnectPlan(100_000_000, 5_000_000_000, True, True, ""))


def behaviour_of(group: Group, seed: str, number: int, index: int, ramp_offset_ns: int) -> Behaviour:
    """Return what client ``index`` of a group does; ``number`` is its number in the whole run."""
    name, own_seed = group.name, f"{seed}/{number}"
    policy = group.reconnect
    reconnect = ReconnectPlan(policy.first_ns, policy.most_ns, policy.jitter, policy.again, own_seed)
    churn: SubscriptionChurnPlan | LifetimePlan | None = None
    if group.churn is not None and group.churn.changes_per_s is not None:
        churn = SubscriptionChurnPlan(
            group.churn.changes_per_s, group.churn.away_ns, group.count, index, own_seed, f"{seed}/{name}"
        )
    elif group.churn is not None and group.churn.lifetime_ns is not None:
        churn = LifetimePlan(
            group.churn.lifetime_ns, group.churn.constant, group.churn.away_ns, ramp_offset_ns, own_seed
        )
    read_bytes_per_s = None
    if group.slow is not None:
        chosen = _places(f"{seed}/{name}/slow", group.count)[index]
        if chosen < share_of(group.slow.share_percent, group.count):
            read_bytes_per_s = group.slow.read_bytes_per_s
    return Behaviour(reconnect, tuple(_drops(group, f"{seed}/{name}", index)), churn, read_bytes_per_s)


def _drops(group: Group, seed: str, index: int) -> Iterator[DropPlan]:
    for number, drop in enumerate(group.drops, start=1):
        place = _places(f"{seed}/drop/{number}", group.count)[index]
        cut = share_of(drop.share_percent, group.count)
        if place < cut:
            yield DropPlan(number, _cut_at_ns(drop, place, cut), drop.with_close_frame)


def _cut_at_ns(drop: Drop, place: int, cut: int) -> int:
    return drop.at_ns + drop.over_ns * place // cut


def share_of(share_percent: float, count: int) -> int:
    """Return how many of ``count`` a share is: the nearest number, at least one."""
    return max(1, round(count * share_percent / 100))


@lru_cache(maxsize=_ORDERS_KEPT)
def _places(seed: str, count: int) -> tuple[int, ...]:
    """Return each client's place in a random order: those with the lowest places are taken."""
    draw = Random(seed).random
    # Shuffled by hand: of Python's draws only random() is promised to stay the same.
    places = list(range(count))
    for last in range(count - 1, 0, -1):
        other = int(draw() * (last + 1))
        places[last], places[other] = places[other], places[last]
    return tuple(places)
