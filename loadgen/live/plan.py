"""Figures of live displays that follow from the scenario: the offered load, and the expected deliveries per event."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from loadgen.measure.running import RunningStatistics
from loadgen.pacing import Pace
from loadgen.planning import replies
from loadgen.planning.fanout import audience, due
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve import ResolvedRun

#: Approximate number of events per second that are sampled. The displays show the first and last arrivals of these
#: events.
_SAMPLED_PER_S = 20
#: Maximum number of distinct wildcard patterns: each is tried for every channel. If there are more, an event's number
#: of deliveries is unknown.
_WILDCARDS_MAX = 1_000
_CHANNELS_KEPT = 100_000


def live_reports(run: ResolvedRun, rules: ProtocolRules) -> RunningStatistics:
    """Return the running statistics that a worker reports for live displays."""
    rate = sum(publish.events_per_s for publish in run.publishing.values())
    return RunningStatistics(expected_by_channel(run, rules), round(rate / _SAMPLED_PER_S))


def expected_by_channel(run: ResolvedRun, rules: ProtocolRules) -> Callable[[str], int | None]:
    """Return a function from a channel to the number of deliveries that an event published to it should bring.

    The function returns None if that number is unknown during the run, because subscriptions come and go or are too
    many to be listed one by one.
    """
    seen = None if _changing(run) else audience(run)
    if seen is None or not seen.spelled_out:
        return lambda channel: None
    exact: dict[str, int] = {}
    wildcards: list[tuple[str, int]] = []
    for pattern, count in seen.patterns.items():
        try:
            rules.validate_publish(pattern)
        except ValueError:
            wildcards.append((pattern, int(count)))
        else:
            exact[pattern] = int(count)
    if len(wildcards) > _WILDCARDS_MAX:
        return lambda channel: None

    @lru_cache(_CHANNELS_KEPT)
    def expected(channel: str) -> int | None:
        normal = rules.normalise(channel)
        return exact.get(normal, 0) + sum(n for pattern, n in wildcards if rules.matches(pattern, normal))

    return expected


@dataclass(frozen=True)
class _Source:
    pace: Pace
    batch: int
    duration_ns: int
    #: Average number of deliveries of an event, or None if unknown.
    subscribers: float | None


class Due:
    """Compute how many events are due by a time, and how many deliveries these events should bring."""

    def __init__(self, run: ResolvedRun) -> None:
        changing = _changing(run)
        run, _, found = replies.planned(run)
        loads = {load.name: load for load in found}
        self._sources: Sequence[_Source] = [
            _Source(
                publish.pace,
                publish.batch,
                run.phases.publishing_ns,
                None if changing else loads[name].subscribers,
            )
            for name, publish in run.publishing.items()
        ]
        #: True if user code publishes too: it has no schedule, so the number of events to send is unknown.
        self._coded = bool(run.journeys)

    def events(self, offset_ns: int) -> float | None:
        """Return the number of events due within ``offset_ns`` after the start of the warm-up, or None if unknown."""
        if self._coded:
            return None
        return sum(source.batch * _requests(source, offset_ns) for source in self._sources)

    def deliveries(self, offset_ns: int) -> float | None:
        """Return the expected deliveries of the events due within ``offset_ns``, or None if unknown."""
        if self._coded:
            return None
        total = 0.0
        for source in self._sources:
            if source.subscribers is None:
                return None
            total += source.subscribers * source.batch * _requests(source, offset_ns)
        return total


def _requests(source: _Source, offset_ns: int) -> float:
    return due(source.pace, min(max(0, offset_ns), source.duration_ns))


def _changing(run: ResolvedRun) -> bool:
    """Return True if a group has churn: its clients or subscriptions come and go during the run."""
    return any(group.churn is not None for group in run.groups)
