"""How many subscribers an event is expected to reach, from the scenario alone.

The expected deliveries of a group are the sum over all subscriptions of the probability that one of the group's publish
requests matches it, times the requests: exact, without drawing a single channel. Subscriptions are taken as the
scenario's seed places them while they are few enough to be spelled out, and by their own probabilities beyond that.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

from loadgen.pacing import Arrival, Pace, request_count
from loadgen.resolve import Clients, ResolvedRun, Variable
from loadgen.resolve.sampling import fixed_value, shares_of
from loadgen.scenario.template import Template

#: Up to so many subscriptions are spelled out: about a second.
SPELLED_OUT = 50_000
#: Up to so many different patterns are weighed one by one beyond that: some seconds.
_PATTERNS_MAX = 1_000_000
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Audience:
    """Who subscribes to what: how many subscriptions, or how many on average, each pattern has."""

    patterns: Mapping[str, float]
    spelled_out: bool
    """Whether these are the subscriptions that the scenario's seed draws, and not an average over all seeds."""


@dataclass(frozen=True, slots=True)
class GroupLoad:
    """What a publishing group sends from the start of the warm-up to the end of the measure phase."""

    name: str
    requests: float
    """Publish requests that are due; for Poisson arrival the mean."""
    events: float
    deliveries: float | None
    """Expected; None: too many channels to compute it."""

    @property
    def subscribers(self) -> float | None:
        """How many subscriptions an event reaches on average."""
        if self.deliveries is None:
            return None
        return self.deliveries / self.events if self.events else 0.0


def audience(run: ResolvedRun) -> Audience | None:
    """Return all subscriptions by pattern; None: too many different ones."""
    if run.totals.subscriptions <= SPELLED_OUT:
        clients = Clients(run)
        counted = Counter(
            subscription.channel
            for group in run.groups
            if group.subscribe
            for number in range(group.first, group.first + group.count)
            for subscription in clients.client(number).subscriptions
        )
        return Audience({pattern: float(count) for pattern, count in counted.items()}, spelled_out=True)
    sources = [(Template.parse(source), group.count) for group in run.groups for source in group.subscribe]
    sizes = (prod(run.variables[n].count for n in set(template.names)) for template, _ in sources)
    if sum(sizes) > _PATTERNS_MAX:
        return None
    patterns: defaultdict[str, float] = defaultdict(float)
    for template, count in sources:
        for values, weight in _combinations(template, run.variables, count):
            patterns[template.render(values)] += weight
    return Audience(patterns, spelled_out=False)


def group_loads(run: ResolvedRun, seen: Audience | None) -> list[GroupLoad]:
    """Return what each publishing group sends, in the order in which they are written."""
    loads = []
    for group in run.groups:
        publish = group.publish
        if publish is None:
            continue
        requests = due_by_client(publish.pace, group.count, run.phases.publishing_ns)
        channel = _Channel(publish.channel, run.variables)
        reached = None if seen is None else channel.expected(seen.patterns, requests)
        total = float(sum(requests))
        loads.append(
            GroupLoad(
                group.name,
                total,
                total * publish.batch,
                None if reached is None else reached * publish.batch,
            )
        )
    return loads


def due(pace: Pace, offset_ns: int) -> float:
    """Return how many requests of the group lie before a time after the start of the warm-up, as a real number."""
    if pace.curve:
        return float(pace.integral.requests_before(offset_ns))
    return pace.requests_per_s * offset_ns / _NS_PER_S


def due_by_client(pace: Pace, clients: int, duration_ns: int) -> Sequence[float]:
    """Return how many requests each client has due before the end: as `pacing.offsets_ns`, Poisson by its mean."""
    if pace.arrival is Arrival.POISSON:
        return [due(pace, duration_ns) / clients] * clients
    # Client k has every `clients`-th burst from the k-th on.
    bursts = request_count(pace, duration_ns) // pace.burst
    return [float(max(0, ceil((bursts - index) / clients)) * pace.burst) for index in range(clients)]


def _combinations(
    template: Template, variables: Mapping[str, Variable], clients: int
) -> Iterator[tuple[dict[str, int], float]]:
    """Yield all values of a template's variables, and how many of the clients are expected to have them."""
    names = tuple(dict.fromkeys(template.names))
    fixed = [name for name in names if variables[name].assign == "by-client"]
    drawn = [name for name in names if variables[name].assign == "random"]
    shares = [shares_of(variables[name]) for name in drawn]
    having = Counter(
        tuple(fixed_value(variables[name], index) or 0 for name in fixed) for index in range(clients)
    )
    for of_clients, count in having.items():
        for values in product(*map(range, (len(each) for each in shares))):
            weight = count * prod(each[value] for each, value in zip(shares, values, strict=True))
            yield dict(zip((*fixed, *drawn), (*of_clients, *values), strict=True)), weight


class _Channel:
    """A publish template, read backwards: from a subscription to the draws that match it."""

    def __init__(self, source: str, variables: Mapping[str, Variable]) -> None:
        self._segments = [Template.parse(segment) for segment in source[1:].split("/")]
        names = dict.fromkeys(name for segment in self._segments for name in segment.names)
        self._variables = {name: variables[name] for name in names}
        self._shares = {
            name: shares_of(variable)
            for name, variable in self._variables.items()
            if variable.assign == "random"
        }

    def expected(self, patterns: Mapping[str, float], requests: Sequence[float]) -> float:
        """Return the expected number of (request, subscription) pairs; ``requests`` are those of each client."""
        of_clients: dict[tuple[str, ...], dict[tuple[int, ...], float]] = {}
        total = 0.0
        for pattern, count in patterns.items():
            for values in self._matching(pattern):
                fixed = tuple(name for name in values if name not in self._shares)
                if fixed not in of_clients:
                    of_clients[fixed] = self._requests_by(fixed, requests)
                weight = of_clients[fixed].get(tuple(values[name] for name in fixed), 0.0)
                for name, value in values.items():
                    if name in self._shares:
                        weight *= self._shares[name][value]
                total += count * weight
        return total

    def _requests_by(self, fixed: tuple[str, ...], requests: Sequence[float]) -> dict[tuple[int, ...], float]:
        """Return the requests of all clients that have the same values of some by-client variables."""
        if not fixed:
            return {(): float(sum(requests))}
        by: defaultdict[tuple[int, ...], float] = defaultdict(float)
        for index, number in enumerate(requests):
            by[tuple(fixed_value(self._variables[name], index) or 0 for name in fixed)] += number
        return by

    def _matching(self, pattern: str) -> Iterator[dict[str, int]]:
        """Yield the values of variables with which the channel matches; what is not named may have any value."""
        parts = pattern[1:].split("/")
        below = parts[-1] == "*"
        if below:
            parts.pop()
        if len(self._segments) <= len(parts) if below else len(self._segments) != len(parts):
            return
        yield from self._values(parts, 0, {})

    def _values(self, parts: Sequence[str], place: int, known: dict[str, int]) -> Iterator[dict[str, int]]:
        if place == len(parts):
            yield known
            return
        for values in self._segment(self._segments[place], 0, parts[place], known):
            yield from self._values(parts, place + 1, values)

    def _segment(
        self, segment: Template, at: int, text: str, known: dict[str, int]
    ) -> Iterator[dict[str, int]]:
        """Yield the values with which the rest of a segment, from its ``at``-th text on, is ``text``."""
        before = segment.texts[at]
        if not text.startswith(before):
            return
        text = text[len(before) :]
        if at == len(segment.names):
            if not text:
                yield known
            return
        name = segment.names[at]
        for length in range(1, len(text) + 1):
            digits = text[:length]
            if not (digits.isascii() and digits.isdigit()):
                return
            value = int(digits)
            # A value is written without leading zeros.
            if (
                str(value) == digits
                and value < self._variables[name].count
                and known.get(name, value) == value
            ):
                yield from self._segment(segment, at + 1, text[length:], {**known, name: value})
