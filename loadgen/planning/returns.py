"""Compute the expected reconnects and new subscribes that the scenario's drops and churn cause.

Connections that the service ends are left out, as they cannot be predicted.
"""

from dataclasses import dataclass

from loadgen.resolve import Group, ResolvedRun
from loadgen.resolve.behaviour import share_of

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Returns:
    """Expected numbers of reconnects and subscribe operations; `subscribes` includes those on each new connection."""

    connects: float = 0.0
    subscribes: float = 0.0

    def __add__(self, other: "Returns") -> "Returns":
        return Returns(self.connects + other.connects, self.subscribes + other.subscribes)


def of_run(run: ResolvedRun) -> Returns:
    """Return the expected numbers of a run, caused by its drops, and by churn in the warm-up and measure phases."""
    phases = run.phases
    return sum(
        (
            _dropped(group, phases.measure_ns) + _churned(group, phases.publishing_ns / _NS_PER_S)
            for group in run.groups
        ),
        Returns(),
    )


def of_hour(run: ResolvedRun) -> Returns:
    """Return the reconnects and subscribes expected in an hour from the scenario's churn; its drops are left out.

    Drops happen at set times of a run, so they have no rate per hour.
    """
    return sum((_churned(group, 3600.0) for group in run.groups), Returns())


def _dropped(group: Group, measure_ns: int) -> Returns:
    if not group.reconnect.again:
        return Returns()
    cut = sum(share_of(drop.share_percent, group.count) for drop in group.drops if drop.at_ns < measure_ns)
    return Returns(float(cut), float(cut * len(group.subscribe)))


def _churned(group: Group, seconds: float) -> Returns:
    churn = group.churn
    if churn is None:
        return Returns()
    if churn.changes_per_s is not None:
        return Returns(0.0, churn.changes_per_s * seconds)
    assert churn.lifetime_ns is not None
    # On average, a client returns once per lifetime plus time away (elementary renewal theorem).
    number = group.count * seconds * _NS_PER_S / (churn.lifetime_ns + churn.away_ns)
    return Returns(number, number * len(group.subscribe))
