"""The metrics that a gate may name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Final


class Kind(Enum):
    """The kind of a metric's values. Each member's value says how to write a threshold of that kind."""

    DURATION = "a duration such as 150ms"
    SHARE = "a share such as 0.1%, or 0"
    COUNT = "a whole number such as 0"
    RATE = "a rate such as 100/s"


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a run. `statistic` of a distribution is min, mean, max or a percentile such as p99.9."""

    name: str
    kind: Kind
    #: The distribution and its statistic; both are empty for a metric that is a single number.
    distribution: str = ""
    statistic: str = ""

    @property
    def percentile(self) -> float | None:
        """The percentile that the statistic names, such as 99.9 for p99.9, or None for min, mean and max."""
        return float(self.statistic[1:]) if re.fullmatch(r"p\d.*", self.statistic) else None

    @property
    def windowed(self) -> bool:
        """True if the metric can be computed for each window of the measurement, as gates with `over` need."""
        return (self.distribution or self.name) in _BY_TIME


DISTRIBUTIONS: Final = {
    "delivery.latency": "arrival − intended of a delivery: the headline",
    "delivery.service": "arrival − sent of a delivery",
    "delivery.queue": "from the kernel's stamp to the harness's read",
    "fanout.first": "first subscriber of an event, from its intended time",
    "fanout.median": "median subscriber of an event",
    "fanout.p99": "99 % of an event's subscribers",
    "fanout.last": "last subscriber of an event",
    "publish.latency": "from sending a publish to its answer",
    "publish.lateness": "from the intended time of a publish to its sending",
    "connect.time": "from connecting to the acknowledged login",
    "subscribe.time": "from a subscribe to its acknowledgement",
    "ready.gap": "how long probes to an acknowledged subscription went missing",
    "recovery.time": "from a drop until a subscription that it cut was ready again",
    "reaction.latency": "arrival of a reply − intended time of its request",
    "reaction.first": "arrival of a request's first reply − intended time of the request",
    "reaction.gap": "from one reply to the next of the same request, on arrival",
}
NUMBERS: Final = {
    "delivery.loss": (Kind.SHARE, "lost, of expected deliveries"),
    "delivery.lost": (Kind.COUNT, "expected deliveries that did not arrive"),
    "delivery.late": (Kind.COUNT, "expected deliveries that arrived after the drain time"),
    "delivery.duplicates": (Kind.COUNT, "further arrivals of the same event at the same subscription"),
    "delivery.reordered": (Kind.COUNT, "deliveries that came after a later event of the same publisher"),
    "delivery.altered": (
        Kind.COUNT,
        "expected deliveries that are not what was sent; needs 'integrity: true'",
    ),
    "delivery.ratio": (Kind.SHARE, "delivered in time, of expected"),
    "delivery.rate": (Kind.RATE, "deliveries in time a second"),
    "fanout.complete": (Kind.SHARE, "events that reached every subscriber"),
    "publish.errors": (Kind.SHARE, "events that were due and not accepted"),
    "publish.rate": (Kind.RATE, "accepted events a second"),
    "publish.offered": (Kind.RATE, "events due a second"),
    "connect.errors": (Kind.SHARE, "attempts to connect that failed"),
    "checks.failed": (Kind.COUNT, "checks of the user's own code that failed, of the whole run"),
    "checks.ratio": (Kind.SHARE, "checks that passed, of those that were made"),
    "reaction.missing": (Kind.COUNT, "replies to delivered requests that were due and not accepted"),
    "reaction.lost": (Kind.COUNT, "expected deliveries of replies that did not arrive"),
    "reaction.disorder": (
        Kind.COUNT,
        "deliveries of replies that came after a later reply to the same request",
    ),
    "reaction.uncaused": (Kind.COUNT, "lost deliveries of requests, which caused no reply"),
    "recovery.missed": (Kind.COUNT, "deliveries that were missed between a drop and being ready again"),
    "recovery.failed": (Kind.SHARE, "attempts to connect again that failed"),
    "recovery.peak": (Kind.RATE, "attempts to connect again in the second with the most"),
}
_BY_TIME = frozenset(
    name for name in (*DISTRIBUTIONS, *NUMBERS) if name.startswith(("delivery.", "fanout.", "publish."))
) - {"delivery.duplicates", "delivery.reordered", "delivery.altered"}
STATISTICS: Final = ("min", "mean", "max", "p50", "p90", "p95", "p99", "p99.9")
_STATISTIC = re.compile(r"min|mean|max|p(?:\d|[1-9]\d)(?:\.\d{1,4})?|p100")


class UnknownMetricError(ValueError):
    """No metric has the name. The message says which names are possible."""


def names() -> Sequence[str]:
    """Return the names of all metrics; a distribution has a name for each of `STATISTICS`: fanout.last.p99."""
    of_distributions = [f"{name}.{statistic}" for name in DISTRIBUTIONS for statistic in STATISTICS]
    return [*of_distributions, *NUMBERS]


def find(name: str) -> Metric:
    """Return the metric of that name.

    Raises:
        UnknownMetricError: no metric has that name.
    """
    if name in NUMBERS:
        return Metric(name, NUMBERS[name][0])
    for distribution in sorted(DISTRIBUTIONS, key=len, reverse=True):
        if name.startswith(distribution + "."):
            statistic = name[len(distribution) + 1 :]
            if _STATISTIC.fullmatch(statistic):
                return Metric(name, Kind.DURATION, distribution, statistic)
            raise UnknownMetricError(
                f"{distribution} has no {statistic!a}: take min, mean, max or a percentile such as p99 or p99.9"
            )
    if name in DISTRIBUTIONS:
        raise UnknownMetricError(f"{name} is many values: say which, as {name}.p99")
    nearest = get_close_matches(name, names(), 1, 0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join((*DISTRIBUTIONS, *NUMBERS))}"
    raise UnknownMetricError(f"there is no metric {name!a}; {hint}")
