"""Compute the expected fan-out of a scenario's events without running it.

A group's expected deliveries are its number of publish requests times the sum, over all subscriptions, of the
probability that a request's channel matches the subscription. This sum is exact, and no requests need to be drawn. Up
to `SPELLED_OUT` subscriptions are drawn with the scenario's seed, as in the run; beyond that, each pattern counts with
its probability.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

from loadgen.pacing import Arrival, Pace, request_count
from loadgen.planning.by_row import by_row
from loadgen.protocol import shares
from loadgen.resolve import Clients, ResolvedRun, Variable
from loadgen.resolve.sampling import fixed_value, shares_of
from loadgen.scenario.template import Template

#: Maximum number of subscriptions to draw with the scenario's seed; drawing that many takes about a second.
SPELLED_OUT = 50_000
#: Maximum number of channel patterns to compute one by one in runs with more than `SPELLED_OUT` subscriptions. A
#: million patterns take some seconds.
_PATTERNS_MAX = 1_000_000
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Audience:
    """Number of subscriptions, or their expected number, by channel pattern; a shared subscription counts as one."""

    patterns: Mapping[str, float]
    spelled_out: bool
    """True if the scenario's seed drew the subscriptions; false if the numbers are averages over all seeds."""


@dataclass(frozen=True, slots=True)
class GroupLoad:
    """Load of a publishing group from the start of the warm-up to the end of the measure phase."""

    name: str
    requests: float
    """Number of scheduled publish requests, or the mean of this number for Poisson arrival."""
    events: float
    deliveries: float | None
    """Expected deliveries; None if there are too many channels to compute them, or if only the values of the data
    decide which subscriptions match."""

    @property
    def subscribers(self) -> float | None:
        """Mean number of subscriptions an event reaches, or None if unknown."""
        if self.deliveries is None:
            return None
        return self.deliveries / self.events if self.events else 0.0


def audience(run: ResolvedRun) -> Audience | None:
    """Return all subscriptions by pattern, or None if they cannot be known before the run or have too many patterns.

    Patterns that depend on data contain row numbers instead of the rows' values.
    """
    if run.journeys:
        # A journey is user code that chooses its own subscriptions, so they are unknown before the run.
        return None
    planned = by_row(run)
    if planned is None:
        return None
    run = planned
    if run.totals.subscriptions <= SPELLED_OUT:
        clients = Clients(run)
        subscribed: Counter[str] = Counter()
        for group in run.groups:
            # If the channels have no variables, all clients of a group subscribe to the channels of its first client.
            alike = not any(Template.parse(source).names for source in group.subscribe)
            drawn, each = (min(group.count, 1), group.count) if alike else (group.count, 1)
            for number in range(group.first, group.first + drawn):
                for channel in clients.channels(group, number):
                    subscribed[channel] += each
        return Audience(receivers(subscribed), spelled_out=True)
    sources = [(Template.parse(source), group.count) for group in run.groups for source in group.subscribe]
    sizes = (prod(run.variables[n].count for n in set(template.names)) for template, _ in sources)
    if sum(sizes) > _PATTERNS_MAX:
        return None
    patterns: defaultdict[str, float] = defaultdict(float)
    for template, count in sources:
        for values, weight in _combinations(template, run.variables, count):
            patterns[template.render(values)] += weight
    return Audience(receivers(patterns), spelled_out=False)


def receivers(subscribed: Mapping[str, float]) -> dict[str, float]:
    """Return the number of receivers of an event for each channel pattern; ``subscribed`` has subscription counts.

    All members of a shared subscription together are one receiver. A shared subscription with fewer than one member on
    average counts as that average.
    """
    found: defaultdict[str, float] = defaultdict(float)
    for channel, count in subscribed.items():
        group, pattern = shares.split(channel)
        found[pattern] += float(count) if group is None else min(1.0, count)
    return dict(found)


def group_loads(run: ResolvedRun, seen: Audience | None) -> list[GroupLoad]:
    """Return the load of each publishing group, in the scenario's order; ``seen`` is the result of `audience`."""
    if seen is not None:
        planned = by_row(run)
        assert planned is not None
        run = planned
    loads = []
    for group in run.groups:
        publish = group.publish
        if publish is None:
            continue
        requests = due_by_client(publish.pace, group.count, run.phases.publishing_ns)
        reached = (
            None
            if seen is None
            else _Channel(publish.channel, run.variables).expected(seen.patterns, requests)
        )
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
    """Return the number, not rounded, of requests scheduled in the ``offset_ns`` ns after the start of the warm-up."""
    if pace.curve:
        return float(pace.integral.requests_before(offset_ns))
    return pace.requests_per_s * offset_ns / _NS_PER_S


def due_by_client(pace: Pace, clients: int, duration_ns: int) -> Sequence[float]:
    """Return the number of publish requests that each client is scheduled to send within ``duration_ns``.

    The numbers are those of `pacing.offsets_ns`, or their mean for Poisson arrival.
    """
    if pace.arrival is Arrival.POISSON:
        return [due(pace, duration_ns) / clients] * clients
    # Client k sends the bursts with the numbers k, k + clients, k + 2·clients, …
    bursts = request_count(pace, duration_ns) // pace.burst
    return [float(max(0, ceil((bursts - index) / clients)) * pace.burst) for index in range(clients)]


def _combinations(
    template: Template, variables: Mapping[str, Variable], clients: int
) -> Iterator[tuple[dict[str, int], float]]:
    """Yield each combination of values of a template's variables, and the expected number of clients that have it."""
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
    """The channel template of a publisher; computes how many of its requests match subscriptions."""

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
        """Return the expected number of (request, subscription) matches.

        ``patterns`` has the number of subscriptions by pattern, and ``requests`` the number of requests by client.
        """
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
        """Add up ``requests`` (one number per client) over clients with the same values of the variables ``fixed``."""
        if not fixed:
            return {(): float(sum(requests))}
        by: defaultdict[tuple[int, ...], float] = defaultdict(float)
        for index, number in enumerate(requests):
            by[tuple(fixed_value(self._variables[name], index) or 0 for name in fixed)] += number
        return by

    def _matching(self, pattern: str) -> Iterator[dict[str, int]]:
        """Yield values of variables with which the channel matches ``pattern``; those left out may have any value."""
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
        """Yield the variable values with which the rest of ``segment`` renders as ``text``.

        The rest begins with the literal text number ``at``. ``known`` has the values of variables in earlier parts.
        """
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
            # Digits with leading zeros cannot match, since templates render values without them.
            if (
                str(value) == digits
                and value < self._variables[name].count
                and known.get(name, value) == value
            ):
                yield from self._segment(segment, at + 1, text[length:], {**known, name: value})
