"""How often clients are expected to connect and to subscribe anew, by their own doing: drops and churn.

Connections that the service ends are not in it: nobody knows them beforehand.
"""

from dataclasses import dataclass

from loadgen.resolve import Group, ResolvedRun
from loadgen.resolve.behaviour import share_of

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Returns:
    """Expected numbers; `subscribes` has those that a new connection brings with it."""

    connects: float = 0.0
    subscribes: float = 0.0

    def __add__(self, other: "Returns") -> "Returns":
        return Returns(self.connects + other.connects, self.subscribes + other.subscribes)


def of_run(run: ResolvedRun) -> Returns:
    """Return what one run brings: its drops, and churn from the warm-up's start to the measure phase's end."""
    phases = run.phases
    return sum(
        (
            _dropped(group, phases.measure_ns) + _churned(group, phases.publishing_ns / _NS_PER_S)
            for group in run.groups
        ),
        Returns(),
    )


def of_hour(run: ResolvedRun) -> Returns:
    """Return what an hour of the same churn brings; a drop is a single event and is in no hour."""
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
    # One return in each lifetime and the absence after it: the elementary renewal theorem.
    number = group.count * seconds * _NS_PER_S / (churn.lifetime_ns + churn.away_ns)
    return Returns(number, number * len(group.subscribe))
