"""Each client's reconnects, drops, churn and slow reading, drawn at random from the seed that all workers share."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import log
from random import Random

from loadgen.pacing import Arrival, Pace, offsets_ns
from loadgen.resolve.group import Drop, Group

#: Number of random orders of clients to cache. A group needs one for each of its planned drops (at most this many), and
#: one to choose its slow clients.
_ORDERS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class ReconnectPlan:
    """The backoff of one client: before attempt n it waits ``min(first · 2ⁿ, most)``.

    With jitter, the wait is a random part of that time.
    """

    first_ns: int
    most_ns: int
    jitter: bool
    again: bool
    """True if the client connects again after losing a connection that the service had accepted."""
    _seed: str

    def random(self) -> Random:
        """Return a new random generator for the jitter."""
        return Random(f"{self._seed}/reconnect")


@dataclass(frozen=True, slots=True)
class DropPlan:
    """A planned drop of the client's connection."""

    number: int
    """Number of this drop among the planned drops of the group, from 1."""
    offset_ns: int
    """Time of the drop, in ns from the start of the measure phase."""
    with_close_frame: bool


@dataclass(frozen=True, slots=True)
class SubscriptionChurnPlan:
    """A client's subscription churn: when it leaves a subscription for a while, and which subscription it leaves."""

    changes_per_s: float
    """Changes per second of the whole group."""
    away_ns: int
    clients: int
    index: int
    _seed: str
    _group_seed: str

    def offsets_ns(self, duration_ns: int) -> Iterator[int]:
        """Yield when the client leaves a subscription: a Poisson process, in ns from the start of the warm-up."""
        pace = Pace(self.changes_per_s, Arrival.POISSON)
        seed = f"{self._group_seed}/churn"
        return offsets_ns(pace, clients=self.clients, index=self.index, seed=seed, duration_ns=duration_ns)

    def choices(self, subscriptions: int) -> Iterator[int]:
        """Yield endlessly which of a client's subscriptions, counted from 0, it leaves at each change."""
        random = Random(f"{self._seed}/churn")
        while True:
            yield int(random.random() * subscriptions)


@dataclass(frozen=True, slots=True)
class LifetimePlan:
    """A client's connection churn: how long it stays connected before it leaves."""

    lifetime_ns: int
    """Time for which the client stays connected (ns): always this time if constant, else this time on average."""
    constant: bool
    away_ns: int
    ramp_offset_ns: int
    _seed: str

    def offsets_ns(self, duration_ns: int) -> Iterator[int]:
        """Yield the times at which the client leaves, in ns from the start of the warm-up.

        The client stays away for ``away_ns`` each time. With a constant lifetime, the clients leave in the order in
        which they connected, and part of each client's first lifetime has already passed when the warm-up starts.
        """
        random = Random(f"{self._seed}/lifetime")
        at_ns = self.ramp_offset_ns % self.lifetime_ns if self.constant else self._exponential_ns(random)
        while at_ns < duration_ns:
            yield at_ns
            life_ns = self.lifetime_ns if self.constant else self._exponential_ns(random)
            at_ns += self.away_ns + life_ns

    def _exponential_ns(self, random: Random) -> int:
        # random.expovariate is not used, since Python does not guarantee its algorithm across versions.
        return max(1, round(-log(1.0 - random.random()) * self.lifetime_ns))


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The planned behaviour of a client's connection."""

    reconnect: ReconnectPlan
    drops: tuple[DropPlan, ...] = ()
    churn: SubscriptionChurnPlan | LifetimePlan | None = None
    read_bytes_per_s: float | None = None
    """Reading speed of a slow client, or None to read as fast as possible."""


#: The behaviour of a client whose group has no settings for it in the scenario.
ORDINARY = Behaviour(ReconnectPlan(100_000_000, 5_000_000_000, True, True, ""))


def behaviour_of(group: Group, seed: str, number: int, index: int, ramp_offset_ns: int) -> Behaviour:
    """Return the behaviour of client ``index`` of a group; ``number`` is its number in the whole run."""
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
    """Return ``share_percent`` of ``count``, rounded to the nearest integer, at least 1."""
    return max(1, round(count * share_percent / 100))


@lru_cache(maxsize=_ORDERS_KEPT)
def _places(seed: str, count: int) -> tuple[int, ...]:
    """Return a random permutation of 0 to ``count`` - 1, one place for each client.

    To choose n clients, callers take those with the n lowest places.
    """
    draw = Random(seed).random
    # random.shuffle is not used: Python guarantees the same sequence across versions only for `random()`.
    places = list(range(count))
    for last in range(count - 1, 0, -1):
        other = int(draw() * (last + 1))
        places[last], places[other] = places[other], places[last]
    return tuple(places)
