"""Find the peak load of a scenario, of all groups together."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from loadgen.pacing import Arrival, Pace, Point
from loadgen.planning.fanout import GroupLoad
from loadgen.resolve import ResolvedRun

#: How a load grows with the clients: with k times as many clients in every group, it is a + b·k + c·k².
Growth = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Moment:
    """The rate at which each group publishes (requests per second), at one time after the start of the warm-up."""

    at_ns: int
    requests_per_s: Mapping[str, float]


def moments(run: ResolvedRun) -> list[Moment]:
    """Return the corners of all load curves; any weighted sum of the groups' loads peaks at one of them.

    Loads are linear between corners, so the load between two corners never exceeds the greater of the two. A step gives
    two moments: just before and just after it.
    """
    paces = {name: publish.pace for name, publish in run.publishing.items()}
    end_ns = run.phases.publishing_ns if paces else 0
    corners = {0, end_ns} | {
        point.at_ns for pace in paces.values() for point in pace.curve if point.at_ns < end_ns
    }
    found = []
    for at_ns in sorted(corners):
        sides = [side for side in (False, True) if (at_ns > 0 or side) and (at_ns < end_ns or not side)]
        for after in sides:
            found.append(
                Moment(at_ns, {name: rate_at(pace, at_ns, after=after) for name, pace in paces.items()})
            )
    return found


def rate_at(pace: Pace, at_ns: int, *, after: bool) -> float:
    """Return the requests per second of a group just before or just after a time."""
    return pace.requests_per_s * _load(pace.curve, at_ns, after)


def most_in_a_second(pace: Pace, requests_per_s: float) -> float:
    """Return the largest number of requests due within one second at a mean rate.

    A burst is never divided between two seconds. For Poisson arrival the result is the mean, which some seconds exceed.
    """
    if pace.arrival is Arrival.BURSTS and requests_per_s > 0:
        return float(ceil(requests_per_s / pace.burst) * pace.burst)
    return requests_per_s


def _load(points: Sequence[Point], at_ns: int, after: bool) -> float:
    if not points:
        return 1.0
    bisect = bisect_right if after else bisect_left
    place = bisect(points, at_ns, key=lambda point: point.at_ns)
    if place == 0:
        return points[0].load
    if place == len(points):
        return points[-1].load
    before, following = points[place - 1], points[place]
    share = (at_ns - before.at_ns) / (following.at_ns - before.at_ns)
    return before.load + share * (following.load - before.load)


def peak(growths: Sequence[Growth]) -> float:
    """Return the largest load at any of the moments, with the scenario's own number of clients (k = 1)."""
    return max((sum(growth) for growth in growths), default=0.0)


class Rates:
    """The loads of all groups together, as functions of the number of clients.

    There is one function for each moment at which the load may have its peak.
    """

    def __init__(self, run: ResolvedRun, loads: Sequence[GroupLoad]) -> None:
        self._at = moments(run)
        self._loads = {load.name: load for load in loads}
        self._counts = {group.name: group.count for group in run.groups}
        self._publish = run.publishing
        self._coded = bool(run.journeys)

    def requests(self, *, over_http: bool | None = None) -> tuple[Growth, ...]:
        """Return publish requests per second, of all groups together.

        If ``over_http`` is True, count only those over HTTP. If it is False, count only those over the clients' own
        connections. If it is None, count both.
        """
        return self._sums(
            lambda name: float(over_http is None or self._publish[name].over_http == over_http), heard=False
        )

    def inbound(self) -> tuple[Growth, ...]:
        """Return published events per second."""
        return self._sums(lambda name: float(self._publish[name].batch), heard=False)

    def outbound(self, unit_bytes: int | None = None) -> tuple[Growth, ...] | None:
        """Return deliveries per second, or None if the fan-out is unknown.

        With ``unit_bytes``, a delivery counts as the number of units of this size in its payload, rounded up.
        """
        if self._coded or any(load.subscribers is None for load in self._loads.values()):
            return None

        def delivered(name: str) -> float:
            publish = self._publish[name]
            units = 1.0 if unit_bytes is None else publish.units(unit_bytes)
            return publish.batch * (self._loads[name].subscribers or 0.0) * units

        return self._sums(delivered, heard=True)

    def each_connection(self) -> float:
        """Return publish requests per second of the busiest WebSocket."""
        return max(
            (
                most_in_a_second(publish.pace, moment.requests_per_s[name] / self._counts[name])
                for name, publish in self._publish.items()
                if not publish.over_http
                for moment in self._at
            ),
            default=0.0,
        )

    @property
    def over_websocket(self) -> bool:
        """True if a group publishes over WebSocket."""
        return any(not publish.over_http for publish in self._publish.values())

    def _sums(self, of: Callable[[str], float], *, heard: bool) -> tuple[Growth, ...]:
        sums = []
        for moment in self._at:
            # With k times the clients, publishes grow only if each client has its own rate; deliveries always grow.
            growth = [0.0, 0.0, 0.0]
            for name, publish in self._publish.items():
                rate = most_in_a_second(publish.pace, moment.requests_per_s[name])
                growth[publish.each_client + heard] += rate * of(name)
            sums.append((growth[0], growth[1], growth[2]))
        return tuple(sums)
